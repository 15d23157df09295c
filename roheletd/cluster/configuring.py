"""What a command about a config map or a secret would do, or why it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from roheletd.cluster.commands import (
    Applied,
    Configure,
    Missing,
    Outcome,
    Rejected,
    RemoveConfigMap,
    RemoveSecret,
    SetConfigMap,
    SetSecret,
)
from roheletd.cluster.configuration import Content, Kind, size_bytes, users_of

if TYPE_CHECKING:
    from roheletd.cluster.state import ClusterState
    from roheletd.model import Service

ONE_BYTES_MAX = 256 << 10
"""One has to fit into an entry of the log, and that into one MQTT message."""
ALL_BYTES_MAX = 8 << 20
"""Every node holds all of them in memory, and writes them with each snapshot of the log."""
NAMES_MAX = 1000

VERBS: Mapping[Kind, str] = {"config map": "configmap", "secret": "secret"}
"""What the command line calls them."""


def kind_of(command: Configure) -> Kind:
    return "secret" if isinstance(command, SetSecret | RemoveSecret) else "config map"


def values_after(command: SetConfigMap | SetSecret, state: ClusterState) -> dict[str, Content]:
    """Keys that are not named stay as they are, unless all is replaced."""
    known = state.configuration.newest(kind_of(command), command.name)
    kept = known.values if known and not command.replace else {}
    return {**kept, **command.values}


def outcome_of_configuring(command: Configure, state: ClusterState) -> Outcome:
    kind, name = kind_of(command), command.name
    if isinstance(command, RemoveConfigMap | RemoveSecret):
        return _of_removal(kind, name, state)
    assert isinstance(command, SetConfigMap | SetSecret), command
    known, values = state.configuration.newest(kind, name), values_after(command, state)
    if known is not None and known.values == values:
        return Applied(changed={name: "unchanged"})
    if (size := size_bytes(values)) > ONE_BYTES_MAX:
        return Rejected(
            reason=f"{kind} {name} would have {size} bytes, and one has at most {ONE_BYTES_MAX}: "
            "put large files into the image or a volume"
        )
    if (total := state.configuration.size_bytes(state.editions()) + size) > ALL_BYTES_MAX:
        return Rejected(
            reason=f"all config maps and secrets, with those that a rollback needs, would have "
            f"{total} bytes, and have at most {ALL_BYTES_MAX}: remove what is not needed"
        )
    if known is None and len(state.configuration.names(kind)) >= NAMES_MAX:
        return Rejected(reason=f"there are {NAMES_MAX} {kind}s already: remove one first")
    return Applied(changed={name: "added" if known is None else "updated"})


def refusal_of_missing(services: Iterable[Service], state: ClusterState) -> Rejected | None:
    """A service is refused that could not be started for want of what it includes."""
    for service in services:
        if (found := state.configuration.missing(service)) is not None:
            kind, name = found
            return Rejected(
                reason=f"service {service.name} needs the {kind} {name}, which is not there: "
                f"`roheletd {VERBS[kind]} set {name} KEY=VALUE` first"
            )
    return None


def _of_removal(kind: Kind, name: str, state: ClusterState) -> Outcome:
    if state.configuration.newest(kind, name) is None:
        return Missing(reason=f"there is no {kind} {name}")
    if used := sorted(set(users_of(kind, name, _in_use(state)))):
        which = f"service {used[0]}" if len(used) == 1 else f"the services {', '.join(used)}"
        return Rejected(reason=f"{kind} {name} is used by {which}: change that first")
    return Applied(changed={name: "removed"})


def _in_use(state: ClusterState) -> Iterator[Service]:
    """What is wanted, and during a change also what runs still or may come back by itself."""
    for known in state.services.values():
        yield known.service
        if known.is_changing or known.is_paused:
            yield from (edition.service for edition in known.editions)
