"""What others use on each node: the measured use less the part of it that is ours.

Kubernetes and Swarm place by requests alone; a box at the edge also runs a desktop, a camera
daemon or a compile job that nobody requested, and its load must be seen.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from roheletd.allocation.failing import failing, remember_failures
from roheletd.allocation.snapshot import ForeignLoad
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.image import short_name
from roheletd.instance_use import InstanceUse
from roheletd.model import Node, Placement
from roheletd.telemetry import Telemetry

AVOID_PORT_S = 300.0
"""Longer than the sensor of listening ports takes to see one; each try is an entry on flash."""

AVOID_IMAGE_S = 300.0
"""A node that could not get an image is not asked to again so soon, unless it has it by then."""


def foreign_loads(soft: SoftState, state: ClusterState) -> dict[str, ForeignLoad]:
    """Per node that has reported: cores, memory and ports that are used, but not by us."""
    loads = {
        node: foreign_load(
            report, soft.usual_millicores.get(node, {}), state.placements_on(node).values()
        )
        for node, report in soft.telemetry.items()
    }
    return {
        node: replace(load, ports=load.ports | soft.refused_ports.get(node, {}).keys())
        for node, load in loads.items()
    }


def displaced(soft: SoftState, state: ClusterState) -> dict[str, tuple[int, ...]]:
    """Placed instances that cannot have the host ports chosen for them, with those ports.

    A port that the service itself requires is not among them: no other one would do.
    """
    found = {}
    for node, report in soft.telemetry.items():
        for use in report.instances:
            at = state.placements.get(use.instance)
            if at is not None and at.node == node and use.refused_ports:
                found[use.instance] = tuple(_chosen(state, at).intersection(use.refused_ports))
    return {instance: ports for instance, ports in found.items() if ports}


def _chosen(state: ClusterState, at: Placement) -> set[int]:
    wanted = state.services[at.service].service.ports
    required = {port.host_port for port in wanted if port.host_port and port.required}
    return {binding.host_port for binding in at.ports} - required


def avoid(soft: SoftState, state: ClusterState, now_s: float) -> frozenset[str]:
    """Remember for a while the ports and the images that were refused, and what failed where.

    The instances that need other ports: they cannot stay as they are.
    """
    _avoid_images(soft, state, now_s)
    remember_failures(soft, state, now_s)
    for node, until_s in soft.refused_ports.items():
        soft.refused_ports[node] = {port: at_s for port, at_s in until_s.items() if at_s > now_s}
    instances = displaced(soft, state)
    for instance, ports in instances.items():
        remembered = soft.refused_ports.setdefault(state.placements[instance].node, {})
        remembered.update(dict.fromkeys(ports, now_s + AVOID_PORT_S))
    return frozenset(instances)


def refused_images(soft: SoftState, now_s: float) -> dict[str, dict[str, str]]:
    """Per node: `short_name` of each image that it lately could not get, and why."""
    return {
        node: {image: why for image, (until_s, why) in known.items() if until_s > now_s}
        for node, known in soft.refused_images.items()
    }


def stranded(soft: SoftState, state: ClusterState, now_s: float) -> frozenset[str]:
    """Instances whose node cannot get their image, where another one has it or has not failed yet.

    Also those that fail again and again. Unlike those of `avoid` they do not have to go: where no
    other node takes one, it stays, and its node tries again.
    """
    return failing(soft, state, now_s) | frozenset(
        at.instance
        for at, _why in _without_image(soft, state)
        if any(_may_have(soft, node.name, _image(state, at), now_s) for node in _others(state, at))
    )


def _others(state: ClusterState, at: Placement) -> Iterator[Node]:
    return (it for it in state.nodes.values() if it.name != at.node and it.engine == "docker")


def _may_have(soft: SoftState, node: str, image: str, now_s: float) -> bool:
    report = soft.telemetry.get(node)
    if report is None:
        return False
    until_s, _why = soft.refused_images.get(node, {}).get(image, (0.0, ""))
    return image in (report.images or ()) or until_s <= now_s


def _without_image(soft: SoftState, state: ClusterState) -> Iterator[tuple[Placement, str]]:
    """Placements that do not run for want of their image, and the reason."""
    for node, report in soft.telemetry.items():
        for use in report.instances:
            at = state.placements.get(use.instance)
            if at is not None and at.node == node and use.refused_image:
                yield at, use.reason


def _image(state: ClusterState, at: Placement) -> str:
    return short_name(state.services[at.service].service.image)


def _avoid_images(soft: SoftState, state: ClusterState, now_s: float) -> None:
    for node, known in soft.refused_images.items():
        soft.refused_images[node] = {
            image: found for image, found in known.items() if found[0] > now_s
        }
    for at, why in _without_image(soft, state):
        remembered = soft.refused_images.setdefault(at.node, {})
        remembered[_image(state, at)] = (now_s + AVOID_IMAGE_S, why)


def foreign_load(
    report: Telemetry, usual_millicores: Mapping[int, float], placements: Iterable[Placement]
) -> ForeignLoad:
    """`usual_millicores` is the smoothed use per core, ours included."""
    uses = {use.instance: use for use in report.instances}
    cores = {core: round(used) for core, used in usual_millicores.items()}
    memory_mib = 0
    if report.memory is not None:
        memory_mib = report.memory.total_mib - report.memory.available_mib
    ports = set(report.taken_ports)
    for at in placements:
        use = uses.get(at.instance)
        for core, share in _spread(at, use).items():
            cores[core] = max(0, cores.get(core, 0) - share)
        memory_mib -= (use.memory_mib if use else None) or 0
        ports -= {binding.host_port for binding in at.ports}
    return ForeignLoad(
        cores_millicores=cores, memory_mib=max(0, memory_mib), ports=frozenset(ports)
    )


def _spread(at: Placement, use: InstanceUse | None) -> dict[int, int]:
    """An instance is pinned, so its use is on its cores; its share of each is as promised."""
    promised = sum(at.cores.values())
    if use is None or not use.cpu_millicores or not promised:
        return {}
    return {core: use.cpu_millicores * need // promised for core, need in at.cores.items()}
