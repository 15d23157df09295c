"""The leader's pass: exactly the replicas asked for, books that balance, whatever happens."""

from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as some

from roheletd.allocation.schedule import Schedule, View, schedule, snapshot
from roheletd.allocation.snapshot import ForeignLoad, Profile
from roheletd.cluster.commands import AddNodes, AddServices, RemoveNode, RemoveService
from roheletd.model import Port, Service
from tests.builders import Driver, a_node, a_service, with_services

PROFILE = Profile(port_min=20_000, port_max=20_009)


def run_pass(cluster: Driver, *, seed: int = 1) -> Schedule:
    liveness = dict.fromkeys(cluster.state.registrations, "alive")
    view = View(liveness=liveness, foreign={})  # type: ignore[arg-type]
    found = schedule(cluster.state, view, PROFILE, Random(seed))
    if not found.is_empty:
        cluster.apply(found.place)
    return found


def count(cluster: Driver, service: str = "web") -> int:
    return len(cluster.state.placements_of(service))


def test_every_replica_is_placed_once_and_the_next_pass_has_nothing_to_do() -> None:
    cluster = with_services(a_service(replicas=3, cores=(500,)))
    run_pass(cluster)
    assert set(cluster.state.placements) == {"web.1", "web.2", "web.3"}
    assert run_pass(cluster).is_empty


def test_replicas_that_do_not_fit_wait_with_their_reason_and_no_more_are_started() -> None:
    cluster = with_services(a_service(replicas=5, cores=(1000,)), nodes=(a_node(cores=2),))
    for _ in range(4):
        found = run_pass(cluster)
        assert count(cluster) == 2
        assert "needs 1000 millicores, 0 are free" in found.unplaceable["web"].reason


def test_scaling_down_removes_the_worst_placed_first() -> None:
    cluster = with_services(a_service(replicas=3, cores=(1000,)))
    run_pass(cluster)
    worst = min(cluster.state.placements.values(), key=lambda at: at.score).instance
    cluster.apply(AddServices(services=(a_service(replicas=2, cores=(1000,)),)))
    run_pass(cluster)
    assert count(cluster) == 2
    assert worst not in cluster.state.placements


def test_scaling_to_nothing_releases_all() -> None:
    cluster = with_services(a_service(replicas=3))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(replicas=0),)))
    run_pass(cluster)
    assert count(cluster) == 0


def test_a_changed_service_is_placed_anew_in_the_room_of_the_old_one() -> None:
    cluster = with_services(a_service(replicas=2, cores=(1000,)), nodes=(a_node(cores=2),))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(replicas=2, cores=(1000,), image="web:2"),)))
    run_pass(cluster)
    assert {at.revision for at in cluster.state.placements.values()} == {4}
    assert count(cluster) == 2


def test_a_changed_service_that_fits_no_more_is_released_and_waits() -> None:
    cluster = with_services(a_service(cores=(1000,)))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(cores=(1001,)),)))
    found = run_pass(cluster)
    assert count(cluster) == 0
    assert "web" in found.unplaceable


def test_services_are_served_in_the_order_in_which_they_were_defined() -> None:
    cluster = with_services(nodes=(a_node(cores=1),))
    cluster.apply(AddServices(services=(a_service("z-first", cores=(600,)),)))
    cluster.apply(AddServices(services=(a_service("a-second", cores=(600,)),)))
    found = run_pass(cluster)
    assert count(cluster, "z-first") == 1
    assert set(found.unplaceable) == {"a-second"}


def test_what_a_removed_service_held_is_free_again() -> None:
    cluster = with_services(a_service(cores=(1000,)), nodes=(a_node(cores=1),))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service("next", cores=(1000,)),)))
    assert "next" in run_pass(cluster).unplaceable
    cluster.apply(RemoveService(name="web"))
    run_pass(cluster)
    assert count(cluster, "next") == 1


def test_a_displaced_instance_is_placed_anew_in_one_entry() -> None:
    cluster = with_services(a_service(ports=(Port(container_port=80),)))
    run_pass(cluster)
    foreign = {"pi": ForeignLoad(ports=frozenset({20_000}))}
    view = View(liveness={"pi": "alive"}, foreign=foreign, displaced=frozenset({"web.1"}))
    found = schedule(cluster.state, view, PROFILE, Random(1))
    cluster.apply(found.place)
    assert cluster.state.placements["web.1"].ports[0].host_port == 20_001
    assert found.place.released == ()


def test_replicas_on_one_node_get_ports_of_their_own() -> None:
    cluster = with_services(a_service(replicas=3, ports=(Port(container_port=80),)))
    run_pass(cluster)
    ports = {at.ports[0].host_port for at in cluster.state.placements.values()}
    assert ports == {20_000, 20_001, 20_002}


names = some.sampled_from(["a", "b", "c"])
some_services = some.builds(
    lambda name, replicas, cores, memory_mib, fixed, strategy: a_service(
        name,
        replicas=replicas,
        cores=tuple(cores),
        memory_mib=memory_mib,
        ports=(Port(container_port=80, host_port=8080 if fixed else 0),),
        strategy=strategy,
    ),
    names,
    some.integers(0, 4),
    some.lists(some.integers(0, 1200), max_size=3),
    some.integers(0, 2000),
    some.booleans(),
    some.sampled_from(["first_fit", "best_fit", "worst_fit"]),
)
Step = Callable[[Driver], object]
some_steps: some.SearchStrategy[Step] = some.one_of(
    some.builds(lambda s: lambda c: c.apply(AddServices(services=(s,))), some_services),
    some.builds(lambda n: lambda c: c.apply(RemoveService(name=n)), names),
    some.builds(
        lambda n, cores: lambda c: c.apply(AddNodes(nodes=(a_node(n, cores=cores),))),
        names,
        some.integers(2, 4),
    ),
    some.builds(lambda n: lambda c: c.apply(RemoveNode(name=n)), names),
)


@settings(max_examples=300)
@given(some.lists(some_steps, max_size=12), some.integers(0, 9))
def test_no_sequence_of_changes_over_commits_or_miscounts(steps: list[Step], seed: int) -> None:
    cluster = with_services(nodes=(a_node("a"), a_node("b")))
    for step in steps:
        step(cluster)
        found = run_pass(cluster, seed=seed)
        for name, known in cluster.state.services.items():
            placed = count(cluster, name)
            assert placed <= known.service.replicas
            assert placed == known.service.replicas or name in found.unplaceable
        assert run_pass(cluster, seed=seed).is_empty
        if not _capacity_shrank(cluster):
            _check_books(cluster)


def _capacity_shrank(cluster: Driver) -> bool:
    """A node that registers again with fewer cores may be over-committed until it is drained."""
    return any(
        core not in cluster.state.nodes[at.node].capacity.cores
        for at in cluster.state.placements.values()
        for core in at.cores
    ) or any(len(node.capacity.cores) != 4 for node in cluster.state.nodes.values())


def _check_books(cluster: Driver) -> None:
    """Against sums taken the slow, obvious way."""
    services: dict[str, Service] = {
        name: known.service for name, known in cluster.state.services.items()
    }
    view = View(liveness=dict.fromkeys(cluster.state.nodes, "alive"), foreign={})
    free = snapshot(cluster.state, view, PROFILE).nodes
    for name, node in cluster.state.nodes.items():
        here = cluster.state.placements_on(name).values()
        used: Counter[int] = Counter()
        for at in here:
            used.update(at.cores)
        memory_mib = sum(services[at.service].memory_mib for at in here)
        ports = [(b.host_port, b.protocol) for at in here for b in at.ports]
        assert len(ports) == len(set(ports))
        assert memory_mib <= node.capacity.memory_mib
        assert free[name].memory_mib == node.capacity.memory_mib - memory_mib
        for core, size in node.capacity.cores.items():
            assert used[core] <= size
            assert free[name].cores[core] == size - used[core]
