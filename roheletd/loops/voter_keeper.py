"""The leader's care for who votes: asks the policy each second, and proposes its next step."""

import math
from collections.abc import Callable

from roheletd.clock import Clock
from roheletd.cluster.membership import Membership
from roheletd.cluster.state import ClusterState
from roheletd.cluster.voters import HandOver, Limits, Peer, next_configuration
from roheletd.loops.elector import Elector
from roheletd.model import node_of


class VoterKeeper:
    """One step at a time, and only while this node leads."""

    def __init__(
        self,
        *,
        elector: Elector,
        state: ClusterState,
        membership: Membership,
        limits: Limits,
        clock: Clock,
        leads: Callable[[], bool],
    ) -> None:
        self._elector = elector
        self._state = state
        self._membership = membership
        self._limits = limits
        self._clock = clock
        self._leads = leads

    def tick(self) -> None:
        core = self._elector.core
        if not self._leads() or core.changing:
            return
        step = next_configuration(
            core.configuration,
            self._peers(),
            me=core.me,
            now_s=self._clock.now_s(),
            limits=self._limits,
        )
        if isinstance(step, HandOver):
            self._elector.hand_over(step.to)
        elif step is not None:
            self._elector.change(step)

    def _peers(self) -> dict[str, Peer]:
        ids = {member.id for member in self._state.members.values()}
        progress = self._elector.core.progress()
        return {
            member_id: self._peer(member_id, progress.get(member_id))
            for member_id in sorted(ids | set(self._elector.core.configuration.members))
        }

    def _peer(self, member_id: str, progress: tuple[int, float] | None) -> Peer:
        core, now_s = self._elector.core, self._clock.now_s()
        member = self._state.member_by_id(member_id)
        if member is None:
            return Peer(known=False)
        silent_s = self._membership.silent_s(member.name, now_s)
        healthy_since_s = self._membership.steady_since_s(node_of(member_id), now_s)
        if member_id == core.me:
            silent_s, healthy_since_s = 0.0, -math.inf
        elif progress is not None:
            # A node may well live and report, and take no part in the log any more.
            silent_s = now_s - progress[1]
        return Peer(
            voter=member.voter,
            witness=member.witness,
            silent_s=silent_s,
            healthy_since_s=healthy_since_s,
            lag_entries=None if progress is None else core.last_index - progress[0],
        )
