"""How an instance is kept once it is placed: checks of its health, updates, files, configuration.

The parts of a service's definition that the allocator does not look at.
"""

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from msgspec import Meta

from roheletd.fields import AbsolutePath, Mebibytes, Name, PortNumber, Text, Value

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_USUAL_TIMEOUT_S = 3.0
_USER_NUMBER_MAX = 2**31 - 1  # Docker's and Podman's

_HTTP_PATH = re.compile(r"/[!-\"$-~]*")


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
        Seconds,
        Meta(
            description="from one check to the next; within `start_grace_s`, until it is "
            "healthy, at most 1 s"
        ),
    ] = 10.0
    timeout_s: Annotated[
        Seconds | None,
        Meta(
            description="a check without an answer by then has failed; null: 3, or `interval_s` "
            "where that is less"
        ),
    ] = None
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

    @property
    def patience_s(self) -> float:
        """How long an answer may take."""
        usual_s = min(_USUAL_TIMEOUT_S, self.interval_s)
        return usual_s if self.timeout_s is None else self.timeout_s


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
        Annotated[float, Meta(ge=0, le=86_400)] | None,
        Meta(
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
    any_user: Annotated[
        bool,
        Meta(
            description="files of a secret can be read by every user within the instance, as an "
            "image that does not run as root needs it; else by the service's `user` alone where "
            "that is a number, or by root"
        ),
    ] = False


class Dependency(Value, frozen=True):
    """A service that has to be there before an instance is started."""

    service: Name
    condition: Literal["started", "healthy"] = "started"


def user_numbers(user: str | None) -> tuple[int, int | None] | None:
    """The uid that `user` says, and the gid if it says one; None where it names either."""
    who, _, group = (user or "").partition(":")
    if not who.isdecimal() or (group and not group.isdecimal()):
        return None
    return int(who), int(group) if group else None


def contradictory_program(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], user: str | None
) -> tuple[str, str] | None:
    """The field that nothing could be run by, and what would have been right."""
    if entrypoint is not None and not (entrypoint or command):
        return "entrypoint", "expected a `command` beside [], or else there is nothing to run"
    if entrypoint and not entrypoint[0]:
        return "entrypoint[0]", 'expected a program, got ""; [] leaves out that of the image'
    for number in (user or "").split(":"):
        if number.isdecimal() and int(number) > _USER_NUMBER_MAX:
            return "user", f"expected a uid and a gid of at most {_USER_NUMBER_MAX}, got {user}"
    return None


def folders(path: str) -> tuple[str, ...]:
    """A path taken apart; equal for all ways of writing one path."""
    return tuple(part for part in path.split("/") if part not in ("", "."))


def contradictory_volume(volumes: tuple[Volume, ...]) -> tuple[str, str] | None:
    """The field that nothing could be mounted by, and what would have been right."""
    taken: set[tuple[str, ...]] = set()
    for position, volume in enumerate(volumes):
        for field, expected in _contradictions(volume, taken):
            return f"volumes[{position}]{field}", expected
        taken.add(folders(volume.path))
    return None


def _contradictions(it: Volume, taken: Collection[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """`taken` are the paths that something is mounted at already; below them more may be."""
    at = folders(it.path)
    if [it.name is not None, it.host_path is not None, it.tmpfs_mib > 0].count(True) != 1:
        yield "", f"expected exactly one of name, host_path and tmpfs_mib for {it.path}"
    if not at or at[0] == "proc":
        yield ".path", f"expected a path below / and not in /proc, got {it.path}"
    if at in taken:
        yield ".path", f"expected each path once, got {it.path}"
    if it.host_path is not None and not folders(it.host_path):
        yield ".host_path", f"expected a path below /, got {it.host_path}"
    if it.tmpfs_mib and it.read_only:
        yield ".read_only", "expected false: nobody could put anything into a tmpfs"
    if it.movable and it.name is None:
        yield ".movable", "expected false: only a named volume can be left behind"


def contradictory_check(health: HealthCheck | None) -> tuple[str, str] | None:
    """The field of a health check that could never do, and what would have been right."""
    if health is None:
        return None
    if [health.http, health.tcp, health.exec].count(None) != 2:  # noqa: PLR2004 - all but one
        return "health", "expected exactly one of http, tcp and exec"
    if health.http is not None and not _HTTP_PATH.fullmatch(health.http.path):
        return "health.http.path", f"expected /... without spaces or #, got {health.http.path!r}"
    if health.patience_s > health.interval_s:
        return (
            "health.timeout_s",
            f"expected at most interval_s ({health.interval_s:g}), got {health.patience_s:g}",
        )
    return None


def contradictory_inclusion(
    config_maps: tuple[Inclusion, ...],
    secrets: tuple[Inclusion, ...],
    volumes: tuple[Volume, ...],
) -> tuple[str, str] | None:
    """The field by which no files could be mounted; those of one path share a folder."""
    taken = {folders(volume.path) for volume in volumes}
    for field, items in (("config_maps", config_maps), ("secrets", secrets)):
        for position, item in enumerate(items):
            at = None if item.path is None else folders(item.path)
            if at is not None and (not at or at[0] == "proc"):
                expected = f"expected a path below / and not in /proc, got {item.path}"
                return f"{field}[{position}].path", expected
            if at in taken:
                expected = f"expected another path than that of a volume, got {item.path}"
                return f"{field}[{position}].path", expected
    return None
