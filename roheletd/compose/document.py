"""A whole Compose file: what stands beside its services, and what holds between them."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from roheletd.compose.draft import Content, Project, ReadFile, Stored
from roheletd.compose.fields import Field, Source
from roheletd.compose.keys import Key, no
from roheletd.compose.networks import FLAT, check_networks
from roheletd.compose.ports import give_exposed_their_numbers
from roheletd.compose.service import draft_of
from roheletd.compose.stores import contents_of
from roheletd.compose.volumes import volumes_of
from roheletd.documents.yaml_text import load_yaml_with_lines
from roheletd.fields import MEANINGS, NAME_PATTERN
from roheletd.model import Service

_NAME = re.compile(NAME_PATTERN)
_SERVICES_MAX = 1000
_SHOWN_MAX = 100


class Composed(Struct, frozen=True, kw_only=True):
    """What a Compose file becomes here.

    The config maps and secrets have to be there before the services. `unsupported` and `notes`
    are sentences that name their line.
    """

    application: str
    services: tuple[Service, ...]
    config_maps: tuple[Stored, ...]
    secrets: tuple[Stored, ...]
    notes: tuple[str, ...]
    unsupported: tuple[str, ...]


TOP: dict[str, Key] = {
    "name": Key("yes", "the application"),
    "services": Key("yes", "see below"),
    "volumes": Key("yes", "names of volumes; each instance has its own"),
    "configs": Key("yes", "see below"),
    "secrets": Key("yes", "see below"),
    "networks": Key("no effect", FLAT),
    "version": Key("yes", "nothing depends on it"),
    "include": no("one file is read; several can be applied one after the other"),
    "models": no("services are containers"),
}


def _is_compose(document: object) -> bool:
    """Ours has a list of services, and ROHE's has none."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read(
    text: bytes,
    *,
    name: str,
    application: str,
    variables: Mapping[str, str],
    read_file: ReadFile,
) -> Composed | None:
    """The Compose file in `text`, or None where it is another document.

    `application` names it where it does not name itself. Raises nothing but `InvalidInput`; what
    is merely not supported is told in the answer and left out of the services.
    """
    document, lines = load_yaml_with_lines(text, name=name)
    if not _is_compose(document):
        return None
    source = Source(name, lines, variables)
    top = Field(source, document, "", "", 1).members()
    project = _project(top, application, read_file)
    entries = top["services"].members()
    if not 1 <= len(entries) <= _SERVICES_MAX:
        top["services"].wrong(f"expected 1 to {_SERVICES_MAX} services, got {len(entries)}")
    drafts = [draft_of(entry, project) for entry in entries.values()]
    give_exposed_their_numbers(drafts)
    services = tuple(draft.finished() for draft in drafts)
    _refuse_circles(services, entries)
    _refuse_shared_ports(services, entries)
    _mention_unreachable(services, entries)
    return Composed(
        application=project.name,
        services=services,
        config_maps=_stored(project.configs.values()),
        secrets=_stored(project.secrets.values()),
        notes=_sentences(source.notes),
        unsupported=_sentences(source.unsupported),
    )


def _project(top: Mapping[str, Field], application: str, read_file: ReadFile) -> Project:
    for key, member in top.items():
        known = TOP.get(key)
        if known is None and not key.startswith("x-"):
            member.unsupported("no such key is known here")
        elif known and known.standing == "no" and member.asks_for_something:
            member.unsupported(known.means)
        elif key == "networks" and member.asks_for_something:
            check_networks(member)
    if "name" in top:
        application = top["name"].text()
        if not _NAME.search(application):
            top["name"].refuse(MEANINGS[NAME_PATTERN])
    project = Project(
        name=application,
        read_file=read_file,
        services=frozenset(top["services"].members()),
        volumes=volumes_of(_given(top, "volumes")),
        users={},
    )
    return replace(
        project,
        configs=contents_of(_given(top, "configs"), project),
        secrets=contents_of(_given(top, "secrets"), project),
    )


def _given(top: Mapping[str, Field], key: str) -> Field | None:
    field = top.get(key)
    return field if field is not None and field.asks_for_something else None


def _stored(contents: Iterable[Content]) -> tuple[Stored, ...]:
    """Those that a service uses; one under several file names has a key for each."""
    return tuple(Stored(content.name, content.files) for content in contents if content.files)


def _refuse_circles(services: Iterable[Service], entries: Mapping[str, Field]) -> None:
    """None of those in a circle could ever be started first."""
    waits = {it.name: {dependency.service for dependency in it.depends_on} for it in services}
    while ready := [name for name, others in waits.items() if not others & waits.keys()]:
        for name in ready:
            del waits[name]
    for name in waits:
        circle = ", ".join(waits)
        entries[name].wrong(f"expected `depends_on` without a circle, got one among {circle}")


def _refuse_shared_ports(services: Iterable[Service], entries: Mapping[str, Field]) -> None:
    taken: dict[tuple[int, str], str] = {}
    for service in services:
        for port in service.ports:
            key = (port.service_port, port.protocol)
            if port.service_port and (other := taken.setdefault(key, service.name)) != service.name:
                entries[service.name].members()["ports"].wrong(
                    f"expected each published port once, {other} (line {entries[other].line}) "
                    f"has {port.service_port} too"
                )


def _mention_unreachable(services: Iterable[Service], entries: Mapping[str, Field]) -> None:
    """Within Compose's networks every port is open; here those are that a service names."""
    silent = {service.name for service in services if not service.ports}
    needed = {dependency.service for it in services for dependency in it.depends_on}
    for name in sorted(silent & needed):
        entries[name].note("names no port: with `expose`, other services can reach it")


def _sentences(found: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """In the order of the lines; what an anchor repeats is said once for each place."""
    said = [f"line {line}: {text}" for line, text in sorted(dict.fromkeys(found))]
    rest = len(said) - _SHOWN_MAX
    return (*said[:_SHOWN_MAX], *([f"and {rest} more"] if rest > 0 else []))
