"""The allocator once more, slow and obvious, to tell whether the fast one decides right.

Written from roheletd/allocation/README.md alone. For every single instance, every node is judged
from nothing but its capacity, its condition and all that is placed there. Nothing is remembered
from one question to the next: no heap, no cache, no books.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

from roheletd.allocation.snapshot import Condition, Profile
from roheletd.cluster.state import ClusterState, Definition, instance_name, slot
from roheletd.model import Placement, Service
from tests.allocation.reference_judge import millionths, refusals, score, strategy_of, terms
from tests.allocation.reference_world import (
    World,
    asked_accelerators,
    choose_cores,
    choose_gpus,
    choose_ports,
    cpu_need,
)

# --- one instance


def tie(seed: int, node: str) -> int:
    return int.from_bytes(blake2b(f"{seed}/{node}".encode(), digest_size=8).digest(), "big")


def choose(world: World, service: Service) -> str | None:
    able = [node for node in world.nodes if not refusals(world, node, service)]
    if not able:
        return None
    if strategy_of(world, service) == "first_fit":
        return min(able)
    return min(able, key=lambda node: (-millionths(world, node, service), tie(world.seed, node)))


def placed(world: World, node: str, service: Service, name: str, revision: int) -> Placement:
    return Placement(
        instance=name,
        service=service.name,
        node=node,
        revision=revision,
        cores=choose_cores(world, node, service) or {},
        gpus=choose_gpus(world, node, service) or {},
        ports=choose_ports(world, node, service, revision) or (),
        cpu_millicores=cpu_need(service),
        memory_mib=service.memory_mib,
        vms_mib=service.vms_mib,
        gpu_memory_mib=service.gpu_memory_mib if asked_accelerators(service) else 0,
        sensitivity=service.sensitivity,
        score=score(world, node, service),
        terms=terms(world, node, service),
    )


# --- one pass


@dataclass
class Away:
    """Who should be elsewhere: see `View`, which has the same fields."""

    displaced: frozenset[str] = frozenset()
    stranded: frozenset[str] = frozenset()
    lost_for_s: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Turn:
    """One service and what it lacks: instance names, and the place that each leaves, if any."""

    known: Definition
    kept: list[Placement]
    lacking: list[tuple[str, Placement | None]]

    @property
    def service(self) -> Service:
        return self.known.service


@dataclass
class Decision:
    """The whole of one pass. `refused` is, by service and node, the filters that refuse."""

    placements: list[Placement] = field(default_factory=list)
    released: set[str] = field(default_factory=set)
    refused: dict[str, dict[str, set[str]]] = field(default_factory=dict)


def decide(
    state: ClusterState,
    conditions: Mapping[str, Condition],
    profile: Profile,
    rng: Random,
    away: Away,
) -> Decision:
    turns = [_turn(state, known, away) for known in state.services.values()]
    world = World(
        nodes=state.nodes,
        conditions=conditions,
        services={name: known.service for name, known in state.services.items()},
        profile=profile,
        placed=[at for turn in turns for at in turn.kept],
        witnesses=witnesses_of(state),
        seed=rng.getrandbits(64),
    )
    decision = Decision()
    queue = in_queue([turn for turn in turns if turn.lacking], profile)
    for party, is_whole in parties(queue, world):
        _serve(world, party, decision, is_whole=is_whole)
    still_there = {at.instance for at in world.placed}
    decision.released = state.placements.keys() - still_there
    return decision


def _turn(state: ClusterState, known: Definition, away: Away) -> Turn:
    """Whatever is placed is healthy, so that each pass may replace as many as `parallel` says."""
    service = known.service
    usable = [
        at
        for at in state.placements.values()
        if at.service == service.name and at.instance not in away.displaced
    ]
    new = [at for at in usable if at.revision == known.revision and at.node not in state.draining]
    new.sort(key=lambda at: (at.node in away.lost_for_s, -at.score, slot(at.instance)))
    kept = new[: service.replicas]
    places_left = service.replicas - len(kept)
    stale = [at for at in usable if at not in new]
    gone = [at for at in stale if _leaves(state, at, away)]
    moved = [at for at in gone if at.revision == known.revision][:places_left]
    old = sorted((at for at in stale if at not in gone), key=lambda at: slot(at.instance))
    old = old[max(0, len(old) - places_left) :]
    replaced = old[: _may_be_replaced(service, len(kept), len(old))]
    kept += [*moved, *old]
    names = {at.instance for at in kept}
    all_names = [instance_name(service.name, n + 1) for n in range(service.replicas)]
    missing = [name for name in all_names if name not in names]
    missing = missing[: max(0, service.replicas - len(kept))]
    leaving = [at for at in kept if at in new and _leaves(state, at, away)] + moved + replaced
    return Turn(
        known=known,
        kept=kept,
        lacking=[*((name, None) for name in missing), *((at.instance, at) for at in leaving)],
    )


def _may_be_replaced(service: Service, new: int, old: int) -> int:
    """One that is missing is one that is under way; the others have to be enough."""
    parallel = service.update.parallel
    turns = parallel - (service.replicas - new - old)
    spare = new + old - max(0, service.replicas - parallel)
    return max(0, min(turns, spare))


def witnesses_of(state: ClusterState) -> frozenset[str]:
    """Whatever they have said of an engine before: they vote and run nothing."""
    return frozenset(name for name, member in state.members.items() if member.witness)


def _leaves(state: ClusterState, at: Placement, away: Away) -> bool:
    if at.instance in away.stranded or at.node in witnesses_of(state):
        return True
    patience_s = state.services[at.service].service.reschedule_after_s
    return at.node in away.lost_for_s and away.lost_for_s[at.node] >= patience_s


def in_queue(turns: list[Turn], profile: Profile) -> list[Turn]:
    preferred = {0: (), 1: (1, 3), 2: (2, 3), 3: (1, 2, 3)}[profile.queue_priority]
    found: list[Turn] = []
    for priority in sorted({turn.service.priority for turn in turns}, reverse=True):
        level = [turn for turn in turns if turn.service.priority == priority]
        level.sort(key=_arrival)
        first = [turn for turn in level if turn.service.sensitivity in preferred]
        others = [turn for turn in level if turn.service.sensitivity not in preferred]
        in_a_row = 0
        while first or others:
            if first and (not others or in_a_row < profile.queue_balance):
                found.append(first.pop(0))
                in_a_row += 1
            else:
                found.append(others.pop(0))
                in_a_row = 0
    return found


def _arrival(turn: Turn) -> tuple[int, int, str]:
    return turn.known.created_at, -cpu_need(turn.service), turn.service.name


def parties(queue: list[Turn], world: World) -> Iterator[tuple[list[Turn], bool]]:
    """Who is served together: a service, or the whole of an application that holds itself back."""
    served: set[str] = set()
    for turn in queue:
        application = turn.service.application
        if turn.service.name in served:
            continue
        is_whole = _holds_back(world, application)
        party = [each for each in queue if each.service.application == application]
        party = party if is_whole else [turn]
        served |= {each.service.name for each in party}
        yield party, is_whole


def _holds_back(world: World, application: str) -> bool:
    """Until an application runs, one such service in it speaks for all of them."""
    members = [each for each in world.services.values() if each.application == application]
    runs = any(world.instances(each.name, world.nodes) for each in members)
    return not runs and any(each.all_or_nothing for each in members)


def _serve(world: World, party: list[Turn], decision: Decision, *, is_whole: bool) -> None:
    before = list(world.placed)
    found: list[Placement] = []
    for turn in party:
        refused = _serve_one(world, turn, found)
        if refused is not None:
            decision.refused[turn.service.name] = refused
            if is_whole:
                held_back: dict[str, dict[str, set[str]]] = {
                    each.service.name: {} for each in party
                }
                decision.refused |= {**held_back, turn.service.name: refused}
                world.placed = before
                return
    decision.placements += found


def _serve_one(world: World, turn: Turn, found: list[Placement]) -> dict[str, set[str]] | None:
    """Place what is lacking, up to the first that no node takes: then, why not."""
    for name, left in turn.lacking:
        others = [at for at in world.placed if at is not left]
        staying, world.placed = world.placed, others
        node = choose(world, turn.service)
        if node is None:
            why = {each: refusals(world, each, turn.service) for each in world.nodes}
            world.placed = staying
            return why
        at = placed(world, node, turn.service, name, turn.known.revision)
        world.placed = [*others, at]
        found.append(at)
    return None
