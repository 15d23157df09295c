"""What a file would change: the state before and after, compared."""

import pytest

from roheletd.cluster.commands import AddNodes, AddServices, Rejected
from roheletd.cluster.difference import (
    Changed,
    Difference,
    FieldChange,
    after,
    missing_from,
    of_nodes,
    of_services,
)
from roheletd.cluster.state import ClusterState
from roheletd.model import Port, Service
from tests.builders import Driver, a_node, a_service, with_services


def difference(cluster: Driver, *services: Service, removed: tuple[str, ...] = ()) -> Difference:
    then = after(cluster.state, [AddServices(services=services, removed=removed)])
    assert isinstance(then, ClusterState)
    then.check()
    return of_services(cluster.state, then, [service.name for service in services])


def test_what_is_new_what_changes_what_goes_and_what_stays() -> None:
    cluster = with_services(a_service("web"), a_service("old"), a_service("same"))
    found = difference(
        cluster,
        a_service("web", replicas=3),
        a_service("new"),
        a_service("same"),
        removed=("old",),
    )
    assert (found.added, found.removed, found.unchanged) == (("new",), ("old",), ("same",))
    assert [changed.name for changed in found.changed] == ["web"]
    assert found.count == 3


def test_nothing_is_nothing() -> None:
    cluster = with_services(a_service("web"))
    found = difference(cluster, a_service("web"))
    assert found == Difference(unchanged=("web",))
    assert found.count == 0


def test_a_change_is_told_field_by_field_with_both_values() -> None:
    cluster = with_services(a_service("web", env={"A": "1", "B": "2"}, cores=(500,)))
    (changed,) = difference(
        cluster, a_service("web", env={"A": "1", "C": "3"}, cores=(500, 50), strategy="best_fit")
    ).changed
    assert changed.fields == (
        FieldChange(field="env.B", old="2", new=None),
        FieldChange(field="env.C", old=None, new="3"),
        FieldChange(field="cores", old=(500,), new=(500, 50)),
        FieldChange(field="strategy", old=None, new="best_fit"),
    )


@pytest.mark.parametrize(
    ("service", "replaces"),
    [
        (a_service("web", replicas=7), False),
        (a_service("web", reschedule_after_s=60.0), False),
        (a_service("web", image="web:2"), True),
        (a_service("web", ports=(Port(container_port=80),)), True),
    ],
)
def test_only_a_change_of_what_an_instance_is_made_from_replaces_it(
    service: Service, *, replaces: bool
) -> None:
    (changed,) = difference(with_services(a_service("web")), service).changed
    assert changed.replaces is replaces


def test_looking_changes_nothing() -> None:
    cluster = with_services(a_service("web"), a_service("old"))
    before = cluster.state.saved()
    difference(cluster, a_service("web", replicas=2), a_service("new"), removed=("old",))
    assert cluster.state.saved() == before


def test_what_the_state_does_not_allow_is_the_rejection_that_it_would_be() -> None:
    cluster = with_services(a_service("web", application="shop"))
    found = after(cluster.state, [AddServices(services=(a_service("web", application="other"),))])
    assert isinstance(found, Rejected)
    assert "belongs to application shop" in found.reason


def test_missing_is_what_the_same_applications_have_besides() -> None:
    cluster = with_services(
        a_service("web", application="shop"),
        a_service("cart", application="shop"),
        a_service("cam", application="vision"),
    )
    assert missing_from([a_service("web", application="shop")], cluster.state) == ("cart",)
    assert missing_from([a_service("kpi", application="new")], cluster.state) == ()


def test_nodes_are_compared_as_they_are_once_measured_and_declared_are_put_together() -> None:
    cluster = Driver(AddNodes(nodes=(a_node("pi", cores=4),)))
    declared = a_node("pi", cores=8, source="declared", labels={"zone": "hall"})
    nano = a_node("nano", source="declared")
    then = after(cluster.state, [AddNodes(nodes=(declared, nano))])
    assert isinstance(then, ClusterState)
    zone = FieldChange(field="labels.zone", old=None, new="hall")
    assert of_nodes(cluster.state, then, ["pi", "nano"]) == Difference(
        added=("nano",), changed=(Changed(name="pi", fields=(zone,)),)
    )
