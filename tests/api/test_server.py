"""The HTTP door through real sockets."""

import asyncio
import json
import logging
import socket
import stat
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roheletd.api import server as server_module
from roheletd.api.door import POLLS_MAX
from roheletd.api.server import CONNECTIONS_MAX, ApiServer
from roheletd.errors import Refused
from tests.api.conftest import TOKEN, World

WEB = {"name": "shop", "image": "nginx:alpine", "cores": [500]}
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
JSON_BODY = {"Content-Type": "application/json"}


async def raw(port: int | None, data: bytes) -> bytes:
    """All that comes back on one connection until it is closed."""
    async with connection(port) as (reader, writer):
        writer.write(data)
        return await reader.read()


@asynccontextmanager
async def connection(
    port: int | None,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event of ours
            await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(
    world: World, path: Path, *, port: int | None = None, listen: str = "127.0.0.1"
) -> AsyncIterator[ApiServer]:
    """A server of its own, with no TCP unless a port is given."""
    server = ApiServer(world.operations, socket_path=path, listen=listen, port=port, token=TOKEN)
    await server.start()
    yield server
    await server.stop()


def client_of(path: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(path)))


async def poll_of(session: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
    async with session.get("/api/v1/events?after=1&wait_s=30") as answer:
        return answer.status, await answer.json()


async def polls_open(server: ApiServer, count: int) -> None:
    await until(lambda: len(server._door._polls) == count)


def tcp_connections(server: ApiServer) -> int:
    return len(server._protocols[1].connections)


class TestVerbs:
    async def test_a_service_is_added_read_and_removed(
        self, local: aiohttp.ClientSession, world: World
    ) -> None:
        async with local.post("/api/v1/services", json={"services": [WEB]}) as answer:
            assert answer.status == 200
            assert (await answer.json())["changed"] == {"shop": "added"}
        async with local.get("/api/v1/services") as answer:
            names = [item["service"]["name"] for item in (await answer.json())["services"]]
        assert names == ["shop", "web"]
        async with local.delete("/api/v1/services/shop") as answer:
            assert (await answer.json())["changed"] == {"shop": "removed"}
        assert set(world.state.services) == {"web"}

    async def test_core_ids_are_numbers_in_the_state_and_text_in_json(
        self, local: aiohttp.ClientSession, world: World
    ) -> None:
        node = {"name": "nano", "capacity": {"cores": {"0": 1000, "5": 500}, "memory_mib": 512}}
        async with local.post("/api/v1/nodes", json={"nodes": [node]}) as answer:
            assert answer.status == 200
        assert world.state.nodes["nano"].capacity.cores == {0: 1000, 5: 500}

    async def test_a_change_that_is_sent_twice_under_one_key_is_made_once(
        self, local: aiohttp.ClientSession, world: World
    ) -> None:
        before = world.state.applied_index
        key = {"Idempotency-Key": "mine-1"}
        answers = []
        for image in ("one", "one", "two"):
            body = {"services": [{**WEB, "image": image}]}
            async with local.post("/api/v1/services", json=body, headers=key) as answer:
                answers.append((answer.status, await answer.json()))
        assert answers[0] == answers[1]
        assert answers[2][0] == 409
        assert "used for another command" in answers[2][1]["reason"]
        assert world.state.applied_index == before + 1
        assert world.state.services["shop"].service.image == "one"

    async def test_what_the_state_does_not_allow_is_a_conflict(
        self, local: aiohttp.ClientSession
    ) -> None:
        taken = {**WEB, "name": "web", "application": "other"}
        async with local.post("/api/v1/services", json={"services": [taken]}) as answer:
            assert answer.status == 409
            assert (await answer.json())["error"] == "refused"

    async def test_a_log_that_takes_nothing_is_unavailable_and_reads_go_on(
        self, local: aiohttp.ClientSession, world: World
    ) -> None:
        world.log.failure = "disk full"
        async with local.delete("/api/v1/services/web") as answer:
            assert answer.status == 503
            assert (await answer.json())["reason"] == "disk full"
        async with local.get("/readyz") as answer:
            assert answer.status == 503
            assert "disk full" in (await answer.json())["reasons"][0]
        async with local.get("/healthz") as answer:
            assert answer.status == 200

    async def test_head_answers_like_get_without_the_body(
        self, local: aiohttp.ClientSession
    ) -> None:
        async with local.get("/api/v1/nodes") as full:
            length = len(await full.read())
        async with local.head("/api/v1/nodes") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert int(answer.headers["Content-Length"]) == length


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"", "body"),
            (b"[]", "body"),
            (b"{", "body, line 1, column 2"),
            (b'{"services": [{"name": "\xff"}]}', "body, line 1"),
            (b'{"services": [{"name": "a"}], "services": []}', "body, at $"),
            (b'{"services": [{"name": "a", "name": "b"}]}', "body, at $.services[0]"),
            (b'{"services": [{"name": "a"}, {"name": "a"}]}', "$.services[1].name"),
            (b'{"services": [{"name": "a", "stop_grace_s": NaN}]}', "stop_grace_s"),
            (b'{"services": [{"name": "a", "memory_mib": -1}]}', "$.services[0].memory_mib"),
            (b'{"services": [{"name": "a", "memory_mib": 1e400}]}', "memory_mib"),
            (b'{"services": [{"name": "a", "replicas": "2"}]}', "$.services[0].replicas"),
            (b'{"services": [{"name": "a", "strategy": "best"}]}', "$.services[0].strategy"),
            (b'{"services": [{"name": "a", "imag": "x"}]}', "$.services[0].imag"),
            (b'{"services": [{"image": "x"}]}', "$.services[0].name"),
            (
                b'{"services": [{"name": "a", "ports": [{"container_port": 70000}]}]}',
                "$.services[0].ports[0].container_port",
            ),
            (b'{"services": ' + b"[" * 5000 + b"]" * 5000 + b"}", "body"),
        ],
    )
    async def test_a_bad_body_is_refused_by_field_and_changes_nothing(
        self, local: aiohttp.ClientSession, world: World, body: bytes, field: str
    ) -> None:
        before = world.picture()
        async with local.post("/api/v1/services", data=body, headers=JSON_BODY) as answer:
            problem = await answer.json()
        assert answer.status == 400, problem
        assert problem["error"] == "invalid"
        assert field in problem["field"]
        assert problem["reason"]
        assert world.picture() == before

    @pytest.mark.parametrize("core", ["-1", "9" * 40])
    async def test_a_core_id_that_no_machine_has_is_refused(
        self, local: aiohttp.ClientSession, world: World, core: str
    ) -> None:
        before = world.picture()
        node = {"name": "nano", "capacity": {"cores": {core: 1000}, "memory_mib": 512}}
        async with local.post("/api/v1/nodes", json={"nodes": [node]}) as answer:
            assert answer.status == 400
            assert "$.nodes[0].capacity.cores" in (await answer.json())["field"]
        assert world.picture() == before

    @pytest.mark.parametrize(
        ("path", "field"),
        [
            ("/api/v1/events?after=x", "$.after"),
            ("/api/v1/events?after=-1", "$.after"),
            ("/api/v1/events?wait_s=nan", "$.wait_s"),
            ("/api/v1/events?wait_s=61", "$.wait_s"),
            ("/api/v1/events?after=1&after=2", "$.after"),
            ("/api/v1/events?until=1", "$.until"),
            ("/api/v1/nodes?a=1", "$.a"),
            ("/api/v1/why/a%2Fb", "$.name"),
            ("/api/v1/why/%FF", "$.name"),
            ("/api/v1/why/web?name=web", "$.name"),
            ("/api/v1/events?" + "&".join("after" for _ in range(50)), "query"),
        ],
    )
    async def test_a_bad_address_is_refused_by_field(
        self, local: aiohttp.ClientSession, path: str, field: str
    ) -> None:
        async with local.get(path) as answer:
            assert answer.status == 400
            assert (await answer.json())["field"] == field

    async def test_fifty_megabytes_are_refused_and_never_held(
        self, local: aiohttp.ClientSession
    ) -> None:
        chunk = bytes(64 * 1024)

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(800):
                yield chunk

        tracemalloc.start()
        try:
            async with local.post("/api/v1/services", data=endless(), headers=JSON_BODY) as answer:
                problem = await answer.json()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert answer.status == 413
        assert problem == {
            "error": "invalid",
            "reason": "expected at most 1 MiB",
            "field": "body",
        }
        assert peak_bytes < 6 << 20

    async def test_a_declared_size_is_refused_before_anything_is_sent(
        self, server: ApiServer
    ) -> None:
        async with connection(server.port) as (reader, writer):
            writer.write(
                b"POST /api/v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/json\r\nContent-Length: 50000000\r\n"
                + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")

    async def test_a_client_that_asks_first_is_told_to_go_on(self, server: ApiServer) -> None:
        async with connection(server.port) as (reader, writer):
            body = json.dumps({"services": [WEB]}).encode()
            writer.write(
                b"POST /api/v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/json\r\nConnection: close\r\n"
                + f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            writer.write(body)
            assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in b"\r\n" + await reader.read()

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ],
    )
    async def test_a_body_that_is_no_plain_json_is_not_read(
        self, local: aiohttp.ClientSession, headers: dict[str, str]
    ) -> None:
        async with local.post("/api/v1/services", data=b"x", headers=headers) as answer:
            assert answer.status == 415
            assert (await answer.json())["field"] == "body"

    async def test_a_read_with_a_body_is_refused(self, local: aiohttp.ClientSession) -> None:
        async with local.get("/api/v1/nodes", json={}) as answer:
            assert answer.status == 400

    @pytest.mark.parametrize("key", ["a b", "x" * 65, "ä"])
    async def test_a_key_that_is_no_word_is_refused(
        self, local: aiohttp.ClientSession, key: str
    ) -> None:
        async with local.delete("/api/v1/services/web", headers={"Idempotency-Key": key}) as answer:
            assert (answer.status, (await answer.json())["field"]) == (400, "Idempotency-Key")

    async def test_an_unknown_path_and_a_wrong_method_are_problems_too(
        self, local: aiohttp.ClientSession
    ) -> None:
        async with local.get("/api/v1/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "not found")
        async with local.put("/api/v1/services") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
            assert (await answer.json())["error"] == "invalid"

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 500 + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        ],
    )
    async def test_what_is_not_http_is_answered_with_a_problem(
        self, server: ApiServer, caplog: pytest.LogCaptureFixture, data: bytes
    ) -> None:
        head, _, body = (await raw(server.port, data)).partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
        assert json.loads(body)["error"] == "invalid"
        assert not [record for record in caplog.records if record.levelno > logging.DEBUG]

    async def test_broken_framing_of_a_body_is_a_problem(
        self, server: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "BODY_S", 0.3)
        monkeypatch.setattr(server_module, "LINGER_S", 0.1)
        data = (
            b"POST /api/v1/services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        async with connection(server.port) as (reader, writer):
            writer.write(data)
            await until(lambda: server._protocols[1].requests_count == 1)
            writer.write(b"zz\r\n")
            # aiohttp's compiled parser tells only the connection of it, and the body never ends.
            assert (await reader.readline()).split()[1] in {b"400", b"408"}

    async def test_a_fault_of_ours_is_logged_and_not_shown(
        self,
        local: aiohttp.ClientSession,
        world: World,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        telemetry, world.soft.telemetry = world.soft.telemetry, None  # type: ignore[assignment]
        async with local.get("/api/v1/telemetry") as answer:
            assert answer.status == 500
            assert await answer.json() == {
                "error": "internal",
                "reason": "a fault of roheletd, told in its log",
                "field": "",
            }
        assert "AttributeError" in caplog.text
        world.soft.telemetry = telemetry
        async with local.get("/api/v1/telemetry") as answer:
            assert answer.status == 200


class TestAccess:
    async def test_over_tcp_reads_are_open_and_writes_need_the_token(
        self, remote: aiohttp.ClientSession, world: World, tmp_path: Path
    ) -> None:
        async with remote.get("/api/v1/services") as answer:
            assert answer.status == 200
        before = world.picture()
        for headers in (
            {},
            {"Authorization": "Bearer " + "0" * 64},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Bearer ä"},
        ):
            async with remote.delete("/api/v1/services/web", headers=headers) as answer:
                assert answer.status == 401
                assert str(tmp_path / "api.token") in (await answer.json())["reason"]
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert world.picture() == before
        async with remote.delete("/api/v1/services/web", headers=AUTHORIZED) as answer:
            assert answer.status == 200

    async def test_without_the_token_a_body_is_not_read(self, server: ApiServer) -> None:
        async with connection(server.port) as (reader, writer):
            writer.write(
                b"POST /api/v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            )
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost:9470", "LOCALHOST", "[::1]:9470", "192.0.2.7:80"]
    )
    async def test_an_address_as_host_is_served(
        self, remote: aiohttp.ClientSession, host: str
    ) -> None:
        async with remote.get("/status", headers={"Host": host}) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[", ":"],
    )
    async def test_a_name_as_host_is_refused(
        self, remote: aiohttp.ClientSession, host: str
    ) -> None:
        async with remote.get("/status", headers={"Host": host}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (403, "forbidden")

    async def test_pages_of_other_sites_are_refused_even_with_the_token(
        self, remote: aiohttp.ClientSession, server: ApiServer, world: World
    ) -> None:
        before = world.picture()
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            async with remote.delete(
                "/api/v1/services/web", headers={**AUTHORIZED, "Origin": origin}
            ) as answer:
                assert answer.status == 403
        assert world.picture() == before
        own = f"http://127.0.0.1:{server.port}"
        async with remote.get("/status", headers={"Origin": own}) as answer:
            assert answer.status == 200
            assert not [name for name in answer.headers if name.startswith("Access-Control")]

    async def test_the_unix_socket_is_for_its_owner_and_group(
        self, server: ApiServer, tmp_path: Path
    ) -> None:
        assert stat.S_IMODE((tmp_path / "roheletd.sock").stat().st_mode) == 0o660


class TestLimits:
    async def test_a_slow_head_is_cut(
        self, server: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "IDLE_S", 0.2)
        assert await asyncio.wait_for(raw(server.port, b"GET /status HTT"), 2) == b""

    async def test_a_slow_body_is_a_problem(
        self, remote: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "BODY_S", 0.1)
        monkeypatch.setattr(server_module, "LINGER_S", 0.1)
        released = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            yield b"{"
            await released.wait()

        async with remote.post(
            "/api/v1/services", data=stuck(), headers={**AUTHORIZED, **JSON_BODY}
        ) as answer:
            assert (answer.status, (await answer.json())["field"]) == (408, "body")
        released.set()

    async def test_a_client_that_does_not_read_is_cut(
        self, server: ApiServer, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "SEND_S", 0.2)
        for _ in range(1000):
            world.events.add("long", "web", "x" * 10_000)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.settimeout(0)
            client.send(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: tcp_connections(server) == 1)
            await until(lambda: tcp_connections(server) == 0)

    async def test_one_connection_too_many_is_turned_away_and_a_free_place_is_found(
        self, server: ApiServer
    ) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(CONNECTIONS_MAX - 1):
                await stack.enter_async_context(connection(server.port))
            async with connection(server.port):
                answer = await raw(server.port, b"")
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "unavailable"
            await until(lambda: tcp_connections(server) < CONNECTIONS_MAX)
            asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert (await raw(server.port, asked)).startswith(b"HTTP/1.1 200 ")

    async def test_a_poll_is_answered_by_the_event_it_waits_for(
        self, local: aiohttp.ClientSession, world: World, server: ApiServer
    ) -> None:
        poll = asyncio.create_task(poll_of(local))
        await polls_open(server, 1)
        world.events.add("placed", "web.1")
        status, found = await asyncio.wait_for(poll, 2)
        assert status == 200
        assert [event["subject"] for event in found["events"]] == ["web.1"]
        assert found["last"] == 2
        assert not world.events.listeners

    async def test_one_poll_too_many_is_refused(
        self, local: aiohttp.ClientSession, world: World, server: ApiServer
    ) -> None:
        polls = [asyncio.create_task(poll_of(local)) for _ in range(POLLS_MAX)]
        await polls_open(server, POLLS_MAX)
        status, problem = await poll_of(local)
        assert (status, problem["error"]) == (503, "unavailable")
        world.events.add("placed", "web.1")
        assert {status for status, _ in await asyncio.gather(*polls)} == {200}

    async def test_whoever_hangs_up_no_longer_waits(
        self, local: aiohttp.ClientSession, world: World, server: ApiServer
    ) -> None:
        poll = asyncio.create_task(poll_of(local))
        await polls_open(server, 1)
        poll.cancel()
        await polls_open(server, 0)
        assert not world.events.listeners


class TestLife:
    async def test_it_stops_within_a_second_with_a_poll_open(
        self, local: aiohttp.ClientSession, server: ApiServer, tmp_path: Path
    ) -> None:
        poll = asyncio.create_task(poll_of(local))
        await polls_open(server, 1)
        started_s = time.monotonic()
        await server.stop()
        assert time.monotonic() - started_s < 1
        status, problem = await poll
        assert (status, problem["reason"]) == (503, "this daemon is stopping")
        assert not (tmp_path / "roheletd.sock").exists()

    async def test_it_stops_within_a_second_with_a_body_half_sent(self, server: ApiServer) -> None:
        async with connection(server.port) as (reader, writer):
            writer.write(
                b"POST /api/v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n"
                b"Content-Type: application/json\r\n"
                + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            await until(lambda: tcp_connections(server) == 1)
            started_s = time.monotonic()
            await server.stop()
            assert time.monotonic() - started_s < 1
            assert await reader.read() == b""

    async def test_at_rest_there_is_neither_task_nor_timer(self, server: ApiServer) -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            for path in ("/status", "/metrics", "/api/v1/events"):
                async with session.get(path) as answer:
                    assert answer.status == 200
        await until(lambda: tcp_connections(server) == 0)
        loop = asyncio.get_running_loop()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert timers == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_the_socket_of_a_dead_daemon_is_replaced(
        self, world: World, tmp_path: Path
    ) -> None:
        path = tmp_path / "roheletd.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with serving(world, path) as server:
            assert server.port is None
            async with client_of(path) as session, session.get("/healthz") as answer:
                assert answer.status == 200

    async def test_the_socket_of_a_living_daemon_is_left_alone(
        self, server: ApiServer, world: World, tmp_path: Path
    ) -> None:
        path = tmp_path / "roheletd.sock"
        with pytest.raises(Refused, match=r"data_dir: another roheletd answers on .*sock"):
            async with serving(world, path):
                pass
        async with client_of(path) as session, session.get("/healthz") as answer:
            assert answer.status == 200

    async def test_a_file_in_the_socket_s_place_is_not_deleted(
        self, world: World, tmp_path: Path
    ) -> None:
        path = tmp_path / "roheletd.sock"
        path.write_text("precious")
        with pytest.raises(Refused, match="no socket"):
            async with serving(world, path):
                pass
        assert path.read_text() == "precious"

    async def test_a_data_dir_that_is_too_deep_for_a_socket_is_named(
        self, world: World, tmp_path: Path
    ) -> None:
        with pytest.raises(Refused, match="data_dir: cannot make the socket"):
            async with serving(world, tmp_path / ("d" * 200) / "roheletd.sock"):
                pass

    async def test_a_taken_port_is_named_with_its_key_and_the_socket_serves_all_the_same(
        self, world: World, tmp_path: Path
    ) -> None:
        path = tmp_path / "roheletd.sock"
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            async with serving(world, path, port=port) as server:
                assert f"api.port: 127.0.0.1:{port} is taken by another" in server.failure
                async with client_of(path) as session, session.get("/healthz") as answer:
                    assert answer.status == 200
        assert not path.exists()

    @pytest.mark.parametrize("listen", ["192.0.2.1", "no.such.host.invalid"])
    async def test_an_address_that_is_not_ours_is_named_with_its_key(
        self, world: World, tmp_path: Path, listen: str
    ) -> None:
        async with serving(world, tmp_path / "roheletd.sock", port=0, listen=listen) as server:
            assert f"api.listen: cannot listen on {listen}:0" in server.failure

    async def test_run_serves_until_it_is_cancelled(self, world: World, tmp_path: Path) -> None:
        path = tmp_path / "roheletd.sock"
        server = ApiServer(
            world.operations, socket_path=path, listen="127.0.0.1", port=None, token=TOKEN
        )
        running = asyncio.create_task(server.run())
        await until(path.exists)
        async with client_of(path) as session, session.get("/healthz") as answer:
            assert answer.status == 200
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not path.exists()


@pytest.mark.parametrize(
    ("listen", "status"), [("127.0.0.1", 200), ("localhost", 200), ("0.0.0.0", 401)]
)
async def test_a_port_that_other_machines_reach_shows_services_only_with_the_token(
    world: World, tmp_path: Path, listen: str, status: int
) -> None:
    server = ApiServer(
        world.operations, socket_path=tmp_path / "s.sock", listen=listen, port=0, token=TOKEN
    )
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with aiohttp.ClientSession() as anybody, anybody.get(f"{url}/readyz") as answer:
            assert answer.status in {200, 503}
        async with (
            aiohttp.ClientSession() as anybody,
            anybody.get(f"{url}/api/v1/services") as answer,
        ):
            assert answer.status == status
        async with (
            aiohttp.ClientSession(headers=bearer) as member,
            member.get(f"{url}/api/v1/services") as answer,
        ):
            assert answer.status == 200
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"name": "a b"}, "$.services[0].name", "expected a name of letters, digits"),
        ({"env": {"A=B": "x"}}, "key in $.services[0].env", "expected a name without '='"),
        ({"replicas": "3"}, "$.services[0].replicas", "expected `int`, got `str`"),
        (
            {
                "ports": [
                    {"container_port": 80, "host_port": 80},
                    {"container_port": 81, "host_port": 80},
                ]
            },
            "$.services[0].ports[1].host_port",
            "expected each host port once",
        ),
        (
            {"ports": [{"container_port": 80}, {"container_port": 80}]},
            "$.services[0].ports[1].container_port",
            "expected each port once",
        ),
    ],
)
async def test_what_can_never_run_is_refused_in_words(
    server: ApiServer,
    local: aiohttp.ClientSession,
    change: dict[str, Any],
    field: str,
    expected: str,
) -> None:
    body = {"services": [{**WEB, **change}]}
    async with local.post("/api/v1/services", json=body) as answer:
        problem = await answer.json()
    assert answer.status == 400
    assert problem["field"] == field
    assert problem["reason"].startswith(expected)


async def test_a_path_that_is_no_text_is_refused_and_repeated_readably(server: ApiServer) -> None:
    answer = await raw(server.port, b"GET /api/v1/\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 404 " in answer.splitlines()[0] or b" 400 " in answer.splitlines()[0]


async def test_a_rohe_file_is_held_to_the_same_rules(
    local: aiohttp.ClientSession, world: World
) -> None:
    mapping = [{"con_port": 4002, "phy_port": port} for port in (1, 2)]
    service = {
        "service_name": "s",
        "image": "i",
        "replicas": 1,
        "cpu": 100,
        "port_mapping": mapping,
    }
    before = world.picture()
    body = {"document": {"data": {"app": {"s": service}}}}
    async with local.post("/api/v1/rohe/services", json=body) as answer:
        problem = await answer.json()
    assert answer.status == 400
    assert problem["field"] == "$.document s.ports[1].container_port"
    assert world.picture() == before
