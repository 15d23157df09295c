"""Logs and commands through the HTTP door."""

import json

import aiohttp
import pytest

from roheletd.api.attaching import framed
from tests.api.conftest import TOKEN, World

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


async def attached(remote: aiohttp.ClientSession, body: bytes) -> tuple[int, bytes]:
    async with remote.post("/api/v1/exec/web", data=body, headers=HEADERS) as answer:
        return answer.status, await answer.read()


async def test_a_log_is_an_object_for_each_line_and_one_for_its_end(
    remote: aiohttp.ClientSession,
) -> None:
    async with remote.get("/api/v1/logs/web") as answer:
        line, end = (await answer.text()).splitlines()
    assert json.loads(line) == {
        "instance": "web.0",
        "node": "pi",
        "source": "stdout",
        "at": "2026-01-01T00:00:00Z",
        "line": "hello",
    }
    assert json.loads(end) == {"end": ""}


async def test_a_head_request_reads_no_log(remote: aiohttp.ClientSession) -> None:
    async with remote.head("/api/v1/logs/web?follow=true") as answer:
        assert answer.status == 200


async def test_a_command_answers_in_frames(remote: aiohttp.ClientSession) -> None:
    status, body = await attached(remote, framed(b"b", b'{"command":["date"]}'))
    end = framed(b"x", b'{"exit_code":3,"reason":""}')
    assert (status, body) == (200, framed(b"o", b"out\n") + framed(b"e", b"err\n") + end)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "expected a first frame `b`"),
        (framed(b"i", b"x"), "expected a first frame `b`"),
        (framed(b"b", b"{"), "expected JSON"),
        (framed(b"b", b'{"command":[]}'), "command"),
        (framed(b"b", b'{"command":["a"],"rows":0}'), "rows"),
        (framed(b"b", b'{"command":["a"],"user":"root"}'), "user"),
        (b"b" + b"\xff" * 4, "at most 65536 bytes"),
    ],
)
async def test_a_body_that_does_not_begin_well_is_refused(
    remote: aiohttp.ClientSession, body: bytes, reason: str
) -> None:
    status, text = await attached(remote, body)
    problem = json.loads(text)
    assert status == 400
    assert reason in problem["field"] + problem["reason"]


async def test_over_tcp_a_command_needs_the_token(remote: aiohttp.ClientSession) -> None:
    for path in ("/api/v1/exec", "/api/v1/exec/web"):
        async with remote.post(path, json={"instance": "web", "command": ["ls"]}) as answer:
            assert answer.status == 401


async def test_a_daemon_without_streams_says_so(
    remote: aiohttp.ClientSession, world: World
) -> None:
    world.operations.streams = None
    asked = {"instance": "web", "command": ["ls"]}
    async with remote.post("/api/v1/exec", json=asked, headers=HEADERS) as answer:
        assert answer.status == 503
