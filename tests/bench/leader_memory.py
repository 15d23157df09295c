"""What a leader of many nodes holds in memory: run as a fresh process, which says it at its end.

It loads what the daemon loads, takes the agreed state as a snapshot of the log from its standard
input, hears each node's telemetry, and places all instances in the leader's own passes. The peak
counts from before the first pass, so that it holds the books and not the making of this case.
"""

import json
import sys
from pathlib import Path
from random import Random

import msgspec

import roheletd.daemon  # noqa: F401 - a leader has all of it in memory
from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import look
from roheletd.cluster.commands import Place, Proposal
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState, decode
from roheletd.instance_use import InstanceUse
from roheletd.model import Node, Placement
from roheletd.telemetry import CpuUse, DiskUse, MemoryUse, NetworkUse, Telemetry, ThermalZone

_NOW_S = 10.0


def main() -> None:
    state = ClusterState(decode(sys.stdin.buffer.read()))
    soft = SoftState(broker=BrokerLink(mode="managed"), engine=EngineLink(kind="none"))
    membership = Membership(me="", limits=thresholds(1.0))
    _report(state, soft, membership, {})
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    while (found := _pass(state, soft, membership)).placements:
        index = state.applied_index + 1
        state.apply(index, 1, Proposal(id=f"id-{index}", command=found))
    by_node: dict[str, list[Placement]] = {}
    for at in state.placements.values():
        by_node.setdefault(at.node, []).append(at)
    _report(state, soft, membership, by_node)
    _pass(state, soft, membership)
    said = {
        "memory_nodes": len(state.registrations),
        "memory_instances": len(state.placements),
        "leader_memory_mib": _status_mib("VmHWM"),
        "leader_memory_between_passes_mib": _status_mib("VmRSS"),
    }
    json.dump(said, sys.stdout)


def _pass(state: ClusterState, soft: SoftState, membership: Membership) -> Place:
    view = look(state, soft, membership, _NOW_S)
    return schedule(state, view, Profile(), Random(1)).place


def _report(
    state: ClusterState,
    soft: SoftState,
    membership: Membership,
    placed: dict[str, list[Placement]],
) -> None:
    """From JSON, as it comes in: nothing of one node's report is shared with another's."""
    for name, known in state.registrations.items():
        sent = msgspec.json.encode(_telemetry(known.node, placed.get(name, [])))
        soft.heard_telemetry(msgspec.json.decode(sent, type=Telemetry))
        membership.heard(name, _NOW_S)


def _telemetry(node: Node, placed: list[Placement]) -> Telemetry:
    cores = node.capacity.cores
    return Telemetry(
        node=node.name,
        at_s=1.7e9,
        interval_s=1.0,
        cpu=CpuUse(
            used_millicores=dict.fromkeys(cores, 50),
            frequency_mhz=dict.fromkeys(cores, 1500),
            load=(0.5, 0.4, 0.3),
        ),
        memory=MemoryUse(
            total_mib=node.capacity.memory_mib, available_mib=node.capacity.memory_mib - 600
        ),
        disks=(DiskUse(mount="/", total_mib=30_000, free_mib=20_000),),
        network=(NetworkUse(name="eth0"), NetworkUse(name="wlan0")),
        thermal=tuple(ThermalZone(name=f"zone{number}", celsius=50.0) for number in range(3)),
        taken_ports=(22, 1883),
        instances=tuple(
            InstanceUse(instance=at.instance, state="running", cpu_millicores=200, memory_mib=150)
            for at in placed
        ),
    )


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return round(int(kib) / 1024, 1)


if __name__ == "__main__":
    main()
