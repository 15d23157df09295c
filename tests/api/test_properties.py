"""Ten thousand generated requests: none makes a fault, none that is refused changes anything.

Most go through `Door`, which is everything but the socket; some hundreds through a real one.
An exception that is not ours leaves `Door.serve` and fails the test here.
"""

import asyncio
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from roheletd.api.door import Answer, Door, Head
from roheletd.api.routes import ROUTES
from roheletd.api.server import ApiServer
from roheletd.api.views import Problem
from roheletd.model import Node, Service
from roheletd.token import Token, encode
from tests.api.conftest import TOKEN, World

BATCH = 10
"""Requests in one example, one after the other on the same state."""

Request = tuple[Head, bytes]

quick = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Most of what is drawn is right, so that the rest is not always refused for the first reason only.
good_hosts = st.sampled_from(["127.0.0.1", "localhost:9470", "[::1]"])
hosts = good_hosts | good_hosts | good_hosts | st.just("evil.example") | st.text(max_size=12)
tokens = st.sampled_from([f"Bearer {TOKEN}", "Bearer x", "Basic eA==", "Bearer \udcff"]) | st.text(
    max_size=80
)
keys = st.sampled_from(["same", "a b", "x" * 65]) | st.text(max_size=70)
media_types = st.sampled_from(
    ["application/json", "application/json; charset=utf-8", "text/plain", "*/*"]
)
headers = st.fixed_dictionaries(
    {"Host": hosts},
    optional={
        "Authorization": tokens,
        "Idempotency-Key": keys,
        "Content-Type": media_types,
        "Content-Length": st.sampled_from(["0", "10", "1048577", "9" * 30, "-1", "x", ""]),
        "Content-Encoding": st.sampled_from(["gzip", "identity", ""]),
        "Origin": st.sampled_from(["http://127.0.0.1", "http://evil.example", "null"]),
        "Transfer-Encoding": st.just("chunked"),
    },
)
segments = st.sampled_from(
    ["api", "v1", "web", "old", "services", "nodes", "why", "events", "..", "%00", "%FF", ""]
)
paths = (
    st.sampled_from([route.path for route in ROUTES])
    | st.sampled_from([route.path.replace("{name}", "web") for route in ROUTES])
    | st.lists(segments | st.text(max_size=8), max_size=6).map(lambda parts: "/" + "/".join(parts))
)
methods = st.sampled_from(["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "BREW"])
# No wait that could come true: it would be kept, for a minute.
queries = st.sampled_from(
    ["", "after=0", "after=-1", "after=1e3", "wait_s=nan", "wait_s=-1", "wait_s=1e9", "name=a"]
) | st.text(st.characters(exclude_characters="w"), max_size=20)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, "\ud800", "\0", "web", "9" * 40, "best_fit"])
)
names = st.sampled_from(
    ["services", "nodes", "document", "name", "cores", "capacity", "data", "command", "cpu"]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)

VALID: dict[str, dict[str, Any]] = {
    "/api/v1/cluster/token": {"valid_for_s": 60},
    "/api/v1/cluster/join": {
        "token": encode(Token(cluster="a", cluster_id="0123456789abcdef", epoch=1, key=bytes(32)))
    },
    "/api/v1/services": {
        "services": [
            {
                "name": "shop",
                "application": "default",
                "image": "nginx",
                "command": ["a", "b"],
                "env": {"A": "1"},
                "replicas": 2,
                "cores": [500, 50],
                "memory_mib": 64,
                "vms_mib": 128,
                "accelerators": {"gpu": 30},
                "sensitivity": 1,
                "ports": [{"container_port": 80, "host_port": 8080, "protocol": "tcp"}],
                "strategy": "best_fit",
                "stop_grace_s": 1.5,
            },
            {"name": "web", "replicas": 1},
        ]
    },
    "/api/v1/nodes": {
        "nodes": [
            {
                "name": "nano",
                "capacity": {
                    "cores": {"0": 1000, "1": 1000},
                    "memory_mib": 512,
                    "gpus": [{"id": "g", "percent": 100}],
                },
                "frequency_ghz": 1.5,
                "labels": {"a": "b"},
            }
        ]
    },
    "/api/v1/rohe/services": {
        "document": {
            "command": "ADD SERVICE",
            "data": {
                "app": {
                    "front": {
                        "service_name": "front",
                        "image": "nginx",
                        "cpu": 424,
                        "ports": [4002],
                        "port_mapping": [{"con_port": 4002, "phy_port": 4002}],
                        "accelerator": {"gpu": 0},
                        "memory": {"rss": 200, "vms": 500},
                        "processor": [50, 5],
                        "sensitivity": 0,
                        "replicas": 2,
                    }
                }
            },
        }
    },
    "/api/v1/rohe/nodes": {
        "document": {
            "data": {
                "nano": {
                    "node_name": "nano",
                    "mac_address": "dc:a6:32:07:ab:92",
                    "frequency": 1.5,
                    "cpu": {"capacity": 2000, "used": 0},
                    "cores": {"capacity": [100, 100], "used": [0, 0]},
                    "memory": {"capacity": {"rss": 4096, "vms": 4096}},
                    "accelerator": {},
                }
            }
        }
    },
}

VALID |= {
    "/api/v1/configmaps": {
        "name": "web",
        "data": {"nginx.conf": "a", "LEVEL": ""},
        "binary": {"key.der": "/wA="},
        "replace": True,
    },
    "/api/v1/what-if": VALID["/api/v1/services"],
    "/api/v1/plan": {**VALID["/api/v1/services"], **VALID["/api/v1/nodes"], "prune": True},
    "/api/v1/apply": {**VALID["/api/v1/services"], "prune": False, "fingerprint": ""},
    "/api/v1/rebalance": {"moves": 2, "dry_run": False},
}
VALID["/api/v1/secrets"] = VALID["/api/v1/configmaps"]

ALLOWED = CIMultiDict({"Host": "localhost", "Content-Type": "application/json"})


def head_of(method: str, path: str, query: str, given: dict[str, str], *, trusted: bool) -> Head:
    return Head(method=method, path=path, query=query, headers=CIMultiDict(given), trusted=trusted)


requests = st.tuples(
    st.builds(head_of, methods, paths, queries, headers, trusted=st.booleans()),
    st.binary(max_size=40) | values.map(json.dumps).map(str.encode),
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to everything inside of `value`."""
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places_in(child, (*path, key))


@st.composite
def mutated_bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A body that works, with one to three of its values replaced, removed or renamed."""
    path = draw(st.sampled_from(sorted(VALID)))
    body = copy.deepcopy(VALID[path])
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(places_in(body)) or [None]))
        if place is None:
            break
        *way, last = place
        parent: Any = body
        for step in way:
            parent = parent[step]
        mutation = draw(st.sampled_from(["replace", "remove", "rename"]))
        if mutation == "replace":
            parent[last] = draw(values)
        elif mutation == "remove" or isinstance(parent, list):
            del parent[last]
        else:
            parent[draw(st.text(max_size=40))] = parent.pop(last)
    return path, json.dumps(body).encode()


@st.composite
def damaged_text(draw: st.DrawFn) -> tuple[str, bytes]:
    """The bytes of a body that works, cut, doubled or overwritten somewhere."""
    path = draw(st.sampled_from(sorted(VALID)))
    text = json.dumps(VALID[path]).encode()
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    filling = draw(st.binary(max_size=8) | st.sampled_from([b"NaN", b"1e999", text[start:end] * 2]))
    return path, text[:start] + filling + text[end:]


def exchanged(loop: asyncio.AbstractEventLoop, world: World, request: Request) -> Answer:
    head, body = request

    async def read_body() -> bytes:
        return body

    door = Door(world.operations, token=TOKEN, data_dir=Path("/var/lib/roheletd"))
    return loop.run_until_complete(asyncio.wait_for(door.serve(head, read_body), 5))


def check(loop: asyncio.AbstractEventLoop, world: World, request: Request) -> int:
    before = world.picture()
    answer = exchanged(loop, world, request)
    if 400 <= answer.status < 500:
        problem = msgspec.json.decode(answer.body, type=Problem)
        assert problem.reason
        assert problem.field or answer.status != 400
        assert world.picture() == before
    else:
        assert answer.status in {200, 503}
    if request[0].method in {"GET", "HEAD"}:
        assert world.picture() == before
    world.state.check()
    return answer.status


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@settings(quick, max_examples=350)
@given(st.lists(requests, min_size=BATCH, max_size=BATCH))
def test_no_request_makes_a_fault(loop: asyncio.AbstractEventLoop, batch: list[Request]) -> None:
    world = World()
    for request in batch:
        check(loop, world, request)


@settings(quick, max_examples=500)
@given(st.lists(mutated_bodies() | damaged_text(), min_size=BATCH, max_size=BATCH))
def test_no_body_makes_a_fault(
    loop: asyncio.AbstractEventLoop, batch: list[tuple[str, bytes]]
) -> None:
    world = World()
    for path, body in batch:
        head = Head(method="POST", path=path, query="", headers=ALLOWED, trusted=True)
        check(loop, world, (head, body))


SERVICE_FIELDS = sorted(msgspec.structs.fields(Service), key=lambda field: field.name)
NODE_FIELDS = sorted(msgspec.structs.fields(Node), key=lambda field: field.name)


@st.composite
def bodies_of_fields(draw: st.DrawFn) -> tuple[str, object]:
    """Known fields with any values; or, at times, any value in place of the whole list."""
    path = draw(st.sampled_from(sorted(VALID)))
    key = draw(st.sampled_from(sorted(VALID[path])))
    fields = {"services": SERVICE_FIELDS, "nodes": NODE_FIELDS}.get(key)
    if fields is None or draw(st.integers(0, 9)) == 0:
        return path, {**VALID[path], key: draw(values)}
    chosen = draw(st.lists(st.sampled_from(fields), max_size=3))
    base = VALID[path][key][0]
    given = {field.name: draw(values) for field in chosen}
    return path, {**VALID[path], key: [{**base, **given}]}


@settings(quick, max_examples=200)
@given(st.lists(bodies_of_fields(), min_size=BATCH, max_size=BATCH))
def test_no_value_of_a_field_makes_a_fault(
    loop: asyncio.AbstractEventLoop, batch: list[tuple[str, object]]
) -> None:
    world = World()
    for path, body in batch:
        head = Head(method="POST", path=path, query="", headers=ALLOWED, trusted=True)
        check(loop, world, (head, json.dumps(body).encode()))


def test_the_bodies_that_are_mutated_work_to_begin_with(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for path, body in VALID.items():
        head = Head(method="POST", path=path, query="", headers=ALLOWED, trusted=True)
        assert check(loop, World(), (head, json.dumps(body).encode())) == 200


async def test_three_hundred_random_requests_through_a_real_socket(
    remote: aiohttp.ClientSession, world: World
) -> None:
    """Seeded, so that a failure can be repeated; aiohttp's client must be able to say it."""
    dice = random.Random(20260101)
    counts: dict[int, int] = {}
    for _ in range(300):
        before = world.picture()
        path = dice.choice([*VALID, "/status", "/api/v1/events", "/nowhere", "/api/v1/why/web"])
        text = json.dumps(VALID.get(path, {})).encode()
        start, end = sorted(dice.choices(range(len(text) + 1), k=2))
        if dice.random() < 0.5:
            text = text[:start] + dice.randbytes(dice.randrange(4)) + text[end:]
        arguments: dict[str, Any] = {"headers": {"Authorization": f"Bearer {TOKEN}"}}
        method = dice.choice(["GET", "POST", "POST", "POST", "DELETE", "PATCH"])
        if method == "POST":
            arguments["headers"]["Content-Type"] = "application/json"
            arguments["data"] = text
        async with remote.request(method, path, **arguments) as answer:
            body = await answer.read()
        counts[answer.status] = counts.get(answer.status, 0) + 1
        if answer.status != 200:
            assert answer.status in {400, 404, 405, 409}
            assert msgspec.json.decode(body, type=Problem).reason
            assert world.picture() == before
    assert counts.keys() >= {200, 400, 404, 405}, counts


async def test_three_hundred_chunks_of_noise_leave_the_server_serving(
    server: ApiServer, remote: aiohttp.ClientSession, world: World
) -> None:
    dice = random.Random(20260102)
    before = world.picture()
    start = b"POST /api/v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
    for _ in range(300):
        noise = bytearray(start + dice.randbytes(20))
        for _ in range(dice.randrange(1, 8)):
            noise[dice.randrange(len(noise))] = dice.randrange(256)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes(noise))
        writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), 10)
        assert line == b"" or line.split()[1][:1] == b"4", (noise, line)
        writer.close()
    assert world.picture() == before
    async with remote.get("/healthz") as answer:
        assert answer.status == 200
