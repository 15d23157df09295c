"""Named volumes on nodes: whose each is, who needs it, and what its end means for its instance."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.cluster.commands import (
    AddServices,
    Applied,
    ForgetHome,
    Missing,
    Place,
    Rejected,
    RemoveService,
    Scale,
)
from roheletd.cluster.state import decode, encode
from roheletd.cluster.volumes import StoredVolume, name_of, need_of, stored_volume
from roheletd.model import Placement, Service
from roheletd.upkeep import Volume
from tests.builders import Driver, a_node, a_service, with_services

DATA = StoredVolume("edge.db.1.data", "db.1", "data")


def db(*names: str, movable: bool = False, **more: object) -> Service:
    volumes = tuple(Volume(path=f"/{it}", name=it, movable=movable) for it in names or ("data",))
    return a_service("db", volumes=volumes, **more)


def placed(cluster: Driver, node: str, instance: str = "db.1") -> None:
    revision = cluster.state.services["db"].revision
    at = Placement(instance=instance, service="db", node=node, revision=revision)
    cluster.apply(Place(placements=(at,)))


def released(cluster: Driver) -> None:
    cluster.apply(Scale(name="db", replicas=0))
    cluster.apply(Place(released=("db.1",)))


@pytest.fixture
def cluster() -> Driver:
    """`db.1` is on `a` and has its data there."""
    found = with_services(db(), nodes=(a_node("a"), a_node("b")))
    placed(found, "a")
    return found


def claims(cluster: Driver, it: StoredVolume = DATA) -> dict[str, str]:
    return {node: need_of(it, node, cluster.state).claim for node in ("a", "b")}


names = some.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True)


@given(names, names, some.integers(0, 99_999), names)
def test_the_name_of_a_volume_says_whose_it_is(
    cluster: str, service: str, slot: int, own: str
) -> None:
    instance = f"{service}.{slot}"
    name = name_of(cluster, instance, own)
    found = stored_volume(cluster, name)
    assert found == StoredVolume(name, instance, own)
    assert found.service == service


@pytest.mark.parametrize(
    "name",
    [
        "edge2.web.1.data",
        "xedge.web.1.data",
        "edge.web.1",
        "edge.web.one.data",
        "edge.web.1.data.old",
        "edge.web.123456.data",
        "edge.web.1.data\n",
        "edge.web.1.",
        "data",
        "",
    ],
)
def test_any_other_name_is_nobodys(name: str) -> None:
    assert stored_volume("edge", name) is None


def test_labels_say_it_of_any_name_and_stand_over_the_name() -> None:
    assert stored_volume("edge", "backup", labelled="web.1") == StoredVolume("backup", "web.1")
    odd = stored_volume("edge", "edge.web.1.data", labelled="api.1")
    assert odd == StoredVolume("edge.web.1.data", "api.1"), "no service calls it `data`"


def test_it_is_in_use_where_its_instance_is_placed_and_orphaned_elsewhere(cluster: Driver) -> None:
    assert claims(cluster) == {"a": "in use", "b": "orphaned"}
    assert need_of(DATA, "b", cluster.state).reason == "db.1 is on a now"


def test_it_is_kept_while_its_instance_has_no_place(cluster: Driver) -> None:
    released(cluster)
    assert claims(cluster) == {"a": "kept", "b": "orphaned"}
    assert need_of(DATA, "a", cluster.state).reason == "db.1 has no place now"
    assert need_of(DATA, "b", cluster.state).reason == "db.1 was on a since"


def test_it_is_orphaned_once_its_service_is_gone_and_stays_so_when_another_gets_that_name(
    cluster: Driver,
) -> None:
    cluster.apply(RemoveService(name="db"))
    assert need_of(DATA, "a", cluster.state).reason == "there is no service db any more"
    cluster.apply(AddServices(services=(db(),)))
    assert need_of(DATA, "a", cluster.state).reason == "an earlier db.1 has left it"
    assert claims(cluster) == {"a": "orphaned", "b": "orphaned"}


def test_data_that_was_left_behind_is_orphaned() -> None:
    cluster = with_services(db(movable=True), nodes=(a_node("a"), a_node("b")))
    placed(cluster, "a")
    placed(cluster, "b")
    assert claims(cluster) == {"a": "orphaned", "b": "in use"}
    released(cluster)
    assert claims(cluster) == {"a": "orphaned", "b": "kept"}


def test_what_a_rollback_would_bring_back_is_kept_and_then_orphaned(cluster: Driver) -> None:
    cluster.apply(AddServices(services=(db("other"),)))
    assert claims(cluster)["a"] == "in use", "the old instance runs on"
    placed(cluster, "a")
    assert need_of(DATA, "a", cluster.state).reason == "an earlier revision of db had it"
    known = cluster.state.services["db"]
    cluster.state.services["db"] = replace(known, before=None, old=(), rollout=None)
    assert need_of(DATA, "a", cluster.state).reason == "db has no such volume any more"


def test_an_instance_whose_data_is_deleted_may_go_elsewhere(cluster: Driver) -> None:
    released(cluster)
    assert cluster.state.homes() == {"db.1": "a"}
    freed = cluster.apply(ForgetHome(name="a", instance="db.1"))
    assert freed == Applied(changed={"db.1": "may go elsewhere"})
    assert cluster.state.homes() == {}
    assert cluster.state.home_of("db.1") == ""
    again = cluster.apply(ForgetHome(name="a", instance="db.1"))
    assert again == Applied(changed={"db.1": "unchanged"})
    assert decode(encode(cluster.state.saved())).homes == {}


def test_one_that_is_placed_there_stays_bound(cluster: Driver) -> None:
    outcome = cluster.apply(ForgetHome(name="a", instance="db.1"))
    assert outcome == Rejected(reason="db.1 is placed on a: it has its data there")
    assert cluster.state.homes() == {"db.1": "a"}


def test_its_home_on_another_node_is_not_forgotten(cluster: Driver) -> None:
    outcome = cluster.apply(ForgetHome(name="b", instance="db.1"))
    assert outcome == Applied(changed={"db.1": "unchanged"})
    assert cluster.state.homes() == {"db.1": "a"}
    missing = cluster.apply(ForgetHome(name="nowhere", instance="db.1"))
    assert missing == Missing(reason="there is no node nowhere")


def test_a_decision_from_before_is_made_again(cluster: Driver) -> None:
    """Who waited for that node may be placed on any."""
    released(cluster)
    before = cluster.state.allocated_at
    cluster.apply(ForgetHome(name="a", instance="db.1"))
    assert cluster.state.allocated_at > before
