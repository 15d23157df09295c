"""Directed plans: what chance alone seldom finds. One seed in four follows one of them."""

from collections.abc import Callable

from msgspec.structs import replace

from roheletd.cluster.commands import Proposal
from roheletd.raft.values import EVERYBODY, AnyMessage, Append, AppendResponse, SnapshotChunk
from tests.raft.simulation.clients import a_command
from tests.raft.simulation.cluster import Cluster
from tests.raft.simulation.nemesis import both_ways, one_way, without
from tests.raft.simulation.network import Weather
from tests.raft.simulation.node import Node
from tests.raft.simulation.world import must

THEMED_EVERY = 4


def bad_order(cluster: Cluster) -> None:
    """Much arrives twice, seconds late or never; snapshots are many, and one message each."""
    nemesis, rng = cluster.nemesis, cluster.world.rng
    cluster.network.weather = Weather(
        loss=0.1, repeated=0.3, slow=0.4, slow_s=rng.choice((0.5, 1.5))
    )
    for node in cluster.nodes:
        node.make = replace(node.make, compact_every=8, keep=0, chunk_bytes=32_768)
    nemesis.load = "busy"
    nemesis.every_s = 0.5
    nemesis.faults = [
        *[lambda: _flood_leader(cluster)] * 8,
        nemesis.crash_leader,
        nemesis.isolate,
        nemesis.cut_one_way,
        nemesis.transfer,
    ]
    cluster.chaos()


def churn(cluster: Cluster) -> None:
    """Members come and go while leaders fall."""
    nemesis = cluster.nemesis
    nemesis.every_s = 0.5
    nemesis.faults = [
        *[nemesis.change_membership] * 4,
        nemesis.remove_leader,
        nemesis.crash_leader,
        nemesis.isolate_leader,
        nemesis.isolate_leader_one_way,
        nemesis.partition,
    ]
    cluster.chaos()


def half_written(cluster: Cluster) -> None:
    """Leaders that reach few others, and fall: the paper's figure 8, over and over."""
    nemesis, rng = cluster.nemesis, cluster.world.rng
    cluster.network.weather = Weather(slow=rng.choice((0.0, 0.2)), slow_s=2.0)
    nemesis.load = "busy"
    nemesis.faults = [lambda: None]
    cluster.checks.on_election = lambda leader: _reach_few_and_fall(cluster, leader)
    cluster.chaos()
    cluster.checks.on_election = None


def left_behind(cluster: Cluster) -> None:
    """A voter is asked to take over, is cut off as it begins a term, and is removed meanwhile."""
    leader = _calm_leader(cluster)
    nemesis = cluster.nemesis
    names = [name for name in leader.core.configuration.voters if name != leader.name]
    heir = nemesis.named(cluster.world.rng.choice(names))
    leader.transfer(heir.name)
    until, term = cluster.world.now + 0.5, leader.core.term
    while heir.core.term == term and cluster.world.now < until:
        cluster.world.run_until(cluster.world.now + 0.002)
    nemesis.last(cluster.network.cut(both_ways([heir], nemesis.others(heir))), 4)
    cluster.world.run_until(cluster.world.now + 2.5)
    leader.change(lambda now: without(now, heir.name) if heir.name in now.voters else now)
    cluster.world.run_until(cluster.world.now + 3)


def half_a_snapshot(cluster: Cluster) -> None:
    """The leader falls while it sends a snapshot; the next one's is another, and may be older."""
    nemesis, rng = cluster.nemesis, cluster.world.rng
    for node in cluster.nodes:
        node.make = replace(node.make, keep=0, chunk_bytes=200)
    for _ in range(2):
        leader = _calm_leader(cluster)
        for node in cluster.nodes:
            node.make = replace(node.make, compact_every=6 if node is leader else 30)
        behind = rng.choice(nemesis.others(leader))
        mend = cluster.network.cut(both_ways([behind], nemesis.others(behind)))
        cluster.world.run_until(cluster.world.now + 5)
        nemesis.load = "off"
        mend()
        cluster.world.run_until(cluster.world.now + 0.3 + 0.5 * rng.random())
        nemesis.kill(leader, 5)
        cluster.world.run_until(cluster.world.now + 15)
        level = behind.state.applied_index == len(cluster.checks.history.committed)
        must(level, "a node that is behind is brought up", behind.name)


def late_answers(cluster: Cluster) -> None:
    """Leadership goes to and fro faster than answers come: some reach a later term of the same."""
    nemesis, rng = cluster.nemesis, cluster.world.rng

    def lag_s(to: str, message: AnyMessage) -> float:
        late = isinstance(message, AppendResponse) and rng.random() < 0.2
        return 0.5 + rng.random() if late else 0.0

    cluster.network.weather = Weather()
    cluster.network.lag_s = lag_s
    nemesis.load = "busy"
    nemesis.every_s = 0.3
    nemesis.faults = [nemesis.transfer, nemesis.transfer, nemesis.crash_leader]
    cluster.chaos()
    cluster.network.lag_s = None


def late_snapshot(cluster: Cluster) -> None:
    """One follower hears questions at once and entries late, so that it is sent a snapshot of what
    is under way already. The snapshot comes when its log is longer, and all of that acknowledged.
    """
    nemesis, rng = cluster.nemesis, cluster.world.rng
    for node in cluster.nodes:
        node.make = replace(node.make, compact_every=8, keep=0, chunk_bytes=32_768)
    leader = _calm_leader(cluster)
    late = rng.choice([name for name in leader.core.configuration.voters if name != leader.name])

    def lag_s(to: str, message: AnyMessage) -> float:
        if to != late:
            return 0.0
        if message.to == EVERYBODY:
            return 4.0
        if isinstance(message, SnapshotChunk):
            return 0.9 + 0.3 * rng.random()
        return 0.6 if isinstance(message, Append) and message.entries else 0.0

    cluster.network.lag_s = lag_s
    nemesis.load = "busy"
    nemesis.faults = [lambda: _flood_leader(cluster)]
    nemesis.every_s = 0.5
    cluster.chaos()
    cluster.network.lag_s = None


def long_tail(cluster: Cluster) -> None:
    """A leader alone takes more than the others commit and compact meanwhile, then hears of it."""
    nemesis, rng = cluster.nemesis, cluster.world.rng
    for node in cluster.nodes:
        node.make = replace(node.make, compact_every=8, keep=0)
    for _ in range(3):
        leader = _calm_leader(cluster)
        away_s = 5 + 3 * rng.random()
        nemesis.last(cluster.network.cut(both_ways([leader], nemesis.others(leader))), away_s)
        _flood(cluster, leader, 10 + rng.randrange(40))
        nemesis.load = rng.choice(("busy", "calm"))
        cluster.world.run_until(cluster.world.now + away_s + 2 * rng.random())
        nemesis.kill(rng.choice(cluster.nodes), 1)


def returning_node(cluster: Cluster) -> None:
    """A voter that heard nothing for long comes back to a leader that all others follow."""
    leader = _calm_leader(cluster)
    nemesis, rng = cluster.nemesis, cluster.world.rng
    names = [name for name in leader.core.configuration.voters if name != leader.name]
    node = nemesis.named(rng.choice(names))
    nemesis.load = "off"
    away_s = 5 + 5 * rng.random()
    if rng.random() < 0.3:
        node.crash()
        cluster.world.after(away_s / 2, node.start)
    nemesis.last(cluster.network.cut(both_ways([node], nemesis.others(node))), away_s)
    term = leader.core.term
    cluster.world.run_until(cluster.world.now + away_s + 5)
    must(
        leader.leads and leader.core.term == term,
        "a node that returns does not disturb the leader",
        node.name,
    )


def cut_off_leader(cluster: Cluster) -> None:
    """Without a majority that answers, a leader has to stop, even where it is heard by all."""
    leader = _calm_leader(cluster)
    nemesis, rng = cluster.nemesis, cluster.world.rng
    pairs = one_way(nemesis.others(leader), [leader])
    if rng.random() < 0.5:
        pairs = both_ways([leader], nemesis.others(leader))
    timing = leader.timing
    nemesis.last(cluster.network.cut(pairs), 10)
    term = leader.core.term
    cluster.world.run_until(cluster.world.now + 1.02 * timing.election_max_s + 1)
    must(
        not leader.leads or leader.core.term > term,
        "a leader that no majority answers stops",
        leader.name,
    )


def handover(cluster: Cluster) -> None:
    """One leader after the other hands over; nobody waits for a silence."""
    for _ in range(5):
        leader = _calm_leader(cluster)
        cluster.nemesis.load = "calm"
        names = [name for name in leader.core.configuration.voters if name != leader.name]
        heir = cluster.nemesis.named(cluster.world.rng.choice(names))
        leader.transfer(heir.name)
        cluster.world.run_until(cluster.world.now + 1.5)
        must(heir.leads, "a handover waits for no silence", heir.name)


def idle_restarts(cluster: Cluster) -> None:
    """A quiet cluster whose voters start again one by one, while one of them is cut off.

    Nobody falls behind, so nothing but the silence after a start keeps the leader in its place.
    """
    leader = _calm_leader(cluster)
    nemesis, rng = cluster.nemesis, cluster.world.rng
    nemesis.load = "off"
    for _ in range(6):
        others = [node for node in nemesis.others(leader) if node.up]
        nemesis.last(cluster.network.cut(both_ways([leader], others[:1])), 4)
        nemesis.kill(rng.choice(others), 0.2 + rng.random())
        cluster.world.run_until(cluster.world.now + 2 + 2 * rng.random())


def _reach_few_and_fall(cluster: Cluster, leader: Node) -> None:
    """From the moment of its election on. The others are told soon that it has fallen."""
    nemesis, rng = cluster.nemesis, cluster.world.rng
    if rng.random() < 0.15:
        return
    others = nemesis.others(leader)
    rest = [node for node in others if rng.random() < 0.6]
    lasts_s = 0.05 + 0.6 * rng.random()
    nemesis.last(cluster.network.cut(one_way([leader], rest)), lasts_s + 0.5)
    _flood(cluster, leader, rng.randrange(3))
    cluster.world.after(lasts_s, nemesis.kill, leader, 0.3 + 3 * rng.random())
    for node in others:
        cluster.world.after(lasts_s + 0.5 * rng.random(), node.hint, leader.name)


def _flood(cluster: Cluster, node: Node, times: int) -> None:
    """Commands that this node alone is given, once; nobody waits for what becomes of them."""
    for _ in range(times):
        number = len(cluster.checks.history.submitted)
        proposal = Proposal(id=f"flood{number}", command=a_command(cluster.world.rng))
        cluster.checks.history.submits(proposal.id)
        cluster.world.after(0.3 * cluster.world.rng.random(), node.submit, proposal, _ignore)


def _flood_leader(cluster: Cluster) -> None:
    if (leader := cluster.nemesis.leader()) is not None:
        _flood(cluster, leader, 10)


def _ignore(index: int | None, leader: str | None) -> None:
    pass


def _calm_leader(cluster: Cluster) -> Node:
    """Fair weather, and a leader with some commands behind it."""
    cluster.network.weather = Weather()
    cluster.nemesis.load = "busy"
    while (leader := cluster.nemesis.leader()) is None or len(
        cluster.checks.history.committed
    ) < 20:
        cluster.world.run_until(cluster.world.now + 0.5)
    return leader


THEMES: tuple[Callable[[Cluster], None], ...] = (
    bad_order,
    churn,
    half_a_snapshot,
    half_written,
    late_answers,
    late_snapshot,
    left_behind,
    long_tail,
    returning_node,
    cut_off_leader,
    handover,
    idle_restarts,
)


def plan(seed: int) -> Callable[[Cluster], None]:
    """What this seed does between the first start and the healing."""
    at, theme = divmod(seed, THEMED_EVERY)
    return THEMES[at % len(THEMES)] if theme == THEMED_EVERY - 1 else Cluster.chaos
