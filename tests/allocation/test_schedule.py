"""The leader's pass: exactly the replicas asked for, books that balance, whatever happens."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Condition, ForeignLoad
from roheletd.allocation.view import View, snapshot
from roheletd.allocation.wanted import next_reschedule_s
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    JoinNode,
    RemoveNode,
    RemoveService,
    Scale,
)
from roheletd.model import Neighbour, Placement, Port
from tests.allocation.passes import PROFILE, run_pass, view_of
from tests.builders import Driver, a_member, a_node, a_service, with_services


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


def test_scaling_down_keeps_what_is_healthy() -> None:
    cluster = with_services(a_service(replicas=3))
    run_pass(cluster)
    best = max(cluster.state.placements.values(), key=lambda at: at.score).instance
    cluster.apply(Scale(name="web", replicas=2))
    view = replace(view_of(cluster), available=cluster.state.placements.keys() - {best})
    assert schedule(cluster.state, view, PROFILE, Random(1)).place.released == (best,)


def test_scaling_to_nothing_releases_all() -> None:
    cluster = with_services(a_service(replicas=3))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(replicas=0),)))
    run_pass(cluster)
    assert count(cluster) == 0


def test_the_instances_of_a_changed_service_are_placed_anew_in_their_own_room_one_by_one() -> None:
    cluster = with_services(a_service(replicas=2, cores=(1000,)), nodes=(a_node(cores=2),))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(replicas=2, cores=(1000,), image="web:2"),)))
    run_pass(cluster)
    assert sorted(at.revision for at in cluster.state.placements.values()) == [2, 4]
    run_pass(cluster)
    assert {at.revision for at in cluster.state.placements.values()} == {4}
    assert count(cluster) == 2


def test_a_changed_service_that_fits_no_more_runs_on_as_it_was_and_waits() -> None:
    cluster = with_services(a_service(cores=(1000,)))
    run_pass(cluster)
    cluster.apply(AddServices(services=(a_service(cores=(1001,)),)))
    found = run_pass(cluster)
    assert [at.revision for at in cluster.state.placements.values()] == [2]
    assert "web" in found.unplaceable


@pytest.mark.parametrize("least", [1, 2])
def test_one_that_finds_no_place_holds_up_the_others_only_where_they_have_to_be_healthy(
    least: int,
) -> None:
    """One on each node, and one of the nodes is lost."""
    web = a_service(replicas=3, anti_affinity=(Neighbour(service="web"),), min_available=least)
    cluster = with_services(web, nodes=tuple(map(a_node, "abc")))
    run_pass(cluster)
    cluster.apply(AddServices(services=(replace(web, image="web:2"),)))
    lost = {"lost_for_s": {"c": 9.0}}
    found = run_pass(cluster, **lost)
    assert found.place.placements == ()
    found = run_pass(cluster, **lost, waiting=found.unplaceable)
    revision = cluster.state.services["web"].revision
    new = [at for at in cluster.state.placements.values() if at.revision == revision]
    assert len(new) == (1 if least == 1 else 0)


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
    (first,) = cluster.state.placements["web.1"].ports
    taken = Condition(foreign=ForeignLoad(ports=frozenset({first.host_port})))
    view = View(conditions={"pi": taken}, displaced=frozenset({"web.1"}))
    found = schedule(cluster.state, view, PROFILE, Random(1))
    cluster.apply(found.place)
    (second,) = cluster.state.placements["web.1"].ports
    assert second.host_port == first.host_port + 1
    assert found.place.released == ()


def test_a_stranded_instance_moves_where_another_node_takes_it_and_stays_where_none_does() -> None:
    cluster = with_services(a_service(cores=(1000,)), nodes=(a_node("a", cores=1),))
    run_pass(cluster)
    refused = Condition(refused_images={"web:1": "no such image"})
    view = View(conditions={"a": refused, "b": Condition()}, stranded=frozenset({"web.1"}))
    stuck = schedule(cluster.state, view, PROFILE, Random(1))
    assert stuck.is_empty
    assert "could not get it: no such image" in stuck.unplaceable["web"].reason
    cluster.apply(AddNodes(nodes=(a_node("b", cores=1),)))
    cluster.apply(schedule(cluster.state, view, PROFILE, Random(1)).place)
    assert cluster.state.placements["web.1"].node == "b"


def test_replicas_on_one_node_get_ports_of_their_own() -> None:
    cluster = with_services(a_service(replicas=3, ports=(Port(container_port=80),)))
    run_pass(cluster)
    ports = sorted(at.ports[0].host_port for at in cluster.state.placements.values())
    assert ports == list(range(ports[0], ports[0] + 3))


def test_a_new_edition_waits_for_no_port_that_one_it_replaces_still_holds() -> None:
    wanted = a_service(replicas=3, ports=(Port(container_port=80),))
    cluster = with_services(wanted)
    run_pass(cluster)
    before = {at.ports for at in cluster.state.placements.values()}
    cluster.apply(RemoveService(name="web"))
    cluster.apply(AddServices(services=(wanted,)))
    run_pass(cluster)
    after = {at.ports for at in cluster.state.placements.values()}
    assert len(before | after) == 6


def on_a_and_b(**more: object) -> Driver:
    """Two instances of one service, one on each node, and no room for more."""
    cluster = with_services(
        a_service(replicas=2, cores=(1000,), **more),
        nodes=(a_node("a", cores=1), a_node("b", cores=1)),
    )
    run_pass(cluster)
    return cluster


def on(cluster: Driver, node: str) -> list[Placement]:
    return list(cluster.state.placements_on(node).values())


def test_instances_of_a_lost_node_are_placed_elsewhere_after_reschedule_after_and_not_before() -> (
    None
):
    cluster = on_a_and_b(reschedule_after_s=60.0)
    cluster.apply(AddNodes(nodes=(a_node("c"),)))
    (before,) = on(cluster, "b")
    assert run_pass(cluster, lost_for_s={"b": 59.9}).is_empty
    found = run_pass(cluster, lost_for_s={"b": 60.0})
    (after,) = on(cluster, "c")
    assert (after.instance, found.place.released) == (before.instance, ())
    assert after.placed_at > before.placed_at
    assert run_pass(cluster, lost_for_s={"b": 61.0}).is_empty


def test_a_service_may_leave_a_lost_node_at_once() -> None:
    cluster = on_a_and_b(reschedule_after_s=0.0)
    cluster.apply(AddNodes(nodes=(a_node("c"),)))
    run_pass(cluster, lost_for_s={"b": 0.0})
    assert (len(on(cluster, "b")), len(on(cluster, "c"))) == (0, 1)


def test_what_no_other_node_takes_stays_with_its_lost_node_and_is_said_to_wait() -> None:
    cluster = on_a_and_b()
    found = run_pass(cluster, lost_for_s={"b": 60.0})
    assert found.is_empty
    assert found.unplaceable["web"].reason == "no node of 2 fits (cpu: 1, cores: 1, alive: 1)"
    back = run_pass(cluster)
    assert back.is_empty
    assert not back.unplaceable


def test_a_suspect_node_keeps_its_instances() -> None:
    cluster = on_a_and_b()
    cluster.apply(AddNodes(nodes=(a_node("c"),)))
    view = view_of(cluster)
    view = replace(view, conditions={**view.conditions, "b": Condition(liveness="suspect")})
    assert schedule(cluster.state, view, PROFILE, Random(1)).is_empty


def test_scaling_down_takes_what_is_on_a_lost_node_first() -> None:
    for lost, living in (("a", "b"), ("b", "a")):
        cluster = on_a_and_b()
        cluster.apply(AddServices(services=(a_service(cores=(1000,)),)))
        run_pass(cluster, lost_for_s={lost: 0.5})
        assert (len(on(cluster, lost)), len(on(cluster, living))) == (0, 1)


def test_an_instance_that_never_ran_is_placed_before_one_whose_node_may_come_back() -> None:
    cluster = on_a_and_b()
    cluster.apply(AddServices(services=(a_service(replicas=3, cores=(1000,)),)))
    cluster.apply(AddNodes(nodes=(a_node("c", cores=1),)))
    found = run_pass(cluster, lost_for_s={"b": 60.0})
    assert [at.instance for at in on(cluster, "c")] == ["web.3"]
    assert len(on(cluster, "b")) == 1
    assert "web" in found.unplaceable


def test_instances_leave_a_node_that_has_become_a_witness() -> None:
    cluster = on_a_and_b()
    cluster.apply(JoinNode(member=a_member("b", witness=True)))
    cluster.apply(AddNodes(nodes=(a_node("b", engine="none"), a_node("c"))))
    run_pass(cluster)
    assert (len(on(cluster, "b")), len(on(cluster, "c"))) == (0, 1)


def test_the_next_rescheduling_is_that_of_the_least_patient_service_on_a_lost_node() -> None:
    cluster = with_services(
        a_service("slow", reschedule_after_s=60.0), a_service("fast"), nodes=(a_node("a"),)
    )
    run_pass(cluster)
    left_s = {
        lost_for_s: next_reschedule_s(cluster.state, view_of(cluster, lost_for_s={"a": lost_for_s}))
        for lost_for_s in (0.0, 4.0, 5.0, 60.0)
    }
    assert left_s == {0.0: 5.0, 4.0: 1.0, 5.0: 55.0, 60.0: None}
    assert next_reschedule_s(cluster.state, view_of(cluster)) is None


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


@settings(max_examples=200)
@given(
    some.lists(some_steps, max_size=8),
    some.lists(some.dictionaries(names, some.sampled_from([1.0, 60.0])), max_size=4),
)
def test_whoever_is_lost_every_instance_keeps_a_place_or_waits_with_a_reason(
    steps: list[Step], losses: list[dict[str, float]]
) -> None:
    cluster = with_services(nodes=(a_node("a"), a_node("b")))
    for step in steps:
        step(cluster)
    run_pass(cluster)
    for lost_for_s in losses:
        before = set(cluster.state.placements)
        found = run_pass(cluster, lost_for_s=lost_for_s)
        assert before <= set(cluster.state.placements)
        for at in cluster.state.placements.values():
            stranded = lost_for_s.get(at.node, 0.0) >= 60.0
            assert not stranded or at.service in found.unplaceable
        assert run_pass(cluster, lost_for_s=lost_for_s).is_empty


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
        # Of each changed service one instance in each pass, and one more that finds none left.
        changed = sum(it.service.replicas for it in cluster.state.services.values() if it.rollout)
        assert any(run_pass(cluster, seed=seed).is_empty for _ in range(changed + 1))
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
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes
    for name, node in cluster.state.nodes.items():
        here = cluster.state.placements_on(name).values()
        used: Counter[int] = Counter()
        for at in here:
            used.update(at.cores)
        memory_mib = sum(cluster.state.edition_of(at).service.memory_mib for at in here)
        ports = [(b.host_port, b.protocol) for at in here for b in at.ports]
        assert len(ports) == len(set(ports))
        assert memory_mib <= node.capacity.memory_mib
        assert free[name].memory_mib == node.capacity.memory_mib - memory_mib
        for core, size in node.capacity.cores.items():
            assert used[core] <= size
            assert free[name].cores[core] == size - used[core]
