"""How an instance is kept once it is placed: checks of its health, updates, files, configuration.

The parts of a service's definition that the allocator does not look at.
"""

from typing import Annotated, Literal

from msgspec import Meta

from roheletd.fields import AbsolutePath, Mebibytes, Name, PortNumber, Text, Value

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class HttpCheck(Value, frozen=True):
    """Healthy: a GET of `path` at this container port is answered with a status below 400."""

    port: PortNumber
    path: Annotated[Text, Meta(min_length=1)] = "/"


class TcpCheck(Value, frozen=True):
    """Healthy: this container port takes a connection."""

    port: PortNumber


class ExecCheck(Value, frozen=True):
    """Healthy: `command`, run within the instance, ends with 0."""

    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)]


class HealthCheck(Value, frozen=True):
    """What the daemon asks an instance again and again; exactly one of `http`, `tcp`, `exec`."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval_s: Annotated[
        Seconds, Meta(description="from one check to the next; until the first success at most 1 s")
    ] = 10.0
    timeout_s: Annotated[Seconds, Meta(description="a check without an answer has failed")] = 3.0
    start_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="after a start, failures do not count for so long or until it was healthy",
        ),
    ] = 30.0
    unhealthy_after: Annotated[
        int, Meta(ge=1, le=100, description="failures in a row until it is restarted")
    ] = 3
    healthy_after: Annotated[
        int, Meta(ge=1, le=100, description="successes in a row until it is healthy")
    ] = 1


class UpdatePolicy(Value, frozen=True):
    """How a changed service, or one whose node is drained, replaces its instances."""

    parallel: Annotated[
        int, Meta(ge=1, le=10_000, description="instances that are replaced at the same time")
    ] = 1
    order: Annotated[
        Literal["stop-first", "start-first"],
        Meta(
            description="start-first: the old instance ends once the new one is healthy, which "
            "takes room for both"
        ),
    ] = "stop-first"
    healthy_for_s: Annotated[
        float | None,
        Meta(
            ge=0,
            le=86_400,
            description="how long a new instance has to be healthy before the next one is "
            "replaced; null: 0 with a health check, 5 without",
        ),
    ] = None
    max_failures: Annotated[
        int, Meta(ge=0, le=10_000, description="new instances that may fail before it is ended")
    ] = 0
    deadline_s: Annotated[
        Seconds, Meta(description="a new instance that is not healthy by then has failed")
    ] = 300.0
    on_failure: Annotated[
        Literal["rollback", "pause"],
        Meta(description="go back to what ran before, or leave it for a person to decide"),
    ] = "rollback"


class Volume(Value, frozen=True):
    """Something mounted at `path`; exactly one of `name`, `host_path` and `tmpfs_mib`."""

    path: Annotated[AbsolutePath, Meta(description="where it is within the instance")]
    name: Annotated[
        Name | None,
        Meta(description="a volume of the node's engine, made where it is missing and kept"),
    ] = None
    host_path: Annotated[
        AbsolutePath | None,
        Meta(description="a file or folder of the node, below one of its `node.host_paths`"),
    ] = None
    tmpfs_mib: Annotated[Mebibytes, Meta(description="memory of this size, empty at a start")] = 0
    read_only: bool = False
    movable: Annotated[
        bool,
        Meta(
            description="an instance may leave its named volume behind and go to another node; "
            "else it stays with it, and waits for its node"
        ),
    ] = False


class Inclusion(Value, frozen=True):
    """A config map or a secret that an instance gets."""

    name: Name
    path: Annotated[
        AbsolutePath | None,
        Meta(description="folder with a file for each key; null: a variable for each key"),
    ] = None


class Dependency(Value, frozen=True):
    """A service that has to be there before an instance is started."""

    service: Name
    condition: Literal["started", "healthy"] = "started"
