"""Answers of a small cluster, in the daemon's own structs."""

from roheletd.allocation.allocate import Verdict
from roheletd.api import views
from roheletd.cluster.events import Event
from roheletd.cluster.soft import BrokerLink, EngineLink
from roheletd.model import PortBinding
from tests.builders import a_node, a_service

BROKER = BrokerLink(
    mode="managed", url="mqtt://127.0.0.1:9471", connected=True, protocol="MQTT 5", reason=""
)
ENGINE = EngineLink(
    kind="docker", name="Docker", version="20.10.24", address="/run/docker.sock", reachable=True
)
THROTTLED = (
    "this node is throttled: the supply voltage was too low since the last start, which slows "
    "the processor down and may corrupt the card"
)
STATUS = views.Status(
    version="0.1.0",
    node="pi1",
    cluster="edge",
    role="leader",
    leader="pi1",
    term=3,
    applied_index=42,
    uptime_s=273_600.5,
    nodes=2,
    services=1,
    instances_wanted=3,
    instances_running=2,
    broker=BROKER,
    engine=ENGINE,
)
UNWELL = views.Status(
    version="0.1.0",
    node="pi1",
    cluster="edge",
    role="follower",
    leader="",
    term=3,
    applied_index=42,
    uptime_s=61.0,
    nodes=1,
    services=0,
    instances_wanted=0,
    instances_running=0,
    broker=BrokerLink(mode="external", url="mqtt://hub:1883", reason="connection refused"),
    engine=EngineLink(kind="docker", name="Docker", reason="no answer from /run/docker.sock"),
    warnings=(
        "no broker: connection refused; telemetry stays on this node",
        THROTTLED,
    ),
    dropped_messages={"replayed": 2, "no MAC": 0},
)
NODES = views.Nodes(
    nodes=(
        views.NodeView(
            node=a_node("pi1"),
            liveness="alive",
            instances=2,
            free_cores={0: 1000, 1: 900, 2: 450, 3: 0},
            free_cpu_millicores=2350,
            free_memory_mib=3000,
        ),
        views.NodeView(
            node=a_node("xavier", cores=8, memory_mib=16_000, engine="process"),
            liveness="lost",
            instances=0,
            free_cores=dict.fromkeys(range(8), 1000),
            free_cpu_millicores=8000,
            free_memory_mib=16_000,
        ),
    )
)
SERVICES = views.Services(
    services=(
        views.ServiceView(
            service=a_service("detector", replicas=3, cores=(500, 50), memory_mib=200),
            revision=4,
            placed=2,
            running=2,
            waiting="no node of 2 fits (alive: 1, cores: 1)",
        ),
        views.ServiceView(
            service=a_service("web", application="shop", image="", command=("serve", "-p")),
            revision=5,
            placed=1,
            running=1,
        ),
    )
)


def instance(slot: int, state: str = "running", **more: object) -> views.InstanceView:
    return views.InstanceView(
        **{
            "instance": f"detector.{slot}",
            "service": "detector",
            "node": "pi1",
            "state": state,
            "cores": {2: 500, 10: 50},
            "gpus": {},
            "ports": (PortBinding(container_port=8080, host_port=20_000 + slot),),
            "score": 0.8125,
            "terms": {"cpu": 0.9, "memory": 0.725},
            **more,
        }  # type: ignore[arg-type]
    )


INSTANCES = views.Instances(
    instances=(
        instance(0, used_cpu_millicores=120, used_memory_mib=31),
        instance(1, "waiting", restarts=4, reason="exit code 1: cannot open the camera"),
    )
)
WHY = views.Why(
    service="detector",
    replicas=3,
    waiting="no node of 2 fits (alive: 1, cores: 1, memory: 1)",
    instances=INSTANCES.instances,
    verdicts=(
        Verdict(
            node="pi1",
            refusals={
                "cores": "needs [500, 50] millicores on cores of their own, the freest have "
                "core 0: 40, core 1: 30",
                "memory": "needs 200 MiB of memory, 20 are free",
            },
        ),
        Verdict(node="xavier", refusals={"alive": "is lost"}),
    ),
)
WHY_FITS = views.Why(
    service="detector",
    replicas=1,
    waiting="",
    instances=(instance(0),),
    verdicts=(
        Verdict(node="pi1", score=0.8125, terms={"cpu": 0.9, "memory": 0.725}),
        Verdict(node="xavier", refusals={"alive": "is lost"}),
    ),
)
EVENTS = views.EventList(
    events=(
        Event(seq=1, at_s=1.7e9, node="pi1", kind="placed", subject="detector.0"),
        Event(
            seq=2,
            at_s=1.7e9 + 1,
            node="pi1",
            kind="failed",
            subject="detector.1",
            reason="exit code 1\x1b[31m: cannot open\nthe camera",
        ),
    ),
    last=2,
)
CHANGES = views.Changes(
    changed={"web": "added", "detector": "unchanged"},
    notes=("cores read as 100 per core (percent): the sum 430 is nearest to 424",),
)
LEADER = views.LeaderView(leader="pi1", term=3, challenge="c0ffee")
