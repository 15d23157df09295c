"""One seed from its beginning to its end: a cluster, faults, healing, proof of life, and quiet."""

from collections.abc import Callable
from random import Random

from roheletd.cluster import state as states
from roheletd.raft.values import Configuration, Entry, Kind, Saved, Timing, encode_configuration
from tests.raft.simulation.checks import Checks
from tests.raft.simulation.clients import Client
from tests.raft.simulation.disk import Disk
from tests.raft.simulation.nemesis import Nemesis
from tests.raft.simulation.network import Network, Weather
from tests.raft.simulation.node import Make, Node
from tests.raft.simulation.world import BrokenError, World, must

SPARES = 2
CLIENTS = 3
CHAOS_S = (15.0, 40.0)
PROGRESS_S = 30.0
SETTLE_S = 3.0
QUIET_S = 4.0
SPOKEN_PER_S_MAX = 40
QUIET_SPOKEN_PER_S_MAX = 10
SPOKEN_PER_COMMAND_MAX = 8
"""Messages per node: a leader's are most of them, and what all hear counts once per hearer."""


def founders(names: list[str]) -> Saved:
    """The disk of each first voter: one entry, which says who they are."""
    data = encode_configuration(Configuration.of(set(names)))
    return Saved(term=1, commit=1, entries=(Entry(1, 1, data, Kind.CONFIGURATION),))


def a_weather(rng: Random) -> Weather:
    return Weather(
        loss=rng.choice((0.0, 0.01, 0.05, 0.2)),
        repeated=rng.choice((0.0, 0.0, 0.02, 0.1)),
        slow=rng.choice((0.0, 0.0, 0.05, 0.3)),
    )


def a_make(rng: Random, *, compact_every: int, keep: int) -> Make:
    return Make(
        offset_s=1000 * rng.random(),
        rate=1 + 0.01 * rng.uniform(-1, 1),
        write_s=rng.choice((0.003, 0.01, 0.05)),
        compact_every=compact_every,
        keep=keep,
        chunk_bytes=rng.choice((100, 400, 32_768)),
    )


class Cluster:
    """Voters that found it, spares that know nothing yet, and clients."""

    def __init__(self, seed: int, *, voters: int, chatty: bool = False) -> None:
        self.world = World(seed, chatty=chatty)
        rng = self.world.rng
        self.checks = Checks(self.world)
        self.network = Network(self.world, a_weather(rng), encoded=seed % 16 == 0)
        names = [f"n{number}" for number in range(voters + SPARES)]
        first = founders(names[:voters])
        compact_every, keep = rng.choice((8, 30, 50)), rng.choice((0, 4, 20))
        self.nodes = [
            Node(
                self.world,
                self.network,
                self.checks,
                name=name,
                disk=Disk(first if at < voters else Saved()),
                make=a_make(rng, compact_every=compact_every, keep=keep),
                timing=Timing(),
            )
            for at, name in enumerate(names)
        ]
        self.nemesis = Nemesis(self.world, self.network, self.nodes, voters=voters)
        self.clients = [
            Client(self.world, self.checks.history, self.nodes, name=f"c{number}-", load=self._load)
            for number in range(CLIENTS)
        ]
        self._spoken_per_s_max = SPOKEN_PER_S_MAX

    def run(self, plan: Callable[["Cluster"], None]) -> None:
        self.begin()
        plan(self)
        self.heal()
        self.progress()
        self.quiet()
        self.compare()

    def begin(self) -> None:
        for node in self.nodes:
            self.world.after(self.world.rng.random(), node.start)
        for client in self.clients:
            client.rest()
        self._budget(0, (0,))

    def chaos(self) -> None:
        rng = self.world.rng
        self.world.after(3 * rng.random(), self.nemesis.begin)
        self.world.run_until(rng.uniform(*CHAOS_S))

    def heal(self) -> None:
        self.world.note("", "heals")
        self.nemesis.heal()
        self.nemesis.load = "calm"
        self.network.weather = Weather()
        for node in self.nodes:
            node.fault, node.stall_s = "", 0.0
            node.start()

    def progress(self) -> None:
        """Within the time, commands given after the healing are applied by every node."""
        until = self.world.now + PROGRESS_S
        before = len(self.checks.history.acknowledged)
        while len(self.checks.history.acknowledged) < before + CLIENTS:
            self._wait(until, "a command is acknowledged")
        self.nemesis.load = "off"
        while any(client.waits for client in self.clients) or not self._level():
            self._wait(until, "all nodes have applied everything")

    def quiet(self) -> None:
        """Nobody asks for anything: no write, no election, and little talk."""
        self.world.run_until(self.world.now + SETTLE_S)
        writes = [node.disk.writes for node in self.nodes]
        elections = self.checks.elections
        self._spoken_per_s_max = QUIET_SPOKEN_PER_S_MAX
        self.world.run_until(self.world.now + QUIET_S)
        idle = writes == [node.disk.writes for node in self.nodes]
        must(idle, "no write when idle", writes)
        must(elections == self.checks.elections, "no election when idle", elections)

    def compare(self) -> None:
        """All states are equal, and hold every command that was acknowledged."""
        first, first_index = self.nodes[0].state.saved(), self.checks.history.first_index
        oldest = min(first_index[command] for command in first.outcomes)  # others are forgotten
        owed = [one for one, index in self.checks.history.acknowledged.items() if index >= oldest]
        for node in self.nodes:
            saved = node.state.saved()
            same = states.encode(saved) == states.encode(first)
            must(same, "all states are equal at the end", node.name)
            lost = [one for one in owed if one not in saved.outcomes]
            must(not lost, "no acknowledged command is lost", node.name, lost)
            node.state.check()

    def _level(self) -> bool:
        """A leader that has just removed itself will be followed by another, in a while."""
        last, leader = len(self.checks.history.committed), self.nemesis.leader()
        if leader is None or leader.name not in leader.core.configuration.voters:
            return False
        return all(node.state.applied_index == last for node in self.nodes)

    def _wait(self, until: float, hope: str) -> None:
        if self.world.now >= until:
            state = [
                f"{node.name} {node.core.role} term {node.core.term} leader {node.core.leader} "
                f"applied {node.state.applied_index} last {node.core.last_index} "
                f"{node.core.configuration}"
                for node in self.nodes
            ]
            detail = f"not within {PROGRESS_S} s: {hope}\n  " + "\n  ".join(state)
            raise BrokenError("progress after healing", detail)
        self.world.run_until(self.world.now + 0.25)

    def _load(self) -> str:
        return self.nemesis.load

    def _budget(self, sent: int, proposed: tuple[int, ...]) -> None:
        """What is said in a second depends on what there was to say in the last few."""
        spent, proposed = self.network.sent - sent, (*proposed[-4:], self.checks.proposed)
        each = self._spoken_per_s_max + SPOKEN_PER_COMMAND_MAX * (proposed[-1] - proposed[0])
        allowed = each * len(self.nodes)
        must(spent <= allowed, "no message storm", spent, "in a second, not", allowed)
        self.world.after(1.0, self._budget, self.network.sent, proposed)
