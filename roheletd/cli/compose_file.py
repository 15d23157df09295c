"""A file that says what is wanted: ours, one of ROHE's, or a Compose file with what it refers to.

A Compose file is read here and not by the daemon, for the files and variables that it refers to
are those of whoever runs the command.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from roheletd.cli.client import Client
from roheletd.cli.files import content, content_if_there
from roheletd.cli.orchestration import is_own
from roheletd.cli.terminal import Progress, note
from roheletd.documents import load
from roheletd.errors import InvalidInput, Refused

# ruff: noqa: PLC0415 - what reads Compose files is loaded for those alone
# ruff: noqa: PTH100, PTH109, PTH111, PTH118, PTH119, PTH120 - pathlib is 8 ms

_STDIN = "standard input"
_NO_NAME = re.compile(r"[^a-z0-9_-]+|^[^a-z0-9]+")
_NAME_LETTERS_MAX = 40
_MERGE = b"<<"
_VARIABLES = ".env"
_PATHS = {"config map": "/api/v1/configmaps", "secret": "/api/v1/secrets"}


class Values(NamedTuple):
    """A config map or a secret that a Compose file defines."""

    kind: Literal["config map", "secret"]
    name: str
    data: Mapping[str, bytes]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Wanted(NamedTuple):
    """What the daemon is sent, and the values that have to be there before that."""

    body: dict[str, Any]
    values: tuple[Values, ...] = ()
    application: str = ""
    """Of a Compose file: the only one whose services it may change."""

    @property
    def asked(self) -> dict[str, Any]:
        """The request of a plan: what it needs is not there yet when it is made."""
        names = {
            "config_maps": [it.name for it in self.values if it.kind == "config map"],
            "secrets": [it.name for it in self.values if it.kind == "secret"],
        }
        return self.body | {key: value for key, value in names.items() if value}


def wanted(args: argparse.Namespace, *, nodes: bool = True) -> Wanted:
    """What `args.conf` asks for. Raises nothing but `InvalidInput`."""
    text = content(args.conf)
    name = _STDIN if args.conf == "-" else args.conf
    try:
        document = load(text, name=name)
    except InvalidInput:
        # Compose files have merge keys; of whatever else is wrong, their reader says the same.
        if _MERGE not in text or (found := _composed(text, name, args)) is None:
            raise
        return found
    if isinstance(document, dict) and isinstance(document.get("services"), dict):
        return _composed(text, name, args) or Wanted({"document": document})
    keys = ("services", "nodes") if nodes else ("services",)
    return Wanted(dict(document) if is_own(document, *keys) else {"document": document})


def _composed(text: bytes, name: str, args: argparse.Namespace) -> Wanted | None:
    import msgspec

    from roheletd import compose

    folder = os.getcwd() if name == _STDIN else os.path.dirname(os.path.abspath(name))
    beside = _reader(folder)
    found = compose.read(
        text,
        name=name,
        application=_application(folder),
        variables=_variables(beside(_VARIABLES)),
        read_file=beside,
    )
    if found is None:
        return None
    if found.unsupported and not args.ignore_unsupported:
        told = "".join(f"\n  {sentence}" for sentence in found.unsupported)
        expected = "expected what `roheletd compose support` lists (--ignore-unsupported leaves"
        raise InvalidInput(name, f"{expected} the rest out):{told}")
    for sentence in (*found.unsupported, *found.notes):
        note(sentence)
    return Wanted(
        {"services": msgspec.to_builtins(found.services)},
        (
            *(Values("config map", it.name, it.data) for it in found.config_maps),
            *(Values("secret", it.name, it.data) for it in found.secrets),
        ),
        found.application,
    )


def refuse_what_is_anothers(client: Client, found: Wanted) -> None:
    """In Compose a name is a project's own, and here it is the cluster's: two may mean `db`."""
    if not found.application:
        return
    names = {service["name"] for service in found.body["services"]}
    for view in client.get("/api/v1/services").value["services"]:
        service = view["service"]
        application = service.get("application", "default")
        if service["name"] in names and application != found.application:
            raise Refused(
                f"there is a service {service['name']} of the application {application} already, "
                f"and this file is the application {found.application}: rename one of them, or "
                f"give the file `name: {application}`"
            )


def set_values(client: Client, values: Iterable[Values]) -> None:
    """Before the services that are given them; what changes is rolled out by the cluster."""
    for each in values:
        with Progress(f"setting the {each}"):
            answer = client.post(_PATHS[each.kind], _body(each))
        for sentence in (f"{each}: {answer.value['changed'][each.name]}", *answer.value["notes"]):
            note(sentence)


def _body(values: Values) -> dict[str, Any]:
    """Values as text, or in base64 where they are none."""
    import base64

    text, binary = {}, {}
    for key, value in values.data.items():
        try:
            text[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(value).decode()
    return {"name": values.name, "data": text, "binary": binary, "replace": True}


def _reader(folder: str) -> Callable[[str], bytes | None]:
    def beside(path: str) -> bytes | None:
        return content_if_there(os.path.join(folder, os.path.expanduser(path)))

    return beside


def _variables(text: bytes | None) -> Mapping[str, str]:
    """Those of the environment, and for what is not there those of the file `.env`."""
    if text is None:
        return os.environ
    from roheletd.compose.variables import variables_from

    return {**variables_from(text, name=_VARIABLES, variables=os.environ), **os.environ}


def _application(folder: str) -> str:
    """The folder's name, as for Compose, where the file has no `name`."""
    named = _NO_NAME.sub("", os.path.basename(folder).lower())
    return named[:_NAME_LETTERS_MAX] or "default"
