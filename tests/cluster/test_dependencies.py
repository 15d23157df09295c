"""What holds an instance back, and services that would wait for each other for ever."""

import pytest

from roheletd.cluster.circles import circle
from roheletd.cluster.commands import AddServices, Place, Rejected
from roheletd.cluster.dependencies import held_back
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Service
from roheletd.upkeep import Dependency
from tests.builders import Driver, a_service, with_services


def after(name: str, *others: str, condition: str = "started") -> Service:
    needs = tuple(Dependency(service=it, condition=condition) for it in others)  # type: ignore[arg-type]
    return a_service(name, depends_on=needs)


def placed(cluster: Driver, *services: str) -> None:
    at = tuple(
        Placement(instance=f"{name}.1", service=name, node="pi", revision=2) for name in services
    )
    cluster.apply(Place(placements=at))


def said(soft: SoftState, state: str, health: str, revision: int = 2) -> None:
    use = InstanceUse(instance="db.1", state=state, health=health, revision=revision)  # type: ignore[arg-type]
    soft.heard_instances("pi", [use])


@pytest.fixture
def soft() -> SoftState:
    return SoftState(broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker"))


@pytest.mark.parametrize(
    ("condition", "state", "health", "starts"),
    [
        ("started", "starting", "starting", False),
        ("started", "running", "starting", True),
        ("healthy", "running", "starting", False),
        ("healthy", "running", "unhealthy", False),
        ("healthy", "running", "healthy", True),
    ],
)
def test_it_waits_for_as_much_as_it_asks_for(
    condition: str, state: str, health: str, starts: object, soft: SoftState
) -> None:
    cluster = with_services(after("web", "db", condition=condition), a_service("db"))
    placed(cluster, "web", "db")
    said(soft, state, health)
    held = held_back(cluster.state, soft, ["web.1", "db.1"])
    ready = "healthy" if condition == "healthy" else "running"
    assert held == ({} if starts else {"web.1": f"waits for service db to be {ready}"})


def test_what_is_said_of_an_earlier_edition_does_not_count(soft: SoftState) -> None:
    cluster = with_services(after("web", "db"), a_service("db"))
    placed(cluster, "web", "db")
    said(soft, "running", "healthy", revision=1)
    assert held_back(cluster.state, soft, ["web.1"])


def test_a_service_that_is_not_defined_is_waited_for_by_its_name(soft: SoftState) -> None:
    cluster = with_services(after("web", "db"))
    placed(cluster, "web")
    assert held_back(cluster.state, soft, ["web.1"]) == {
        "web.1": "waits for service db, which is not defined"
    }


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ([after("a", "b"), after("b", "c"), after("c")], ()),
        ([after("a", "b", "c"), after("b", "c"), after("c")], ()),
        ([after("a", "b"), after("b", "a")], ("a", "b", "a")),
        ([after("x", "a"), after("a", "b"), after("b", "a")], ("a", "b", "a")),
        ([after("a", "a")], ("a", "a")),
        ([after("a", "elsewhere")], ()),
    ],
)
def test_services_that_wait_for_each_other_are_found(
    services: list[Service], found: tuple[str, ...]
) -> None:
    assert circle({it.name: it for it in services}) == found


def test_a_circle_is_refused_with_the_way_round_it() -> None:
    cluster = with_services(after("a", "b"))
    outcome = cluster.apply(AddServices(services=(after("b", "c"), after("c", "a"))))
    assert isinstance(outcome, Rejected)
    assert "a -> b -> c -> a" in outcome.reason
    assert set(cluster.state.services) == {"a"}
