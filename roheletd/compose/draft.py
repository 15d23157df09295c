"""A service while its keys are read: the fields of ours that they became, and where from."""

import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from roheletd.compose.fields import Field
from roheletd.errors import InvalidInput
from roheletd.fields import MEANINGS, NAME_PATTERN
from roheletd.model import Port, Service, contradiction

_PLACE = re.compile(r"^(?P<reason>.*) - at (?:`key` in )?`\$(?P<path>[^`]*)`$", re.DOTALL)
_TOP = re.compile(r"^\.(\w+)")
_NAME = re.compile(NAME_PATTERN)
_IN_WORDS = {
    f"Expected `str` matching regex {pattern!r}": f"expected {meaning}"
    for pattern, meaning in MEANINGS.items()
}


ReadFile = Callable[[str], bytes | None]
"""Content of a file beside the Compose file; None where there is none. Raises `InvalidInput`."""


class Stored(Struct, frozen=True):
    """A config map or a secret that a file defines: one value, by the file names it goes by."""

    name: str
    data: dict[str, bytes]


class Content(Struct, frozen=True):
    """A `configs:` or `secrets:` entry. `value` is None for what is in the cluster already."""

    name: str
    value: bytes | None
    files: dict[str, bytes]


class Project(Struct, frozen=True):
    """What the services of one file share: its name, and what stands beside `services:`.

    `users` says of each volume which service has it, and in which line.
    """

    name: str
    read_file: ReadFile
    services: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    configs: Mapping[str, Content] = {}
    secrets: Mapping[str, Content] = {}
    users: dict[str, tuple[str, int]] = {}


def read_file(project: Project, field: Field, path: str) -> bytes:
    text = project.read_file(path)
    if text is None:
        field.wrong(f"expected a file that is there, got {path[:100]}")
    return text


def _no_file(_path: str) -> bytes | None:
    return None


NOBODYS = Project(name="", read_file=_no_file)


class Draft:
    """One service. `values` are fields of `Service`; `origins` say where each came from."""

    def __init__(self, field: Field, project: Project) -> None:
        self.name = field.key
        self.field = field
        self.project = project
        self.values: dict[str, object] = {}
        self.origins: dict[str, Field] = {}
        self.ports: list[tuple[Port, Field]] = []
        self.exposed: set[tuple[int, str]] = set()
        self.env: dict[str, str] = {}
        self.file_env: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.reserved: dict[str, int] = {}
        self.seen: dict[str, Field] = {}
        self.failure_ratio = 0.0
        self._lists: set[str] = set()

    def read_file(self, field: Field, path: str, *, required: bool = True) -> bytes:
        return (
            read_file(self.project, field, path)
            if required
            else (self.project.read_file(path) or b"")
        )

    def put(self, name: str, value: object, origin: Field) -> None:
        """A field that one key alone may give."""
        self._refuse_a_second(name, origin)
        self.values[name] = value
        self.origins[name] = origin

    def extend(self, name: str, value: object, origin: Field) -> None:
        """A field that is a list, to which several keys may add, but not one that was put whole."""
        if name not in self._lists:
            self._refuse_a_second(name, origin)
            self._lists.add(name)
        have = self.values.setdefault(name, [])
        assert isinstance(have, list)
        have.append(value)
        self.origins.setdefault(name, origin)

    def _refuse_a_second(self, name: str, origin: Field) -> None:
        if name in self.values:
            other = self.origins[name]
            origin.wrong(f"expected once, {other.path} in line {other.line} says it too")

    def finished(self) -> Service:
        """The service, checked as everything that comes in is."""
        if not _NAME.search(self.name):
            self.field.wrong(f"expected {MEANINGS[NAME_PATTERN]} as the service's name")
        for port, origin in self.ports:
            self.extend("ports", port, origin)
        env = {**self.file_env, **self.env}
        for name, values in (("env", env), ("labels", self.labels)):
            if values:
                self.put(name, values, self.origins.get(name, self.field))
        named: dict[str, object] = {"name": self.name, "application": self.project.name}
        try:
            service = msgspec.convert(
                {**named, **self.values}, Service, strict=False, str_keys=True
            )
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from None
        if found := contradiction(service):
            place, expected = found
            raise self._wrong_at(f".{place}", expected)
        return service

    def _refusal(self, complaint: str) -> InvalidInput:
        found = _PLACE.match(complaint)
        reason, path = (found["reason"], found["path"]) if found else (complaint, "")
        return self._wrong_at(path, _IN_WORDS.get(reason, reason[:1].lower() + reason[1:]))

    def _wrong_at(self, path: str, expected: str) -> InvalidInput:
        """A field of `Service` that is wrong, in the words and at the line of the file."""
        top = _TOP.match(path)
        origin = self.origins.get(top[1] if top else "", self.field)
        place = f"{origin.source.name}, line {origin.line}"
        return InvalidInput(place, f"{origin.path}: {expected} (service field `{path[1:]}`)")
