"""Short ways to say what a test is about; everything not said has a harmless default."""

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    EndRollout,
    Found,
    JoinNode,
    Outcome,
    Proposal,
)
from roheletd.cluster.state import ClusterState
from roheletd.model import Capacity, Member, Node, Service


def a_node(name: str = "pi", *, cores: int = 4, memory_mib: int = 4096, **more: object) -> Node:
    capacity = Capacity(cores=dict.fromkeys(range(cores), 1000), memory_mib=memory_mib)
    return Node(**{"name": name, "engine": "docker", "capacity": capacity, **more})  # type: ignore[arg-type]


def a_service(name: str = "web", **more: object) -> Service:
    return Service(**{"name": name, "image": "web:1", **more})  # type: ignore[arg-type]


def a_member(name: str = "pi", *, digits: str = "00000000", **more: object) -> Member:
    return Member(**{"name": name, "id": f"{name}.{digits}", **more})  # type: ignore[arg-type]


class Driver:
    """Applies commands to a state one by one, and checks its invariants after each."""

    def __init__(self, *commands: AnyCommand) -> None:
        self.state = ClusterState()
        for command in commands:
            self.apply(command)

    def apply(self, command: AnyCommand, *, command_id: str = "") -> Outcome:
        index = self.state.applied_index + 1
        proposal = Proposal(id=command_id or f"id-{index}", command=command)
        outcome = self.state.apply(index, 1, proposal)
        self.state.check()
        return outcome

    def end_of_rollout(self, name: str = "web", *, succeeded: bool, reason: str = "") -> EndRollout:
        """The leader's word on the rollout that goes on, as it is to be applied."""
        rollout = self.state.services[name].rollout
        assert rollout is not None, f"{name} was never changed"
        return EndRollout(name=name, begun_at=rollout.begun_at, succeeded=succeeded, reason=reason)


def with_services(*services: Service, nodes: tuple[Node, ...] = ()) -> Driver:
    return Driver(AddNodes(nodes=nodes or (a_node(),)), AddServices(services=services))


def founded(*names: str) -> Driver:
    """A cluster of these machines, the first of which founded it."""
    return Driver(
        Found(cluster_id="c1", epoch=1, member=a_member(names[0])),
        *(JoinNode(member=a_member(name)) for name in names[1:]),
        *(AddNodes(nodes=(a_node(name),)) for name in names),
    )
