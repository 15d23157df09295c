"""What one instance uses of GPUs, from what the driver says of each process."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from roheletd.telemetry import GpuProcess

UNKNOWN = GpuProcess(None, None)


def gpu_share(ids: AbstractSet[int], gpus: Sequence[Mapping[int, GpuProcess]]) -> GpuProcess:
    """The share of the processes with these ids, on the device of which they use most.

    `gpus` are by device. Without a process of its own on any, an instance is not known to use
    nothing: its numbers may be those of another namespace.
    """
    each = [[processes[pid] for pid in processes.keys() & ids] for processes in gpus]
    own = [_total(found) for found in each if found]
    percent = (share.used_percent for share in own if share.used_percent is not None)
    memory_mib = (share.memory_mib for share in own if share.memory_mib is not None)
    return GpuProcess(max(percent, default=None), max(memory_mib, default=None))


def _total(found: Sequence[GpuProcess]) -> GpuProcess:
    """Of several processes; unknown where one of them is."""
    percent = [each.used_percent for each in found if each.used_percent is not None]
    memory_mib = [each.memory_mib for each in found if each.memory_mib is not None]
    return GpuProcess(
        sum(percent) if len(percent) == len(found) else None,
        sum(memory_mib) if len(memory_mib) == len(found) else None,
    )
