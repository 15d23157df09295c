"""Who votes: the leader's policy, one step of it at a time.

    member --healthy--> learner --30 s healthy, caught up--> voter --surplus, silent, gone--> member

Few voters are enough and more cost a message each, so there are 1, 2, 3 or 5 of them. A step adds
or removes one voter at most, because any majority before such a step shares a node with any after
it (Raft, thesis 4.1). No step leads to voters whose healthy ones are no majority. A node that is to
vote is brought up to date first, as a learner, and some learners are kept ready beyond that.

With two voters each one is needed. That is intended: it keeps on both what was acknowledged, and
two nodes cannot tell a dead peer from a cut link.
"""

import math
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from roheletd.fields import Voting
from roheletd.model import node_of
from roheletd.raft.values import Configuration, NodeId


class Limits(Struct, frozen=True, kw_only=True):
    """When a node counts as what. More waits longer before it changes who votes.

    `healthy_within_s`: heard at least that recently. `replace_after_s`: of silence, until a spare
    takes the place of a voter.
    """

    healthy_within_s: float = 3.0
    promote_after_s: float = 30.0
    replace_after_s: float = 120.0
    lag_entries_max: int = 50


class Peer(Struct, frozen=True, kw_only=True):
    """What is known of one machine, by its member id.

    `known`: the agreed state has a member of this very id. `silent_s` is the time since it was
    heard over any way; `healthy_since_s` None: it is not healthy. `lag_entries` None: not tracked.
    """

    known: bool = True
    voter: Voting = "auto"
    witness: bool = False
    silent_s: float = math.inf
    healthy_since_s: float | None = None
    lag_entries: int | None = None

    @property
    def eligible(self) -> bool:
        return self.known and self.voter == "auto"


_GONE = Peer(known=False)


class HandOver(Struct, frozen=True, kw_only=True):
    """The leader is to vote no more: another has to lead before it can be removed."""

    to: NodeId


def wanted(eligible: int) -> int:
    """How many of so many nodes vote."""
    if eligible >= 5:  # noqa: PLR2004
        return 5
    return min(max(eligible, 1), 3)


def spares(eligible: int) -> int:
    """How many learners are kept ready beyond those that are to vote."""
    return (eligible >= 4) + (eligible >= 10)  # noqa: PLR2004


def next_configuration(
    current: Configuration,
    peers: Mapping[NodeId, Peer],
    *,
    me: NodeId,
    now_s: float,
    limits: Limits,
) -> Configuration | HandOver | None:
    """The next step from `current`, or None where all is as it should be or has to wait.

    To be asked of the leader, `me`, while no earlier step is under way.
    """
    return _Policy(current, peers, me=me, now_s=now_s, limits=limits).step()


class _Policy:
    """One look at the cluster.

    `keep` are the voters that may go on voting; `candidates`, those that might vote beside them,
    `ready` the ones of these that may at once; `awaited`, how many of them are to.
    """

    def __init__(
        self,
        current: Configuration,
        peers: Mapping[NodeId, Peer],
        *,
        me: NodeId,
        now_s: float,
        limits: Limits,
    ) -> None:
        self._voters = set(current.voters)
        self._learners = set(current.learners)
        self._peers = peers
        self._me = me
        self._now_s = now_s
        self._limits = limits
        self._eligible = {id_ for id_, peer in peers.items() if peer.eligible}
        self._keep = self._voters & self._eligible
        tracked = {id_ for id_ in self._learners & self._eligible if not self._is_stale(id_)}
        fresh = set(filter(self._is_healthy, self._eligible - self._voters - tracked))
        self._candidates = self._in_order(tracked) + self._in_order(fresh)
        self._ready = self._in_order(filter(self._is_ready, tracked))
        kept = len(self._keep)
        self._awaited = max(0, wanted(kept + len(self._candidates)) - kept)

    def step(self) -> Configuration | HandOver | None:
        return (
            self._remove(id_ for id_ in self._voters if not self._peer(id_).known)
            or self._hand_over()
            or self._promote()
            or self._remove(self._retiring())
            or self._remove(self._surplus())
            or self._track()
        )

    def _hand_over(self) -> HandOver | None:
        fit = [id_ for id_ in self._keep if self._is_healthy(id_)]
        if self._me in self._eligible or not fit:
            return None
        return HandOver(to=min(fit, key=lambda id_: (self._lag(id_), id_)))

    def _promote(self) -> Configuration | None:
        """Grow, but only to a number that is wanted once all who are ready have followed.

        Or let a spare stand beside a voter that has been silent for long, and is then surplus.
        """
        if not self._ready:
            return None
        few = len(self._keep) < wanted(len(self._keep) + len(self._ready))
        replace = len(self._keep) <= self._voters_wanted() and any(map(self._is_stale, self._keep))
        grown = self._voters | {self._ready[0]}
        return self._configuration(grown) if (few or replace) and self._is_safe(grown) else None

    def _remove(self, candidates: Iterable[NodeId]) -> Configuration | None:
        """Without one of the candidates, the silent first; never without the leader itself."""
        for id_ in sorted(set(candidates) - {self._me}, key=self._removal_order):
            rest = self._voters - {id_}
            if self._is_safe(rest):
                return self._configuration(rest)
        return None

    def _retiring(self) -> set[NodeId]:
        """Those that are not to vote any more do so until others are there for it."""
        return set() if self._awaited else self._voters - self._eligible

    def _surplus(self) -> set[NodeId]:
        return self._keep if len(self._keep) > self._voters_wanted() else set()

    def _voters_wanted(self) -> int:
        """A dead node that votes counts, for it may come back; one that does not vote never."""
        return wanted(sum(id_ in self._keep or not self._is_stale(id_) for id_ in self._eligible))

    def _track(self) -> Configuration | None:
        """The right learners; any number of them may change at once, as they count for nothing."""
        room = self._awaited + spares(len(self._eligible))
        tracked = set(self._candidates[:room])
        return None if tracked == self._learners else Configuration.of(self._voters, tracked)

    def _configuration(self, voters: set[NodeId]) -> Configuration:
        return Configuration.of(voters, self._learners - voters)

    def _in_order(self, ids: Iterable[NodeId]) -> list[NodeId]:
        """Witnesses first: to vote is all that they are for."""
        return sorted(ids, key=lambda id_: (not self._peer(id_).witness, id_))

    def _removal_order(self, id_: NodeId) -> tuple[bool, bool, bool, list[int]]:
        """After health, the opposite of the order in which nodes are taken."""
        backwards = [-ord(letter) for letter in id_]
        peer = self._peer(id_)
        return self._is_healthy(id_), not self._is_stale(id_), peer.witness, backwards

    def _peer(self, id_: NodeId) -> Peer:
        return self._peers.get(id_, _GONE)

    def _lag(self, id_: NodeId) -> float:
        lag_entries = self._peer(id_).lag_entries
        return math.inf if lag_entries is None else lag_entries

    def _is_healthy(self, id_: NodeId) -> bool:
        return id_ == self._me or self._peer(id_).silent_s < self._limits.healthy_within_s

    def _is_stale(self, id_: NodeId) -> bool:
        return id_ != self._me and self._peer(id_).silent_s >= self._limits.replace_after_s

    def _is_ready(self, id_: NodeId) -> bool:
        since_s = self._peer(id_).healthy_since_s
        return (
            self._is_healthy(id_)
            and since_s is not None
            and self._now_s - since_s >= self._limits.promote_after_s
            and self._lag(id_) <= self._limits.lag_entries_max
        )

    def _is_safe(self, voters: Collection[NodeId]) -> bool:
        return sum(map(self._is_healthy, voters)) > len(voters) // 2


def outlook(configuration: Configuration, alive: Collection[NodeId]) -> str:
    """What would happen if one more machine died, and what can be done about it."""
    voters = configuration.voters
    away = [node_of(id_) for id_ in voters if id_ not in alive]
    living = len(voters) - len(away)
    margin = living - (len(voters) // 2 + 1)
    noun = "voter" if len(voters) == 1 else "voters"
    count = f"{living} of {len(voters)} {noun} {'is' if living == 1 else 'are'} alive"
    if margin < 0:
        return f"{count}: {_without_majority(away)}"
    if away:
        count += f", {_listed(away)} away"
    if margin > 0:
        number = "one" if margin == 1 else f"{margin}"
        more = " more" if away else ""
        return f"{count}: {number}{more} may die and the cluster goes on"
    return f"{count}: {_at_the_edge(len(voters), away)}"


def _without_majority(away: list[str]) -> str:
    back = "it back, or, if it is" if len(away) == 1 else "one of them back, or, if they are"
    return (
        f"no majority, so nothing can be changed (containers keep running); missing: "
        f"{', '.join(away)}; bring {back} lost for good, run `roheletd cluster recover --force` "
        "on a node that is left"
    )


def _at_the_edge(voters: int, away: list[str]) -> str:
    if voters == 1:
        return (
            "if this machine dies nothing can be changed until it is back (containers elsewhere "
            "keep running); add two more machines"
        )
    if not away:
        remedy = "add a third machine, or a witness"
    else:
        remedy = f"bring {away[0]} back, or add a machine to take its place"
    needed = "both are needed" if voters == 2 else "all that are left are needed"  # noqa: PLR2004
    return (
        f"{needed}, so if one more machine dies nothing can be changed until it is back "
        f"(containers keep running); {remedy}"
    )


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is"
    return f"{', '.join(names[:-1])} and {names[-1]} are"
