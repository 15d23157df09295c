"""What commands would change of the agreed state: the state before and after, compared."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from roheletd.cluster.commands import AnyCommand, Proposal, Rejected
from roheletd.cluster.state import ClusterState
from roheletd.model import Node, Service


class FieldChange(Struct, frozen=True, kw_only=True):
    """One value, by the path that leads to it; null where there is nothing."""

    field: str
    old: object
    new: object


class Changed(Struct, frozen=True, kw_only=True):
    """What changes of one thing. `replaces`: its instances end, and new ones take their place."""

    name: str
    fields: tuple[FieldChange, ...]
    replaces: bool = False


class Difference(Struct, frozen=True, kw_only=True):
    """By name, each in alphabetical order. `left` is what the file lacks and nobody removes."""

    added: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


def after(state: ClusterState, commands: Iterable[AnyCommand]) -> ClusterState | Rejected:
    """A copy of `state` as `commands` would leave it, or why one of them would be rejected."""
    copy = ClusterState(state.saved())
    for position, command in enumerate(commands):
        # No door lets a space into an id, so that no sender's id is this one.
        proposal = Proposal(id=f" {position}", command=command)
        outcome = copy.apply(copy.applied_index + 1, copy.applied_term, proposal)
        if isinstance(outcome, Rejected):
            return outcome
    return copy


def missing_from(services: Iterable[Service], state: ClusterState) -> tuple[str, ...]:
    """Services of the same applications that are not among `services`."""
    services = tuple(services)
    applications = {service.application for service in services}
    named = {service.name for service in services}
    return tuple(
        name
        for name, known in sorted(state.services.items())
        if known.service.application in applications and name not in named
    )


def of_services(
    before: ClusterState, after: ClusterState, named: Iterable[str], *, left: Iterable[str] = ()
) -> Difference:
    """What `after` changes of the services that a file names, and of those that it removes."""
    old = {name: known.service for name, known in before.services.items()}
    new = {name: known.service for name, known in after.services.items()}
    revised = frozenset(
        name
        for name in new.keys() & old.keys()
        if before.services[name].revision != after.services[name].revision
    )
    return _difference(old, new, named, revised=revised, left=left)


def of_nodes(before: ClusterState, after: ClusterState, named: Iterable[str]) -> Difference:
    """What `after` changes of what is known of nodes, measured and declared put together."""
    return _difference(before.nodes, after.nodes, named)


def _difference(
    old: Mapping[str, Service | Node],
    new: Mapping[str, Service | Node],
    named: Iterable[str],
    *,
    revised: frozenset[str] = frozenset(),
    left: Iterable[str] = (),
) -> Difference:
    both = [name for name in sorted(new) if name in old]
    changed = {
        name: tuple(_fields(old[name], new[name])) for name in both if old[name] != new[name]
    }
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(
            Changed(name=name, fields=fields, replaces=name in revised)
            for name, fields in changed.items()
        ),
        removed=tuple(sorted(old.keys() - new.keys())),
        unchanged=tuple(sorted({name for name in named if old.get(name) == new.get(name)})),
        left=tuple(sorted(left)),
    )


def _fields(old: Service | Node, new: Service | Node) -> Iterator[FieldChange]:
    yield from _differing("", _plain(old), _plain(new))


def _plain(value: Service | Node) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(value, str_keys=True)
    return plain


def _differing(
    path: str, old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[FieldChange]:
    """A map is compared key by key; a list is one value, for its order means something."""
    for key in dict.fromkeys((*old, *new)):
        field = f"{path}.{key}" if path else key
        was, will = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(will, dict):
            yield from _differing(field, was, will)
        elif was != will:
            yield FieldChange(field=field, old=was, new=will)
