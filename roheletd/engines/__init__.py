"""Engines run instances. One file each; the runner knows only the `Engine` protocol."""

from collections.abc import AsyncIterator, Mapping
from typing import Literal, Protocol

from msgspec import Struct

from roheletd.cluster.reconcile import Container, InstanceSpec, Usage
from roheletd.errors import RoheletError
from roheletd.fields import EngineKind

__all__ = [
    "Container",
    "Engine",
    "EngineError",
    "EngineInfo",
    "ImageRefused",
    "InstanceSpec",
    "Limit",
    "PortTaken",
    "Usage",
]


class EngineError(RoheletError):
    """The engine refused one request; the message is its reason, fit for `why` and `events`.

    `retry` is False where trying again cannot help until the service is changed.
    """

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.retry = retry


class PortTaken(EngineError):  # noqa: N818 - what happened
    """Something that is not ours holds a host port of the instance: one of `ports`."""

    def __init__(self, ports: tuple[int, ...]) -> None:
        which = f"port {ports[0]}" if len(ports) == 1 else f"one of the ports {_listed(ports)}"
        super().__init__(f"{which} of this node is in use by another program")
        self.ports = ports


class ImageRefused(EngineError):  # noqa: N818 - what happened
    """This node cannot get the image of an instance, or it is not made for this node's processor.

    Another node may have it, or another link to its registry.
    """


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(ports)))


Limit = Literal["cores", "quota", "memory"]


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What answered: `name` is `Docker`, `Podman` or `process`, `address` how it was reached.

    `unenforced` names the limits that it cannot hold instances to on this machine.
    """

    kind: EngineKind
    name: str
    version: str
    address: str
    unenforced: tuple[Limit, ...] = ()


class Engine(Protocol):
    """Runs, lists and removes the instances of one node of one cluster.

    Every method raises `EngineError` for a refusal and `Unavailable` where the engine itself
    does not answer.
    """

    async def open(self) -> EngineInfo:
        """Connect (again); safe to call after `Unavailable`."""

    async def close(self) -> None: ...

    async def list(self) -> list[Container]:
        """Every container of this cluster and node, running or not."""

    async def run(self, spec: InstanceSpec) -> None:
        """Create and start one copy, pulling the image first if it is absent."""

    async def start(self, container_id: str) -> None:
        """Start an existing copy again."""

    async def remove(self, container_id: str, grace_s: float) -> None:
        """Stop (signal, then kill after `grace_s`) and delete; a missing copy is no error."""

    def usage(self) -> dict[str, Usage]:
        """Container id to usage for what runs; cheap, called each second, never blocks."""

    def threads(self, container_id: str) -> Mapping[int, float]:
        """Seconds of CPU of each thread of a running copy; none if it has just ended."""

    def changes(self) -> AsyncIterator[None]:
        """One item whenever a container of ours may have changed; ends with `Unavailable`."""

    def images(self) -> AsyncIterator[tuple[str, ...]]:
        """The `short_name` of each image that is there: at once, and again when that may differ.

        Ends with `Unavailable`. An engine that has no use for images says so once, with none.
        """


def port_variables(bound: Mapping[int, int]) -> dict[str, str]:
    """How an instance learns which port to bind for each container port of its service."""
    return {f"ROHE_PORT_{port}": str(bind) for port, bind in bound.items()}
