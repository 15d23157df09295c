"""The OpenAPI document against the server that it describes."""

import io
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from roheletd.api.attaching import EXEC, framed
from roheletd.api.openapi import document
from roheletd.api.routes import ROUTES, find
from tests.api.conftest import TOKEN, World

DOCUMENT = document("0.1.0")
JSON = "application/json"

Operation = tuple[str, str, dict[str, Any]]


def operations() -> list[Operation]:
    return [
        (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def check(schema: dict[str, Any], value: object) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)


def example_of(operation: dict[str, Any]) -> dict[str, Any]:
    return operation["requestBody"]["content"][JSON]["example"]  # type: ignore[no-any-return]


def begun_of(operation: dict[str, Any]) -> bytes:
    """How the body begins where it is a stream."""
    if EXEC not in operation.get("requestBody", {}).get("content", {}):
        return b""
    return framed(b"b", b'{"command":["date"]}')


async def check_answer(operation: dict[str, Any], answer: aiohttp.ClientResponse) -> None:
    described = operation["responses"][str(answer.status)]["content"]
    (media_type,) = described
    assert answer.content_type == media_type
    if media_type == JSON:
        check(described[JSON]["schema"], await answer.json())


def filled(path: str, operation: dict[str, Any]) -> str:
    """With a name that there is, and with what a query has to say."""
    name = "web"
    if "nodes" in path or "members" in path:
        name = "old"  # the second node is lost, and may be removed; the first is alive
    elif "volumes" in path:
        name = "edge.gone.1.data"
    parameters = operation.get("parameters", ())
    needed = [it["name"] for it in parameters if it["in"] == "query" and it["required"]]
    query = "&".join(f"{name}={IN_QUERY[name]}" for name in needed)
    return path.replace("{name}", name) + (f"?{query}" if query else "")


IN_QUERY = {"node": "pi"}


def identity(operation: Operation) -> str:
    return f"{operation[0]} {operation[1]}"


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    names = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}
    assert names <= DOCUMENT["components"]["schemas"].keys()


def test_the_document_and_the_router_know_the_same_addresses() -> None:
    described = {(method.upper(), path) for method, path, _ in operations()}
    assert described == {(route.method, route.path) for route in ROUTES}
    for method, path in described:
        assert find(method, path.replace("{name}", "web"))[0].path == path


def test_operation_ids_are_unique_and_every_operation_says_what_it_does() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"].endswith(".") for _, _, operation in operations())


@pytest.mark.parametrize("operation", operations(), ids=identity)
async def test_a_good_request_is_answered_as_described(
    remote: aiohttp.ClientSession, world: World, operation: Operation
) -> None:
    method, path, described = operation
    if path.endswith("/rollback"):
        world.change()
    given = begun_of(described)
    body = example_of(described) if "requestBody" in described and not given else None
    headers = {"Authorization": f"Bearer {TOKEN}"} if "security" in described else {}
    path = filled(path, described)
    sent = {"data": given} if given else {"json": body}
    async with remote.request(method, path, headers=headers, **sent) as answer:
        assert answer.status == 200, await answer.text()
        if body is not None:
            check(described["requestBody"]["content"][JSON]["schema"], body)
        await check_answer(described, answer)


@pytest.mark.parametrize("operation", operations(), ids=identity)
async def test_refusals_are_answered_as_described(
    remote: aiohttp.ClientSession, world: World, operation: Operation
) -> None:
    method, path, described = operation
    token = {"Authorization": f"Bearer {TOKEN}"}
    body: dict[str, Any] = {}
    if given := begun_of(described):
        body = {"data": given}
    elif "requestBody" in described:
        body = {"json": example_of(described)}
    bad_name = path.replace("{name}", "a b")
    attempts: list[tuple[str, dict[str, Any]]] = [
        (f"{bad_name}?nonsense=1", {"headers": token}),
        (path.replace("{name}", "nobody"), {"headers": token}),
        (path.replace("{name}", "web"), {"headers": {"Host": "evil.example"}}),
        (path.replace("{name}", "web"), {"headers": {**token, "Idempotency-Key": "a b"}, **body}),
        (path.replace("{name}", "web"), body),
        (path, {"headers": {**token, "Content-Type": JSON}, "data": io.BytesIO(b"[" * 2_000_000)}),
    ]
    statuses = set()
    for address, arguments in attempts:
        async with remote.request(method, address, **arguments) as answer:
            await check_answer(described, answer)
            statuses.add(answer.status)
    assert statuses & {400, 401, 403}
    world.log.failure = "disk full"
    async with remote.request(
        method, path.replace("{name}", "web"), headers=token, **body
    ) as answer:
        await check_answer(described, answer)


async def test_the_document_is_served(remote: aiohttp.ClientSession) -> None:
    async with remote.get("/api/v1/openapi.json") as answer:
        assert await answer.json() == json.loads(json.dumps(DOCUMENT))
