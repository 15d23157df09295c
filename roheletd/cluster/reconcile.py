"""What must run here against what does run here: the difference, as a list of actions.

Pure: the runner loop reads the committed placements and the engine's list, asks for the actions
and carries them out. It may be killed between any two of them; the next pass finds the rest.

    placements --specification--> desired --+
                                            +--reconcile--> Run | Start | Remove, and when to look
    engine list ----------------> actual ---+               again
    History per instance (how often it failed, when it may be tried again)
"""

import math
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.model import Gpu, Node, Placement, PortBinding, Service

BACKOFF_S_MAX = 60.0
HEALTHY_AFTER_S = 300.0
"""An instance that ran this long starts with a clean record when it fails again."""


class InstanceSpec(Struct, frozen=True, kw_only=True):
    """All that an engine needs to run one instance, and nothing it has to decide.

    `digest` names this very specification: a container that carries another one is replaced.
    `cores` are the core ids to pin to; `quota_millicores` is the ceiling over all of them
    (0: none). `memory_mib` 0 means no limit.
    """

    cluster: str
    node: str
    service: str
    instance: str
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


class Container(Struct, frozen=True, kw_only=True):
    """One copy as the engine lists it. `exit_code` and `reason` once it has ended.

    `unfit_image`: it ended because its image is not made for this machine.
    """

    id: str
    instance: str
    digest: str
    state: Literal["created", "running", "exited"]
    created_s: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    unfit_image: bool = False


class Usage(Struct, frozen=True, kw_only=True):
    """Counters of one running instance: CPU time since its start, memory now."""

    cpu_s: float
    memory_mib: int


class History(Struct, frozen=True, kw_only=True):
    """What happened to one instance under one specification, on the monotonic clock."""

    digest: str
    failures: int = 0
    restarts: int = 0
    running: bool = False
    running_since_s: float = 0.0
    retry_at_s: float = 0.0
    reason: str = ""
    refused_ports: tuple[int, ...] = ()
    refused_image: bool = False


class Run(Struct, frozen=True, kw_only=True):
    """Create and start a copy that is not there."""

    spec: InstanceSpec


class Start(Struct, frozen=True, kw_only=True):
    """Start a copy again that has ended or was never started."""

    instance: str
    container_id: str


class Remove(Struct, frozen=True, kw_only=True):
    """Stop and delete a copy, and why."""

    instance: str
    container_id: str
    grace_s: float
    reason: str


Action = Run | Start | Remove


class Plan(Struct, frozen=True, kw_only=True):
    """Actions to take now; `look_again_s` is when a back-off ends (infinity: no need)."""

    actions: tuple[Action, ...]
    look_again_s: float


class Parting(Struct, frozen=True, kw_only=True):
    """How a copy goes that is not to run here: with what grace, and why, for people."""

    grace_s: float
    reason: str


_OF_NOBODY = Parting(grace_s=10.0, reason="no longer placed here")
"""For a copy of a service that is gone, and what it said of its end with it."""


def specification(
    *, cluster: str, service: Service, placement: Placement, node: Node
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
    )
    digest = blake2b(msgspec.json.encode(spec, order="deterministic"), digest_size=8)
    return replace(spec, digest=digest.hexdigest())


def backoff_s(failures: int) -> float:
    """The first failure is repaired at once; then 1 s, doubling to a minute."""
    assert failures > 0
    # The exponent is bounded as well: an instance may fail for months.
    return 0.0 if failures == 1 else min(BACKOFF_S_MAX, 2.0 ** min(failures - 2, 10))


def started(history: History, now_s: float) -> History:
    """`history` after the engine has said that a run began, however short that run may be."""
    return replace(
        history,
        running=True,
        running_since_s=now_s,
        reason="",
        refused_ports=(),
        refused_image=False,
    )


def observed(history: History, container: Container | None, now_s: float) -> History:
    """`history` after seeing `container`; the end of a run is counted once, however often seen."""
    if container is None or container.state == "created":
        return history
    if container.state == "running":
        if not history.running:
            return started(history, now_s)
        healthy = now_s - history.running_since_s >= HEALTHY_AFTER_S
        return replace(history, failures=0) if healthy and history.failures else history
    # A run that nobody here began is one from before this daemon: its end counts as well.
    is_news = history.running or not history.failures
    if not is_news:
        return history
    after = failed(history, container.reason, now_s=now_s)
    return replace(after, refused_image=container.unfit_image)


def failed(history: History, reason: str, *, now_s: float, retry: bool = True) -> History:
    """`history` after a failure; without `retry` the instance waits until it is changed."""
    failures = history.failures + 1
    return replace(
        history,
        failures=failures,
        restarts=history.restarts + 1,
        running=False,
        retry_at_s=now_s + backoff_s(failures) if retry else math.inf,
        reason=reason,
    )


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
    actions: list[Action] = []
    look_again_s = math.inf
    kept: dict[str, Container] = {}
    leaving: set[str] = set()
    for container in sorted(actual, key=_preference):
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
            actions.append(
                Remove(
                    instance=container.instance,
                    container_id=container.id,
                    grace_s=grace_s,
                    reason=why,
                )
            )
    for name, spec in desired.items():
        copy = kept.get(name)
        if name in busy or (copy is None and name in leaving):
            continue
        if copy is not None and copy.state == "running":
            continue
        if now_s < history[name].retry_at_s:
            look_again_s = min(look_again_s, history[name].retry_at_s)
        elif copy is None:
            actions.append(Run(spec=spec))
        else:
            actions.append(Start(instance=name, container_id=copy.id))
    return Plan(actions=tuple(actions), look_again_s=look_again_s)


def state_of(container: Container | None, history: History, *, busy: bool) -> str:
    """One word for people: running, starting, waiting (for its next try) or failed."""
    if container is not None and container.state == "running":
        return "running"
    if busy or not history.failures:
        return "starting"
    return "failed" if math.isinf(history.retry_at_s) else "waiting"


def _preference(container: Container) -> tuple[bool, float, str]:
    """Of several copies of one instance the running one that is oldest stays."""
    return container.state != "running", container.created_s, container.id


def _surplus(container: Container, spec: InstanceSpec, kept: Mapping[str, Container]) -> str:
    if container.digest != spec.digest:
        return "its definition changed"
    return "a second copy" if container.instance in kept else ""
