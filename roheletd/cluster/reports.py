"""What nodes say of the instances that are placed there, as far as it is of what is placed now."""

from collections.abc import Iterable, Iterator

from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Service


def report_of(soft: SoftState, at: Placement) -> InstanceUse | None:
    """What its node says of what was placed; none while it speaks of an earlier edition."""
    use = soft.instances.get(at.node, {}).get(at.instance)
    return use if use is not None and use.revision == at.revision else None


def refused_draws(service: Service, at: Placement, use: InstanceUse) -> frozenset[int]:
    """Host ports that were drawn for an instance, and are among those that something else holds.

    Without those that its service requires: no other one would do.
    """
    required = {port.host_port for port in service.ports if port.host_port and port.required}
    drawn = {binding.host_port for binding in at.ports} - required
    return frozenset(drawn.intersection(use.refused_ports))


def reports(
    soft: SoftState, state: ClusterState, nodes: Iterable[str]
) -> Iterator[tuple[Placement, InstanceUse]]:
    """All of these nodes."""
    for node in nodes:
        for use in soft.instances.get(node, {}).values():
            at = state.placements.get(use.instance)
            if at is not None and at.node == node and report_of(soft, at) is use:
                yield at, use
