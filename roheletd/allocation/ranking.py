"""The nodes that take an ask, best first, kept in order while instances come and go.

A `Ranking` belongs to an ask and serves all services that have it. It is a heap per group of nodes
(see `Judge.group_of`). An entry counts only while it says what was last thought of its node, so
that a node that changed costs one judgement and one push, and nothing else moves.

    heap entry: (- weighted millionths, tie, node)        the smallest is the best

A `Turn` is one service's use of a ranking. Where replicas are spread over nodes, a node that has
one already is worth less to its service than to others: the turn takes such nodes out of the common
heaps as it meets them, keeps them in heaps of its own with what they are worth to it, and puts them
back at the end.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from roheletd.allocation.books import Books
from roheletd.allocation.judge import Group, Judge
from roheletd.allocation.snapshot import FreeNode

Tie = Callable[[str], int]
Entry = tuple[int, int | str, str]
Heap = list[Entry]


class Ranking:
    """`by_name` is first fit: all nodes are worth the same, and names break the ties."""

    def __init__(self, judge: Judge, books: Books, tie: Tie) -> None:
        self.judge = judge
        self.by_name = judge.strategy == "first_fit"
        self.heaps: dict[Group, Heap] = {}
        self._books = books
        self._tie = tie
        self._worth: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._some_node: dict[Group, str] = {}
        self._seen = len(books.changes)
        kinds = books.kinds if judge.goes_by_figures else {}
        of_kind: dict[int | None, int | None] = {}
        for name, free in books.nodes.items():
            if judge.refuses_for_good(free):
                continue
            group = self._groups[name] = judge.group_of(free)
            if (heap := self.heaps.get(group)) is None:
                heap = self.heaps[group] = []
                self._some_node[group] = name
            kind = kinds.get(name)
            if kind in of_kind:
                worth = self._note(name, of_kind[kind])
            else:
                worth = self._judged(name, free)
                if kind is not None:
                    of_kind[kind] = worth
            if worth is not None:
                heap.append(self.entry(name, worth))
        for heap in self.heaps.values():
            heapify(heap)

    def refresh(self) -> None:
        """Judge again what has changed since the last time."""
        changes = self._books.changes
        if self._seen == len(changes):
            return
        for name in dict.fromkeys(changes[self._seen :]):
            if name in self._groups:
                before = self._worth.get(name)
                worth = self._judged(name, self._books.nodes[name])
                if worth is not None and worth != before:
                    heappush(self.heaps[self._groups[name]], self.entry(name, worth))
        self._seen = len(changes)

    def worth(self, name: str) -> int | None:
        """What was last thought of a node; None: it takes none."""
        return self._worth.get(name)

    def group_of(self, name: str) -> Group:
        return self._groups[name]

    def is_open(self, group: Group) -> bool:
        return not self.judge.refuses_group_of(self._books.nodes[self._some_node[group]])

    def beside(self, group: Group, service: str) -> int:
        """Instances of `service` that all nodes of a group count as near (see `spread_over`)."""
        return self.judge.beside(self._books.nodes[self._some_node[group]], service)

    def entry(self, name: str, worth: int) -> Entry:
        return (-worth, name if self.by_name else self._tie(name), name)

    def counts(self, entry: Entry) -> bool:
        """Whether this is what was last thought of its node."""
        return self._worth.get(entry[2]) == -entry[0]

    def _judged(self, name: str, free: FreeNode) -> int | None:
        return self._note(name, self.judge.local(free))

    def _note(self, name: str, worth: int | None) -> int | None:
        if worth is None:
            self._worth.pop(name, None)
            return None
        self._worth[name] = worth = 0 if self.by_name else worth
        return worth


class Turn:
    """One service that takes nodes from a ranking, until `close`; the books change with it alone.

    `over_nodes`: its replicas are spread over nodes, and not over the values of a label.
    """

    def __init__(self, ranking: Ranking, books: Books, service: str, *, over_nodes: bool) -> None:
        self._ranking = ranking
        self._books = books
        self._service = service
        self._over_nodes = over_nodes and not ranking.by_name
        self._aside: list[Entry] = []
        self._own: dict[Group, Heap] = {}
        self._own_entries: dict[str, Entry] = {}
        self._bonus = 0 if ranking.by_name else ranking.judge.bonus(0)
        ranking.refresh()
        if self._over_nodes:
            for name in books.where(service):
                self._note_own(name)

    def best(self) -> str | None:
        """The best node for one more instance, or None where all refuse."""
        ranking = self._ranking
        best: Entry | None = None
        for group, heap in ranking.heaps.items():
            if not ranking.is_open(group):
                continue
            if (top := self._common_top(heap)) is not None:
                entry = (top[0] - self._bonus_of(group), top[1], top[2])
                best = entry if best is None or entry < best else best
            if (own := self._own_top(group)) is not None:
                best = own if best is None or own < best else best
        return None if best is None else best[2]

    def placed(self, name: str) -> None:
        """An instance of the service went to this node, as the books know by now."""
        self._ranking.refresh()
        if self._over_nodes:
            self._note_own(name)

    def close(self) -> None:
        ranking = self._ranking
        for entry in self._aside:
            if ranking.counts(entry):
                heappush(ranking.heaps[ranking.group_of(entry[2])], entry)
        self._aside.clear()

    def _bonus_of(self, group: Group) -> int:
        if self._over_nodes or self._ranking.by_name:
            return self._bonus  # of a node without any: those that have some are our own
        return self._ranking.judge.bonus(self._ranking.beside(group, self._service))

    def _common_top(self, heap: Heap) -> Entry | None:
        own = self._own_entries
        while heap:
            entry = heap[0]
            if not self._ranking.counts(entry):
                heappop(heap)
            elif entry[2] in own:
                self._aside.append(heappop(heap))
            else:
                return entry
        return None

    def _own_top(self, group: Group) -> Entry | None:
        heap = self._own.get(group)
        while heap:
            if self._own_entries.get(heap[0][2]) == heap[0]:
                return heap[0]
            heappop(heap)
        return None

    def _note_own(self, name: str) -> None:
        worth = self._ranking.worth(name)
        if worth is None:
            self._own_entries.pop(name, None)
            return
        count = self._books.where(self._service)[name]
        entry = self._ranking.entry(name, worth + self._ranking.judge.bonus(count))
        self._own_entries[name] = entry
        heappush(self._own.setdefault(self._ranking.group_of(name), []), entry)
