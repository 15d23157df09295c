"""What was refused or failed on a node is remembered for a while, so that it is not tried again.

Every node remembers by itself what the others say, whoever leads: a new leader does not repeat the
mistakes of the last one, and each node can tell why something is not where it might be. Where no
`nodes` are given, all are meant.
"""

from collections.abc import Iterator, Sequence

from roheletd.allocation.failing import failing, remember_failures
from roheletd.cluster.reports import refused_draws, reports
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.image import short_name
from roheletd.model import Node, Placement

AVOID_PORT_S = 300.0
"""Longer than the sensor of listening ports takes to see one; each try is an entry on flash."""

AVOID_IMAGE_S = 300.0
"""A node that could not get an image is not asked to again so soon, unless it has it by then."""


def avoid(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str] | None = None
) -> frozenset[str]:
    """Remember for a while the ports and the images that were refused, and what failed where.

    The instances that need other ports: they cannot stay as they are.
    """
    nodes = tuple(soft.instances) if nodes is None else nodes
    remember_failures(soft, state, now_s, nodes)
    _remember_images(soft, state, now_s, nodes)
    return _remember_ports(soft, state, now_s, nodes)


def stranded(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str] | None = None
) -> frozenset[str]:
    """Instances whose node cannot get their image, where another one has it or has not failed yet.

    Also those that fail again and again. Unlike those of `avoid` they do not have to go: where no
    other node takes one, it stays, and its node tries again.
    """
    nodes = tuple(soft.instances) if nodes is None else nodes
    return failing(soft, state, now_s, nodes) | frozenset(
        at.instance
        for at, _why in _without_image(soft, state, nodes)
        if any(_may_have(soft, node.name, _image(state, at), now_s) for node in _others(state, at))
    )


def refused_images(soft: SoftState, now_s: float) -> dict[str, dict[str, str]]:
    """Per node: `short_name` of each image that it lately could not get, and why."""
    return {
        node: {image: why for image, (until_s, why) in known.items() if until_s > now_s}
        for node, known in soft.refused_images.items()
    }


def _remember_ports(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str]
) -> frozenset[str]:
    for node in soft.refused_ports.keys() & nodes:
        known = soft.refused_ports[node]
        soft.refused_ports[node] = {port: at_s for port, at_s in known.items() if at_s > now_s}
    displaced = set()
    for at, use in reports(soft, state, nodes):
        if ports := refused_draws(state.edition_of(at).service, at, use):
            displaced.add(at.instance)
            remembered = soft.refused_ports.setdefault(at.node, {})
            remembered.update(dict.fromkeys(ports, now_s + AVOID_PORT_S))
    return frozenset(displaced)


def _remember_images(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str]
) -> None:
    for node in soft.refused_images.keys() & nodes:
        known = soft.refused_images[node]
        soft.refused_images[node] = {it: found for it, found in known.items() if found[0] > now_s}
    for at, why in _without_image(soft, state, nodes):
        remembered = soft.refused_images.setdefault(at.node, {})
        remembered[_image(state, at)] = (now_s + AVOID_IMAGE_S, why)


def _without_image(
    soft: SoftState, state: ClusterState, nodes: Sequence[str]
) -> Iterator[tuple[Placement, str]]:
    """Placements that do not run for want of their image, and the reason."""
    return ((at, use.reason) for at, use in reports(soft, state, nodes) if use.refused_image)


def _image(state: ClusterState, at: Placement) -> str:
    """Of the edition that it runs: what the next one needs may be there all the same."""
    return short_name(state.edition_of(at).service.image)


def _others(state: ClusterState, at: Placement) -> Iterator[Node]:
    return (it for it in state.nodes.values() if it.name != at.node and it.engine == "docker")


def _may_have(soft: SoftState, node: str, image: str, now_s: float) -> bool:
    report = soft.telemetry.get(node)
    if report is None:
        return False
    until_s, _why = soft.refused_images.get(node, {}).get(image, (0.0, ""))
    return image in (report.images or ()) or until_s <= now_s
