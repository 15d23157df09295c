"""Every filter and every score of one ask, put together once and then asked of many nodes.

Two ways to ask, over the same functions: `local` is short and for deciding, `verdict` says
everything and is for people.
"""

from collections.abc import Callable

from msgspec import Struct

from roheletd.allocation.ask import Ask
from roheletd.allocation.books import Books
from roheletd.allocation.cores import Fit, fit
from roheletd.allocation.filters import FILTERS, neighbours_refuse
from roheletd.allocation.scores import FILL, SCORES, spread, weights_for
from roheletd.allocation.snapshot import FreeNode
from roheletd.fields import StrategyName

MILLIONTHS = 1_000_000
"""Weighted terms are compared in whole millionths, so that the order of adding decides nothing."""

Group = tuple[str | None, ...]

_ASKED_APART = frozenset({"affinity", "cores", "gpu"})
"""Filters that `local` asks in a way of its own: by parts, or by working out what would fit."""


class Verdict(Struct, frozen=True, kw_only=True):
    """One node's answer: `refusals` by filter, or else the score and its terms."""

    node: str
    refusals: dict[str, str] = {}
    score: float = 0.0
    terms: dict[str, float] = {}


class Judge:
    """What is thought of nodes for one ask, under one strategy.

    `refuses_more` and `scores_more` are a user's: one filter and one term besides ours.
    """

    def __init__(
        self,
        ask: Ask,
        books: Books,
        strategy: StrategyName,
        *,
        refuses_more: Callable[[FreeNode], str | None] | None = None,
        scores_more: Callable[[FreeNode], float] | None = None,
    ) -> None:
        self.ask = ask
        self.strategy = strategy
        self._books = books
        self._refuses_more = refuses_more
        self._scores_more = scores_more
        fuller = strategy == "best_fit"
        concerned = {name: it for name, it in FILTERS.items() if it.concerns(ask)}
        self._all = {name: it.refuses for name, it in concerned.items()}
        self._firm = [it.refuses for it in concerned.values() if not it.moves]
        self._moving = [
            it.refuses for name, it in concerned.items() if it.moves and name not in _ASKED_APART
        ]
        terms = {name: it.of for name, it in SCORES.items() if it.concerns(ask)}
        # Who packs does not spread, but for services that say over what.
        spreads = not fuller or ask.spread_over is not None
        more = [*(["spread"] if spreads else []), *(["user"] if scores_more is not None else [])]
        weights = weights_for(books.profile.weights)
        self._weights = {name: weights[name] for name in (*terms, *more)}
        self._whole_weight = sum(self._weights.values())
        self._terms = [
            (name, of, fuller and name in FILL, weights[name]) for name, of in terms.items()
        ]
        self._divide_neighbours(ask)

    def _divide_neighbours(self, ask: Ask) -> None:
        """Into those that one node can be asked about alone, and those that concern groups.

        Affinity of a service to itself begins on any node, and from then on every other node
        refuses: each node is a group of its own then.
        """
        self._near = [it for it in ask.affinity if it.over is None and it.service != ask.itself]
        self._apart = [it for it in ask.apart if it.over is None]
        self._group_near = [it for it in ask.affinity if it not in self._near]
        self._group_apart = [it for it in ask.apart if it not in self._apart]
        over = [it.over for it in (*self._group_near, *self._group_apart)]
        self._by_name = None in over
        self._labels = sorted({label for label in (*over, ask.spread_over) if label is not None})

    @property
    def goes_by_figures(self) -> bool:
        """Whether `local` is the same for nodes of one kind; a user's code may go by names."""
        return self._refuses_more is None and self._scores_more is None

    def group_of(self, free: FreeNode) -> Group:
        """Nodes of one group are refused together, and share what `spread` counts by label."""
        if not self._labels:
            return (free.name,) if self._by_name else ()
        values = tuple(free.node.labels.get(label) for label in self._labels)
        return (free.name, *values) if self._by_name else values

    def refuses_group_of(self, free: FreeNode) -> bool:
        """Whether the whole group of this node is refused as things are."""
        if not (self._group_near or self._group_apart):
            return False
        refused = neighbours_refuse(
            free, self.ask, self._group_near, self._group_apart, self._books
        )
        return refused is not None

    def refuses_for_good(self, free: FreeNode) -> bool:
        """Whether it is refused whatever comes and goes."""
        ask, books = self.ask, self._books
        for refuses in self._firm:  # noqa: SIM110 - a generator would cost more than all of them
            if refuses(free, ask, books) is not None:
                return True
        return False

    def takes(self, free: FreeNode) -> bool:
        """Whether nothing refuses this node as things are."""
        return not (
            self.refuses_for_good(free) or self.refuses_group_of(free) or self.local(free) is None
        )

    def local(self, free: FreeNode) -> int | None:
        """What all terms but `spread` make of a node, in weighted millionths; None: refused.

        Whether it is refused for good or with its group is not asked again here.
        """
        ask, books = self.ask, self._books
        for refuses in self._moving:
            if refuses(free, ask, books) is not None:
                return None
        if (self._near or self._apart) and neighbours_refuse(
            free, ask, self._near, self._apart, books
        ):
            return None
        given = fit(free, ask)
        if given is None:
            return None
        if self._refuses_more is not None and self._refuses_more(free):
            return None
        total = 0.0
        for _, of, is_inverse, weight in self._terms:
            value = of(free, ask, given)
            total += weight * (1.0 - value) if is_inverse else weight * value
        if self._scores_more is not None:
            total += self._weights["user"] * self._scores_more(free)
        return round(total * MILLIONTHS)

    def bonus(self, instances: int) -> int:
        """What `spread` adds beside so many instances of the service, in weighted millionths."""
        return round(self._weights.get("spread", 0.0) * spread(instances) * MILLIONTHS)

    def terms(self, free: FreeNode, given: Fit, service: str) -> dict[str, float]:
        """Each term as it counts: best fit takes `cpu` and `memory` the other way round.

        `given` is what `fit` says for this node.
        """
        ask = self.ask
        found = {
            name: 1.0 - of(free, ask, given) if is_inverse else of(free, ask, given)
            for name, of, is_inverse, _ in self._terms
        }
        if "spread" in self._weights:
            found["spread"] = spread(self.beside(free, service))
        if self._scores_more is not None:
            found["user"] = self._scores_more(free)
        return found

    def beside(self, free: FreeNode, service: str) -> int:
        """Instances of `service` on the node, or on all with its value of `spread_over`."""
        label = self.ask.spread_over
        if label is None:
            return free.instances.get(service, 0)
        return self._books.in_group(label, free.node.labels.get(label), service)

    def score(self, terms: dict[str, float]) -> float:
        """The weighted mean, 0 to 1: what people see."""
        if not self._whole_weight:
            return 0.0
        weights = self._weights
        return sum([weights[name] * value for name, value in terms.items()]) / self._whole_weight

    def verdict(self, free: FreeNode, service: str) -> Verdict:
        """What every filter says of this node, or every score."""
        refusals = {
            name: reason
            for name, refuses in self._all.items()
            if (reason := refuses(free, self.ask, self._books)) is not None
        }
        if not refusals and self._refuses_more is not None and (more := self._refuses_more(free)):
            refusals["user"] = more
        if refusals:
            return Verdict(node=free.name, refusals=refusals)
        given = fit(free, self.ask)
        assert given is not None, "the filters `cores` and `gpu` let it through"
        terms = self.terms(free, given, service)
        shown = {name: round(value, 4) for name, value in terms.items()}
        return Verdict(node=free.name, terms=shown, score=round(self.score(terms), 4))
