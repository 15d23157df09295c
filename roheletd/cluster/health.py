"""How one run of an instance fares: what its checks have shown, and when the next one is due.

    begun --> starting --`healthy_after` successes--> healthy
                 |                                     ^   |
                 | failures count once the grace       |   | `unhealthy_after` failures
                 | for its start is over               |   v
                 +---`unhealthy_after` failures----> unhealthy

Successes and failures count in a row. Nothing here says what becomes of an unhealthy instance. What
is not checked is healthy for as long as it runs.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from roheletd.instance_use import Health
from roheletd.upkeep import HealthCheck

START_PAUSE_S_MIN = 0.1
START_PAUSE_S_MAX = 1.0
"""During a start the checks follow each other by ever more, up to this: most starts are short."""


class Checkup(Struct, frozen=True, kw_only=True):
    """One run that began at `begun_s`: its verdict since `since_s`, and the next check at `due_s`.

    `fault` is what the last check complained of. All times are of the monotonic clock.
    """

    verdict: Health = "starting"
    begun_s: float = 0.0
    since_s: float = 0.0
    due_s: float = math.inf
    checks: int = 0
    successes: int = 0
    failures: int = 0
    fault: str = ""

    def healthy_for_s(self, now_s: float) -> float | None:
        return max(0.0, now_s - self.since_s) if self.verdict == "healthy" else None


def begun(check: HealthCheck | None, now_s: float) -> Checkup:
    """A run begins now, or is seen for the first time."""
    if check is None:
        return Checkup(verdict="healthy", begun_s=now_s, since_s=now_s)
    fresh = Checkup(begun_s=now_s, since_s=now_s)
    return replace(fresh, due_s=now_s + _pause_s(fresh, check, now_s))


def checked(
    before: Checkup, check: HealthCheck, fault: str, *, asked_s: float, now_s: float
) -> Checkup:
    """After a check that was begun at `asked_s`; `fault` is empty where all was well."""
    spared = before.verdict == "starting" and asked_s < before.begun_s + check.start_grace_s
    failures = before.failures + (not spared) if fault else 0
    successes = 0 if fault else before.successes + 1
    verdict = before.verdict
    if successes >= check.healthy_after:
        verdict = "healthy"
    elif failures >= check.unhealthy_after:
        verdict = "unhealthy"
    after = replace(
        before,
        verdict=verdict,
        since_s=before.since_s if verdict == before.verdict else now_s,
        checks=before.checks + 1,
        successes=successes,
        failures=failures,
        fault=fault,
    )
    # A slow check must not be followed by the next one at once.
    due_s = max(asked_s + _pause_s(after, check, now_s), now_s + START_PAUSE_S_MIN)
    return replace(after, due_s=due_s)


def _pause_s(known: Checkup, check: HealthCheck, now_s: float) -> float:
    if known.verdict != "starting" or now_s >= known.begun_s + check.start_grace_s:
        return check.interval_s
    pause_s = START_PAUSE_S_MIN * 2.0 ** min(known.checks, 10)
    return min(check.interval_s, START_PAUSE_S_MAX, pause_s)
