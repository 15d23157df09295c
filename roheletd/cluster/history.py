"""What one instance has been through on its node, and when it may be tried again.

The first failure is repaired at once, further ones with a growing pause. A failure is the end of a
run, a refusal of the engine, or a run whose checks say that it is not healthy.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.container import Container
from roheletd.cluster.health import Checkup, begun
from roheletd.instance_use import Health
from roheletd.upkeep import HealthCheck

BACKOFF_S_MAX = 60.0
CLEAN_AFTER_S = 300.0
"""An instance that was healthy this long starts with a clean record when it fails again."""


class History(Struct, frozen=True, kw_only=True):
    """What happened to one instance under one specification, on the monotonic clock.

    `checkup` is of its present run, or else of the last one. `ailing`: that run goes on and is to
    be ended at `retry_at_s`, unless it gets well before. `reason` is why the instance does not
    run, `last_failure` why it last failed, also while it runs.
    """

    digest: str
    failures: int = 0
    restarts: int = 0
    running: bool = False
    ailing: bool = False
    checkup: Checkup = Checkup()
    retry_at_s: float = 0.0
    reason: str = ""
    last_failure: str = ""
    refused_ports: tuple[int, ...] = ()
    refused_image: bool = False


def backoff_s(failures: int) -> float:
    """The first failure is repaired at once; then 1 s, doubling to a minute."""
    assert failures > 0
    # The exponent is bounded as well: an instance may fail for months.
    return 0.0 if failures == 1 else min(BACKOFF_S_MAX, 2.0 ** min(failures - 2, 10))


def started(history: History, check: HealthCheck | None, now_s: float) -> History:
    """`history` after the engine has said that a run began, however short that run may be.

    That something else had a port until now says nothing against the instance.
    """
    record = replace(history, failures=0, last_failure="") if history.refused_ports else history
    return replace(
        record,
        running=True,
        ailing=False,
        checkup=begun(check, now_s),
        reason="",
        refused_ports=(),
        refused_image=False,
    )


def observed(
    history: History, container: Container | None, check: HealthCheck | None, now_s: float
) -> History:
    """`history` after seeing `container`; the end of a run is counted once, however often seen."""
    if container is None and history.running:
        return failed(history, "its container was removed by somebody", now_s=now_s)
    if container is None or container.state == "created":
        return replace(history, ailing=False)
    if container.state == "running":
        if history.running or history.ailing:
            return forgiven(history, now_s)
        return started(history, check, now_s)
    # A run that nobody here began is one from before this daemon: its end counts as well.
    is_news = history.running or not history.failures
    if not is_news:
        return replace(history, ailing=False)
    after = failed(history, container.reason, now_s=now_s)
    return replace(after, refused_image=container.unfit_image)


def forgiven(history: History, now_s: float) -> History:
    """With a clean record, after health enough."""
    if not (history.running and history.failures):
        return history
    healthy_for_s = history.checkup.healthy_for_s(now_s)
    if healthy_for_s is None or healthy_for_s < CLEAN_AFTER_S:
        return history
    return replace(history, failures=0, last_failure="")


def failed(history: History, reason: str, *, now_s: float, retry: bool = True) -> History:
    """`history` after a failure; without `retry` the instance waits until it is changed."""
    before = forgiven(history, now_s)
    failures = before.failures + 1
    return replace(
        before,
        failures=failures,
        restarts=before.restarts + 1,
        running=False,
        ailing=False,
        retry_at_s=now_s + backoff_s(failures) if retry else math.inf,
        reason=reason,
        last_failure=reason,
    )


def examined(history: History, checkup: Checkup, now_s: float) -> History:
    """`history` after a check of the run that goes on, with what has become of that."""
    if checkup.verdict == "unhealthy" and not history.ailing:
        after = failed(history, f"unhealthy: {checkup.fault}", now_s=now_s)
        return replace(after, ailing=True, checkup=checkup)
    if checkup.verdict == "healthy" and history.ailing:
        restarts = history.restarts - 1  # the one that was to come
        return replace(
            history, ailing=False, running=True, restarts=restarts, reason="", checkup=checkup
        )
    return replace(history, checkup=checkup)


def state_of(container: Container | None, history: History, *, busy: bool) -> str:
    """One word for people: running, starting, waiting (for its next try) or failed."""
    if container is not None and container.state == "running":
        return "running"
    if busy or not history.failures:
        return "starting"
    return "failed" if math.isinf(history.retry_at_s) else "waiting"


def health_of(history: History, state: str) -> Health:
    """That of the present run; what waits for its next try is not healthy."""
    if state == "running":
        return history.checkup.verdict
    return "starting" if state == "starting" else "unhealthy"
