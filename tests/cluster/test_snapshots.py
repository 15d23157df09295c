"""A state that was restored from its snapshot goes on exactly as the one that it was taken of.

Whoever joins, or starts again, gets a snapshot and then the same entries as all others: whatever
the snapshot lacked would make that node differ. Definitions and their editions, rollouts, drains,
homes of data, config maps, secrets and stable ports are all in the histories here.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.allocation.schedule import schedule
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Cordon,
    Drain,
    EndRollout,
    ForgetHome,
    Found,
    JoinNode,
    LabelNode,
    Outcome,
    Place,
    Proposal,
    RemoveConfigMap,
    RemoveNode,
    RemoveSecret,
    RemoveService,
    Restart,
    RollBack,
    Scale,
    SetConfigMap,
    SetSecret,
)
from roheletd.cluster.configuration import Sealed
from roheletd.cluster.state import ClusterState, decode, encode
from roheletd.model import Port, Service
from roheletd.upkeep import Dependency, Inclusion, UpdatePolicy, Volume
from tests.allocation.passes import PROFILE, view_of
from tests.builders import Driver, a_member, a_node, a_service

NODES = ("n1", "n2", "n3")
SERVICES = ("a", "b", "c")


def a_definition(rng: Random) -> Service:
    name = rng.choice(SERVICES)
    ports = [
        Port(container_port=80, service_port=rng.choice((0, 0, 31_000, 31_001))),
        Port(container_port=53, protocol="udp", host_port=rng.choice((0, 31_000))),
    ]
    return a_service(
        name,
        image=rng.choice(("x:1", "x:2", "x:3")),
        replicas=rng.randint(0, 3),
        ports=tuple(ports[: rng.randint(0, 2)]),
        volumes=(Volume(path="/data", name="data", movable=rng.random() < 0.3),)
        if rng.random() < 0.4
        else (),
        config_maps=(Inclusion(name="page"),) if rng.random() < 0.4 else (),
        secrets=(Inclusion(name="key", path="/key"),) if rng.random() < 0.3 else (),
        depends_on=(Dependency(service=rng.choice(SERVICES)),) if rng.random() < 0.2 else (),
        update=UpdatePolicy(
            order=rng.choice(("stop-first", "start-first")),
            parallel=rng.randint(1, 2),
            on_failure=rng.choice(("rollback", "pause")),
        ),
    )


def a_command(state: ClusterState, rng: Random) -> AnyCommand:
    """Of any kind; most of them do something in this state."""
    service, node = rng.choice(SERVICES), rng.choice(NODES)
    known = state.services.get(service)
    value = rng.choice((b"1", b"2", b"3"))
    instance = rng.choice(list(state.placements) or ["a.1"])
    return rng.choice(
        (
            AddServices(services=(a_definition(rng),)),
            AddServices(services=(a_definition(rng),), removed=(rng.choice(SERVICES),)),
            RemoveService(name=service),
            Scale(name=service, replicas=rng.randint(0, 4)),
            Restart(name=service),
            RollBack(name=service),
            EndRollout(
                name=service,
                begun_at=known.rollout.begun_at if known and known.rollout else 1,
                succeeded=rng.random() < 0.6,
                reason="exit code 1",
            ),
            AddNodes(nodes=(a_node(node, cores=rng.randint(1, 4)),)),
            AddNodes(nodes=(a_node(node, source="declared", labels={"zone": "hall"}),)),
            RemoveNode(name=node),
            Cordon(name=node, cordoned=rng.random() < 0.5),
            Drain(name=node, draining=rng.random() < 0.6),
            LabelNode(name=node, labels={"rack": rng.choice("12")}, removed=("zone",)),
            ForgetHome(name=node, instance=instance),
            JoinNode(member=a_member(node)),
            Found(cluster_id="c1", epoch=rng.randint(1, 2), member=a_member(node)),
            SetConfigMap(name="page", values={rng.choice("xy"): value}),
            RemoveConfigMap(name="page"),
            SetSecret(name="key", values={"k": Sealed(box=rng.randbytes(3), mark=value)}),
            RemoveSecret(name="key"),
            Place(released=(instance,)),
            the_pass(state),
            the_pass(state),
            the_pass(state),
        )
    )


def the_pass(state: ClusterState) -> Place:
    """What the leader would propose."""
    driver = Driver()
    driver.state = state
    return schedule(state, view_of(driver), PROFILE, Random(1)).place


class Twins:
    """The state that was never restored, and the one that has been, which hear the same."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.restored = ClusterState()

    def apply(self, command: AnyCommand) -> None:
        index = self.state.applied_index + 1
        proposal = Proposal(id=f"id-{index}", command=command)
        assert self._outcome(self.restored, proposal) == self._outcome(self.state, proposal)

    def _outcome(self, state: ClusterState, proposal: Proposal) -> tuple[Outcome | None, Outcome]:
        before = state.foresee(proposal)
        after = state.apply(state.applied_index + 1, 1, proposal)
        state.check()
        return before, after

    def restore(self) -> None:
        self.restored = ClusterState(decode(encode(self.restored.saved())))

    def compare(self) -> None:
        one, other = self.state, self.restored
        # Byte for byte, as the order of things may decide something, too.
        assert encode(one.saved()) == encode(other.saved())
        assert list(one.placements.values()) == list(other.placements.values())
        assert one.service_ports.by_service == other.service_ports.by_service
        assert one.allocated_at == other.allocated_at
        assert one.unfilled == other.unfilled
        assert list(one.homes().items()) == list(other.homes().items())
        assert the_pass(one) == the_pass(other)
        for name, known in one.services.items():
            assert one.placements_of(name) == other.placements_of(name)
            for edition in known.editions:
                given_to = other.configuration.included(edition)
                assert one.configuration.included(edition) == given_to


def begun() -> Twins:
    twins = Twins()
    commands: tuple[AnyCommand, ...] = (
        Found(cluster_id="c1", epoch=1, member=a_member("n1")),
        *(JoinNode(member=a_member(name)) for name in NODES[1:]),
        *(AddNodes(nodes=(a_node(name),)) for name in NODES),
        SetConfigMap(name="page", values={"x": b"0"}),
        SetSecret(name="key", values={"k": Sealed(box=b"b", mark=b"0")}),
        AddServices(services=tuple(replace(a_definition(Random(it)), name=it) for it in SERVICES)),
    )
    for command in commands:
        twins.apply(command)
    return twins


@settings(max_examples=150, deadline=None)
@given(some.integers(0, 2**32), some.integers(5, 40), some.floats(0.05, 0.5))
def test_a_restored_state_goes_on_as_the_one_that_it_is_of(
    seed: int, length: int, restored_share: float
) -> None:
    rng, twins = Random(seed), begun()
    for _ in range(length):
        if rng.random() < restored_share:
            twins.restore()
        twins.apply(a_command(twins.state, rng))
        twins.compare()


EVERYTHING = {
    *("running", "rolling back", "completed", "rolled back", "paused"),
    *("old editions", "a way back", "homes", "a drain", "stable ports", "generations"),
}


def kept_in(state: ClusterState) -> set[str]:
    """What of `EVERYTHING` there is in this state."""
    known = state.services.values()
    saved = state.configuration.saved()
    generations = [*saved.config_maps.values(), *saved.secrets.values()]
    there = {
        "old editions": any(it.old for it in known),
        "a way back": any(it.before for it in known),
        "homes": state.homes(),
        "a drain": state.draining,
        "stable ports": state.service_ports.by_service,
        "generations": any(len(it) > 1 for it in generations),
    }
    rollouts = {it.rollout.state for it in known if it.rollout}
    return rollouts | {name for name, is_there in there.items() if is_there}


def test_the_histories_here_come_to_all_that_a_snapshot_has_to_keep() -> None:
    seen = set[str]()
    for seed in range(20):
        rng, twins = Random(seed), begun()
        for _ in range(200):
            twins.apply(a_command(twins.state, rng))
            seen |= kept_in(twins.state)
        if seen == EVERYTHING:
            return
    raise AssertionError(EVERYTHING - seen)
