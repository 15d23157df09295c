"""Preemption: who has to go for a service of higher priority, and who never has to."""

from hypothesis import given, settings
from hypothesis import strategies as some

from roheletd.allocation.ask import ask_of
from roheletd.allocation.books import Books
from roheletd.allocation.judge import Judge
from roheletd.allocation.schedule import Schedule
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import snapshot
from roheletd.cluster.commands import AddNodes, AddServices
from roheletd.model import Neighbour, Node, Port, Service
from tests.allocation.passes import run_pass, view_of
from tests.builders import Driver, a_node, a_service, with_services

ON = Profile(preemption=True)


def filled(*services: Service, nodes: tuple[Node, ...] = (a_node(cores=2),)) -> Driver:
    cluster = with_services(*services, nodes=nodes)
    run_pass(cluster, profile=ON)
    return cluster


def come(cluster: Driver, *services: Service, profile: Profile = ON) -> Schedule:
    cluster.apply(AddServices(services=services))
    return run_pass(cluster, profile=profile)


def test_a_service_of_higher_priority_pushes_out_what_it_needs_and_no_more() -> None:
    cluster = filled(a_service("low", replicas=4, cores=(500,)))
    found = come(cluster, a_service("high", cores=(1000,), priority=5))
    assert "high.1" in cluster.state.placements
    assert len(found.preempted) == 2
    assert set(found.preempted.values()) == {"made room for high.1"}
    assert set(found.place.released) == set(found.preempted)
    assert list(found.unplaceable) == ["low"]


def test_it_is_off_by_default() -> None:
    cluster = filled(a_service("low", replicas=2, cores=(1000,)))
    found = come(cluster, a_service("high", cores=(1000,), priority=5), profile=Profile())
    assert found.preempted == {}
    assert list(found.unplaceable) == ["high"]


def test_nobody_of_equal_or_higher_priority_is_pushed_out() -> None:
    for priority in (5, 6):
        cluster = filled(a_service("held", replicas=2, cores=(1000,), priority=priority))
        found = come(cluster, a_service("new", cores=(1000,), priority=5))
        assert found.preempted == {}
        assert list(found.unplaceable) == ["new"]


def test_the_lowest_priority_goes_first() -> None:
    cluster = filled(
        a_service("middle", cores=(1000,), priority=3), a_service("low", cores=(1000,), priority=1)
    )
    found = come(cluster, a_service("high", cores=(1000,), priority=5))
    assert set(found.preempted) == {"low.1"}


def test_of_several_nodes_the_one_that_loses_least_gives_way() -> None:
    nodes = (a_node("a", cores=1), a_node("b", cores=1))
    cluster = filled(
        a_service("dear", cores=(1000,), priority=4, constraints=("node.name == a",)),
        a_service("cheap", replicas=2, cores=(500,), constraints=("node.name == b",)),
        nodes=nodes,
    )
    come(cluster, a_service("high", cores=(600,), priority=5))
    assert cluster.state.placements["high.1"].node == "b"
    assert "dear.1" in cluster.state.placements


def test_what_is_pushed_out_goes_elsewhere_where_there_is_room() -> None:
    nodes = (a_node("a", cores=2), a_node("b", cores=1))
    cluster = filled(
        a_service("low", cores=(800,), constraints=("node.name != none",)), nodes=nodes
    )
    low = cluster.state.placements["low.1"].node
    other = "b" if low == "a" else "a"
    found = come(
        cluster,
        a_service(
            "high",
            cores=(800, 800) if low == "a" else (800,),
            priority=5,
            constraints=(f"node.name == {low}",),
        ),
    )
    assert found.preempted == {"low.1": "made room for high.1"}
    assert found.place.released == ()
    assert cluster.state.placements["low.1"].node == other
    assert found.unplaceable == {}


def test_what_was_about_to_be_replaced_may_be_pushed_out_and_is_counted_once() -> None:
    cluster = filled(a_service("low", cores=(800,)), nodes=(a_node("a", cores=1),))
    found = come(
        cluster,
        a_service("low", image="web:2", cores=(800,)),
        a_service("high", cores=(500,), priority=5),
        a_service("after", cores=(500,)),
    )
    assert found.preempted == {"low.1": "made room for high.1"}
    assert set(cluster.state.placements) == {"high.1", "after.1"}
    assert set(found.unplaceable) == {"low"}


def test_where_the_room_would_not_do_nobody_is_pushed_out() -> None:
    cluster = filled(a_service("low", replicas=4, cores=(500,)))
    for wanted in (
        a_service("long", cores=(10, 10, 10), priority=5),
        a_service("elsewhere", cores=(500,), priority=5, constraints=("node.name == x",)),
        a_service("apart", priority=5, anti_affinity=(Neighbour(service="long"),), memory_mib=9999),
    ):
        found = come(cluster, wanted)
        assert found.preempted == {}
        assert len(cluster.state.placements_of("low")) == 4


def test_a_port_that_is_taken_by_less_important_work_is_freed() -> None:
    port = (Port(container_port=80, host_port=8080),)
    cluster = filled(a_service("low", ports=port), a_service("bystander"))
    found = come(cluster, a_service("high", ports=port, priority=1))
    assert set(found.preempted) == {"low.1"}


some_low = some.lists(
    some.tuples(some.integers(50, 900), some.integers(0, 4), some.integers(0, 1500)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(some_low, some.integers(100, 1000), some.integers(0, 4000))
def test_every_victim_is_needed(
    low: list[tuple[int, int, int]], need: int, memory_mib: int
) -> None:
    services = [
        a_service(f"low{number}", cores=(cpu,), priority=priority, memory_mib=memory)
        for number, (cpu, priority, memory) in enumerate(low)
    ]
    cluster = filled(*services)
    before = dict(cluster.state.placements)
    high = a_service("high", cores=(need, need), priority=3, memory_mib=memory_mib)
    found = come(cluster, high)
    assert all(
        cluster.state.services[before[name].service].service.priority < 3
        for name in found.preempted
    )
    # Who was pushed out may push out others in turn: those are not its victims.
    victims = [name for name, why in found.preempted.items() if why == "made room for high.1"]
    if not victims:
        return
    free = Driver(*(AddNodes(nodes=(node,)) for node in cluster.state.nodes.values()))
    books = Books(snapshot(free.state, view_of(cluster), ON), ON)
    for name, at in before.items():
        if name not in victims:
            books.place(at)
    judge = Judge(ask_of(high, {}), books, "worst_fit")
    assert judge.takes(books.nodes["pi"])
    for name in victims:
        books.place(before[name])
        assert not judge.takes(books.nodes["pi"]), f"{name} could have stayed"
        books.take_back(before[name])
