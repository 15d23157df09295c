"""Instances of one service: find the best node for each, name its cores, devices and ports.

`Allocator` decides, `explain` shows: both go through one `Judge`, so that `why` cannot tell another
story than the one that happened.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from random import Random

from msgspec import Struct

from roheletd.allocation.algorithm import HookFailed, Hooks
from roheletd.allocation.ask import Ask, ask_of
from roheletd.allocation.books import Books
from roheletd.allocation.cores import assign_ports, fit
from roheletd.allocation.filters import port_choices
from roheletd.allocation.judge import Judge, Verdict
from roheletd.allocation.ranking import Ranking, Turn
from roheletd.allocation.snapshot import FreeNode, Profile, Snapshot
from roheletd.fields import StrategyName
from roheletd.model import Placement, Port, Service


class Unplaceable(Struct, frozen=True, kw_only=True):
    """No node takes the service now; why, node by node.

    `because` says what keeps it back where that is no node (see `all_or_nothing`).
    """

    service: str
    verdicts: tuple[Verdict, ...] = ()
    because: str = ""

    @property
    def reason(self) -> str:
        """One line: how many nodes each filter refused, and an example where there is one node."""
        if self.because:
            return self.because
        if not self.verdicts:
            return "there is no node"
        if len(self.verdicts) == 1:
            (verdict,) = self.verdicts
            return f"{verdict.node}: {'; '.join(verdict.refusals.values())}"
        counts: dict[str, int] = {}
        for verdict in self.verdicts:
            for name in verdict.refusals:
                counts[name] = counts.get(name, 0) + 1
        refused = ", ".join(f"{name}: {count}" for name, count in counts.items())
        return f"no node of {len(self.verdicts)} fits ({refused})"


class Allocator:
    """Gives out what is free in one set of books. `seed` settles which of equal nodes is first.

    `tight`: the tightest cores that have room, and not the freest.
    """

    def __init__(
        self, books: Books, seed: int, hooks: Hooks | None = None, *, tight: bool = False
    ) -> None:
        self.books = books
        self._hooks = hooks
        self._tight = tight
        self._ties = {name: _tie(f"{seed}/{name}".encode()) for name in books.nodes}
        self._asks: dict[tuple[str, str], Ask] = {}
        self._judges: dict[tuple[Ask, StrategyName, str], Judge] = {}
        self._rankings: dict[Judge, Ranking] = {}
        self._refused: dict[Ranking, tuple[int, tuple[Verdict, ...]]] = {}

    def fill(
        self, service: Service, instances: Sequence[str], revision: int, *, packed: bool = False
    ) -> list[Placement]:
        """A place for each of `instances` in turn, until there is none (see `unplaceable`).

        Those that have a home come first, and one whose home takes it not is only left out.
        `packed`: nodes are chosen as by best fit, whatever the service's strategy; not in place of
        first fit, which has been promised.
        """
        placements: list[Placement] = []
        for home, some in self._by_home(instances):
            placements += self._filled(service, some, revision, home=home, packed=packed)
        return placements

    def _by_home(self, instances: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        if homes := self.books.homes:
            yield from ((homes[name], (name,)) for name in instances if name in homes)
            instances = [name for name in instances if name not in homes]
        yield "", instances

    def _filled(
        self, service: Service, instances: Sequence[str], revision: int, *, home: str, packed: bool
    ) -> list[Placement]:
        placements: list[Placement] = []
        while True:
            try:
                self._fill(service, instances, revision, placements, home=home, packed=packed)
            except HookFailed:
                # The hook is None from now on, and so is what was worked out with it.
                self._judges.clear()
                self._rankings.clear()
            else:
                return placements

    def unplaceable(self, service: Service, instance: str = "") -> Unplaceable:
        """Why no node takes one more; found once for all services of the same ask.

        Of an `instance` with a home it says why that does not take it.
        """
        home = self.books.homes.get(instance, "")
        ranking = self.ranking(service, home=home)
        at = len(self.books.changes)
        known_at, verdicts = self._refused.get(ranking, (-1, ()))
        if known_at != at:
            nodes = self.books.nodes.values()
            verdicts = tuple(ranking.judge.verdict(free, service.name) for free in nodes)
            self._refused[ranking] = (at, verdicts)
        return Unplaceable(
            service=service.name,
            verdicts=verdicts,
            because=_homesick(instance, home, verdicts) if home else "",
        )

    def ranking(self, service: Service, *, home: str = "", packed: bool = False) -> Ranking:
        """The ranking that this service shares with all of the same needs."""
        judge = self._judge(service, home=home, packed=packed)
        ranking = self._rankings.get(judge)
        if ranking is None:
            ranking = Ranking(judge, self.books, self._ties.__getitem__)
            self._rankings[judge] = ranking
        return ranking

    def _judge(self, service: Service, *, home: str = "", packed: bool = False) -> Judge:
        """Shared in the same way."""
        ask = self._asks.get((service.name, home))
        if ask is None:
            ask = ask_of(
                service,
                self.books.shunned_by,
                tight=self._tight,
                home=home,
                failed_on=self.books.failed_on.get(service.name, {}),
            )
            self._asks[service.name, home] = ask
        strategy = service.strategy or self.books.profile.strategy
        if packed and strategy == "worst_fit":
            strategy = "best_fit"
        key = (ask, strategy, service.name if self._looks_at_nodes else "")
        if key not in self._judges:
            self._judges[key] = judge_of(service, ask, self.books, strategy, self._hooks)
        return self._judges[key]

    def placement(
        self, service: Service, judge: Judge, node: str, instance: str, revision: int
    ) -> Placement:
        """What an instance gets on a node that takes it."""
        free, profile = self.books.nodes[node], self.books.profile
        given = fit(free, judge.ask)
        ports = assign_ports(free.ports, judge.ask, port_choices(profile), revision)
        assert given is not None, "the filters `cores` and `gpu` let it through"
        assert not isinstance(ports, Port), "the filter `ports` let it through"
        terms = judge.terms(free, given, service.name)
        return Placement(
            instance=instance,
            service=service.name,
            node=node,
            revision=revision,
            cores=given.cores,
            gpus=given.gpus,
            ports=ports,
            cpu_millicores=judge.ask.cpu_millicores,
            memory_mib=service.memory_mib,
            vms_mib=service.vms_mib,
            gpu_memory_mib=service.gpu_memory_mib if given.gpus else 0,
            sensitivity=service.sensitivity,
            score=round(judge.score(terms), 4),
            terms={name: round(value, 4) for name, value in terms.items()},
        )

    def takers(self, judge: Judge) -> list[FreeNode]:
        """All nodes that no filter refuses."""
        return [free for free in self.books.nodes.values() if judge.takes(free)]

    @property
    def _looks_at_nodes(self) -> bool:
        hooks = self._hooks
        return hooks is not None and (hooks.filter is not None or hooks.score is not None)

    def _fill(
        self,
        service: Service,
        instances: Sequence[str],
        revision: int,
        placements: list[Placement],
        *,
        home: str,
        packed: bool,
    ) -> None:
        """Adds to `placements`, so that what was given out is known also where a hook fails."""
        ranking = self.ranking(service, home=home, packed=packed)
        # Scores are compared later on, so that all of a service are of its own strategy.
        judge = self._judge(service, home=home)
        turn = Turn(ranking, self.books, service.name, over_nodes=service.spread_over is None)
        try:
            for instance in instances[len(placements) :]:
                node = self._chosen(service, ranking.judge, turn)
                if node is None:
                    return
                found = self.placement(service, judge, node, instance, revision)
                self.books.place(found)
                turn.placed(node)
                placements.append(found)
        finally:
            turn.close()

    def _chosen(self, service: Service, judge: Judge, turn: Turn) -> str | None:
        """By the user's algorithm where there is one that chooses, else the best of the ranking."""
        hooks = self._hooks
        if hooks is not None and hooks.allocate is not None:
            return hooks.allocate(self.takers(judge), service)
        best = turn.best()
        if best is not None and hooks is not None and hooks.select is not None:
            takers = self.takers(judge)
            verdicts = [(free, judge.verdict(free, service.name)) for free in takers]
            return hooks.select(
                [(free, verdict.score, verdict.terms) for free, verdict in verdicts], service
            )
        return best


def judge_of(
    service: Service, ask: Ask, books: Books, strategy: StrategyName, hooks: Hooks | None = None
) -> Judge:
    """A judge for this service; with hooks that look at nodes it is that of no other one."""
    asks = hooks.filter if hooks is not None else None
    scores = hooks.score if hooks is not None else None
    return Judge(
        ask,
        books,
        strategy,
        refuses_more=None if asks is None else partial(asks, service=service),
        scores_more=None if scores is None else partial(scores, service=service),
    )


def explain(
    snapshot: Snapshot,
    service: Service,
    profile: Profile,
    hooks: Hooks | None = None,
    *,
    instance: str = "",
) -> tuple[Verdict, ...]:
    """What every filter and every score says of one more instance, node by node; or of that one."""
    books = Books(snapshot, profile)
    ask = ask_of(
        service,
        snapshot.shunned_by,
        home=snapshot.homes.get(instance, ""),
        failed_on=snapshot.failed_on.get(service.name, {}),
    )
    while True:
        judge = judge_of(service, ask, books, service.strategy or profile.strategy, hooks)
        try:
            return tuple(judge.verdict(free, service.name) for free in books.nodes.values())
        except HookFailed:
            continue  # it is None from now on


def allocate(
    snapshot: Snapshot, service: Service, profile: Profile, rng: Random
) -> Placement | Unplaceable:
    """One placement, without instance name and revision, which are the caller's to give."""
    allocator = Allocator(Books(snapshot, profile), rng.getrandbits(64))
    placements = allocator.fill(service, [""], 0)
    return placements[0] if placements else allocator.unplaceable(service)


def _homesick(instance: str, home: str, verdicts: Iterable[Verdict]) -> str:
    refused = (it.refusals.values() for it in verdicts if it.node == home)
    reasons = "; ".join(reason for all_of_it in refused for reason in all_of_it)
    return f"the volume data of {instance} is on {home}: {reasons}"


def _tie(seeded_name: bytes) -> int:
    """A place in an order of nodes that is drawn once, and the same for the same seed."""
    return int.from_bytes(blake2b(seeded_name, digest_size=8).digest(), "big")
