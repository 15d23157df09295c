"""A service through its changes: what it is now, what it was, and how far the change has come.

An edition is one text of a service, named by the index of the entry that made it: its `revision`.
A change makes a new edition and begins a rollout. Instances of the old edition run on, as the old
edition says, until it is their turn (`allocation.turnover`). All of that is agreed, so that whoever
leads next goes on where the last leader was.

            change                all replaced and healthy
    (none) -------> running ----------------------------------> completed
      ^               |  |  an instance failed, or no progress       ^
      |     change    |  +------------> paused ----------------------+  all is well after all
      +---------------+  |              (`on_failure: pause`, or nothing to go back to)
                         +-> rolling back ----------> rolled back
"""

from typing import Literal

from msgspec.structs import replace

from roheletd.fields import Value
from roheletd.model import Service

AROUND_INSTANCES = (
    "replicas",
    "reschedule_after_s",
    "on_isolation",
    "priority",
    "strategy",
    "spread_over",
    "all_or_nothing",
    "update",
    "min_available",
    "move_after",
    "pull",
    "warm_spare",
)
"""Fields of a service that say how many instances there are and where, and not what one is."""

EDITIONS_MAX = 8
"""Old editions that instances may still run; those of more are replaced at once."""

Progress = Literal["running", "rolling back", "completed", "rolled back", "paused"]


class Edition(Value, frozen=True, kw_only=True):
    """A service as one entry of the log made it."""

    service: Service
    revision: int


class Rollout(Value, frozen=True, kw_only=True):
    """The last change of a service: from one revision to another, `begun_at` which entry.

    `reason` says why it failed, `failed` is the revision that did.
    """

    source: int
    target: int
    begun_at: int
    state: Progress = "running"
    reason: str = ""
    failed: int | None = None


class Definition(Value, frozen=True, kw_only=True):
    """A service and its history.

    `before` is what a rollback goes back to: the last edition that was wholly rolled out. `old`
    are further ones that instances may still run.
    """

    service: Service
    created_at: int
    revision: int
    before: Edition | None = None
    old: tuple[Edition, ...] = ()
    rollout: Rollout | None = None

    @property
    def now(self) -> Edition:
        return Edition(service=self.service, revision=self.revision)

    @property
    def is_changing(self) -> bool:
        return self.rollout is not None and self.rollout.state in ("running", "rolling back")

    @property
    def is_paused(self) -> bool:
        return self.rollout is not None and self.rollout.state == "paused"

    @property
    def editions(self) -> tuple[Edition, ...]:
        """All that instances may run, or may come to run again."""
        return (self.now, *((self.before,) if self.before else ()), *self.old)

    def edition(self, revision: int) -> Edition | None:
        """None for one that is forgotten: its instances cannot be kept."""
        return next((it for it in self.editions if it.revision == revision), None)


def defined(index: int, service: Service) -> Definition:
    return Definition(service=service, created_at=index, revision=index)


def redefined(known: Definition, index: int, service: Service) -> Definition:
    """A change of what no single instance is made from replaces no running instance.

    Whoever defines a service as it was before a rollout that is not through ends that rollout.
    """
    if _around(known.service, service) == service:
        return replace(known, service=service)
    before = known.before
    if _is_unproven(known) and before and _around(before.service, service) == service:
        back = rolled_back(known, index, "defined as it was before")
        return replace(back, service=service)
    return revised(known, index, service)


def revised(known: Definition, index: int, service: Service) -> Definition:
    """A new edition, which may be equal to the old one: its instances are replaced all the same."""
    # One that is not through yet is not known to be good.
    before = known.before if _is_unproven(known) else known.now
    old = [*known.old, *([known.before] if known.before else []), known.now]
    source = before.revision if before else known.revision
    return replace(
        known,
        service=service,
        revision=index,
        before=before,
        old=_bounded(old, before),
        rollout=Rollout(source=source, target=index, begun_at=index),
    )


def rolled_back(known: Definition, index: int, reason: str) -> Definition:
    """Back to `before`, with as many instances as are wanted now.

    What is left behind after it had failed is nothing to come back to; what a person leaves is.
    """
    assert known.before is not None, "there is something to go back to"
    failed = _is_unproven(known)
    target = known.before
    return replace(
        known,
        service=_around(target.service, known.service),
        revision=target.revision,
        before=None if failed else known.now,
        old=_bounded([*known.old, known.now], None if failed else known.now),
        rollout=Rollout(
            source=known.revision,
            target=target.revision,
            begun_at=index,
            state="rolling back",
            reason=reason,
            failed=known.revision if failed else None,
        ),
    )


def ended(known: Definition, index: int, *, succeeded: bool, reason: str) -> Definition:
    """The rollout under way came to its end, or has to be given up."""
    rollout = known.rollout
    assert rollout is not None, "there is a rollout"
    if succeeded:
        state: Progress = "rolled back" if rollout.state == "rolling back" else "completed"
        return replace(known, old=(), rollout=replace(rollout, state=state))
    back = known.service.update.on_failure == "rollback" and rollout.state == "running"
    if back and known.before is not None:
        return rolled_back(known, index, reason)
    paused = replace(rollout, state="paused", reason=reason, failed=known.revision)
    return replace(known, rollout=paused)


def _is_unproven(known: Definition) -> bool:
    """Whether what it is now was never seen to run as it should."""
    return known.rollout is not None and known.rollout.state in ("running", "paused")


def _around(service: Service, wishes: Service) -> Service:
    """`service` with what `wishes` says of how many there are and where."""
    return replace(service, **{field: getattr(wishes, field) for field in AROUND_INSTANCES})


def _bounded(old: list[Edition], before: Edition | None) -> tuple[Edition, ...]:
    by_revision = {
        it.revision: it for it in old if before is None or it.revision != before.revision
    }
    return tuple(by_revision.values())[-EDITIONS_MAX:]
