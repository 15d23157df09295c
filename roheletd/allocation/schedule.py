"""One pass of the leader over all services: what is missing, what is too much, what is outdated.

`Round` is the pass, in batches: a whole cluster's placements neither hold up the leader's loop nor
become one huge entry of the log. `schedule` is the same at once.

Where that leaves somebody out, or a sensitive service on a shared core, it is improved before
anything is proposed (see `search`).
"""

from collections.abc import Iterator
from functools import partial
from random import Random

from msgspec import Struct

from roheletd.allocation.algorithm import Hooks
from roheletd.allocation.allocate import Unplaceable
from roheletd.allocation.attempt import Attempt, Task
from roheletd.allocation.search import Search
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import View, snapshot_with
from roheletd.allocation.wanted import wanted
from roheletd.cluster.commands import Place
from roheletd.cluster.state import ClusterState
from roheletd.model import Placement


class Schedule(Struct, frozen=True, kw_only=True):
    """What to propose, and which services had to wait with their reasons.

    `preempted` are released instances that had to make room, and for whom.
    """

    place: Place
    unplaceable: dict[str, Unplaceable] = {}
    preempted: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        return not self.place.placements and not self.place.released


def schedule(
    state: ClusterState, view: View, profile: Profile, rng: Random, hooks: Hooks | None = None
) -> Schedule:
    """The placements that bring every service to its number of replicas, as far as they fit.

    What is not kept is released in the same entry, so that its share can be given out again.
    """
    this = Round(state, view, profile, rng, hooks=hooks)
    for _ in this.search():
        pass
    placements: dict[str, Placement] = {}
    released: dict[str, None] = {}
    for place in this.batches():
        released |= dict.fromkeys(place.released)
        placements |= {at.instance: at for at in place.placements}
    return Schedule(
        place=Place(
            placements=tuple(placements.values()),
            released=tuple(sorted(released.keys() - placements.keys())),
        ),
        unplaceable=this.unplaceable,
        preempted=this.preempted,
    )


def applied_at(place: Place, state: ClusterState) -> int | None:
    """Index of the entry that `place` became; None where nothing of it is left to see."""
    names = [at.instance for at in place.placements]
    found = (state.placements[name].placed_at for name in names if name in state.placements)
    return max(found, default=None)


class Round:
    """A pass. `resting` services are left alone (see `Waiting`); `tried` are all others.

    First `search`, then `batches`; with the last of them `unplaceable` and `preempted` are known,
    which are as in `Schedule`.
    """

    def __init__(
        self,
        state: ClusterState,
        view: View,
        profile: Profile,
        rng: Random,
        *,
        resting: frozenset[str] = frozenset(),
        hooks: Hooks | None = None,
    ) -> None:
        self.tried = state.services.keys() - resting
        self.unplaceable: dict[str, Unplaceable] = {}
        self.preempted: dict[str, str] = {}
        self._rng = rng
        self._attempt: Attempt | None = None
        all_wanted = {name: wanted(state, known, view) for name, known in state.services.items()}
        kept = {at.instance: at for it in all_wanted.values() for at in (*it.stay, *it.moving)}
        self._task = Task(
            wanted=all_wanted,
            kept=kept,
            released=frozenset(state.placements.keys() - kept.keys()),
            resting=resting,
            take=partial(snapshot_with, state, view, profile, list(kept.values())),
            profile=profile,
            seed=rng.getrandbits(64),
            hooks=hooks,
        )

    @property
    def lacking(self) -> frozenset[str]:
        """The services that are to have a turn."""
        return frozenset(it.known.service.name for it in self._task.lacking)

    def search(self) -> Iterator[None]:
        """Second thoughts, as far as they are worth it, with a breath before each."""
        search = Search(self._task, self._rng)
        yield from search.steps()
        self._attempt = search.attempt

    def batches(self) -> Iterator[Place]:
        """Entries to propose one after the other. A whole application is one of its own."""
        attempt = self._attempt or Attempt(self._task)
        self.unplaceable, self.preempted = attempt.unplaceable, attempt.preempted
        yield from attempt.batches()
