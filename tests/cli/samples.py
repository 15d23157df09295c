"""Answers of a small cluster, in the daemon's own structs."""

import msgspec

from roheletd.allocation.judge import Verdict
from roheletd.allocation.what_if import Arrival, Forecast, Move, NoPlace
from roheletd.api import views
from roheletd.api.registry import RegisteredPort, Registry
from roheletd.api.volumes import VolumeList, VolumeView
from roheletd.cluster.difference import Changed, Difference, FieldChange
from roheletd.cluster.events import Event
from roheletd.cluster.registry import Endpoint
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
        views.NodeView(
            node=a_node("nano", cores=2),
            liveness="alive",
            instances=1,
            free_cores={0: 1000, 1: 500},
            free_cpu_millicores=1500,
            free_memory_mib=512,
            cordoned=True,
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
TERMS = {
    "cpu": 0.9,
    "memory": 0.725,
    "balance": 0.4375,
    "contention": 1.0,
    "gpu": 1.0,
    "image": 0.0,
    "temperature": 0.92,
    "power": 1.0,
    "spread": 0.5,
}
WEIGHTS = {
    "cpu": 1.0,
    "memory": 1.0,
    "balance": 0.5,
    "contention": 8.0,
    "gpu": 1.0,
    "image": 0.5,
    "temperature": 0.5,
    "power": 0.5,
    "spread": 1.0,
}
LOST = Verdict(node="xavier", refusals={"alive": "is lost"})
FULL = Verdict(
    node="pi1",
    refusals={
        "cores": "needs [500, 50] millicores on cores of their own, the freest have core 0: 40, "
        "core 1: 30",
        "memory": "needs 200 MiB of memory, 20 are free",
    },
)
WHY = views.Why(
    service="detector",
    replicas=3,
    waiting="no node of 2 fits (alive: 1, cores: 1, memory: 1)",
    waiting_for_s=75.2,
    tried_again_in_s=7.9,
    instances=INSTANCES.instances,
    verdicts=(FULL, LOST),
    weights=WEIGHTS,
)
WHY_FITS = views.Why(
    service="detector",
    replicas=1,
    waiting="",
    instances=(instance(0, terms=TERMS),),
    verdicts=(
        Verdict(node="nano", score=0.7111, terms={**TERMS, "cpu": 0.55}),
        Verdict(node="pi1", score=0.8125, terms=TERMS),
        LOST,
    ),
    weights=WEIGHTS,
)
WHY_INSTANCE = views.Why(
    service="detector",
    replicas=2,
    waiting="",
    instance="detector.0",
    instances=(instance(0, terms=TERMS),),
    verdicts=(
        Verdict(node="nano", score=0.9, terms={**TERMS, "cpu": 0.95}),
        Verdict(node="pi1", score=0.8125, terms=TERMS),
        LOST,
    ),
    strategy="best_fit",
    weights=WEIGHTS,
)
WHY_NOWHERE = views.Why(
    service="detector",
    replicas=1,
    waiting="there is no node",
    instances=(),
    verdicts=(),
)


def lacking(node: str, free: int) -> Verdict:
    return Verdict(node=node, refusals={"cpu": f"needs 1000 millicores, {free} are free"})


WHY_LARGE = views.Why(
    service="detector",
    replicas=40,
    waiting="",
    instances=tuple(instance(number, terms=TERMS) for number in range(40)),
    verdicts=(
        *(Verdict(node=f"c{at:02}", score=0.9 - at / 100, terms=TERMS) for at in range(40)),
        *(lacking(f"a{at:02}", 10 * at) for at in range(30)),
        *(Verdict(node=f"b{at:02}", refusals={"alive": "is lost"}) for at in range(12)),
        Verdict(node="gate", refusals={"engine": "runs no instances (no engine)"}),
    ),
    weights=WEIGHTS,
)


def arrival(name: str, node: str, previous: str = "") -> Arrival:
    return Arrival(
        instance=name,
        service=name.partition(".")[0],
        node=node,
        cores={0: 500, 2: 50},
        gpus={"gpu0": 30} if node == "xavier" else {},
        ports=(),
        score=0.8125,
        terms=TERMS,
        previous=previous,
    )


FORECAST = Forecast(
    placed=(arrival("detector.1", "xavier", "pi1"), arrival("detector.2", "pi1")),
    staying={"web.1": "pi1", "web.2": "nano"},
    stopped={"old.1": "pi1"},
    refused=(
        NoPlace(
            service="detector",
            missing=2,
            reason="no node of 2 fits (alive: 1, cores: 1, memory: 1)",
            verdicts=(FULL, LOST),
        ),
    ),
    others=(
        Move(
            instance="batch.1",
            service="batch",
            before="pi1",
            after="",
            reason="made room for detector.2",
        ),
        Move(
            instance="batch.2",
            service="batch",
            before="pi1",
            after="nano",
            reason="made room for detector.2",
        ),
    ),
)
WHAT_IF = views.WhatIf(
    forecast=FORECAST,
    notes=("cores read as 100 per core (percent): the sum 430 is nearest to 424",),
)
SERVICES_DIFFER = Difference(
    added=("cam", "kpi"),
    changed=(
        Changed(
            name="detector",
            fields=(
                FieldChange(field="image", old="detector:1", new="detector:2"),
                FieldChange(field="env.DEBUG", old=None, new="1"),
                FieldChange(
                    field="ports",
                    old=[],
                    new=[{"container_port": 80, "host_port": 0, "protocol": "tcp"}],
                ),
            ),
            replaces=True,
        ),
        Changed(name="web", fields=(FieldChange(field="replicas", old=2, new=3),)),
    ),
    removed=("old",),
    unchanged=("batch",),
)
PLAN = views.Plan(
    changes=6,
    services=SERVICES_DIFFER,
    nodes=Difference(added=("nano",)),
    forecast=FORECAST,
    fingerprint="0123456789abcdef",
)
PLAN_NOTHING = views.Plan(
    changes=0,
    services=Difference(unchanged=("batch", "cam", "kpi", "web"), left=("old",)),
    nodes=Difference(),
    forecast=Forecast(staying={"batch.1": "pi1"}),
    fingerprint="fedcba9876543210",
)
APPLIED = views.AppliedPlan(
    **{**msgspec.structs.asdict(PLAN), "forecast": Forecast(placed=FORECAST.placed)},
    changed={"cam": "added", "kpi": "added", "detector": "updated", "web": "updated"},
)
REBALANCED = views.Rebalanced(
    moves=(
        views.BetterPlace(
            instance="detector.1",
            service="detector",
            source="pi1",
            target="nano",
            cores={0: 500},
            gpus={},
            gain=0.1834,
            reason="contention 0.20 -> 1.00, cpu 0.10 -> 0.62",
        ),
    ),
    dry_run=True,
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

REGISTRY = Registry(
    node="gate",
    ports=(
        RegisteredPort(
            service="web",
            application="default",
            name="web.edge.rohe",
            port=80,
            protocol="tcp",
            service_port=30_000,
            healthy=1,
            endpoints=(
                Endpoint(
                    instance="web.1",
                    node="gate",
                    host="127.0.0.1",
                    port=20_000,
                    local=True,
                    healthy=True,
                ),
                Endpoint(instance="web.2", node="pi", host="fd00::2", port=20_000),
            ),
        ),
        RegisteredPort(
            service="web",
            application="default",
            name="web.edge.rohe",
            port=53,
            protocol="udp",
            service_port=0,
            healthy=0,
            problem="all of 30000 to 31999 are given away: choose a service_port",
        ),
    ),
)

VOLUMES = VolumeList(
    volumes=(
        VolumeView(
            volume="edge.db.1.data",
            node="pi1",
            instance="db.1",
            claim="in use",
            reason="db.1 is placed there",
        ),
        VolumeView(
            volume="edge.db.2.data",
            node="pi1",
            instance="db.2",
            claim="kept",
            reason="db.2 has no place now",
        ),
        VolumeView(
            volume="edge.old.1.data",
            node="pi1",
            instance="old.1",
            claim="orphaned",
            reason="there is no service old any more",
        ),
    ),
    unanswered={"nano": "node nano is lost"},
    without={"hub": "hub runs no instances"},
)
