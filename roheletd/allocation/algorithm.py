"""A user's algorithm: what it is asked, what it is given, and what becomes of it where it fails.

    hooks = algorithm.hooks()          for one pass, or one answer to `why`; None: there are none
    hooks.filter(free, service)        -> a reason to refuse this node, or None
    hooks.score(free, service)         -> the term `user`, 0 to 1
    hooks.select(candidates, service)  -> the name of one of them
    hooks.allocate(nodes, service)     -> the name of one of them, or None: of none
    algorithm.tell(soft, events)       at the end of the pass

Each of the four is None where the class has no such method. Each raises `HookFailed` where the
user's code raised, took too long or answered nonsense, and is None from then on: whoever asked
drops what was worked out with it, and decides again. `candidates` and `nodes` are those that no
filter refuses, so an answer that is not among them is nonsense.

What the user's code is given is in `facts`.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from roheletd.allocation.facts import Candidate, NodeFacts, node_facts, service_facts
from roheletd.allocation.snapshot import FreeNode
from roheletd.cluster.events import Events
from roheletd.cluster.soft import SoftState
from roheletd.errors import RoheletError
from roheletd.model import Service
from roheletd.wording import shown

CALL_LIMIT_S = 0.1
"""What one call may take. One that takes longer is not asked again until it is loaded anew."""
PASS_LIMIT_S = 1.0
"""What all calls of one pass may take together: the leader's heartbeat waits for them."""
REASON_LETTERS_MAX = 200
NOTICE = "algorithm"

HOOKS: Mapping[str, tuple[str, str]] = {
    "filter": ("node", "service"),
    "score": ("node", "service"),
    "select": ("candidates", "service"),
    "allocate": ("nodes", "service"),
}
"""What a class may define, and what each is called with besides `self`."""

Call = Callable[[tuple[object, ...], float], tuple[object, float]]
"""Calls a method of the user's with these values for at most so many seconds.

Gives the answer and the seconds it took. Raises `TimeoutError`, or `HookFailed` with what the
method raised.
"""


class HookFailed(RoheletError):  # noqa: N818 - what happened
    """A hook gave no answer that can be used. `name` is `module:Class.hook`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


class NotLoaded(RoheletError):  # noqa: N818 - what it is
    """The class cannot be used; the message says what has to change."""


class Outcome:
    """What came of the hooks of one class since it was loaded."""

    def __init__(self) -> None:
        self.aside: set[str] = set()
        self.troubles: dict[str, str] = {}

    def worked(self, hook: str) -> None:
        self.troubles.pop(hook, None)

    def failed(self, hook: str, reason: str) -> None:
        self.troubles[hook] = f"{reason}; the built-in decides instead"


class Hooks:
    """The hooks of one pass; see the head of this file.

    `filter`, `score`, `select` and `allocate` are what to call, or None.
    """

    def __init__(self, name: str, calls: Mapping[str, Call], outcome: Outcome) -> None:
        self.name = name
        self._calls = calls
        self._out: dict[str, str] = {}
        self._outcome = outcome
        self._left_s = PASS_LIMIT_S
        self._facts: dict[str, tuple[FreeNode, NodeFacts]] = {}
        self.filter = self._filter if "filter" in calls else None
        self.score = self._score if "score" in calls else None
        self.select = self._select if "select" in calls else None
        self.allocate = self._allocate if "allocate" in calls else None

    def _filter(self, free: FreeNode, service: Service) -> str | None:
        answer = self._asked("filter", self._node(free), service_facts(service))
        if answer is not None and not (isinstance(answer, str) and answer.strip()):
            raise self._nonsense("filter", answer, "expected a reason, or None")
        self._outcome.worked("filter")
        return answer if answer is None else line(answer)

    def _score(self, free: FreeNode, service: Service) -> float:
        answer = self._asked("score", self._node(free), service_facts(service))
        if not isinstance(answer, int | float) or isinstance(answer, bool) or not 0 <= answer <= 1:
            raise self._nonsense("score", answer, "expected a number from 0 to 1")
        self._outcome.worked("score")
        return float(answer)

    def _select(
        self,
        candidates: Iterable[tuple[FreeNode, float, Mapping[str, float]]],
        service: Service,
    ) -> str:
        given = tuple(
            Candidate(
                name=free.name,
                score=score,
                terms=MappingProxyType(terms),
                node=self._node(free),
            )
            for free, score, terms in candidates
        )
        answer = self._asked("select", given, service_facts(service))
        name = _among((it.name for it in given), answer)
        if name is None:
            raise self._nonsense("select", answer, "expected the name of one of the candidates")
        self._outcome.worked("select")
        return name

    def _allocate(self, nodes: Iterable[FreeNode], service: Service) -> str | None:
        given = tuple(self._node(free) for free in nodes)
        if not given:
            return None
        answer = self._asked("allocate", given, service_facts(service))
        name = _among((it.name for it in given), answer)
        if name is None and answer is not None:
            raise self._nonsense("allocate", answer, "expected a node that takes it, or None")
        self._outcome.worked("allocate")
        return name

    def _asked(self, hook: str, *values: object) -> object:
        if (reason := self._out.get(hook)) is not None:
            raise HookFailed(f"{self.name}.{hook}", reason)
        limit_s = min(CALL_LIMIT_S, self._left_s)
        try:
            answer, took_s = self._calls[hook](values, limit_s)
        except TimeoutError:
            if limit_s < CALL_LIMIT_S:
                raise self._failed(hook, f"took more than {PASS_LIMIT_S:g} s of one pass") from None
            self._outcome.aside.add(hook)
            reason = f"took longer than {CALL_LIMIT_S * 1000:.0f} ms, and waits to be loaded again"
            raise self._failed(hook, reason) from None
        except HookFailed as failed:
            raise self._failed(hook, failed.reason) from None
        self._left_s = max(0.001, self._left_s - took_s)
        return answer

    def _nonsense(self, hook: str, answer: object, expected: str) -> HookFailed:
        plain = answer is None or isinstance(answer, str | int | float | dict | list)
        what = shown(answer) if plain else f"a {type(answer).__name__}"
        return self._failed(hook, f"answered {what}: {expected}")

    def _failed(self, hook: str, reason: str) -> HookFailed:
        setattr(self, hook, None)
        self._out[hook] = reason
        self._outcome.failed(hook, reason)
        return HookFailed(f"{self.name}.{hook}", reason)

    def _node(self, free: FreeNode) -> NodeFacts:
        """The same facts for as long as it is the same value: they cost more than most hooks."""
        known = self._facts.get(free.name)
        if known is None or known[0] is not free:
            known = self._facts[free.name] = (free, node_facts(free))
        return known[1]


class Algorithm:
    """The user's algorithm of one daemon, whether there is one and how it does.

    `name` is `module:Class`; empty: none is configured. `load` reads it anew, or raises
    `NotLoaded`.
    """

    def __init__(self, name: str = "", load: Callable[[], Mapping[str, Call]] = dict) -> None:
        self.name = name
        self.on_loaded: list[Callable[[], None]] = []
        self._load = load
        self._calls: Mapping[str, Call] = {}
        self._outcome = Outcome()
        self._not_loaded: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._is_new = False

    def reload(self) -> tuple[str, ...]:
        """The hooks that are used from now on, as if nothing had been.

        Raises `NotLoaded`; what was in use before still is, and `troubles` says so.
        """
        try:
            self._calls = self._load()
        except NotLoaded as error:
            which = "the one loaded before" if self._calls else "the built-in"
            self._not_loaded = {self.name: f"cannot be loaded: {error}; {which} decides instead"}
            raise
        self._outcome = Outcome()
        self._not_loaded, self._told = {}, {}
        self._is_new = True
        for told in self.on_loaded:
            told()
        return tuple(self._calls)

    def hooks(self) -> Hooks | None:
        """Those to ask now, or None. A hook that hung is not among them."""
        aside = self._outcome.aside
        calls = {hook: call for hook, call in self._calls.items() if hook not in aside}
        return Hooks(self.name, calls, self._outcome) if calls else None

    def troubles(self) -> dict[str, str]:
        """What is wrong now: `module:Class.hook`, or `module:Class`, to the reason."""
        hooks = {f"{self.name}.{hook}": why for hook, why in self._outcome.troubles.items()}
        return {**self._not_loaded, **hooks}

    def tell(self, soft: SoftState, events: Events) -> None:
        """Say what has changed since it was last said; the notice stands while there is trouble."""
        if self._is_new:
            events.add("algorithm loaded", self.name, ", ".join(self._calls))
            self._is_new = False
        now = self.troubles()
        for subject, reason in now.items():
            if self._told.get(subject) != reason:
                events.add("algorithm failed", subject, reason)
        for subject in self._told.keys() - now.keys():
            events.add("algorithm works again", subject)
        self._told = now
        if now:
            soft.notices[NOTICE] = "; ".join(f"{what} {why}" for what, why in now.items())
        else:
            soft.notices.pop(NOTICE, None)


def line(text: str) -> str:
    """A user's text as one line that fits a table, whatever it is made of."""
    words = " ".join(text.split())[:REASON_LETTERS_MAX]
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _among(names: Iterable[str], answer: object) -> str | None:
    return next((name for name in names if isinstance(answer, str) and name == answer), None)
