"""Every address of the HTTP door, in one table: the verbs, and the few pages that are only HTTP.

The server serves this table and the OpenAPI document describes it, so neither can have an address
that the other lacks.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from roheletd.api import views
from roheletd.api.attaching import EXEC
from roheletd.api.flow import NDJSON, Flow
from roheletd.api.operations import Operations
from roheletd.api.problems import NotFound
from roheletd.api.recalling import EventsAsked
from roheletd.api.table import OPERATIONS, Operation
from roheletd.errors import RoheletError

Method = Literal["GET", "POST", "DELETE"]

JSON = "application/json"
PUBLIC = frozenset({"health", "ready", "metrics"})


class Page(Struct, frozen=True, kw_only=True):
    """An answer that is not one of our structs."""

    media_type: str
    body: bytes


class Route(Struct, frozen=True, kw_only=True):
    """One method on one path. `response` is None where the answer is a `Page`."""

    name: str
    method: Method
    path: str
    summary: str
    request: type[views.Request]
    response: type[views.Response] | None
    run: Callable[[Operations, Any, str], Awaitable[views.Response | Page | Flow]]
    media_type: str = JSON
    duplex: bool = False
    """The body is read while it is answered."""
    guarded: bool = False

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def public(self) -> bool:
        """Health and figures hold no secrets, and those who ask for them hold no token."""
        return self.name in PUBLIC

    @property
    def takes_body(self) -> bool:
        """Not where the address says it all."""
        return self.method == "POST" and "{" not in self.path


class WrongMethod(RoheletError):  # noqa: N818 - what it is
    """The path exists, with other methods."""

    def __init__(self, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{path} answers {', '.join(allowed)}")
        self.allowed = allowed


async def _healthz(_operations: Operations, _request: views.Nothing, _id: str) -> views.Healthy:
    return views.Healthy()


async def _metrics(operations: Operations, _request: views.Nothing, _id: str) -> Page:
    # prometheus_client costs 1 MB: whoever is never scraped does not pay it.
    from roheletd.api.metrics import MEDIA_TYPE, gather, page  # noqa: PLC0415

    return Page(media_type=MEDIA_TYPE, body=page(await gather(operations)))


async def _openapi(operations: Operations, request: views.Nothing, command_id: str) -> Page:
    status = await operations.status(request, command_id)
    return Page(media_type=JSON, body=_document(status.version))


@lru_cache(maxsize=1)
def _document(version: str) -> bytes:
    from roheletd.api.openapi import document  # noqa: PLC0415 - it describes this table

    return msgspec.json.encode(document(version))


def _route_of(operation: Operation, path: str) -> Route:
    return Route(
        name=operation.name,
        method=operation.method,
        path=path,
        summary=operation.summary,
        request=operation.request,
        response=operation.response,
        run=operation.run,
        guarded=operation.guarded,
    )


ALIASES = {"/status": "/api/v1/status"}
"""Addresses that people type, and where programs expect the same thing."""

PAGES = (
    Route(
        name="health",
        method="GET",
        path="/healthz",
        summary="200 as long as the daemon's loop turns; says nothing of the node's duties.",
        request=views.Nothing,
        response=views.Healthy,
        run=_healthz,
    ),
    Route(
        name="metrics",
        method="GET",
        path="/metrics",
        summary="This node's figures for Prometheus; the other nodes show their own.",
        request=views.Nothing,
        response=None,
        run=_metrics,
        media_type="text/plain",
    ),
    Route(
        name="openapi",
        method="GET",
        path="/api/v1/openapi.json",
        summary="This document.",
        request=views.Nothing,
        response=None,
        run=_openapi,
    ),
)

FLOWS = (
    Route(
        name="logs",
        method="GET",
        path="/api/v1/logs/{name}",
        summary="The logs of a service or of one instance: one JSON object for each line.",
        request=views.LogsAsked,
        response=None,
        run=Operations.logs,
        media_type=NDJSON,
    ),
    Route(
        name="all-events",
        method="GET",
        path="/api/v1/cluster/events",
        summary="What happened on all nodes, in order of time: one JSON object for each event.",
        request=EventsAsked,
        response=None,
        run=Operations.recall,
        media_type=NDJSON,
    ),
    Route(
        name="attach",
        method="POST",
        path="/api/v1/exec/{name}",
        summary="Run a command within an instance, with input and a terminal where wished.",
        request=views.SubjectAsked,
        response=None,
        run=Operations.attach,
        media_type=EXEC,
        duplex=True,
    ),
)
"""Answers that are written as they come."""

ROUTES = (
    *(_route_of(operation, operation.path) for operation in OPERATIONS),
    *(
        _route_of(operation, ALIASES[operation.path])
        for operation in OPERATIONS
        if operation.path in ALIASES
    ),
    *PAGES,
    *FLOWS,
)


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """The route of a request and the values in its path. Raises `NotFound` or `WrongMethod`."""
    matching = [
        (route, values)
        for route, template in _TEMPLATES
        if (values := _values(template, path)) is not None
    ]
    if not matching:
        raise NotFound(f"there is nothing at {path[:200]}: see /api/v1/openapi.json")
    for route, values in matching:
        if route.method == ("GET" if method == "HEAD" else method):
            return route, values
    raise WrongMethod(path, _allowed(route for route, _ in matching))


def _allowed(routes: Iterable[Route]) -> tuple[str, ...]:
    methods = {route.method for route in routes}
    return tuple(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _values(template: list[str], path: str) -> dict[str, str] | None:
    segments = path.split("/")
    if len(segments) != len(template):
        return None
    found = {}
    for own, given in zip(template, segments, strict=True):
        if own.startswith("{") and given:
            found[own[1:-1]] = unquote(given)
        elif own != given:
            return None
    return found


_TEMPLATES = tuple((route, route.path.split("/")) for route in ROUTES)
