"""What this node says of itself.

The announcer says to all others how it is, the registrar proposes it as a member, and the reporter
measures it and gives what it found to whoever cares.
"""

from collections.abc import Callable

from roheletd import __version__
from roheletd.identity import admitted
from roheletd.instance_use import InstanceUse
from roheletd.loops.announcer import Announcer
from roheletd.loops.proposer import Proposer
from roheletd.loops.registrar import Registrar
from roheletd.loops.reporter import Beat, Reporter
from roheletd.model import Member
from roheletd.parts.basis import Basis
from roheletd.systemd import watchdog
from roheletd.telemetry import Telemetry


def make_announcer(basis: Basis, *, proposer: Proposer) -> Announcer:
    return Announcer(
        node=basis.me.node,
        version=__version__,
        topics=basis.topics,
        sealer=basis.sealer,
        challenge=basis.challenge,
        log=proposer,
        state=basis.state,
        address=lambda: basis.address.host,
    )


def make_registrar(basis: Basis, *, proposer: Proposer) -> Registrar:
    def member() -> Member:
        cluster = basis.config.cluster
        return Member(
            name=basis.me.node,
            id=basis.me.member,
            broker=basis.own_broker,
            voter=cluster.voter,
            witness=cluster.role == "witness",
            version=__version__,
        )

    return Registrar(
        identity=basis.me,
        member=member,
        proposer=proposer,
        state=basis.state,
        soft=basis.soft,
        admitted=lambda: admitted(basis.data_dir),
    )


def make_reporter(
    basis: Basis,
    *,
    proposer: Proposer,
    announcer: Announcer,
    also: tuple[Callable[[], None], ...],
    uses: Callable[[], tuple[InstanceUse, ...]],
    measured: Callable[[Telemetry], None],
) -> Reporter:
    """Its waking is the pulse of the node: the watchdog's, and of `also`, who need one, too."""
    config, beats = basis.config, list(also)
    dog = watchdog()
    if dog is not None:
        beats.append(lambda: dog.beat(basis.clock.now_s()))
    interval_s = config.telemetry.interval_s
    beat_s = dog.interval_s if dog else interval_s
    if basis.me.shared:
        beat_s = min(beat_s, 2 * basis.timing.heartbeat_s)
        if interval_s > beat_s:
            beats.append(announcer.beat)
    return Reporter(
        node=basis.me.node,
        labels=config.node.labels,
        host_paths=config.node.host_paths,
        beat=Beat(report_s=interval_s, beat_s=beat_s, also=tuple(beats)),
        collectors=basis.found.collectors,
        log=proposer,
        soft=basis.soft,
        membership=basis.membership,
        clock=basis.clock,
        uses=uses,
        measured=measured,
        admitted=lambda: basis.state.member_by_id(basis.me.member) is not None,
    )
