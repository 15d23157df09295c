"""Where would it go: what the leader would do, and that nobody did it."""

from random import Random

from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.allocation.view import View
from roheletd.allocation.what_if import Forecast, what_if
from roheletd.cluster.commands import AddServices
from roheletd.cluster.difference import after
from roheletd.cluster.state import ClusterState
from roheletd.model import Node, Service
from tests.builders import Driver, a_node, a_service, with_services


class Cluster:
    """Services that are placed already, on nodes that are all alive."""

    def __init__(self, *services: Service, nodes: tuple[Node, ...], preemption: bool = False):
        self.profile = Profile(preemption=preemption)
        self.driver: Driver = with_services(*services, nodes=nodes)
        self.settle()

    @property
    def view(self) -> View:
        return View(conditions=dict.fromkeys(self.driver.state.nodes, Condition()))

    def settle(self) -> None:
        found = schedule(self.driver.state, self.view, self.profile, Random(7))
        if not found.is_empty:
            self.driver.apply(found.place)

    def ask(self, *services: Service, removed: tuple[str, ...] = ()) -> Forecast:
        state = self.driver.state
        before = state.saved()
        then = after(state, [AddServices(services=services, removed=removed)])
        assert isinstance(then, ClusterState)
        asked = {*(service.name for service in services), *removed}
        found = what_if(state, then, asked, view=self.view, profile=self.profile)
        assert state.saved() == before
        return found

    @property
    def placed(self) -> dict[str, str]:
        return {name: at.node for name, at in self.driver.state.placements.items()}


PI, NANO = a_node("pi", cores=2), a_node("nano", cores=2)


def test_a_new_service_is_shown_where_the_leader_then_places_it() -> None:
    cluster = Cluster(a_service("web", cores=(500,)), nodes=(PI, NANO))
    new = a_service("cam", replicas=2, cores=(500, 50))
    found = cluster.ask(new)
    assert [it.instance for it in found.placed] == ["cam.1", "cam.2"]
    assert all(
        it.terms and 0 < it.score <= 1 and sum(it.cores.values()) == 550 for it in found.placed
    )
    assert (found.stopped, found.refused, found.others) == ({}, (), ())
    cluster.driver.apply(AddServices(services=(new,)))
    cluster.settle()
    assert {it.instance: it.node for it in found.placed}.items() <= cluster.placed.items()


def test_what_finds_no_place_is_told_with_each_nodes_reason() -> None:
    cluster = Cluster(nodes=(PI, NANO))
    found = cluster.ask(a_service("big", replicas=3, cores=(1000, 1000)))
    assert len(found.placed) == 2
    (refused,) = found.refused
    assert (refused.service, refused.missing) == ("big", 1)
    assert {verdict.node for verdict in refused.verdicts} == {"pi", "nano"}
    assert all("needs 2000 millicores" in it.refusals["cpu"] for it in refused.verdicts)
    assert found.others == ()


def test_a_changed_image_shows_the_new_instance_beside_the_one_that_it_replaces() -> None:
    cluster = Cluster(a_service("web", cores=(500,)), nodes=(PI,))
    (arrival,) = cluster.ask(a_service("web", image="web:2", cores=(500,))).placed
    assert (arrival.instance, arrival.previous, arrival.node) == ("web.1", "pi", "pi")


def test_more_replicas_leave_the_others_where_they_are() -> None:
    cluster = Cluster(a_service("web", cores=(500,)), nodes=(PI, NANO))
    found = cluster.ask(a_service("web", replicas=2, cores=(500,)))
    assert found.staying == cluster.placed
    assert [(it.instance, it.previous) for it in found.placed] == [("web.2", "")]


def test_fewer_replicas_and_removed_services_end_instances() -> None:
    cluster = Cluster(a_service("web", replicas=2), a_service("old"), nodes=(PI, NANO))
    found = cluster.ask(a_service("web", replicas=1), removed=("old",))
    assert len(found.stopped) == 2
    assert found.stopped["old.1"] == cluster.placed["old.1"]
    assert len(found.staying) == 1
    assert found.others == ()


def test_what_is_preempted_is_told_with_its_reason_and_where_it_goes() -> None:
    low = a_service("low", replicas=2, cores=(1000, 1000))
    cluster = Cluster(low, nodes=(PI, NANO), preemption=True)
    found = cluster.ask(a_service("high", cores=(1000, 1000), priority=5))
    assert [it.service for it in found.placed] == ["high"]
    (move,) = found.others
    assert (move.service, move.before, move.after) == ("low", found.placed[0].node, "")
    assert move.reason == "made room for high.1"


def test_what_happens_anyway_is_not_blamed_on_the_question() -> None:
    cluster = Cluster(nodes=(PI,))
    cluster.driver.apply(AddServices(services=(a_service("web", cores=(500,)),)))
    found = cluster.ask(a_service("cam", cores=(500,)))
    assert [it.instance for it in found.placed] == ["cam.1"]
    assert found.others == ()


def test_who_would_have_got_the_place_is_told_where_it_is_taken() -> None:
    cluster = Cluster(nodes=(PI,))
    cluster.driver.apply(AddServices(services=(a_service("web", cores=(1000, 1000)),)))
    (move,) = cluster.ask(a_service("cam", cores=(1000, 1000), priority=1)).others
    assert (move.instance, move.before, move.after) == ("web.1", "pi", "")
    assert "needs 2000 millicores, 0 are free" in move.reason


def test_a_whole_application_that_does_not_fit_names_the_service_that_fails() -> None:
    cluster = Cluster(nodes=(PI,))
    shop = {"application": "shop", "all_or_nothing": True}
    found = cluster.ask(
        a_service("front", cores=(500,), **shop), a_service("back", cores=(1000,) * 3, **shop)
    )
    assert found.placed == ()
    assert [it.service for it in found.refused] == ["back", "front"]
    assert all(
        "back finds no place" in it.reason or "this service" in it.reason for it in found.refused
    )
