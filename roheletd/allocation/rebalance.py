"""Which instances would sit clearly better elsewhere? Asked by a person, or `rebalance_moves`.

An instance is judged with its own share given back, on its node and on the best one: what it would
gain is the difference of the two scores. The largest gain is taken first and counts in all that is
judged after it.

What is moved is down for a moment, so that a gain must be worth it, and of several replicas at most
half are moved at once. What the leader moves by itself (lost nodes, older revisions) is left to it.
"""

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.algorithm import HookFailed, Hooks
from roheletd.allocation.allocate import Allocator
from roheletd.allocation.books import Books
from roheletd.allocation.judge import Verdict
from roheletd.allocation.ranking import Turn
from roheletd.allocation.scores import weights_for
from roheletd.allocation.snapshot import FreeNode, Profile, turned, without_placement
from roheletd.allocation.view import View, snapshot
from roheletd.allocation.wanted import wanted
from roheletd.cluster.definition import Definition
from roheletd.cluster.state import ClusterState
from roheletd.model import MILLICORES_PER_CORE, Neighbour, Placement

GAIN_MIN = 0.02
"""How much the score has to rise, of 1: less is not worth a restart, and comes and goes with load.

With the default weights it is about what a quarter of a node's CPU, or of its memory, counts.
"""

PIECE_INSTANCES = 200
_REASONS_MAX = 3


class Better(Struct, frozen=True, kw_only=True):
    """A better place for an instance; `placement` is the whole of it, under the same name."""

    placement: Placement
    source: str
    gain: float
    reason: str


def rebalance(
    state: ClusterState,
    view: View,
    profile: Profile,
    rng: Random,
    *,
    moves: int,
    hooks: Hooks | None = None,
) -> tuple[Better, ...]:
    """At most so many moves. Where the user's algorithm chooses the nodes, scores move nothing."""
    this = Rebalancing(state, view, profile, rng, moves=moves, hooks=hooks)
    for _ in this.pieces():
        pass
    return this.chosen


class Rebalancing:
    """The same in pieces, so that a whole cluster is weighed beside the heartbeats.

    All of it is decided from the state as it was at the beginning. `chosen` grows.
    """

    def __init__(
        self,
        state: ClusterState,
        view: View,
        profile: Profile,
        rng: Random,
        *,
        moves: int,
        hooks: Hooks | None = None,
    ) -> None:
        self._most, self._profile, self._rng, self._hooks = moves, profile, rng, hooks
        self._services = dict(state.services)
        # By service: those with an affinity to it, other than itself.
        self._needed_by = turned(
            (name, [other for other in known.service.affinity if other.service != name])
            for name, known in self._services.items()
        )
        self._snapshot = snapshot(state, view, profile)
        self._at_first = {
            at.instance: at
            for name, known in state.services.items()
            if (known.service.strategy or profile.strategy) != "first_fit" and not known.is_changing
            for at in wanted(state, known, view).stay
            if at.revision == known.revision
            and _is_alive(view, at.node)
            and at.instance not in self._snapshot.homes
        }
        self._leave_at_first = {
            name: _may_leave(state, known, view) for name, known in state.services.items()
        }
        self._begin()

    def _begin(self) -> None:
        self.chosen: tuple[Better, ...] = ()
        self._candidates, self._leave = dict(self._at_first), dict(self._leave_at_first)
        self._books = Books(self._snapshot, self._profile)
        self._allocator = Allocator(self._books, self._rng.getrandbits(64), self._hooks)

    def pieces(self) -> Iterator[None]:
        hooks = self._hooks
        while hooks is None or (hooks.select is None and hooks.allocate is None):
            try:
                yield from self._weigh()
            except HookFailed:
                self._begin()  # without it: it is None from now on
            else:
                return

    def _weigh(self) -> Iterator[None]:
        gains = []
        for position, name in enumerate(self._candidates):
            if (found := self._better(name)) is not None:
                gains.append((-found.gain, name))
            if position % PIECE_INSTANCES == PIECE_INSTANCES - 1:
                yield
        heapify(gains)
        while gains and len(self.chosen) < self._most:
            _, name = heappop(gains)
            found = self._better(name)  # what was moved since may have changed it
            if found is None:
                continue
            if gains and found.gain < -gains[0][0]:
                heappush(gains, (-found.gain, name))
                continue
            self._move(found)
            yield

    def _better(self, instance: str) -> Better | None:
        at = self._candidates[instance]
        if not self._leave[at.service]:
            return None
        home = _open(vacated(self._books.nodes[at.node], at))
        self._books.take_back(at)
        try:
            return None if self._is_needed(at) else self._weighed(at, home)
        finally:
            self._books.place(at)

    def _weighed(self, at: Placement, home: FreeNode) -> Better | None:
        """`at` is not in the books; `home` is its node without it."""
        service = self._services[at.service].service
        ranking = self._allocator.ranking(service)
        turn = Turn(ranking, self._books, service.name, over_nodes=service.spread_over is None)
        target = turn.best()
        turn.close()
        if target in (None, at.node):
            return None
        judge = ranking.judge
        there = judge.verdict(self._books.nodes[target], service.name)
        here = judge.verdict(home, service.name)
        gain = round(there.score - here.score, 4)
        if gain < GAIN_MIN:
            return None
        placement = self._allocator.placement(service, judge, target, at.instance, at.revision)
        weights = weights_for(self._books.profile.weights)
        return Better(
            placement=placement, source=at.node, gain=gain, reason=_reason(here, there, weights)
        )

    def _move(self, found: Better) -> None:
        at = self._candidates.pop(found.placement.instance)
        self._leave[at.service] -= 1
        self._books.take_back(at)
        self._books.place(found.placement)
        self.chosen = (*self.chosen, found)

    def _is_needed(self, at: Placement) -> bool:
        """Whether an instance of another service may only be where this one is."""
        home = self._books.nodes[at.node]
        return any(
            not self._books.near(home, Neighbour(service=at.service, over=other.over))
            and self._books.near(home, other)
            for other in self._needed_by.get(at.service, ())
        )


def _may_leave(state: ClusterState, known: Definition, view: View) -> int:
    """How many instances of a service may be down at once for its own good.

    Those that are not there count as down already. One that is alone has to take it.
    """
    replicas = known.service.replicas
    placed = state.placements_of(known.service.name)
    there = sum(_is_alive(view, at.node) for at in placed)
    if replicas == 1:
        return min(1, there)
    return max(0, min(replicas // 2 - (replicas - there), there - 1))


def _is_alive(view: View, node: str) -> bool:
    condition = view.conditions.get(node)
    return condition is not None and condition.liveness == "alive"


def vacated(free: FreeNode, at: Placement) -> FreeNode:
    """`free` without `at`, which is on it: neither what it was promised nor what it uses itself.

    Else an instance would flee from its own load. What its cores show that is ours is not told
    apart by instance, so there the use of others counts as what they were promised.
    """
    condition = free.condition
    used = condition.foreign.cores_millicores
    busy = {core: used.get(core, 0) / MILLICORES_PER_CORE for core in at.cores}
    quiet = replace(condition, busy={**condition.busy, **busy})
    return without_placement(replace(free, condition=quiet), at)


def _open(free: FreeNode) -> FreeNode:
    """A cordon keeps others away, and drives nobody out."""
    return replace(free, condition=replace(free.condition, cordoned=False))


def _reason(here: Verdict, there: Verdict, weights: Mapping[str, float]) -> str:
    """What keeps it from its own node today, or else the terms that gain most."""
    if here.refusals:
        return f"{here.node} would not take it now: {'; '.join(here.refusals.values())}"
    gains = {
        name: weights[name] * (value - here.terms.get(name, 0.0))
        for name, value in there.terms.items()
    }
    best = sorted(gains, key=lambda name: -gains[name])[:_REASONS_MAX]
    return ", ".join(
        f"{name} {here.terms[name]:.2f} -> {there.terms[name]:.2f}"
        for name in best
        if gains[name] > 0
    )
