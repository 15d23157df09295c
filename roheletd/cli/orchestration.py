"""`roheletd orchestration`: ROHE's verbs, with ROHE's files or our own.

A file is our own where its one key is `services` or `nodes`; everything else goes to the importer
of ROHE's formats, which the daemon runs and which says what it decided.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeGuard

from roheletd.cli import REFUSED, pages
from roheletd.cli.client import Answer, Client, Problem
from roheletd.cli.files import document
from roheletd.cli.options import Command
from roheletd.cli.terminal import Progress, client_of, note, show
from roheletd.errors import InvalidInput

Noun = Literal["service", "node"]


def _add_service(args: argparse.Namespace) -> int:
    found = document(args.conf)
    if args.app is not None:
        found = of_application(found, args.app)
    return _send(args, found, "services")


def _add_node(args: argparse.Namespace) -> int:
    return _send(args, document(args.conf), "nodes")


def _send(args: argparse.Namespace, found: object, key: Literal["services", "nodes"]) -> int:
    verb, body = request(found, key)
    path = f"/api/v1/{key}" if verb == f"add-{key}" else f"/api/v1/rohe/{key}"
    with Progress("waiting for the daemon"):
        answer = client_of(args).post(path, body)
    show(args, answer, pages.changes)
    return 0


def request(found: object, key: str) -> tuple[str, Mapping[str, object]]:
    """The verb that takes this document, and what it is sent."""
    if is_own(found, key):
        return f"add-{key}", found
    return f"import-{key}", {"document": found}


def is_own(found: object, *keys: str) -> TypeGuard[dict[str, Any]]:
    """Whether this is our own format, which has nothing but these keys, and not one of ROHE's."""
    return isinstance(found, dict) and bool(found) and found.keys() <= set(keys)


def of_application(found: object, application: str) -> object:
    """The document without the services of other applications.

    ROHE's `--app` named the application in the file's head (`application: test`) as well, which
    says nothing about the services in it: where it is that one, the document stays whole.
    """
    if is_own(found, "services"):
        return {"services": _of_own(found["services"], application)}
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(data, dict):
        return found  # the daemon says what is wrong with it
    if application in data:
        return {**found, "data": {application: data[application]}}
    if found.get("application") == application:
        return found
    there = ", ".join(str(name)[:64] for name in data)
    raise InvalidInput("--app", f"expected an application of the file ({there})")


def _of_own(services: Any, application: str) -> object:
    """Our own services, of which those without an application get this one."""
    if not _are_maps(services):
        return services  # the daemon says what is wrong with it
    named: list[dict[str, Any]] = [{"application": application, **item} for item in services]
    chosen = [item for item in named if item["application"] == application]
    if named and not chosen:
        there = ", ".join(sorted({str(item["application"])[:64] for item in named}))
        raise InvalidInput("--app", f"expected an application of the file ({there})")
    return chosen


def _get(noun: Noun) -> Command:
    def get(args: argparse.Namespace) -> int:
        if args.conf is not None:
            note(f"get-{noun} lists every {noun}; {args.conf} was not read")
        with Progress("waiting for the daemon"):
            answer = client_of(args).get(f"/api/v1/{noun}s")
        if noun == "service" and args.app is not None and args.output == "table":
            answer.value["services"] = [
                view
                for view in answer.value["services"]
                if view["service"].get("application", "default") == args.app
            ]
        show(args, answer, pages.services if noun == "service" else pages.nodes)
        return 0

    return get


def _remove(noun: Noun) -> Command:
    def remove(args: argparse.Namespace) -> int:
        client = client_of(args)
        names = args.names or _meant(args, client, noun)
        with Progress("waiting for the daemon"):
            answer, code = _removed(client, f"/api/v1/{noun}s", names)
        show(args, answer, pages.changes)
        return code

    return remove


def _removed(client: Client, path: str, names: list[str]) -> tuple[Answer, int]:
    """One after the other; of several, one that is refused does not keep the rest."""
    if len(names) == 1:
        return client.delete(path, names[0]), 0
    changed: dict[str, str] = {}
    notes: list[str] = []
    for name in names:
        try:
            changed |= client.delete(path, name).value["changed"]
        except Problem as problem:
            notes.append(f"{name} was not removed, {problem}")
    text = json.dumps({"changed": changed, "notes": notes}).encode()
    return Answer(text, client.address), REFUSED if notes else 0


def _meant(args: argparse.Namespace, client: Client, noun: Noun) -> list[str]:
    """The names that a file means, in its order."""
    from roheletd.rohe import selection_from  # noqa: PLC0415 - loads msgspec

    found = document(args.conf)
    if noun == "service" and args.app is not None:
        found = of_application(found, args.app)
    if is_own(found, f"{noun}s"):
        return _own_names(found, noun)
    if isinstance(found, dict) and str(found.get("command", "")).upper().startswith("ADD"):
        # The file that added them names what to remove just as well.
        found = {key: value for key, value in found.items() if key != "command"}
    selection = selection_from(found, verb="remove", noun=noun)
    if not selection.everything and not selection.mac_addresses:
        return list(selection.names)
    known = [view[noun] for view in client.get(f"/api/v1/{noun}s").value[f"{noun}s"]]
    if selection.everything:
        return [item["name"] for item in known]
    return [*selection.names, *_by_mac(known, selection.mac_addresses)]


def _own_names(found: Any, noun: Noun) -> list[str]:
    items = found[f"{noun}s"]
    names = [item["name"] for item in items if "name" in item] if _are_maps(items) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"$.{noun}s", f"expected a list of {noun}s, each with a name")
    return names


def _are_maps(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _by_mac(known: list[dict[str, Any]], mac_addresses: Iterable[str]) -> list[str]:
    names = {node["mac_address"].lower(): node["name"] for node in known if node.get("mac_address")}
    for mac in mac_addresses:
        if mac.lower() not in names:
            raise InvalidInput("mac_address", f"expected that of a registered node, got {mac}")
    return [names[mac.lower()] for mac in mac_addresses]


COMMANDS: dict[str, Command] = {
    "orchestration add-service": _add_service,
    "orchestration add-node": _add_node,
    "orchestration get-service": _get("service"),
    "orchestration get-node": _get("node"),
    "orchestration remove-service": _remove("service"),
    "orchestration remove-node": _remove("node"),
}
