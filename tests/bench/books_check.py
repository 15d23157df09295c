"""Whether placements can be: an independent sum of what each node was promised to give."""

from collections import Counter
from collections.abc import Iterable

from roheletd.model import Node, Placement


def overcommitted(nodes: Iterable[Node], placements: Iterable[Placement]) -> list[str]:
    """Everything that was given out more often than it is there, in words."""
    found = []
    by_node: dict[str, list[Placement]] = {node.name: [] for node in nodes}
    for at in placements:
        by_node[at.node].append(at)
    for node in nodes:
        given = _given(by_node[node.name])
        has = _has(node)
        found += [
            f"{node.name}: {amount} of {has.get(what, 1)} of {what}"
            for what, amount in given.items()
            if amount > has.get(what, 1)
        ]
    return found


def _given(placements: Iterable[Placement]) -> Counter[str]:
    given: Counter[str] = Counter()
    for at in placements:
        given["cpu"] += at.cpu_millicores
        given["memory"] += at.memory_mib
        given["virtual memory"] += at.vms_mib
        given.update({f"core {core}": need for core, need in at.cores.items()})
        given.update({f"gpu {device}": percent for device, percent in at.gpus.items()})
        given.update(f"port {it.host_port}/{it.protocol}" for it in at.ports)
    return given


def _has(node: Node) -> dict[str, int]:
    capacity = node.capacity
    return {
        "cpu": capacity.cpu_millicores,
        "memory": capacity.memory_mib,
        "virtual memory": capacity.vms_mib or capacity.memory_mib,
        **{f"core {core}": size for core, size in capacity.cores.items()},
        **{f"gpu {gpu.id}": gpu.percent for gpu in capacity.gpus},
    }
