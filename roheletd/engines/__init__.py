"""Engines run instances. One file each; the runner knows only the `Engine` protocol."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Literal, Protocol

from msgspec import Struct

from roheletd.cluster.container import Container, Usage
from roheletd.cluster.reconcile import Files, InstanceSpec
from roheletd.cluster.streams import Batch, ExecWanted
from roheletd.cluster.volumes import StoredVolume
from roheletd.errors import RoheletError
from roheletd.fields import EngineKind

__all__ = [
    "Container",
    "Engine",
    "EngineError",
    "EngineInfo",
    "ExecSession",
    "ImageRefused",
    "InstanceSpec",
    "Limit",
    "PortTaken",
    "Tell",
    "Usage",
    "to_nobody",
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
    `host_address` is where its instances reach this machine; empty where that is not known.
    `ends_containers`: when it restarts, every container ends.
    """

    kind: EngineKind
    name: str
    version: str
    address: str
    unenforced: tuple[Limit, ...] = ()
    host_address: str = ""
    ends_containers: bool = False


class ExecSession(Protocol):
    """A command that was started within an instance, until it is closed."""

    async def read(self) -> tuple[bytes, bool] | None:
        """What it wrote, and whether to its standard error; None: it has ended."""

    async def write(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def exit_code(self) -> tuple[int, str]:
        """Once `read` gave None: how it ended, and why it could not be started if it was not."""

    async def close(self) -> None:
        """End it, if it has not ended."""


Tell = Callable[[str, str], None]
"""Takes what happens to an instance while it is made ready: what kind of thing, and what of it."""


def to_nobody(_kind: str, _reason: str) -> None:
    """Where nobody wants to know."""


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

    async def run(self, spec: InstanceSpec, tell: Tell = to_nobody) -> None:
        """Create and start one copy, fetching the image first as `spec.pull` says."""

    def doing(self) -> Mapping[str, str]:
        """Instances that are being made ready, and how far that is; called each second."""

    async def start(self, container_id: str) -> None:
        """Start an existing copy again."""

    async def stop(self, container_id: str, grace_s: float) -> None:
        """End the run of a copy, which stays; one that is missing or has ended is no error."""

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

    async def volumes(self) -> tuple[StoredVolume, ...] | None:
        """The named volumes of this cluster's instances, needed or not. None: it can have none."""

    async def remove_volume(self, name: str) -> None:
        """Delete one and its data, unless a container has it; a missing one is no error."""

    def logs(
        self,
        container_id: str,
        *,
        follow: bool,
        since_unix_s: int = 0,
        tail: int | None = None,
        again: bool = False,
    ) -> AsyncIterator[Batch]:
        """Its lines in batches; where they are followed, until it ends.

        `again`: from where it was started last, if its lines have no stamps to tell from when.
        """

    async def exec_session(self, container_id: str, wanted: ExecWanted) -> ExecSession:
        """A command within a running copy, which somebody looks at."""


def file_variables(files: Iterable[Files], *, mounted: bool) -> dict[str, str]:
    """How an instance finds the files that it was given, where they are `mounted` or are not."""
    return {name: it.path if mounted else it.source for it in files for name in it.variables}


def surrounding_variables(spec: InstanceSpec, host_address: str) -> dict[str, str]:
    """How an instance reaches other services: `ROHE_HOST`, at the port in `ROHE_SERVICE_…_PORT`."""
    host = {"ROHE_HOST": host_address} if host_address else {}
    return {**spec.surroundings.variables, **host}


def port_variables(bound: Mapping[int, int]) -> dict[str, str]:
    """How an instance learns which port to bind for each container port of its service."""
    return {f"ROHE_PORT_{port}": str(bind) for port, bind in bound.items()}
