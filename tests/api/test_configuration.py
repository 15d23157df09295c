"""Config maps and secrets over HTTP: what is shown to whom, and what is refused without a word."""

import base64
from typing import Any

import aiohttp
import msgspec
import pytest

from roheletd.cluster.commands import AddServices
from roheletd.upkeep import Inclusion
from tests.api.conftest import TOKEN, World
from tests.builders import a_service

MARKER = "hunter2-5d1c"
MAPS, SECRETS = "/api/v1/configmaps", "/api/v1/secrets"
BOTH = pytest.mark.parametrize("address", [MAPS, SECRETS])


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, body: object = None, **more: Any
) -> tuple[int, Any]:
    async with session.request(method, path, json=body, **more) as answer:
        return answer.status, await answer.json()


async def define(world: World, name: str, **more: Any) -> None:
    command = AddServices(services=(a_service(name, **more),))
    await world.log.propose(command, command_id=f"define {name}")


@BOTH
async def test_what_is_set_is_shown_and_removed(local: aiohttp.ClientSession, address: str) -> None:
    raw = base64.b64encode(b"\xff\0").decode()
    asked = {"name": "db", "data": {"user": "shop", "empty": ""}, "binary": {"key.der": raw}}
    assert await ask(local, "POST", address, asked) == (
        200,
        {"changed": {"db": "added"}, "notes": []},
    )
    status, shown = await ask(local, "GET", f"{address}/db")
    assert (status, shown["data"], shown["binary"]) == (
        200,
        {"user": "shop", "empty": ""},
        {"key.der": raw},
    )
    (kept,) = (await ask(local, "GET", address))[1].popitem()[1][:1]
    assert kept["keys"] == ["empty", "key.der", "user"]
    assert kept.keys() == {"name", "version", "keys", "services"}
    assert (await ask(local, "DELETE", f"{address}/db"))[1]["changed"] == {"db": "removed"}
    assert (await ask(local, "GET", f"{address}/db"))[0] == 404
    assert (await ask(local, "DELETE", f"{address}/db"))[0] == 404


@BOTH
async def test_an_equal_value_is_unchanged_and_a_repetition_is_done_once(
    local: aiohttp.ClientSession, address: str
) -> None:
    asked = {"name": "db", "data": {"user": MARKER}}
    key = {"Idempotency-Key": "once"}
    first = await ask(local, "POST", address, asked, headers=key)
    assert await ask(local, "POST", address, asked, headers=key) == first
    assert (await ask(local, "POST", address, asked))[1]["changed"] == {"db": "unchanged"}


async def test_a_change_names_the_services_that_are_rolled_out_with_it(
    local: aiohttp.ClientSession, world: World
) -> None:
    await define(world, "shop", secrets=(Inclusion(name="web"),))
    asked = {"name": "web", "data": {"user": "other"}}
    _, changes = await ask(local, "POST", SECRETS, asked)
    assert changes == {
        "changed": {"web": "updated"},
        "notes": ["service shop is rolled out with it"],
    }
    status, problem = await ask(local, "DELETE", f"{SECRETS}/web")
    assert status == 409
    assert "secret web is used by service shop" in problem["reason"]


async def test_a_service_that_includes_a_missing_secret_is_refused_with_the_remedy(
    local: aiohttp.ClientSession,
) -> None:
    body = {"services": [{"name": "shop", "image": "w", "secrets": [{"name": "nope"}]}]}
    status, problem = await ask(local, "POST", "/api/v1/services", body)
    assert status == 409
    assert "`roheletd secret set nope KEY=VALUE`" in problem["reason"]


async def test_over_tcp_the_values_of_a_secret_need_the_token_and_its_keys_do_not(
    remote: aiohttp.ClientSession,
) -> None:
    assert (await ask(remote, "GET", f"{SECRETS}/web"))[0] == 401
    assert (await ask(remote, "GET", SECRETS))[0] == 200
    assert (await ask(remote, "GET", f"{MAPS}/web"))[0] == 200
    token = {"Authorization": f"Bearer {TOKEN}"}
    status, shown = await ask(remote, "GET", f"{SECRETS}/web", headers=token)
    assert (status, shown["data"]) == (200, {"user": "shop"})


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"name": "db"}, "$.data", "at least one key"),
        ({"name": "db", "data": {"a/b": MARKER}}, "key in $.data", "letters, digits"),
        ({"name": "db", "data": {"..": MARKER}}, "key in $.data", "begin with '..'"),
        ({"name": "db", "data": {"": MARKER}}, "key in $.data", "1 to 253"),
        ({"name": "db", "data": {"a": 5}}, "$.data[...]", "str"),
        ({"name": "db", "data": {"a": [MARKER]}}, "$.data[...]", "str"),
        ({"name": "db", "data": MARKER}, "$.data", "object"),
        ({"name": "db", "binary": {"a": MARKER}}, "$.binary[...]", "base64"),
        ({"name": "d b", "data": {"a": MARKER}}, "$.name", "letters"),
        ({"name": "db", "data": {"a": MARKER}, "replace": MARKER}, "$.replace", "bool"),
        ({"name": "db", "dat": {"a": MARKER}}, "$.dat", "unknown"),
        ({"name": "db", "data": {"a": "x"}, "binary": {"a": ""}}, "$.binary.a", "once"),
        ({"name": "db", "data": {"a": MARKER + "\0"}}, "$.data.a", "U+0000"),
    ],
)
async def test_bad_input_is_refused_with_its_place_and_without_the_value(
    local: aiohttp.ClientSession, body: object, field: str, expected: str
) -> None:
    status, problem = await ask(local, "POST", SECRETS, body)
    assert (status, problem["error"]) == (400, "invalid")
    assert field in problem["field"]
    assert expected in problem["reason"]
    assert MARKER not in str(problem)


async def test_broken_json_is_refused_without_what_was_in_it(local: aiohttp.ClientSession) -> None:
    text = f'{{"name": "db", "data": {{"a": "{MARKER}" x}}}}'
    headers = {"Content-Type": "application/json"}
    async with local.post(SECRETS, data=text, headers=headers) as answer:
        assert answer.status == 400
        assert MARKER not in await answer.text()


async def test_what_is_too_large_is_refused_and_leaves_nothing(
    local: aiohttp.ClientSession, world: World
) -> None:
    before = world.picture()
    status, problem = await ask(
        local, "POST", SECRETS, {"name": "db", "data": {"a": "x" * 300_000}}
    )
    assert (status, problem["error"]) == (409, "refused")
    assert "at most 262144" in problem["reason"]
    assert world.picture() == before


async def test_what_is_agreed_holds_no_secret_in_plain_text(
    local: aiohttp.ClientSession, world: World
) -> None:
    await ask(local, "POST", SECRETS, {"name": "db", "data": {"password": MARKER}})
    assert MARKER.encode() not in world.picture()
    assert MARKER not in repr(world.state.saved())


async def test_no_answer_but_the_one_of_the_secret_shows_a_value(
    local: aiohttp.ClientSession, world: World
) -> None:
    await ask(local, "POST", SECRETS, {"name": "db", "data": {"password": MARKER}})
    await define(world, "shop", secrets=(Inclusion(name="db"), Inclusion(name="db", path="/s")))
    world.settle()
    document = (await ask(local, "GET", "/api/v1/openapi.json"))[1]
    for path, methods in document["paths"].items():
        if "get" not in methods or path == f"{SECRETS}/{{name}}":
            continue
        async with local.get(path.replace("{name}", "shop")) as answer:
            assert MARKER not in await answer.text(), path
    wanted = {"services": [msgspec.to_builtins(a_service("shop", secrets=(Inclusion(name="db"),)))]}
    for path in ("/api/v1/plan", "/api/v1/what-if", "/api/v1/apply"):
        assert MARKER not in str(await ask(local, "POST", path, wanted)), path
