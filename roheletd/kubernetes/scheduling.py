"""On which nodes a pod may run: constraints, neighbours, spreading, and what becomes of it."""

import math
import re
from collections.abc import Iterable, Iterator

from roheletd.architecture import architecture
from roheletd.kubernetes.drawing import Drawing, Object
from roheletd.kubernetes.names import as_label, host_of, is_label, name_of
from roheletd.model import Neighbour

HOSTNAME = "kubernetes.io/hostname"
NAME = "app.kubernetes.io/name"

_ARCH = "kubernetes.io/arch"
_CONSTRAINT = re.compile(r"node\.(?P<fact>[^ =<>!]+) *(?P<sign>==|!=|>=|<=|>|<) *(?P<value>.+)")
_OPERATORS = {"==": "In", "!=": "NotIn", ">": "Gt", ">=": "Gt", "<": "Lt", "<=": "Lt"}
_WHOLE = re.compile(r"\d{1,15}")


def scheduled(drawing: Drawing) -> Object:
    """The part of a pod's specification that says where."""
    service = drawing.service
    found: Object = {}
    affinity: Object = {}
    if wanted := list(_wanted_of_nodes(drawing)):
        terms = {"nodeSelectorTerms": [{"matchExpressions": wanted}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    for key, neighbours in (
        ("podAffinity", service.affinity),
        ("podAntiAffinity", service.anti_affinity),
    ):
        if neighbours:
            near = list(_near(neighbours, drawing))
            affinity[key] = {"requiredDuringSchedulingIgnoredDuringExecution": near}
    if affinity:
        found["affinity"] = affinity
    if service.replicas > 1:
        found["topologySpreadConstraints"] = [_spread(drawing)]
    found["tolerations"] = [
        {
            "key": f"node.kubernetes.io/{key}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": math.ceil(service.reschedule_after_s),
        }
        for key in ("not-ready", "unreachable")
    ]
    return found


def _wanted_of_nodes(drawing: Drawing) -> Iterator[Object]:
    service = drawing.service
    if service.architectures:
        names = [architecture(name) for name in service.architectures]
        yield {"key": _ARCH, "operator": "In", "values": names}
    for constraint in service.constraints:
        if (found := _expression(constraint, drawing)) is not None:
            yield found
    if drawing.pinned_to:
        hosts = sorted({host_of(node) for node in drawing.pinned_to})
        yield {"key": HOSTNAME, "operator": "In", "values": hosts}


def _expression(constraint: str, drawing: Drawing) -> Object | None:
    found = _CONSTRAINT.fullmatch(constraint)
    assert found is not None, constraint
    fact, sign, value = found["fact"], found["sign"], found["value"].strip()
    equal = sign in ("==", "!=")
    if fact == "name" and equal:
        return {"key": HOSTNAME, "operator": _OPERATORS[sign], "values": [host_of(value)]}
    if fact == "arch" and equal:
        return {"key": _ARCH, "operator": _OPERATORS[sign], "values": [architecture(value)]}
    key = fact.removeprefix("labels.")
    if key == fact or not is_label(key, value if equal else ""):
        drawing.note(f"left out, as Kubernetes knows no such fact of a node: `{constraint}`")
        return None
    if not equal:
        if not _WHOLE.fullmatch(value):
            drawing.note(f"left out, as Kubernetes compares whole numbers only: `{constraint}`")
            return None
        value = str(int(value) + {">=": -1, "<=": 1}.get(sign, 0))
    drawing.labels_used.add(key)
    return {"key": key, "operator": _OPERATORS[sign], "values": [value]}


def _near(neighbours: Iterable[Neighbour], drawing: Drawing) -> Iterator[Object]:
    for neighbour in neighbours:
        yield {
            "labelSelector": {"matchLabels": {NAME: name_of(neighbour.service)}},
            "topologyKey": _topology(neighbour.over, drawing),
        }


def _spread(drawing: Drawing) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": _topology(drawing.service.spread_over, drawing),
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {NAME: drawing.name}},
    }


def _topology(label: str | None, drawing: Drawing) -> str:
    if label is None:
        return HOSTNAME
    if not is_label(label):
        drawing.note(f"`{as_label(label)}` stands for the label `{label}`, which is none there")
        label = as_label(label)
    drawing.labels_used.add(label)
    return label
