"""Which cores, which devices, which ports: the parts of a node that a placement names."""

from collections.abc import Iterable, Mapping

from roheletd.allocation.snapshot import FreeGpu, HostPort
from roheletd.model import Port, PortBinding


def assign_cores(free: Mapping[int, int], needs: tuple[int, ...]) -> dict[int, int] | None:
    """Core id to millicores, each need on a core of its own; None where they do not fit.

    The largest need takes the freest core, the next the next. If any assignment exists, this
    one does: swapping two needs so that the larger sits on the freer core never breaks a fit.
    """
    freest = sorted(free, key=lambda core: (-free[core], core))
    wanted = sorted(needs, reverse=True)
    if len(wanted) > len(freest):
        return None
    chosen = dict(zip(freest, wanted, strict=False))
    return chosen if all(free[core] >= need for core, need in chosen.items()) else None


def assign_gpus(
    free: Iterable[FreeGpu], wanted: Mapping[str, int], memory_mib: int
) -> dict[str, int] | None:
    """Device id to percent, one device for each kind asked for; None where one is missing.

    Of the devices that fit, the fullest is taken, so that a whole one stays whole.
    """
    devices = sorted(free, key=lambda item: (item.percent, item.gpu.id))
    chosen: dict[str, int] = {}
    for kind, percent in wanted.items():
        for item in devices:
            fits = item.gpu.kind == kind and item.percent >= percent
            if fits and (item.gpu.shares_memory or item.memory_mib >= memory_mib):
                chosen[item.gpu.id] = percent
                break
        else:
            return None
    return chosen


def assign_ports(
    taken: frozenset[HostPort], ports: Iterable[Port], choices: range
) -> tuple[PortBinding, ...] | Port:
    """A host port for each of `ports`, or the first port for which there is none."""
    used = set(taken)
    bindings = []
    for port in ports:
        number = _host_port(port, used, choices)
        if number is None:
            return port
        used.add((number, port.protocol))
        bindings.append(
            PortBinding(
                container_port=port.container_port, host_port=number, protocol=port.protocol
            )
        )
    return tuple(bindings)


def _host_port(port: Port, used: set[HostPort], choices: range) -> int | None:
    if port.host_port and (port.host_port, port.protocol) not in used:
        return port.host_port
    if port.host_port and port.required:
        return None
    return next((number for number in choices if (number, port.protocol) not in used), None)
