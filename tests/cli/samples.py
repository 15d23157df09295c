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
CLUSTER = views.ClusterView(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=1,
    node="pi1",
    member="pi1.00000001",
    membership="joined",
    shared=True,
    role="leader",
    leader="pi1",
    term=3,
    commit_index=1042,
    applied_index=1042,
    members=(
        views.MemberView(
            name="pi1",
            id="pi1.00000001",
            role="voter",
            liveness="alive",
            lag=0,
            broker="mqtt://192.168.1.7:9471",
            version="0.1.0",
        ),
        views.MemberView(
            name="pi2",
            id="pi2.00000002",
            role="voter",
            liveness="alive",
            lag=2,
            broker="mqtt://192.168.1.8:9471",
            version="0.1.0",
        ),
        views.MemberView(
            name="zero", id="zero.00000003", role="witness", liveness="suspect", lag=0
        ),
        views.MemberView(
            name="xavier", id="xavier.00000004", role="learner", liveness="alive", lag=310
        ),
        views.MemberView(
            name="laptop", id="laptop.00000005", role="follower", voter="never", liveness="lost"
        ),
    ),
    links=(
        BROKER,
        BrokerLink(mode="managed", url="mqtt://192.168.1.8:9471", reason="connection refused"),
    ),
    outlook="of the voters pi2, zero and this one, any one may go: the other two decide, and "
    "xavier takes the place of the third",
    dropped_messages={"replayed": 0},
)
CLUSTER_UNWELL = views.ClusterView(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=2,
    node="pi2",
    member="pi2.00000002",
    membership="joined",
    shared=True,
    role="candidate",
    leader="",
    leader_heard_s=754.2,
    term=9,
    commit_index=1042,
    applied_index=1040,
    members=(
        views.MemberView(name="pi1", id="pi1.00000001", role="voter", liveness="lost"),
        views.MemberView(name="pi2", id="pi2.00000002", role="voter", liveness="alive"),
    ),
    links=(BrokerLink(mode="managed", url="mqtt://127.0.0.1:9471", reason="not connected yet"),),
    outlook="nothing can be decided already: pi1 is missing. A witness on a third machine would "
    "have kept the cluster going",
    failure="the disk did not take a write: no space left on device",
    dropped_messages={"wrong MAC": 3, "another epoch": 12},
)
CLUSTER_REFUSED = views.ClusterView(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=1,
    node="pi2",
    member="pi2.00000009",
    membership="refused",
    reason="the name pi2 is taken by a node that is alive (pi2.00000002): choose another node.name",
    shared=True,
    role="not a member",
    leader="pi1",
    leader_heard_s=0.31,
    term=3,
    commit_index=0,
    applied_index=0,
    members=(),
)
CLUSTER_ALONE = views.ClusterView(
    cluster="edge",
    cluster_id="fedcba9876543210",
    epoch=1,
    node="pi1",
    member="pi1.00000001",
    membership="joined",
    role="leader",
    leader="pi1",
    term=1,
    commit_index=4,
    applied_index=4,
    members=(
        views.MemberView(name="pi1", id="pi1.00000001", role="voter", liveness="alive", lag=0),
    ),
    links=(BROKER,),
    outlook="there is no other: this one is all there is",
)
