"""What a node does for the whole cluster while it leads. Every node has these parts; they rest."""

from roheletd.api.operations import Operations
from roheletd.cluster.voters import Limits
from roheletd.loops.leader import Leader
from roheletd.loops.rebalancer import Rebalancer
from roheletd.loops.rollout_keeper import RolloutKeeper
from roheletd.loops.voter_keeper import VoterKeeper
from roheletd.parts.agreed_log import AgreedLog
from roheletd.parts.basis import Basis


class Leading:
    """The rollout keeper says what may go on, and the leader then places it."""

    def __init__(self, basis: Basis, *, log: AgreedLog, operations: Operations) -> None:
        self.leader = Leader(
            log=log.proposer,
            profile=basis.profile,
            algorithm=basis.algorithm,
            state=basis.state,
            soft=basis.soft,
            membership=basis.membership,
            events=basis.events,
            clock=basis.clock,
            rng=basis.rng,
        )
        self.rollout_keeper = RolloutKeeper(
            log=log.proposer,
            state=basis.state,
            soft=basis.soft,
            events=basis.events,
            clock=basis.clock,
            proceed=self.leader.wake,
        )
        self.rebalancer = _rebalancer(basis, log, operations)
        self.voter_keeper = _voter_keeper(basis, log)

    def wake(self) -> None:
        """The agreed state has changed, or who leads."""
        self.leader.wake()
        self.rollout_keeper.wake()


def _rebalancer(basis: Basis, log: AgreedLog, operations: Operations) -> Rebalancer | None:
    moves_per_hour = basis.config.allocation.rebalance_moves
    if not moves_per_hour:
        return None
    return Rebalancer(
        moves_per_hour=moves_per_hour,
        operations=operations,
        log=log.proposer,
        soft=basis.soft,
        events=basis.events,
    )


def _voter_keeper(basis: Basis, log: AgreedLog) -> VoterKeeper:
    section = basis.config.cluster
    return VoterKeeper(
        elector=log.elector,
        state=basis.state,
        membership=basis.membership,
        limits=Limits(
            healthy_within_s=basis.limits.lost_after_s,
            promote_after_s=section.promote_after_s,
            replace_after_s=section.replace_after_s,
        ),
        clock=basis.clock,
        leads=lambda: log.proposer.leads,
    )
