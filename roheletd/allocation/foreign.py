"""What others use on each node: the measured use less the part of it that is ours.

Kubernetes and Swarm place by requests alone; a box at the edge also runs a desktop, a camera
daemon or a compile job that nobody requested, and its load must be seen.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from roheletd.allocation.snapshot import ForeignLoad
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement
from roheletd.telemetry import Telemetry


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
