"""How one instance is, and what it uses, as its node says."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Health = Literal["starting", "healthy", "unhealthy"]


class InstanceUse(Struct, frozen=True, kw_only=True):
    """One instance of ours, as its node sees it; null where the engine cannot tell.

    `refused_ports` are host ports it was to have, of which something that is not ours holds one.
    `refused_image`: it does not run because this node cannot get its image, or not run that one.
    `cores_millicores` is its CPU as its threads would spread over its cores, largest first, and
    `gpu_percent` its share of the device of which it uses most.

    `revision` is the definition it is of. `failures` in a row, with what it was last time in
    `last_failure`, are forgotten after some minutes of health. `reason` is why it does not run now,
    or is not healthy.
    """

    instance: str
    state: str
    revision: int = 0
    health: Health = "starting"
    healthy_for_s: float | None = None
    failures: int = 0
    last_failure: str = ""
    cpu_millicores: int | None = None
    memory_mib: int | None = None
    cores_millicores: tuple[int, ...] | None = None
    gpu_percent: float | None = None
    gpu_memory_mib: int | None = None
    restarts: int = 0
    reason: str = ""
    refused_ports: tuple[int, ...] = ()
    refused_image: bool = False


def without_use(use: InstanceUse) -> InstanceUse:
    """How an instance is, and nothing of what it uses, which changes all the time."""
    return replace(
        use,
        cpu_millicores=None,
        memory_mib=None,
        cores_millicores=None,
        gpu_percent=None,
        gpu_memory_mib=None,
    )


def lasting(use: InstanceUse) -> InstanceUse:
    """What of an instance is news when it differs: neither its use nor how long it is healthy."""
    return replace(without_use(use), healthy_for_s=None)


def with_use_of(use: InstanceUse, before: InstanceUse | None) -> InstanceUse:
    """How it is now, with what was measured before, unless it says that itself."""
    if before is None or use.state != "running" or use.memory_mib is not None:
        return use
    return replace(
        use,
        cpu_millicores=before.cpu_millicores,
        memory_mib=before.memory_mib,
        cores_millicores=before.cores_millicores,
        gpu_percent=before.gpu_percent,
        gpu_memory_mib=before.gpu_memory_mib,
    )
