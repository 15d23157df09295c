"""What an engine says of a container: its state, and what it has used."""

from typing import Literal

from msgspec import Struct


class Container(Struct, frozen=True, kw_only=True):
    """One copy as the engine lists it. `exit_code` and `reason` once it has ended.

    `unfit_image`: it ended because its image is not made for this machine. `address` is its own, at
    which it can be reached from this machine; empty where it shares that of the machine. `stranger`
    is the name of one that has our labels and that we did not make: it is left alone. `host_ports`
    are those of this machine that it holds while it runs.
    """

    id: str
    instance: str
    digest: str
    state: Literal["created", "running", "exited"]
    stranger: str = ""
    paused: bool = False
    created_s: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    unfit_image: bool = False
    address: str = ""
    host_ports: tuple[int, ...] = ()


class Usage(Struct, frozen=True, kw_only=True):
    """Counters of one running instance: CPU time since its start, memory now."""

    cpu_s: float
    memory_mib: int
