"""Clients: each gives one command after the other, and again under the same id until it is told."""

from collections.abc import Callable, Sequence
from random import Random

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Place,
    Proposal,
    RemoveNode,
    RemoveService,
)
from roheletd.model import Capacity, Node, Placement, Service
from tests.raft.simulation import node as nodes
from tests.raft.simulation.history import History
from tests.raft.simulation.world import World

PACE_S = {"busy": (0.02, 0.3), "calm": (0.4, 2.0), "idle": (5.0, 9.0)}
NAMES = ("alpha", "beta", "gamma", "delta")
HOSTS = ("pi", "jetson", "box")


def a_command(rng: Random) -> AnyCommand:
    """Mostly what changes something; sometimes what the state then refuses."""
    name, host = rng.choice(NAMES), rng.choice(HOSTS)
    match rng.randrange(8):
        case 0:
            return RemoveService(name=name)
        case 1:
            capacity = Capacity(cores={0: 1000, 1: 1000}, memory_mib=rng.randrange(1000, 4000))
            return AddNodes(nodes=(Node(name=host, engine="docker", capacity=capacity),))
        case 2:
            return RemoveNode(name=host)
        case 3:
            instance = f"{name}.{rng.randrange(3)}"
            place = Placement(instance=instance, service=name, node=host, revision=1)
            return Place(placements=(place,), released=(f"{name}.{rng.randrange(3)}",))
        case _:
            service = Service(name=name, image=f"i:{rng.randrange(99)}", replicas=rng.randrange(5))
            return AddServices(services=(service,))


class Client:
    """`load` says how busy all of them are at the moment; "off" lets them finish and be quiet."""

    def __init__(
        self,
        world: World,
        history: History,
        cluster: Sequence[nodes.Node],
        *,
        name: str,
        load: Callable[[], str],
    ) -> None:
        self.world, self.history, self.cluster = world, history, cluster
        self.name, self.load = name, load
        self._given = 0
        self._attempt = 0
        self._proposal: Proposal | None = None
        self._guess = cluster[0]

    @property
    def waits(self) -> bool:
        return self._proposal is not None

    def rest(self) -> None:
        pace = self.load()
        if pace == "off":
            self.world.after(1.0, self.rest)
            return
        low, high = PACE_S[pace]
        self.world.after(low + (high - low) * self.world.rng.random(), self._next)

    def _next(self) -> None:
        if self.load() == "off":
            self.rest()
            return
        self._given += 1
        command = a_command(self.world.rng)
        self._proposal = Proposal(id=f"{self.name}{self._given}", command=command)
        self.history.submits(self._proposal.id)
        self._try()

    def _try(self) -> None:
        """Sometimes two nodes are asked at once: the command must still be applied once."""
        proposal, rng = self._proposal, self.world.rng
        assert proposal is not None
        self._attempt += 1
        answer = self._answer_to(proposal, self._attempt)
        self.world.after(1 + 2 * rng.random(), self._give_up, self._attempt)
        self._guess.submit(proposal, answer)
        if rng.random() < 0.05:
            self.cluster[rng.randrange(len(self.cluster))].submit(proposal, answer)

    def _give_up(self, attempt: int) -> None:
        if attempt == self._attempt and self._proposal is not None:
            self._guess = self.cluster[self.world.rng.randrange(len(self.cluster))]
            self._try()

    def _answer_to(self, proposal: Proposal, attempt: int) -> nodes.Answer:
        def answer(index: int | None, leader: str | None) -> None:
            if index is not None:
                self._is_told(proposal, index)
            elif attempt == self._attempt:
                self._attempt += 1
                self.world.after(0.05 + 0.3 * self.world.rng.random(), self._elsewhere, leader)

        return answer

    def _is_told(self, proposal: Proposal, index: int) -> None:
        """The answer may be lost on its way: then the command comes once more."""
        if self.world.chance(0.03):
            return
        self.history.acknowledges(proposal.id, index)
        if proposal is self._proposal:
            self._proposal = None
            self._attempt += 1
            self.rest()

    def _elsewhere(self, leader: str | None) -> None:
        if self._proposal is None:
            return
        known = [node for node in self.cluster if node.name == leader]
        self._guess = known[0] if known else self.world.rng.choice(self.cluster)
        self._try()
