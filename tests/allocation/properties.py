"""Run many random clusters: `python -m tests.allocation.properties --seeds 1000 [--start N]`.

Each is a cluster and a sequence of events; after each event the allocator runs until it has
nothing more to do, and every pass is checked: against the slow allocator in reference.py, and
against what must hold however it was decided.
"""

import argparse
import sys
import time
from collections import Counter
from random import Random

from roheletd.allocation.allocate import explain
from roheletd.allocation.attempt import Attempt
from roheletd.allocation.books import Books
from roheletd.allocation.judge import Verdict
from roheletd.allocation.schedule import Round, Schedule, schedule
from roheletd.allocation.view import View, snapshot, snapshot_with
from roheletd.cluster.commands import Place
from roheletd.cluster.state import service_of
from roheletd.model import Placement
from tests.allocation import reference
from tests.allocation.reference import Decision
from tests.allocation.reference_judge import refusals, terms
from tests.allocation.reference_world import World
from tests.allocation.worlds import Cluster

STEPS = 12
TERMS_AGREE_TO = 1e-4 + 1e-9


class DisagreementError(AssertionError):
    """What differs, after all that had happened."""


def view_of(cluster: Cluster) -> View:
    return View(
        conditions=dict(cluster.conditions),
        displaced=cluster.away.displaced,
        stranded=cluster.away.stranded,
        lost_for_s=dict(cluster.away.lost_for_s),
        available=frozenset(cluster.driver.state.placements),
        settled=frozenset(cluster.driver.state.placements),
    )


def play(
    rng: Random, steps: int = STEPS, *, preemption: bool = False, attempts: int = 0
) -> Counter[str]:
    """One cluster and its story. Raises `DisagreementError`, with the story told.

    The slow allocator pushes nobody out, and goes one way: with `preemption`, or with other ways
    that are tried (`attempts`), only what must hold is checked.
    """
    cluster = Cluster(rng, preemption=preemption, attempts=attempts)
    seen: Counter[str] = Counter()
    try:
        for _ in range(steps):
            cluster.step()
            settle(cluster, seen)
    except (AssertionError, LookupError, ArithmeticError) as error:
        raise DisagreementError("\n".join([*cluster.told, "", repr(error)])) from error
    return seen


def settle(cluster: Cluster, seen: Counter[str]) -> None:
    """Pass after pass, until one changes nothing.

    Affinity may need as many as there are links, and a changed service one for each instance.
    """
    services = cluster.driver.state.services
    old = sum(known.service.replicas for known in services.values() if known.is_changing)
    for _ in range(3 + len(services) + old):
        found = one_pass(cluster, seen)
        cluster.away.displaced = cluster.away.stranded = frozenset()
        if found.is_empty:
            nothing_more_fits(cluster, found)
            why_tells_the_same(cluster)
            return
    raise AssertionError("it does not come to rest")


def one_pass(cluster: Cluster, seen: Counter[str]) -> Schedule:
    state, profile = cluster.driver.state, cluster.profile
    seed = cluster.rng.randint(0, 9)
    found = schedule(state, view_of(cluster), profile, Random(seed))
    cluster.told.append(
        f"  pass with seed {seed}: "
        + ", ".join([*(f"{at.instance}->{at.node}" for at in found.place.placements)])
        + "".join(f" {name} waits" for name in found.unplaceable)
        + "".join(f" {name} {why}" for name, why in found.preempted.items())
    )
    if not profile.preemption:
        expected = reference.decide(state, cluster.conditions, profile, Random(seed), cluster.away)
        if profile.search_attempts:
            no_worse_than(cluster, found, expected)
        else:
            same_decisions(found, expected)
    same_in_batches(cluster, seed)
    only_lower_ones_made_room(cluster, found)
    before = dict(state.placements)
    if not found.is_empty:
        cluster.apply(found.place)
    seen["passes"] += 1
    seen["placed"] += len(found.place.placements)
    seen["released"] += len(found.place.released)
    seen["waiting"] += len(found.unplaceable)
    seen["preempted"] += len(found.preempted)
    seen["moved"] += sum(at.instance in before for at in found.place.placements)
    is_within_limits(cluster, found.place)
    nobody_has_too_many(cluster)
    books_are_sums(cluster)
    return found


# --- against the reference


def same_decisions(found: Schedule, expected: Decision) -> None:
    mine = [told(at) for at in found.place.placements]
    theirs = [told(at) for at in expected.placements]
    assert mine == theirs, differing(mine, theirs)
    assert set(found.place.released) == expected.released, (
        f"released {sorted(found.place.released)}, expected {sorted(expected.released)}"
    )
    same_refusals(found, expected)
    for at, other in zip(found.place.placements, expected.placements, strict=True):
        same_numbers(at, other.terms, at.instance)
        assert abs(at.score - other.score) < TERMS_AGREE_TO, (at.instance, at.score, other.score)


def an_attempt(cluster: Cluster, seed: int) -> Attempt:
    this = Round(cluster.driver.state, view_of(cluster), cluster.profile, Random(seed))
    return Attempt(this._task)


def no_worse_than(cluster: Cluster, found: Schedule, expected: Decision) -> None:
    """Other ways are taken for more instances in place, and for fewer never."""
    before = cluster.driver.state.placements.keys()
    mine = before - set(found.place.released) | {at.instance for at in found.place.placements}
    theirs = before - expected.released | {at.instance for at in expected.placements}
    assert len(mine) >= len(theirs), f"in place {sorted(mine)}, the first way {sorted(theirs)}"


def same_in_batches(cluster: Cluster, seed: int) -> None:
    """However many placements one entry may hold."""
    size = cluster.rng.randint(1, 3)
    whole, pieces = (an_attempt(cluster, seed) for _ in range(2))
    at_once = list(whole.batches(10_000))
    batches = list(pieces.batches(size))
    for place in batches:
        may_be_large = place.together or pieces.preempted
        assert may_be_large or len(place.placements) < 2 * size, place
        assert place.placements or place.released, "an empty batch"
    assert _all_placed(batches) == _all_placed(at_once), f"batches of {size} differ"
    assert _all_released(batches) == _all_released(at_once), f"batches of {size} differ"
    assert pieces.unplaceable.keys() == whole.unplaceable.keys()


def _all_placed(batches: list[Place]) -> list[Placement]:
    return [at for place in batches for at in place.placements]


def _all_released(batches: list[Place]) -> set[str]:
    released = {name for place in batches for name in place.released}
    return released - {at.instance for at in _all_placed(batches)}


def told(at: Placement) -> str:
    ports = {f"{b.container_port}/{b.protocol}": b.host_port for b in at.ports}
    return (
        f"{at.instance} of revision {at.revision} on {at.node}, cores {sorted(at.cores.items())}, "
        f"gpus {sorted(at.gpus.items())}, ports {ports}, cpu {at.cpu_millicores}, "
        f"memory {at.memory_mib}/{at.vms_mib}/{at.gpu_memory_mib}, sensitivity {at.sensitivity}"
    )


def differing(mine: list[str], theirs: list[str]) -> str:
    for position in range(max(len(mine), len(theirs))):
        one = mine[position] if position < len(mine) else "nothing"
        other = theirs[position] if position < len(theirs) else "nothing"
        if one != other:
            return f"placement {position}:\n     found {one}\n  expected {other}"
    return ""


def same_refusals(found: Schedule, expected: Decision) -> None:
    assert set(found.unplaceable) == set(expected.refused), (
        f"waiting {sorted(found.unplaceable)}, expected {sorted(expected.refused)}"
    )
    for name, why in found.unplaceable.items():
        mine = {verdict.node: set(verdict.refusals) for verdict in why.verdicts}
        assert mine == expected.refused[name], (
            f"{name} is refused by {mine}, expected {expected.refused[name]}"
        )


def same_numbers(found: Placement | Verdict, expected: dict[str, float], name: str) -> None:
    assert found.terms.keys() == expected.keys(), (name, found.terms, expected)
    for term, value in found.terms.items():
        assert abs(value - expected[term]) < TERMS_AGREE_TO, (
            f"{name} on {found.node}: {term} is {value}, expected {expected[term]}"
        )
        assert 0 <= value <= 1, (name, term, value)


# --- whoever decided


def world_of(cluster: Cluster, placed: list[Placement]) -> World:
    state = cluster.driver.state
    return World(
        nodes=state.nodes,
        conditions=cluster.conditions,
        services={name: known.service for name, known in state.services.items()},
        profile=cluster.profile,
        placed=placed,
        witnesses=reference.witnesses_of(state),
    )


def is_within_limits(cluster: Cluster, place: Place) -> None:
    """What was given out now was there to give; older promises may be more than a node has now."""
    state = cluster.driver.state
    world = world_of(cluster, list(state.placements.values()))
    for decided in place.placements:
        at = state.placements[decided.instance]
        node, condition = state.nodes[at.node], cluster.conditions[at.node]
        assert condition.liveness == "alive", f"{at.instance} on {at.node}, {condition.liveness}"
        assert not condition.cordoned, f"{at.instance} on {at.node}, which is cordoned"
        for core in at.cores:
            assert world.free_core(at.node, core) >= 0, f"core {core} of {at.node}: over"
        if at.cpu_millicores:
            assert world.free_cpu(at.node) >= 0, f"CPU of {at.node}: over"
        if at.memory_mib:
            assert world.free_memory(at.node) >= 0, f"memory of {at.node}: over"
        if at.vms_mib:
            assert world.free_vms(at.node) >= 0, f"virtual memory of {at.node}: over"
        for gpu in (gpu for gpu in node.capacity.gpus if gpu.id in at.gpus):
            assert world.free_percent(at.node, gpu) >= 0, f"{gpu.id} of {at.node}: over"
            if at.gpu_memory_mib and not gpu.shares_memory:
                assert world.free_gpu_memory(at.node, gpu) >= 0, f"{gpu.id} of {at.node}: over"
        taken = Counter((b.host_port, b.protocol) for each in world.on(at.node) for b in each.ports)
        for binding in at.ports:
            port = (binding.host_port, binding.protocol)
            foreign = binding.protocol == "tcp" and port[0] in condition.foreign.ports
            assert taken[port] == 1, f"port {port} of {at.node} is given out twice"
            assert not foreign, f"port {port} of {at.node} is taken by others"


def only_lower_ones_made_room(cluster: Cluster, found: Schedule) -> None:
    known = cluster.driver.state.services
    for victim, why in found.preempted.items():
        newcomer = why.rpartition(" ")[2]
        low, high = (known[service_of(name)].service.priority for name in (victim, newcomer))
        assert low < high, f"{victim} of priority {low} {why} of priority {high}"


def nobody_has_too_many(cluster: Cluster) -> None:
    state = cluster.driver.state
    for name, known in state.services.items():
        count = len(state.placements_of(name))
        assert count <= known.service.replicas, f"{name} has {count} instances"


def nothing_more_fits(cluster: Cluster, found: Schedule) -> None:
    """Whoever has too few waits, and every node has a reason; all-or-nothing waits for others."""
    state = cluster.driver.state
    placed = list(state.placements.values())
    for name, known in state.services.items():
        service = known.service
        if len(state.placements_of(name)) == service.replicas:
            continue
        held_back = [
            each.service
            for each in state.services.values()
            if each.service.application == service.application and each.service.all_or_nothing
        ]
        if held_back:
            continue
        assert name in found.unplaceable, f"{name} has too few and is not said to wait"
        for node in state.nodes:
            why = refusals(world_of(cluster, placed), node, service)
            assert why, f"{name} waits, and {node} has room"


def why_tells_the_same(cluster: Cluster) -> None:
    """What people are shown of each node is what the slow allocator thinks of it."""
    state, profile = cluster.driver.state, cluster.profile
    world = world_of(cluster, list(state.placements.values()))
    free = snapshot(state, view_of(cluster), profile)
    for name, known in state.services.items():
        for verdict in explain(free, known.service, profile):
            node = verdict.node
            why = refusals(world, node, known.service)
            assert set(verdict.refusals) == why, f"{name} on {node}: {verdict}, expected {why}"
            if not why:
                same_numbers(verdict, terms(world, node, known.service), name)


def books_are_sums(cluster: Cluster) -> None:
    """What the allocator finds free is what is left of each node after all placements."""
    state = cluster.driver.state
    world = world_of(cluster, list(state.placements.values()))
    for name, free in snapshot(state, view_of(cluster), cluster.profile).nodes.items():
        sized = {core: left for core, left in free.cores.items() if free.node.capacity.cores[core]}
        assert sized == world.free_cores(name), (name, free.cores)
        assert free.cpu_millicores == world.free_cpu(name), (name, free.cpu_millicores)
        assert free.memory_mib == world.free_memory(name), (name, free.memory_mib)
        assert free.vms_mib == world.free_vms(name), (name, free.vms_mib)
        for item in free.gpus:
            assert item.percent == world.free_percent(name, item.gpu), (name, item)
            if not item.gpu.shares_memory:
                assert item.memory_mib == world.free_gpu_memory(name, item.gpu), (name, item)
        assert free.ports == world.taken_ports(name), (name, free.ports)
        assert free.instances == Counter(at.service for at in world.on(name)), (name, free)
    books_come_and_go(cluster)


def books_come_and_go(cluster: Cluster) -> None:
    """However the books came to what they say: place all, take some back, and count anew."""
    state, view, profile = cluster.driver.state, view_of(cluster), cluster.profile
    placed = list(state.placements.values())
    books = Books(snapshot_with(state, view, profile, []), profile)
    for at in placed:
        books.place(at)
    same_books(books, Books(snapshot(state, view, profile), profile))
    kept = placed[::2]
    for at in placed[1::2]:
        books.take_back(at)
    same_books(books, Books(snapshot_with(state, view, profile, kept), profile))


def same_books(books: Books, anew: Books) -> None:
    for name, free in books.nodes.items():
        assert free == anew.nodes[name], f"{name} in the books: {free}\nanew: {anew.nodes[name]}"
        for service in free.instances:
            assert books.where(service) == anew.where(service), service


# --- from the command line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.allocation.properties")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"events (default {STEPS})")
    parser.add_argument("--preemption", action="store_true", help="let higher ones push others out")
    parser.add_argument("--attempts", type=int, default=0, help="ways to try for more in place")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many (default 3)")
    options = parser.parse_args(arguments)
    began, seen, broken = time.monotonic(), Counter[str](), 0
    for seed in range(options.start, options.start + options.seeds):
        try:
            seen += play(
                Random(seed),
                options.steps,
                preemption=options.preemption,
                attempts=options.attempts,
            )
        except DisagreementError as error:
            print(f"{error}\nseed {seed}\n")
            broken += 1
            if broken >= options.failures:
                break
    took_s = time.monotonic() - began
    counts = ", ".join(f"{count} {what}" for what, count in seen.items())
    print(f"{seed - options.start + 1} clusters, {counts}, {took_s:.0f} s, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
