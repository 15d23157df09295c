"""What goes wrong: faults with a beginning and an end, drawn at random from a mix per seed."""

from collections.abc import Callable, Sequence

from roheletd.raft.values import Configuration, NodeId
from tests.raft.simulation.network import Network, Pair
from tests.raft.simulation.node import Node
from tests.raft.simulation.world import World

Undo = Callable[[], None]


class Nemesis:
    """Each fault is a method; `undo` ends whatever still lasts."""

    def __init__(
        self, world: World, network: Network, cluster: Sequence[Node], *, voters: int
    ) -> None:
        self.world, self.network, self.cluster, self.voters = world, network, cluster, voters
        self.load = "calm"
        self._lasting: dict[int, Undo] = {}
        self._begun = 0
        self._stopped = False
        rng = world.rng
        self.faults = [fault for fault in self._all() if rng.random() < 0.6] or self._all()
        self.every_s = rng.choice((0.7, 1.5, 3.0))

    def _all(self) -> list[Callable[[], None]]:
        return [
            self.cut_one_way,
            self.cut_link,
            self.isolate,
            self.isolate_leader,
            self.isolate_leader_one_way,
            self.partition,
            self.broker_outage,
            self.crash,
            self.crash_leader,
            self.crash_twice,
            self.power_cut,
            self.failing_disk,
            self.slow_disk,
            self.freeze,
            self.freeze_leader,
            self.change_membership,
            self.change_membership,
            self.change_two,
            self.remove_leader,
            self.transfer,
            self.false_hint,
            self.change_load,
            self.change_load,
        ]

    def begin(self) -> None:
        if self._stopped:
            return
        self.world.rng.choice(self.faults)()
        self.world.after(self.every_s * (0.2 + 1.6 * self.world.rng.random()), self.begin)

    def heal(self) -> None:
        self._stopped = True
        for undo in list(self._lasting.values()):
            undo()
        self._lasting.clear()

    # --- whom

    def leader(self) -> Node | None:
        """The one of the newest term, where several think that they lead."""
        leading = [node for node in self.cluster if node.leads]
        return max(leading, key=lambda node: node.core.term, default=None)

    def anyone(self) -> Node:
        """One who matters, mostly: a voter."""
        leader = self.leader()
        if leader is not None and self.world.chance(0.7):
            names = leader.core.configuration.voters
            return self.named(self.world.rng.choice(names))
        return self.world.rng.choice(self.cluster)

    def named(self, name: NodeId) -> Node:
        return next(node for node in self.cluster if node.name == name)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.cluster if other is not node]

    # --- links

    def cut_one_way(self) -> None:
        one, other = self._two()
        self._cut([(one.name, other.name)])

    def cut_link(self) -> None:
        one, other = self._two()
        self._cut(both_ways([one], [other]))

    def isolate(self) -> None:
        node = self.anyone()
        self._cut(both_ways([node], self.others(node)))

    def isolate_leader(self) -> None:
        if (leader := self.leader()) is not None:
            self._cut(both_ways([leader], self.others(leader)))

    def isolate_leader_one_way(self) -> None:
        """It speaks and hears nothing, or hears and is not heard."""
        if (leader := self.leader()) is not None:
            pairs = one_way([leader], self.others(leader))
            mute = self.world.chance(0.5)
            self._cut(pairs if mute else [(to, sender) for sender, to in pairs])

    def partition(self) -> None:
        here = [node for node in self.cluster if self.world.chance(0.5)]
        there = [node for node in self.cluster if node not in here]
        self._cut(both_ways(here, there))

    def broker_outage(self) -> None:
        self.last(self.network.outage(), 1 + 11 * self.world.rng.random())

    # --- power and processes

    def crash(self) -> None:
        self.kill(self.anyone(), 0.1 + 8 * self.world.rng.random())

    def crash_leader(self) -> None:
        """Its will may be told to the others, at once or late."""
        if (leader := self.leader()) is None:
            return
        self.kill(leader, 0.1 + 8 * self.world.rng.random())
        if self.world.chance(0.5):
            for node in self.others(leader):
                self.world.after(0.5 * self.world.rng.random(), node.hint, leader.name)

    def crash_twice(self) -> None:
        """Up just long enough to say something, and down again."""
        node = self.anyone()
        self.kill(node, 0.1)
        self.world.after(0.1 + 0.1 * self.world.rng.random(), node.crash)
        self.world.after(0.5 + self.world.rng.random(), node.start)

    def power_cut(self) -> None:
        back_s = 3 * self.world.rng.random()
        for node in self.cluster:
            self.kill(node, back_s + 1.5 * self.world.rng.random())

    def failing_disk(self) -> None:
        self.anyone().fault = self.world.rng.choice(("before", "after"))

    def slow_disk(self) -> None:
        self.anyone().stall_s = 0.2 + 4 * self.world.rng.random()

    def freeze(self) -> None:
        self._freeze(self.anyone())

    def freeze_leader(self) -> None:
        if (leader := self.leader()) is not None:
            self._freeze(leader)

    def kill(self, node: Node, down_s: float) -> None:
        node.crash()
        self.last(node.start, down_s)

    # --- what an operator does

    def change_membership(self) -> None:
        """One step at the leader; sometimes a second at once, which has to be refused."""
        if (leader := self.leader()) is None:
            return
        for _ in range(1 + self.world.chance(0.2)):
            leader.change(self._step)

    def change_two(self) -> None:
        """Two steps in one, which has to be refused, too."""
        if (leader := self.leader()) is not None:
            leader.change(lambda now: self._step(self._step(now)))

    def remove_leader(self) -> None:
        leader = self.leader()
        if leader is not None and len(leader.core.configuration.voters) > 1:
            leader.change(lambda now: without(now, leader.name))

    def transfer(self) -> None:
        if (leader := self.leader()) is not None:
            to = self.world.rng.choice(leader.core.configuration.voters)
            if to != leader.name:
                leader.transfer(to)

    def false_hint(self) -> None:
        leader = self.leader()
        name = leader.name if leader is not None else self.anyone().name
        for node in self.cluster:
            if node is not leader and self.world.chance(0.5):
                node.hint(name)

    def change_load(self) -> None:
        self.load = self.world.rng.choice(("busy", "calm", "idle"))

    def _step(self, now: Configuration) -> Configuration:
        """Towards as many voters as the seed wants, with some steps away from it."""
        rng = self.world.rng
        outside = [node.name for node in self.cluster if node.name not in now.members]
        if len(now.learners) < 2 and outside and rng.random() < 0.6:
            return with_learner(now, rng.choice(outside))
        wanted = self.voters + rng.choice((-1, 0, 0, 1))
        if len(now.voters) < wanted and now.learners:
            return promoted(now, rng.choice(now.learners))
        if len(now.voters) > 1:
            return without(now, rng.choice(now.voters))
        return now

    # --- how long

    def last(self, undo: Undo, for_s: float) -> None:
        self._begun += 1
        self._lasting[self._begun] = undo
        self.world.after(for_s, self._end, self._begun)

    def _end(self, begun: int) -> None:
        if (undo := self._lasting.pop(begun, None)) is not None:
            undo()

    def _cut(self, pairs: list[Pair]) -> None:
        self.world.note("", "cuts", pairs)
        self.last(self.network.cut(pairs), 0.5 + 8 * self.world.rng.random())

    def _freeze(self, node: Node) -> None:
        self.world.note(node.name, "freezes")
        node.freeze()
        self.last(node.thaw, 0.2 + 6 * self.world.rng.random())

    def _two(self) -> tuple[Node, Node]:
        one = self.anyone()
        return one, self.world.rng.choice(self.others(one))


def one_way(senders: Sequence[Node], receivers: Sequence[Node]) -> list[Pair]:
    return [(sender.name, to.name) for sender in senders for to in receivers]


def both_ways(here: Sequence[Node], there: Sequence[Node]) -> list[Pair]:
    return one_way(here, there) + one_way(there, here)


def with_learner(now: Configuration, name: NodeId) -> Configuration:
    return Configuration.of(set(now.voters), {*now.learners, name})


def promoted(now: Configuration, name: NodeId) -> Configuration:
    return Configuration.of({*now.voters, name}, set(now.learners) - {name})


def without(now: Configuration, name: NodeId) -> Configuration:
    return Configuration.of(set(now.voters) - {name}, set(now.learners))
