"""Where would it go? The leader's own pass, over a state that is not there yet.

The pass runs twice: over the state as it is and over the state as it would be. What happens in
both does not come from the change, and is not shown as if it did.
"""

from collections.abc import Collection, Mapping
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.algorithm import Hooks
from roheletd.allocation.judge import Verdict
from roheletd.allocation.schedule import Schedule, schedule
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import View
from roheletd.cluster.state import ClusterState, service_of, slot
from roheletd.model import Placement, PortBinding
from roheletd.upkeep import UpdatePolicy

_SEED = 0
"""Of both passes, so that equal scores are decided alike in them."""

_HASTY = UpdatePolicy(parallel=10_000)


class Arrival(Struct, frozen=True, kw_only=True):
    """An instance that would get a place; `previous` is the node of the one that it replaces."""

    instance: str
    service: str
    node: str
    cores: dict[int, int]
    gpus: dict[str, int]
    ports: tuple[PortBinding, ...]
    score: float
    terms: dict[str, float]
    previous: str = ""


class NoPlace(Struct, frozen=True, kw_only=True):
    """A service that would lack `missing` replicas, and what each node says to one of them."""

    service: str
    missing: int
    reason: str
    verdicts: tuple[Verdict, ...]


class Move(Struct, frozen=True, kw_only=True):
    """An instance of another service, which pays for it; `after` is empty where it has to wait."""

    instance: str
    service: str
    before: str
    after: str
    reason: str


class Forecast(Struct, frozen=True, kw_only=True):
    """What would come of a change: who comes, who stays, who goes and who finds no place.

    `staying` and `stopped` name instances of the services that were asked about, and their nodes.
    """

    placed: tuple[Arrival, ...] = ()
    staying: dict[str, str] = {}
    stopped: dict[str, str] = {}
    refused: tuple[NoPlace, ...] = ()
    others: tuple[Move, ...] = ()


def what_if(
    before: ClusterState,
    after: ClusterState,
    asked: Collection[str],
    *,
    view: View,
    profile: Profile,
    hooks: Hooks | None = None,
) -> Forecast:
    """What becomes of the services in `asked`, and of all others, if `before` becomes `after`.

    Of a service whose instances are replaced one after the other: where all of them will have gone.
    """
    after = _at_once(after, asked)
    anyway = _end(before, schedule(before, view, profile, Random(_SEED), hooks))
    found = schedule(after, view, profile, Random(_SEED), hooks)
    end = _end(after, found)
    own = {name: at for name, at in _ordered(before.placements) if at.service in asked}
    return Forecast(
        placed=tuple(
            _arrival(at, own.get(name))
            for name, at in _ordered(end)
            if at.service in asked and own.get(name) != at
        ),
        staying={name: at.node for name, at in own.items() if end.get(name) == at},
        stopped={name: at.node for name, at in own.items() if name not in end},
        refused=tuple(
            NoPlace(
                service=name,
                missing=_missing(after, end, name),
                reason=why.reason,
                verdicts=why.verdicts,
            )
            for name, why in sorted(found.unplaceable.items())
            if name in asked
        ),
        others=tuple(
            Move(
                instance=name,
                service=(anyway.get(name) or end[name]).service,
                before=_node(anyway.get(name)),
                after=_node(end.get(name)),
                reason=_reason(name, found, end),
            )
            for name in _moved(anyway, end)
            if (anyway.get(name) or end[name]).service not in asked
        ),
    )


def _at_once(state: ClusterState, asked: Collection[str]) -> ClusterState:
    """The same, with updates that wait for nobody."""
    changing = [name for name in asked if name in state.services and state.services[name].rollout]
    if not changing:
        return state
    hasty = ClusterState(state.saved())
    for name in changing:
        known = hasty.services[name]
        service = replace(known.service, update=_HASTY, min_available=0)
        hasty.services[name] = replace(known, service=service)
    return hasty


def _end(state: ClusterState, found: Schedule) -> dict[str, Placement]:
    """The placements once the log has taken what the leader proposes."""
    released = {*found.place.released, *found.preempted}
    end = {name: at for name, at in state.placements.items() if name not in released}
    return end | {at.instance: at for at in found.place.placements}


def _ordered(placements: Mapping[str, Placement]) -> list[tuple[str, Placement]]:
    return sorted(placements.items(), key=lambda item: (item[1].service, slot(item[0])))


def _moved(anyway: Mapping[str, Placement], end: Mapping[str, Placement]) -> list[str]:
    names = {*anyway, *end}
    return sorted(name for name in names if _node(anyway.get(name)) != _node(end.get(name)))


def _node(at: Placement | None) -> str:
    return at.node if at is not None else ""


def _missing(state: ClusterState, end: Mapping[str, Placement], service: str) -> int:
    has = sum(at.service == service for at in end.values())
    return max(0, state.services[service].service.replicas - has)


def _reason(instance: str, found: Schedule, end: Mapping[str, Placement]) -> str:
    if instance in found.preempted:
        return found.preempted[instance]
    service = service_of(instance)
    if instance not in end and service in found.unplaceable:
        return found.unplaceable[service].reason
    return "another place is better for it then"


def _arrival(at: Placement, replaced: Placement | None) -> Arrival:
    return Arrival(
        instance=at.instance,
        service=at.service,
        node=at.node,
        cores=at.cores,
        gpus=at.gpus,
        ports=at.ports,
        score=at.score,
        terms=at.terms,
        previous=_node(replaced),
    )
