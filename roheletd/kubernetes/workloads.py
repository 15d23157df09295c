"""The objects of one service: Deployment, Service, and what those need."""

import math
from collections.abc import Iterator

from roheletd.kubernetes.drawing import Drawing, Object
from roheletd.kubernetes.names import as_label, is_annotation, is_label
from roheletd.kubernetes.pod import claim_name, named_volumes, pod_of, port_name, template_name
from roheletd.kubernetes.scheduling import NAME
from roheletd.model import Service

_PART_OF = "app.kubernetes.io/part-of"
_CLAIM = "1Gi"


def objects_of(drawing: Drawing) -> Iterator[Object]:
    """In the order in which they are best applied."""
    service = drawing.service
    volumes = named_volumes(drawing)
    stateful = bool(volumes) and service.replicas != 1
    if volumes:
        drawing.note(f"how large its volumes are is not known here: {_CLAIM} is claimed for each")
        drawing.note("what is in its volumes is not exported")
    if not stateful:
        yield from (_claim(claim_name(drawing, it), drawing) for it in volumes)
    yield _stateful_set(drawing, volumes) if stateful else _deployment(drawing)
    if service.ports:
        yield _service(drawing)
    if service.min_available:
        yield _budget(drawing)
    _mention_the_rest(drawing)


def _object(kind: str, version: str, name: str, drawing: Drawing, **parts: object) -> Object:
    """With the labels of the service, and as annotations those that are no labels there."""
    metadata: Object = {"name": name, "labels": _labels(drawing)}
    others = {
        key: value
        for key, value in sorted(drawing.service.labels.items())
        if not is_label(key, value) and is_annotation(key)
    }
    if others and kind in ("Deployment", "StatefulSet"):
        metadata["annotations"] = others
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def _labels(drawing: Drawing) -> dict[str, str]:
    service = drawing.service
    own = {key: value for key, value in sorted(service.labels.items()) if is_label(key, value)}
    return {**own, **_selector(drawing), _PART_OF: as_label(service.application)}


def _selector(drawing: Drawing) -> dict[str, str]:
    return {NAME: drawing.name}


def _template(drawing: Drawing, *, claimed: bool) -> Object:
    return {"metadata": {"labels": _labels(drawing)}, "spec": pod_of(drawing, claimed=claimed)}


def _deployment(drawing: Drawing) -> Object:
    service, update = drawing.service, drawing.service.update
    starts_first = update.order == "start-first"
    ready_s = _ready_s(service)
    spec: Object = {
        "replicas": service.replicas,
        "selector": {"matchLabels": _selector(drawing)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": update.parallel if starts_first else 0,
                "maxUnavailable": 0 if starts_first else update.parallel,
            },
        },
        "minReadySeconds": ready_s,
        "progressDeadlineSeconds": max(math.ceil(update.deadline_s), ready_s + 1),
        "template": _template(drawing, claimed=False),
    }
    return _object("Deployment", "apps/v1", drawing.name, drawing, spec=spec)


def _ready_s(service: Service) -> int:
    if service.update.healthy_for_s is not None:
        return math.ceil(service.update.healthy_for_s)
    return 0 if service.health is not None else 5


def _stateful_set(drawing: Drawing, volumes: tuple[str, ...]) -> Object:
    """Each instance has volumes of its own here, and Deployments share them there."""
    claims = [_claim(claim_name(drawing, it), drawing) for it in volumes]
    for claim, volume in zip(claims, volumes, strict=True):
        claim["metadata"] = {"name": template_name(volume)}
        del claim["apiVersion"], claim["kind"]
    spec: Object = {
        "replicas": drawing.service.replicas,
        "serviceName": drawing.name,
        "selector": {"matchLabels": _selector(drawing)},
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "minReadySeconds": _ready_s(drawing.service),
        "template": _template(drawing, claimed=True),
        "volumeClaimTemplates": claims,
    }
    drawing.note("is a StatefulSet there, for each instance has volumes of its own")
    return _object("StatefulSet", "apps/v1", drawing.name, drawing, spec=spec)


def _claim(name: str, drawing: Drawing) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _CLAIM}}}
    return _object("PersistentVolumeClaim", "v1", name, drawing, spec=spec)


def _service(drawing: Drawing) -> Object:
    """A port of every node here is that of a load balancer there: K3s's own does just that."""
    service = drawing.service
    published = {(port.service_port, port.protocol) for port in service.ports if port.service_port}
    ports = []
    for port in service.ports:
        number = port.service_port or port.container_port
        if not port.service_port and (number, port.protocol) in published:
            drawing.note(
                f"left out: a way to its port {number}, which is that of another one there"
            )
            continue
        ports.append(
            {
                "name": port_name(port.container_port, port.protocol),
                "port": number,
                "targetPort": port.container_port,
                "protocol": port.protocol.upper(),
            }
        )
    if published:
        drawing.note("its ports of every node are those of a load balancer there")
    kind = "LoadBalancer" if published else "ClusterIP"
    spec = {"type": kind, "selector": _selector(drawing), "ports": ports}
    return _object("Service", "v1", drawing.name, drawing, spec=spec)


def _budget(drawing: Drawing) -> Object:
    spec = {
        "minAvailable": drawing.service.min_available,
        "selector": {"matchLabels": _selector(drawing)},
    }
    return _object("PodDisruptionBudget", "policy/v1", drawing.name, drawing, spec=spec)


def _mention_the_rest(drawing: Drawing) -> None:
    """What a service asks for and Kubernetes has no word for; what is not asked for is silent."""
    service, usual = drawing.service, Service(name="x")
    for field, meaning in _WITHOUT_A_WORD.items():
        if getattr(service, field) != getattr(usual, field):
            drawing.note(f"left out: `{field}`, {meaning}")
    if service.update.on_failure == "rollback":
        drawing.note("an update that fails stops there, and goes back with `kubectl rollout undo`")
    lost = [
        key
        for key, value in service.labels.items()
        if not is_label(key, value) and not is_annotation(key)
    ]
    if lost:
        drawing.note(f"left out, as no names of labels there: {', '.join(sorted(lost))}")


_WITHOUT_A_WORD = {
    "vms_mib": "a need of virtual memory",
    "sensitivity": "which the placing goes by here",
    "priority": "which takes a PriorityClass there",
    "all_or_nothing": "services that start together or not at all",
    "depends_on": "the order of starts; what is needed has to be waited for",
    "move_after": "after how many failures another node is tried",
    "warm_spare": "a copy that waits on another node",
    "strategy": "which node is preferred",
    "spread_devices": "several devices for one need",
    "on_isolation": "what a node alone does",
    "stop_signal": "with which a container is told to stop; there it is the image's own",
}
