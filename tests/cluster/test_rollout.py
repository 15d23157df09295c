"""When a rollout is over or given up, and what it says that it waits for."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from roheletd.cluster.commands import AddServices, Drain, EndRollout, Place, Restart, Scale
from roheletd.cluster.rollout import Watch, holdup, turn_of, unready
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Port, PortBinding, Service
from roheletd.upkeep import Dependency, HealthCheck, TcpCheck, UpdatePolicy, Volume
from tests.builders import Driver, a_node, a_service, with_services

NODES = ("n1", "n2", "n3")
DATA = (Volume(path="/data", name="data"),)


def web(image: str = "web:1", **more: Any) -> Service:
    return a_service(**{"image": image, "replicas": 3, **more})


class Site:
    """Instances of `web`, one on each node; what they report is said here."""

    def __init__(self, *, placed: int = 3, **more: Any) -> None:
        self.more = more
        self.cluster: Driver = with_services(web(**more), nodes=tuple(map(a_node, NODES)))
        self.soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))
        self.watch = Watch()
        self.place(*range(1, placed + 1))
        self.report()

    @property
    def revision(self) -> int:
        return self.cluster.state.services["web"].revision

    def place(self, *slots: int, host_port: int = 0) -> None:
        """With the edition of now."""
        ports = (PortBinding(container_port=80, host_port=host_port),) if host_port else ()
        placed = (replace(self._at(slot), ports=ports) for slot in slots)
        self.cluster.apply(Place(placements=tuple(placed)))

    def _at(self, slot: int) -> Placement:
        node = NODES[slot - 1]
        return Placement(instance=f"web.{slot}", service="web", node=node, revision=self.revision)

    def define(self, image: str = "web:2", **more: Any) -> None:
        self.cluster.apply(AddServices(services=(web(image, **{**self.more, **more}),)))

    def report(self, **states: Mapping[str, Any]) -> None:
        """All are healthy for long, but for what is said by node."""
        well: dict[str, Any] = {"state": "running", "health": "healthy", "healthy_for_s": 999.0}
        for node in NODES:
            said = {**well, **states.get(node, {})}
            uses = [
                InstanceUse(instance=name, revision=at.revision, **said)
                for name, at in self.cluster.state.placements_on(node).items()
            ]
            self.soft.heard_instances(node, uses)

    def ends(self, now_s: float, waiting: Mapping[str, str] = {}) -> Iterator[EndRollout]:
        return self.watch.ends(self.cluster.state, self.soft, waiting, now_s)

    def end(self, now_s: float, waiting: Mapping[str, str] = {}) -> EndRollout | None:
        return next(self.ends(now_s, waiting), None)

    def waits_for(self) -> str:
        return holdup(self.cluster.state, self.soft, self.cluster.state.services["web"])

    def turn_of(self, instance: str) -> str:
        return turn_of(self.cluster.state, self.soft, self.cluster.state.placements[instance])


def given_up(end: EndRollout | None) -> str:
    assert end is not None
    assert not end.succeeded
    return end.reason


def succeeded(end: EndRollout | None) -> bool:
    return end is not None and end.succeeded


SICK = {"health": "unhealthy", "healthy_for_s": None}
COMING = {"state": "starting", "health": "starting", "healthy_for_s": None}


# --- how it ends


def test_it_is_over_once_all_are_new_and_settled() -> None:
    site = Site()
    site.define()
    assert site.end(0.0) is None
    site.place(1, 2, 3)
    assert site.end(1.0) is None, "nothing was heard of them yet"
    site.report()
    assert succeeded(site.end(2.0))


def test_what_finds_no_place_is_no_fault_of_the_edition_of_all_others() -> None:
    site = Site(placed=2)
    site.define()
    site.place(1, 2)
    site.report()
    assert succeeded(site.end(0.0, {"web": "no node of 3 fits"}))
    assert site.end(0.0) is None, "the leader has not tried yet"
    assert succeeded(site.end(300.0))


@pytest.mark.parametrize("required", [0, 8080])
def test_a_port_that_something_else_has_is_a_fault_only_where_no_other_would_do(
    required: int,
) -> None:
    site = Site()
    site.define(ports=(Port(container_port=80, host_port=required),))
    site.place(1, host_port=8080)
    refused = {"state": "waiting", "failures": 1, "refused_ports": (8080,)}
    site.report(n1={**SICK, **refused, "last_failure": "port 8080 of this node is in use"})
    end = site.end(0.0)
    if required:
        assert given_up(end) == "web.1 on n1: port 8080 of this node is in use"
    else:
        assert end is None, "the leader draws another one"


def test_more_are_wanted_in_the_middle_than_there_is_room_for() -> None:
    site = Site()
    site.define()
    site.place(1, 2, 3)
    site.report()
    site.cluster.apply(Scale(name="web", replicas=5))
    assert succeeded(site.end(0.0, {"web": "no node of 3 fits"}))


def test_an_edition_that_finds_no_place_at_all_is_given_up_with_the_reason() -> None:
    site = Site()
    site.define()
    waiting = {"web": "no node of 3 fits (memory: 3)"}
    assert site.end(0.0, waiting) is None
    assert given_up(site.end(300.0, waiting)) == (
        "no progress for 300 s: no node of 3 fits (memory: 3)"
    )


def test_who_is_healthy_at_the_deadline_is_given_the_time_to_settle() -> None:
    site = Site(update=UpdatePolicy(healthy_for_s=600.0))
    site.define()
    site.place(1)
    site.report(n1={"healthy_for_s": 0.0})
    assert site.end(0.0) is None
    site.report(n1={"healthy_for_s": 599.0})
    assert site.end(599.0) is None
    site.report(n1={"healthy_for_s": 600.0})
    assert site.end(600.0) is None, "that is progress"
    site.report(n1={"healthy_for_s": 1.0})
    assert site.end(601.0) is None
    assert given_up(site.end(601.0 + 900.0)) == (
        "no progress for 900 s: web.1 on n1: healthy, and has to be for 600 s"
    )


def test_the_patience_with_what_is_over_ends_nothing_and_wakes_nobody() -> None:
    site = Site()
    site.define()
    site.place(1, 2, 3)
    assert site.end(0.0) is None
    assert site.watch.next_deadline_s(site.cluster.state) == 300.0
    site.cluster.apply(site.cluster.end_of_rollout(succeeded=True))
    assert site.watch.next_deadline_s(site.cluster.state) is None


def test_the_way_back_is_over_too_where_there_is_no_room_for_all() -> None:
    site = Site(placed=2)
    site.define()
    site.cluster.apply(site.cluster.end_of_rollout(succeeded=False, reason="x"))
    end = site.end(0.0, {"web": "no node of 3 fits"})
    assert succeeded(end)
    assert end is not None
    site.cluster.apply(end)
    rollout = site.cluster.state.services["web"].rollout
    assert rollout is not None
    assert rollout.state == "rolled back"


def test_one_that_was_paused_is_over_once_all_of_it_does_well_after_all() -> None:
    site = Site(placed=1, replicas=1)
    site.define()
    site.place(1)
    for _ in range(2):  # on the way back, too, for what it needs is away
        site.report(n1=COMING)
        site.end(0.0)
        failed = site.cluster.end_of_rollout(succeeded=False, reason="no db")
        site.cluster.apply(failed)
        site.place(1)
    assert site.cluster.state.services["web"].is_paused
    site.report(n1=COMING)
    assert site.end(999.0) is None
    site.report()
    end = site.end(1000.0)
    assert succeeded(end)
    assert end is not None
    site.cluster.apply(end)
    known = site.cluster.state.services["web"]
    assert (known.is_paused, known.is_changing) == (False, False)
    site.define("web:3")
    before = site.cluster.state.services["web"].before
    assert before is not None
    assert before.service.image == "web:1", "which is known to be good"


def test_one_that_was_paused_is_not_over_for_want_of_instances() -> None:
    site = Site(placed=1, replicas=1, update=UpdatePolicy(on_failure="pause"))
    site.define()
    site.cluster.apply(site.cluster.end_of_rollout(succeeded=False, reason="x"))
    assert site.end(0.0) is None
    site.cluster.apply(Scale(name="web", replicas=0))
    site.cluster.apply(Place(released=("web.1",)))
    assert site.end(1.0) is None


# --- what it waits for


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (COMING, "web.1 on n1: starting"),
        ({**COMING, "reason": "pulling web:2"}, "web.1 on n1: pulling web:2"),
        (
            {"health": "starting", "healthy_for_s": None, "reason": "not healthy yet: 503"},
            "web.1 on n1: not healthy yet: 503",
        ),
        ({"health": "starting", "healthy_for_s": None}, "web.1 on n1: not healthy yet"),
        (
            {"state": "waiting", "reason": "exit code 1", **SICK},
            "web.1 on n1: exit code 1",
        ),
        ({"healthy_for_s": 1.0}, "web.1 on n1: healthy, and has to be for 5 s"),
    ],
)
def test_the_one_that_is_under_way_is_named_with_what_it_does(
    said: Mapping[str, object], words: str
) -> None:
    site = Site(min_available=0)
    site.define()
    site.place(1)
    assert site.waits_for() == "web.1 on n1: not heard of yet"
    site.report(n1=said)
    assert site.waits_for() == words


def test_that_no_more_may_be_missing_is_said_with_the_numbers() -> None:
    site = Site()
    site.define()
    site.place(1)
    site.report(n1=COMING)
    assert site.waits_for() == "web.1 on n1: starting; 2 of 3 are healthy, and 2 have to be"


def test_what_can_neither_be_doubled_nor_be_missing_says_so() -> None:
    site = Site(min_available=3, volumes=DATA)
    site.define()
    assert site.waits_for() == (
        "3 of 3 are healthy, and 3 have to be: lower `min_available`, as what has a volume of its "
        "own cannot be doubled"
    )
    site.end(0.0)
    assert "lower `min_available`" in given_up(site.end(300.0))


def test_one_that_may_be_doubled_waits_for_nobody_but_the_one_beside_it() -> None:
    site = Site(min_available=3)
    site.define()
    assert site.waits_for() == ""


def test_that_a_new_one_has_no_room_beside_the_old_ones_is_told_as_that() -> None:
    site = Site(update=UpdatePolicy(order="start-first"))
    site.define()
    waiting = {"web": "no node of 3 fits (memory: 3)"}
    site.end(0.0, waiting)
    words = "no place for a new one beside the old ones: no node of 3 fits (memory: 3)"
    assert given_up(site.end(300.0, waiting)) == f"no progress for 300 s: {words}"


def test_where_one_finds_no_place_it_is_said_too_that_no_other_may_be_missing() -> None:
    site = Site(placed=2)
    site.define()
    known = site.cluster.state.services["web"]
    assert holdup(site.cluster.state, site.soft, known, "n3 is lost") == (
        "n3 is lost; 2 of 3 are healthy, and 2 have to be"
    )


def test_nothing_is_replaced_while_what_it_depends_on_is_not_there() -> None:
    site = Site(depends_on=(Dependency(service="db", condition="healthy"),))
    assert unready(site.cluster.state, site.soft) == frozenset(), "nothing changes"
    site.define()
    assert unready(site.cluster.state, site.soft) == {"web"}
    assert site.waits_for() == "waits for service db, which is not defined"
    site.cluster.apply(AddServices(services=(a_service("db"),)))
    revision = site.cluster.state.services["db"].revision
    at = Placement(instance="db.1", service="db", node="n1", revision=revision)
    site.cluster.apply(Place(placements=(at,)))
    assert site.waits_for() == "waits for service db to be healthy"
    site.report()
    assert unready(site.cluster.state, site.soft) == frozenset()
    assert site.waits_for() == ""


def test_what_is_sick_goes_whatever_the_others_do() -> None:
    site = Site(min_available=3, volumes=DATA)
    site.define()
    site.report(n2=SICK)
    assert site.waits_for() == ""


def test_an_instance_on_a_drained_node_waits_for_its_turn_or_says_for_what() -> None:
    site = Site()
    site.cluster.apply(Drain(name="n3", draining=True))
    assert site.turn_of("web.3") == "its turn comes"
    site.report(n1=SICK)
    assert site.turn_of("web.3") == (
        "web.1 on n1: not healthy yet; 2 of 3 are healthy, and 2 have to be"
    )


def test_a_paused_rollout_holds_an_instance_on_a_drained_node() -> None:
    site = Site(update=UpdatePolicy(on_failure="pause"))
    site.define()
    site.place(1)
    site.cluster.apply(site.cluster.end_of_rollout(succeeded=False, reason="x"))
    site.cluster.apply(Drain(name="n3", draining=True))
    assert site.turn_of("web.3") == (
        "the rollout of web is paused: roll it back, or define web anew"
    )


def test_what_has_its_data_on_a_drained_node_stays_with_it() -> None:
    for movable, words in (
        (False, "its volume data is on n3: it stays and comes back with it (see `movable`)"),
        (True, "its turn comes"),
    ):
        site = Site(volumes=(replace(DATA[0], movable=movable),))
        site.cluster.apply(Drain(name="n3", draining=True))
        assert site.turn_of("web.3") == words


def test_where_nothing_is_changed_nothing_is_waited_for() -> None:
    site = Site(health=HealthCheck(tcp=TcpCheck(port=80)))
    assert site.waits_for() == ""
    site.cluster.apply(Restart(name="web"))
    assert site.waits_for() == ""
    assert site.cluster.state.services["web"].service == replace(
        web(), health=HealthCheck(tcp=TcpCheck(port=80))
    )
