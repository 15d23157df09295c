"""What must run here against what does run here: the difference, as a list of actions.

Pure: the runner loop reads the committed placements and the engine's list, asks for the actions
and carries them out. It may be killed between any two of them; the next pass finds the rest.

    placements --specification--> desired --+
                                            +--reconcile--> Run | Start | Stop | Remove, and when to
    engine list ----------------> actual ---+               look again
    History per instance (how often it failed, when it may be tried again)
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from roheletd.cluster.configuration import Included
from roheletd.cluster.container import Container
from roheletd.cluster.history import History
from roheletd.fields import StopSignal
from roheletd.model import Gpu, Node, Placement, PortBinding, Service
from roheletd.upkeep import HealthCheck, Volume


class Files(Struct, frozen=True, kw_only=True):
    """A folder of this node that an instance sees, read-only, at `path`.

    The `variables` tell the instance where it is.
    """

    source: str
    path: str
    variables: tuple[str, ...]


class Surroundings(Struct, frozen=True, kw_only=True):
    """How an instance finds others: `variables` that name stable ports, and domains to `search`.

    No domains: names are resolved as the engine does, and not by this node.
    """

    variables: dict[str, str] = {}
    search: tuple[str, ...] = ()


class InstanceSpec(Struct, frozen=True, kw_only=True):
    """All that an engine needs to run one instance, and nothing it has to decide.

    `digest` names this very specification: a container that carries another one is replaced.
    `cores` are the core ids to pin to; `quota_millicores` is the ceiling over all of them
    (0: none). `memory_mib` 0 means no limit. `pull` alone is not in the digest: it says how an
    instance is begun, and not what it is. What is `included` gets into `env` and `files` just
    before that, so that nothing else ever holds what is secret. So do its `surroundings`, which
    may differ at its next start: a new service replaces nobody.

    What is `UNSET` is as the image and the engine have it, and not in the digest: whoever asks for
    none of it keeps the digest, and so the container, from before there were words for it.
    """

    cluster: str
    node: str
    service: str
    instance: str
    revision: int
    digest: str
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    cores: tuple[int, ...]
    quota_millicores: int
    memory_mib: int
    gpus: tuple[Gpu, ...]
    ports: tuple[PortBinding, ...]
    labels: dict[str, str]
    stop_grace_s: float
    health: HealthCheck | None = None
    volumes: tuple[Volume, ...] = ()
    pull: Literal["missing", "always", "never"] = "missing"
    included: tuple[Included, ...] = ()
    files: tuple[Files, ...] = ()
    surroundings: Surroundings = Surroundings()
    entrypoint: tuple[str, ...] | UnsetType = UNSET
    user: str | UnsetType = UNSET
    working_dir: str | UnsetType = UNSET
    hostname: str | UnsetType = UNSET
    init: bool | UnsetType = UNSET
    read_only: bool | UnsetType = UNSET
    stop_signal: StopSignal | UnsetType = UNSET


class Run(Struct, frozen=True, kw_only=True):
    """Create and start a copy that is not there."""

    spec: InstanceSpec


class Start(Struct, frozen=True, kw_only=True):
    """Start a copy again that has ended or was never started."""

    instance: str
    container_id: str


class Stop(Struct, frozen=True, kw_only=True):
    """End the run of a copy that is to be started again, and why."""

    instance: str
    container_id: str
    grace_s: float
    reason: str


class Remove(Struct, frozen=True, kw_only=True):
    """Stop and delete a copy, and why. It goes on for `leave_s` before it is told to stop."""

    instance: str
    container_id: str
    grace_s: float
    reason: str
    leave_s: float = 0.0


Action = Run | Start | Stop | Remove


class Plan(Struct, frozen=True, kw_only=True):
    """Actions to take now; `look_again_s` is when a back-off ends (infinity: no need)."""

    actions: tuple[Action, ...]
    look_again_s: float


class Parting(Struct, frozen=True, kw_only=True):
    """How a copy goes that is not to run here: with what grace, and why, for people.

    `leave_s` is how long it goes on before, for those who have not heard yet that it goes.
    """

    grace_s: float
    reason: str
    leave_s: float = 0.0


LEAVE_S = 0.6
"""After a heartbeat (0.5 s with `timing: lan`) every node knows what was agreed, and leads nobody
there any more. A forwarder that does not know yet tries the next one where it is refused."""

_OF_NOBODY = Parting(grace_s=10.0, reason="no longer placed here")
"""For a copy of a service that is gone, and what it said of its end with it."""


def specification(
    *,
    cluster: str,
    service: Service,
    placement: Placement,
    node: Node,
    included: tuple[Included, ...] = (),
) -> InstanceSpec:
    """All that an engine needs for `placement`, with a digest of exactly that."""
    given = {gpu.id: gpu for gpu in node.capacity.gpus}
    identity = {
        "ROHE_CLUSTER": cluster,
        "ROHE_NODE": placement.node,
        "ROHE_SERVICE": service.name,
        "ROHE_INSTANCE": placement.instance,
    }
    spec = InstanceSpec(
        cluster=cluster,
        node=placement.node,
        service=service.name,
        instance=placement.instance,
        revision=placement.revision,
        digest="",
        image=service.image,
        command=service.command,
        env={**service.env, **identity},
        cores=tuple(sorted(placement.cores)),
        quota_millicores=sum(placement.cores.values()),
        memory_mib=service.memory_mib,
        gpus=tuple(given[device] for device in sorted(placement.gpus) if device in given),
        ports=placement.ports,
        labels=service.labels,
        stop_grace_s=service.stop_grace_s,
        included=included,
        health=service.health,
        volumes=service.volumes,
        entrypoint=UNSET if service.entrypoint is None else service.entrypoint,
        user=service.user or UNSET,
        working_dir=service.working_dir or UNSET,
        hostname=service.hostname or UNSET,
        init=UNSET if service.init else False,
        read_only=service.read_only or UNSET,
        stop_signal=service.stop_signal or UNSET,
    )
    digest = blake2b(msgspec.json.encode(spec, order="deterministic"), digest_size=8)
    return replace(spec, digest=digest.hexdigest(), pull=service.pull)


def reconcile(
    desired: Mapping[str, InstanceSpec],
    actual: Iterable[Container],
    *,
    history: Mapping[str, History],
    busy: Collection[str],
    now_s: float,
    partings: Mapping[str, Parting] = {},
) -> Plan:
    """The actions that bring `actual` to `desired`.

    `busy` names instances that an earlier action is still working on: they are left alone.
    `history` has an entry for every desired instance, and one under its id for each container
    whose removal has failed. `partings` has one for each instance that is not to run here, as far
    as its service is known.
    """
    actual = tuple(actual)
    actions: list[Action] = []
    look_again_s = math.inf
    kept: dict[str, Container] = {}
    leaving: set[str] = set()
    for container in sorted(actual, key=preference):
        if container.instance in busy:
            continue
        spec = desired.get(container.instance)
        parting = partings.get(container.instance, _OF_NOBODY)
        why = parting.reason if spec is None else _surplus(container, spec, kept)
        past = history.get(container.id)
        if not why:
            kept[container.instance] = container
        elif past is not None and now_s < past.retry_at_s:
            leaving.add(container.instance)
            look_again_s = min(look_again_s, past.retry_at_s)
        else:
            leaving.add(container.instance)
            grace_s = parting.grace_s if spec is None else spec.stop_grace_s
            leave_s = parting.leave_s if spec is None else leaving_s(spec.ports)
            actions.append(
                Remove(
                    instance=container.instance,
                    container_id=container.id,
                    grace_s=grace_s,
                    reason=why,
                    leave_s=leave_s if container.state == "running" else 0.0,
                )
            )
    held = _ports_of_leaving(desired, actual)
    for name, spec in desired.items():
        copy = kept.get(name)
        if name in busy or (copy is None and name in leaving):
            continue
        if not held.isdisjoint(port.host_port for port in spec.ports):
            continue  # the end of that removal wakes us
        past = history[name]
        if (action := _next(spec, copy, past)) is None:
            continue
        if now_s < past.retry_at_s:
            look_again_s = min(look_again_s, past.retry_at_s)
        else:
            actions.append(action)
    return Plan(actions=tuple(actions), look_again_s=look_again_s)


def _ports_of_leaving(
    desired: Mapping[str, InstanceSpec], actual: Iterable[Container]
) -> frozenset[int]:
    """Host ports of copies that are not to run any more, and have not gone yet.

    In the agreed state they are free again, and may have been given to the next instance.
    """
    return frozenset(
        port
        for container in actual
        if container.state != "exited"  # one that was only created may be on its way to run
        and ((spec := desired.get(container.instance)) is None or spec.digest != container.digest)
        for port in container.host_ports
    )


def leaving_s(ports: Sequence[object]) -> float:
    """How long an instance goes on that is asked for something, once it is not to run any more."""
    return LEAVE_S if ports else 0.0


def _next(spec: InstanceSpec, copy: Container | None, past: History) -> Action | None:
    """What has to become of an instance as soon as its back-off is over; None: it does well."""
    if copy is None:
        return Run(spec=spec)
    if copy.state != "running":
        return Start(instance=spec.instance, container_id=copy.id)
    if not past.ailing:
        return None
    return Stop(
        instance=spec.instance,
        container_id=copy.id,
        grace_s=spec.stop_grace_s,
        reason=past.reason,
    )


def preference(container: Container) -> tuple[bool, float, str]:
    """Of several copies of one instance the running one that is oldest stays."""
    return container.state != "running", container.created_s, container.id


def _surplus(container: Container, spec: InstanceSpec, kept: Mapping[str, Container]) -> str:
    if container.digest != spec.digest:
        return "its definition changed"
    return "a second copy" if container.instance in kept else ""
