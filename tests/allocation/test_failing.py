"""What fails again and again goes elsewhere, is not tried there again soon, and never wanders."""

from roheletd.allocation.ask import ask_of
from roheletd.allocation.avoidance import avoid, stranded
from roheletd.allocation.books import Books
from roheletd.allocation.failing import AVOID_NODE_S, failed_on
from roheletd.allocation.filters import FILTERS
from roheletd.allocation.snapshot import Condition, Profile, take
from roheletd.cluster.commands import AddNodes, AddServices, Place
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Service
from roheletd.upkeep import Volume
from tests.builders import Driver, a_node, a_service, with_services

REASON = "web failed here 5 times in a row: out of memory (limit 64 MiB)"


class Scene:
    """`web.1` is on `pi` and does not do well there; `others` are there as well."""

    def __init__(self, *others: str, failures: int = 5, **more: object) -> None:
        self.cluster: Driver = with_services(a_service(**more))
        self.cluster.apply(AddNodes(nodes=tuple(a_node(name) for name in ("pi", *others))))
        self.soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))
        self.at = self.put("pi")
        self.hear(failures=failures)

    @property
    def revision(self) -> int:
        return self.cluster.state.services["web"].revision

    def put(self, node: str) -> Placement:
        at = Placement(instance="web.1", service="web", node=node, revision=self.revision)
        self.cluster.apply(Place(placements=(at,)))
        return at

    def define(self, service: Service) -> None:
        self.cluster.apply(AddServices(services=(service,)))

    def hear(self, **more: object) -> None:
        known = {
            "instance": "web.1",
            "state": "waiting",
            "revision": self.at.revision,
            "health": "unhealthy",
            "failures": 5,
            "last_failure": "out of memory (limit 64 MiB)",
        }
        self.soft.instances[self.at.node] = {"web.1": InstanceUse(**{**known, **more})}

    def stranded(self, now_s: float = 100.0) -> frozenset[str]:
        avoid(self.soft, self.cluster.state, now_s)
        return stranded(self.soft, self.cluster.state, now_s)

    def failed_on(self, now_s: float) -> dict[str, object]:
        return dict(failed_on(self.soft, self.cluster.state, now_s))


def test_after_enough_failures_in_a_row_another_node_is_to_be_tried() -> None:
    assert Scene("xavier").stranded() == {"web.1"}
    assert Scene("xavier", failures=4).stranded() == frozenset()
    assert Scene("xavier", failures=1, move_after=1).stranded() == {"web.1"}
    assert Scene("xavier", failures=1_000, move_after=0).stranded() == frozenset()


def test_what_is_well_by_now_stays_however_often_it_failed_before() -> None:
    scene = Scene("xavier")
    scene.hear(state="running", health="healthy")
    assert scene.stranded() == frozenset()


def test_with_no_other_node_left_to_try_it_stays() -> None:
    assert Scene().stranded() == frozenset()
    scene = Scene("xavier")
    assert scene.stranded() == {"web.1"}
    scene.at = scene.put("xavier")
    scene.hear()
    assert scene.stranded(200.0) == frozenset(), "it failed on both"
    assert scene.stranded(100.0 + AVOID_NODE_S) == {"web.1"}, "the first one is forgiven"


def test_what_has_its_data_here_stays() -> None:
    scene = Scene("xavier", volumes=(Volume(path="/data", name="data"),))
    assert scene.stranded() == frozenset()


def test_what_another_edition_did_says_nothing_of_this_one() -> None:
    scene = Scene("xavier")
    scene.stranded()
    assert scene.failed_on(200.0) == {"web": {"pi": REASON}}
    scene.define(a_service(image="web:2"))
    assert scene.failed_on(200.0) == {}


def test_the_node_is_forgiven_after_a_while() -> None:
    scene = Scene("xavier")
    scene.stranded()
    scene.at = scene.put("xavier")
    assert scene.failed_on(100.0 + AVOID_NODE_S - 1) == {"web": {"pi": REASON}}
    assert scene.failed_on(100.0 + AVOID_NODE_S) == {}
    scene.stranded(100.0 + AVOID_NODE_S)
    assert scene.soft.failed_services == {"pi": {}}


def test_the_node_refuses_that_service_with_the_reason_and_no_other_one() -> None:
    nodes = {name: a_node(name) for name in ("pi", "xavier")}
    snapshot = take(
        nodes=nodes,
        conditions=dict.fromkeys(nodes, Condition()),
        placements=[],
        profile=Profile(),
        services=[],
        failed_on={"web": {"pi": REASON}},
    )
    books = Books(snapshot, Profile())
    ask = ask_of(a_service(), {}, failed_on=books.failed_on["web"])
    refuses = FILTERS["failing"].refuses
    assert [refuses(free, ask, books) for free in books.nodes.values()] == [REASON, None]
    assert FILTERS["failing"].concerns(ask)
    assert not FILTERS["failing"].concerns(ask_of(a_service("door"), {}))
