"""`all_or_nothing`: an application starts as a whole, or waits as a whole and says for whom."""

from random import Random

from roheletd.allocation.schedule import Round
from roheletd.allocation.snapshot import Profile
from roheletd.cluster.commands import AddNodes, AddServices, RemoveService
from roheletd.model import Service
from tests.allocation.passes import run_pass, view_of
from tests.builders import a_node, a_service, with_services


def of_app(name: str, *, need: int, **more: object) -> Service:
    return a_service(name, application="line", cores=(need,), **{"all_or_nothing": True, **more})


def test_an_application_that_fits_starts_whole() -> None:
    cluster = with_services(of_app("camera", need=500), of_app("detector", need=900, replicas=2))
    run_pass(cluster)
    assert len(cluster.state.placements) == 3


def test_where_one_service_finds_no_place_none_starts_and_that_one_is_named() -> None:
    cluster = with_services(of_app("camera", need=500), of_app("detector", need=1100))
    found = run_pass(cluster)
    assert cluster.state.placements == {}
    assert found.unplaceable["camera"].reason == (
        "application line starts as a whole or not at all, and detector finds no place: "
        "pi: needs 1100 millicores on cores of their own, the freest have core 0: 1000".replace(
            "needs 1100 millicores on", "needs [1100] millicores on"
        )
    )
    assert "and this service finds no place" in found.unplaceable["detector"].reason
    assert found.unplaceable["detector"].verdicts
    assert set(found.unplaceable) == {"camera", "detector"}


def test_one_service_says_it_for_its_whole_application() -> None:
    cluster = with_services(
        of_app("camera", need=500, all_or_nothing=False), of_app("detector", need=1100)
    )
    run_pass(cluster)
    assert cluster.state.placements == {}


def test_the_replicas_of_a_single_service_start_together_too() -> None:
    cluster = with_services(of_app("detector", need=900, replicas=5))
    found = run_pass(cluster)
    assert cluster.state.placements == {}
    cluster.apply(AddNodes(nodes=(a_node("more"),)))
    assert not run_pass(cluster).unplaceable
    assert len(cluster.state.placements) == 5
    assert found.unplaceable.keys() == {"detector"}


def test_what_was_held_back_takes_nothing_from_others() -> None:
    cluster = with_services(
        of_app("camera", need=1000, replicas=3),
        of_app("detector", need=1100),
        a_service("other", cores=(1000,), replicas=4),
    )
    run_pass(cluster)
    assert len(cluster.state.placements_of("other")) == 4


def test_other_applications_are_not_held_back() -> None:
    cluster = with_services(of_app("detector", need=1100), a_service("other", cores=(500,)))
    run_pass(cluster)
    assert list(cluster.state.placements) == ["other.1"]


def test_once_started_it_goes_on_where_a_part_of_it_is_lost() -> None:
    nodes = (a_node("a", cores=1), a_node("b", cores=1))
    cluster = with_services(of_app("camera", need=900), of_app("detector", need=900), nodes=nodes)
    run_pass(cluster)
    before = dict(cluster.state.placements)
    found = run_pass(cluster, lost_for_s={"b": 60.0})
    assert cluster.state.placements == before
    assert len(found.unplaceable) == 1
    cluster.apply(AddServices(services=(of_app("camera", need=900, replicas=2),)))
    assert "as a whole" not in run_pass(cluster).unplaceable["camera"].reason


def test_a_part_that_is_removed_holds_nobody_back() -> None:
    cluster = with_services(of_app("camera", need=500), of_app("detector", need=1100))
    run_pass(cluster)
    cluster.apply(RemoveService(name="detector"))
    run_pass(cluster)
    assert list(cluster.state.placements) == ["camera.1"]


def test_it_is_proposed_in_one_entry_that_is_applied_whole() -> None:
    cluster = with_services(of_app("camera", need=100, replicas=3), of_app("detector", need=100))
    (place,) = Round(cluster.state, view_of(cluster), Profile(), Random(1)).batches()
    assert place.together
    assert len(place.placements) == 4
