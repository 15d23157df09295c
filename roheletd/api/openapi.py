"""The OpenAPI 3.1 document, generated from the route table and the structs that it names. Pure.

Schemas are msgspec's: what they say is what the server checks, with the same limits.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from roheletd.api import views
from roheletd.api.access import TOKEN_FILE
from roheletd.api.door import KEY_HEADER, TOO_LARGE
from roheletd.api.recalling import EventsAsked
from roheletd.api.registry import RegistryAsked
from roheletd.api.routes import JSON, ROUTES, Route
from roheletd.api.volumes import VolumesAsked
from roheletd.token import Token, encode

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"

_PROBLEMS: Final[Mapping[int, str]] = {
    400: "The input is wrong: `field` names the place, `reason` what was expected.",
    401: f"Over TCP a change needs the bearer token of the file `{TOKEN_FILE}`.",
    403: "A page of another site, or a Host header that is no address.",
    404: "There is nothing of that name.",
    408: "The body did not arrive in time.",
    409: "The present state does not allow it.",
    413: f"The body is too large: {TOO_LARGE}.",
    415: f"The body is not {JSON}, or it is compressed.",
    500: "A fault of roheletd, told in its log.",
    503: "Something does not answer now; trying again may work.",
    504: f"The outcome is not known: send it again with the same `{KEY_HEADER}`.",
}

_EXAMPLES: Final[Mapping[str, Json]] = {
    "add-services": {
        "services": [
            {
                "name": "web",
                "image": "nginx:alpine",
                "replicas": 2,
                "cores": [500],
                "memory_mib": 64,
                "ports": [{"container_port": 80}],
            }
        ]
    },
    "add-nodes": {
        "nodes": [
            {"name": "pi4", "capacity": {"cores": {"0": 1000, "1": 1000}, "memory_mib": 3792}}
        ]
    },
    "what-if": {"services": [{"name": "detector", "image": "detector:2", "cores": [500, 50]}]},
    "plan": {
        "services": [{"name": "web", "image": "nginx:alpine", "replicas": 3}],
        "prune": True,
    },
    "apply": {"services": [{"name": "web", "image": "nginx:alpine", "replicas": 3}]},
    "rebalance": {"moves": 3, "dry_run": True},
    "set-config-map": {"name": "web", "data": {"nginx.conf": "worker_processes 1;"}},
    "set-secret": {"name": "db", "data": {"user": "shop"}, "replace": True},
    "scale": {"name": "web", "replicas": 3},
    "label-node": {"name": "pi", "labels": {"zone": "hall"}, "removed": ["rack"]},
    "exec": {"instance": "web", "command": ["/bin/date"]},
    "reload-algorithm": {},
    "cluster-init": {},
    "cluster-token": {"valid_for_s": 86_400},
    "cluster-join": {
        "token": encode(
            Token(
                cluster="edge",
                cluster_id="0123456789abcdef",
                epoch=1,
                key=bytes(32),
                brokers=("mqtt://192.168.1.7:9471",),
            )
        )
    },
    "cluster-leave": {},
    "cluster-recover": {"force": True},
    "import-services": {
        "document": {
            "command": "ADD SERVICE",
            "data": {
                "shop": {
                    "front": {
                        "service_name": "front",
                        "image": "nginx:alpine",
                        "cpu": 500,
                        "processor": [50],
                        "memory": {"rss": 64, "vms": 128},
                        "replicas": 2,
                    }
                }
            },
        }
    },
    "import-nodes": {
        "document": {
            "data": {
                "pi4": {
                    "node_name": "pi4",
                    "cpu": {"capacity": 2000},
                    "cores": {"capacity": [100, 100]},
                    "memory": {"capacity": {"rss": 3792, "vms": 3792}},
                }
            }
        }
    },
}
"""A body that works, for each verb that takes one."""


def document(version: str) -> Json:
    schemas = _schemas()
    paths: Json = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "roheletd",
            "version": version,
            "summary": "One edge node's daemon: measure, place and run.",
            "description": (
                "The unix socket `<data-dir>/roheletd.sock` serves the same addresses to whoever "
                "may open it, with no token."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9470"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"the content of `<data-dir>/{TOKEN_FILE}`",
                }
            },
        },
    }


def _schemas() -> Json:
    _, schemas = msgspec.json.schema_components(
        list(_types()), ref_template=_REF, schema_hook=_anything
    )
    return schemas


def _anything(shape: type) -> Json:
    if shape is not object:
        raise NotImplementedError
    return {"description": "any JSON value"}


def _types() -> Iterable[type]:
    yield views.Problem
    for route in ROUTES:
        yield route.request
        if route.response is not None:
            yield route.response


def _operation(route: Route, schemas: Json) -> Json:
    found: Json = {
        # One id per address: a verb may have a second one.
        "operationId": f"{route.method.lower()} {route.path}".translate(_PLAIN).strip("_"),
        "summary": route.summary,
        "responses": {
            str(int(HTTPStatus.OK)): _answer(route),
            **{str(status): _problem(route, status) for status in _statuses(route)},
        },
    }
    if parameters := list(_parameters(route, schemas)):
        found["parameters"] = parameters
    if route.takes_body:
        content = {**_schema_of(route.request), "example": _EXAMPLES[route.name]}
        found["requestBody"] = {"required": True, "content": {JSON: content}}
    if route.duplex:
        binary = {"type": "string", "format": "binary"}
        found["requestBody"] = {"required": True, "content": {route.media_type: {"schema": binary}}}
    if route.writes or route.guarded:
        found["security"] = [{"token": []}]
    return found


_PLAIN: Final = str.maketrans(dict.fromkeys(" /{}.-", "_"))


_NAMING: Final = (views.ExecAsked, RegistryAsked, EventsAsked, VolumesAsked)
"""Requests that name something elsewhere than in the path."""


def _statuses(route: Route) -> list[int]:
    """What a route may refuse with; 405 belongs to no route."""
    found = {400, 403, 500}
    if "{" in route.path or route.request in _NAMING:
        found.add(404)
    if route.writes:
        found |= {401, 409, 503, 504}
    if route.guarded:
        found.add(401)
    if route.takes_body:
        found |= {408, 413, 415}
    if route.request in (views.EventsAfter, VolumesAsked) or route.response is views.Ready:
        found.add(503)
    return sorted(found)


def _answer(route: Route) -> Json:
    if route.response is not None:
        content = {JSON: _schema_of(route.response)}
    elif route.media_type == JSON:
        content = {JSON: {"schema": {"type": "object"}}}
    else:
        content = {route.media_type: {"schema": {"type": "string"}}}
    return {"description": "Done." if route.writes else "As asked.", "content": content}


def _problem(route: Route, status: int) -> Json:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and route.response is views.Ready:
        return {"description": "Not ready.", "content": {JSON: _schema_of(views.Ready)}}
    return {"description": _PROBLEMS[status], "content": {JSON: _schema_of(views.Problem)}}


def _parameters(route: Route, schemas: Json) -> Iterable[Json]:
    shape = schemas[route.request.__name__]
    for name, schema in ({} if route.takes_body else shape["properties"]).items():
        in_path = f"{{{name}}}" in route.path
        yield {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or name in shape.get("required", ()),
            "schema": schema,
        }
    if route.writes:
        yield {
            "name": KEY_HEADER,
            "in": "header",
            "description": "sent twice with the same value, a change is made once",
            "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
        }


def _schema_of(shape: type) -> Json:
    return {"schema": {"$ref": _REF.format(name=shape.__name__)}}
