"""What an instance would be given of a node: which cores, which devices, which ports."""

from collections.abc import Container, Iterable

from msgspec import Struct

from roheletd.allocation.ask import Ask
from roheletd.allocation.snapshot import FreeGpu, FreeNode, HostPort
from roheletd.model import Port, PortBinding


class Fit(Struct, frozen=True):
    """Core id and device id to the share that an instance would get of it."""

    cores: dict[int, int]
    gpus: dict[str, int]


def fit(free: FreeNode, ask: Ask) -> Fit | None:
    """What an instance would be given of this node, or None where cores or devices are short."""
    cores = assign_cores(free, ask)
    if cores is None:
        return None
    gpus = assign_gpus(free.gpus, ask) if ask.accelerators else {}
    return None if gpus is None else Fit(cores, gpus)


def memory_need(free: FreeNode, ask: Ask, gpus: Container[str]) -> int:
    """MiB of system memory, with the part of `gpus` where those have the same memory."""
    if ask.gpu_memory_mib and any(it.gpu.shares_memory and it.gpu.id in gpus for it in free.gpus):
        return ask.memory_mib + ask.gpu_memory_mib
    return ask.memory_mib


def assign_cores(free: FreeNode, ask: Ask) -> dict[int, int] | None:
    """Core id to millicores, each need on a core of its own; None where they do not fit.

    The largest need chooses first among the cores with room for it: one that keeps sensitive
    instances undisturbed, then the freest (or the tightest, where the ask says so), then by id. If
    any assignment exists, one is found: what has room for the largest need has room for every
    other, so that whichever of those cores is taken, the rest is left no worse off.
    """
    left, order = free.cores, free.freest
    if len(ask.demand) > len(order):
        return None
    if ask.tight:
        order = order[::-1]
    if free.sensitive or (ask.cpu_sensitive and free.holders):
        order = _undisturbed_first(order, free, ask)
    elif not ask.tight:
        # The freest that is not taken yet: if that has no room, none has.
        freest = dict(zip(order, ask.demand, strict=False))
        for core, need in freest.items():
            if left[core] < need:
                return None
        return freest
    chosen: dict[int, int] = {}
    for need in ask.demand:
        for core in order:
            if left[core] >= need and core not in chosen:
                chosen[core] = need
                break
        else:
            return None
    return chosen


def _undisturbed_first(order: tuple[int, ...], free: FreeNode, ask: Ask) -> tuple[int, ...]:
    """The sort is stable: within each kind, the order stays."""
    held, spoilt = free.holders, free.sensitive
    if not ask.cpu_sensitive:
        return tuple(sorted(order, key=spoilt.__contains__))
    return tuple(sorted(order, key=lambda core: (core in held) + (core in spoilt)))


def assign_gpus(devices: Iterable[FreeGpu], ask: Ask) -> dict[str, int] | None:
    """Device id to percent; None where what was asked for is missing.

    One device for each kind, the fullest that has room, so that a whole one stays whole. With
    `spread_devices` from several, the freest first.
    """
    able = [
        item for item in devices if item.gpu.shares_memory or item.memory_mib >= ask.gpu_memory_mib
    ]
    chosen: dict[str, int] = {}
    for kind, percent in ask.accelerators:
        of_kind = [item for item in able if item.gpu.kind == kind]
        found = _spread(of_kind, percent) if ask.spread_devices else _fullest(of_kind, percent)
        if found is None:
            return None
        chosen |= found
    return chosen


def _fullest(devices: list[FreeGpu], percent: int) -> dict[str, int] | None:
    fitting = [(item.percent, item.gpu.id) for item in devices if item.percent >= percent]
    return {min(fitting)[1]: percent} if fitting else None


def _spread(devices: list[FreeGpu], percent: int) -> dict[str, int] | None:
    chosen = {}
    for item in sorted(devices, key=lambda item: (-item.percent, item.gpu.id)):
        share = min(percent, item.percent)
        if share > 0:
            chosen[item.gpu.id] = share
            percent -= share
    return None if percent else chosen


EDITION_PORTS = 101
"""How far behind the ports of one edition those of the next begin; a prime: all numbers serve."""


def assign_ports(
    taken: frozenset[HostPort], ask: Ask, choices: range, revision: int = 0
) -> tuple[PortBinding, ...] | Port:
    """A host port for each of the ports asked for, or the first port for which there is none.

    Where the choice is free, no port is chosen that another of them must have, and each edition
    begins at a number of its own: an instance that is replaced still holds its port for a moment,
    and the next one would have to wait for it.
    """
    if not ask.ports:
        return ()
    used = set(taken)
    bindings = []
    for port in ask.ports:
        number = _host_port(port, used, ask, choices, revision * EDITION_PORTS)
        if number is None:
            return port
        used.add((number, port.protocol))
        bindings.append(
            PortBinding(
                container_port=port.container_port, host_port=number, protocol=port.protocol
            )
        )
    return tuple(bindings)


def _host_port(port: Port, used: set[HostPort], ask: Ask, choices: range, begin: int) -> int | None:
    wish = (port.host_port, port.protocol)
    if port.host_port and wish not in used and (port.required or wish not in ask.must_ports):
        return port.host_port
    if port.host_port and port.required:
        return None
    for step in range(len(choices)):
        number = choices[(begin + step) % len(choices)]
        chosen = (number, port.protocol)
        if chosen not in used and chosen not in ask.must_ports:
            return number
    return None
