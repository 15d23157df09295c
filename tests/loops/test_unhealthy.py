"""What the runner does about instances whose checks fail, in virtual time."""

import asyncio
from contextlib import AbstractAsyncContextManager

from roheletd.engines.failed import Failed
from roheletd.loops.prober import Prober
from roheletd.upkeep import ExecCheck, HealthCheck
from tests.builders import a_service
from tests.loops.stage import in_virtual_time, running, settled
from tests.loops.test_runner import Stage

CHECK = HealthCheck(
    exec=ExecCheck(command=("check",)),
    interval_s=2.0,
    timeout_s=1.0,
    start_grace_s=10.0,
    unhealthy_after=2,
)
FAULT = "unhealthy: check: no route to the camera"


class Clinic(Stage):
    """A stage with a prober, whose checks find what `fault` says, or never end."""

    def __init__(self, check: HealthCheck | None = CHECK) -> None:
        super().__init__()
        self.fault = ""
        self.hangs = False
        self.asked = 0
        self.changes = 0
        self.engine.exec_session = self._exec_session  # type: ignore[attr-defined]
        self.prober = Prober(engine=self.engine, news=self.runner.news, clock=self.clock)  # type: ignore[arg-type]
        self.runner.news.on_look = self.prober.wake
        self.runner.news.on_change.append(self._changed)
        self.define(a_service(health=check))

    def _changed(self) -> None:
        self.changes += 1

    async def _exec_session(self, *_arguments: object) -> Failed:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(3600)
        return Failed(1 if self.fault else 0, self.fault)

    def open(self) -> AbstractAsyncContextManager[object]:
        return running(self.runner, self.prober)

    async def get_ill(self) -> None:
        """Well at first, and then not any more."""
        self.place(1)
        await asyncio.sleep(1)
        assert self.use().health == "healthy"
        self.fault = "no route to the camera"


@in_virtual_time
async def test_a_start_is_seen_within_a_second_and_told_once() -> None:
    clinic = Clinic()
    clinic.fault = "not yet"
    async with clinic.open():
        clinic.place(1)
        await asyncio.sleep(5)
        assert (clinic.use().state, clinic.use().health) == ("running", "starting")
        assert clinic.use().reason == "not healthy yet: check: not yet"
        clinic.fault = ""
        await asyncio.sleep(1.001)
        assert clinic.use().health == "healthy"
        assert clinic.use().reason == ""
        await asyncio.sleep(60)
        assert [event.kind for event in clinic.told("running", "healthy")] == ["running", "healthy"]
        assert 60 < (clinic.use().healthy_for_s or 0) < 62


@in_virtual_time
async def test_one_that_was_seen_to_run_before_its_start_was_answered_is_checked_as_well() -> None:
    clinic = Clinic()
    plain = clinic.engine.run

    async def answered_late(*arguments: object) -> None:
        await plain(*arguments)  # type: ignore[arg-type]
        await asyncio.sleep(0.5)

    clinic.engine.run = answered_late  # type: ignore[method-assign,assignment]
    async with clinic.open():
        clinic.place(1)
        await asyncio.sleep(1)
        assert clinic.use().health == "healthy"


@in_virtual_time
async def test_an_instance_without_a_check_is_healthy_as_long_as_it_runs() -> None:
    clinic = Clinic(None)
    async with clinic.open():
        clinic.place(1)
        await asyncio.sleep(7)
        assert (clinic.use().health, clinic.use().healthy_for_s) == ("healthy", 7.0)
        assert clinic.asked == 0


@in_virtual_time
async def test_what_gets_unhealthy_is_stopped_and_started_in_place_with_the_reason() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        await asyncio.sleep(4)
        assert clinic.engine.asked == ["run web.1", "stop web.1", "start web.1"]
        kinds = ("running", "healthy", "unhealthy", "restarting", "ended")
        told = [(event.kind, event.reason) for event in clinic.told(*kinds)]
        assert told == [
            ("running", ""),
            ("healthy", ""),
            ("unhealthy", "check: no route to the camera"),
            ("restarting", FAULT),
            ("running", ""),
        ]
        use = clinic.use()
        assert (use.health, use.failures, use.restarts) == ("starting", 1, 1)
        assert use.last_failure == FAULT


@in_virtual_time
async def test_what_stays_unhealthy_is_restarted_ever_more_seldom() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        await asyncio.sleep(150)
        # At once, then 1, 2, 4, 8 s after it was found unhealthy, which takes 12 to 14 s each time.
        assert 7 <= clinic.engine.asked.count("stop web.1") <= 9
        assert clinic.use().failures == clinic.use().restarts


@in_virtual_time
async def test_what_gets_well_before_its_turn_is_not_restarted() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        for _ in range(400):
            await asyncio.sleep(0.25)
            if clinic.use().failures == 4 and clinic.use().health == "unhealthy":
                break
        before = clinic.engine.asked.copy()
        assert clinic.use().state == "running"
        assert clinic.use().reason == FAULT
        clinic.fault = ""
        await asyncio.sleep(10)
        assert clinic.engine.asked == before
        assert (clinic.use().health, clinic.use().restarts) == ("healthy", 3)


@in_virtual_time
async def test_the_record_is_clean_after_five_minutes_of_health_and_not_of_running() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        await asyncio.sleep(4)
        assert clinic.use().failures == 1
        clinic.fault = "still starting"
        clinic.define(a_service(health=CHECK))
        await asyncio.sleep(5)
        clinic.fault = ""
        await asyncio.sleep(299)
        assert clinic.use().failures == 1
        await asyncio.sleep(3)
        assert (clinic.use().failures, clinic.use().last_failure) == (0, "")
        assert clinic.use().restarts == 1


@in_virtual_time
async def test_a_check_that_never_ends_is_a_failure_after_its_time() -> None:
    clinic = Clinic()
    async with clinic.open():
        clinic.place(1)
        await asyncio.sleep(1)
        clinic.hangs = True
        await asyncio.sleep(6)
        assert clinic.told("unhealthy")[0].reason == "check: no answer within 1 s"


@in_virtual_time
async def test_what_ends_while_it_is_checked_counts_once_with_the_reason_of_its_end() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        clinic.fault, clinic.hangs = "", True
        await asyncio.sleep(2.5)
        clinic.engine.die("web.1", exit_code=3)
        await settled()
        clinic.hangs = False
        await asyncio.sleep(20)
        use = clinic.use()
        assert (use.restarts, use.last_failure) == (1, "ended with exit code 3")
        assert (use.state, use.health) == ("running", "healthy")
        assert clinic.told("unhealthy") == []


@in_virtual_time
async def test_a_daemon_that_starts_again_restarts_nothing_and_checks_anew() -> None:
    first = Clinic()
    async with first.open():
        first.place(1)
        await asyncio.sleep(5)
    second = Clinic()
    second.engine.containers = first.engine.containers
    second.place(1)
    async with second.open():
        await asyncio.sleep(1)
        assert second.engine.asked == []
        assert second.use().health == "healthy"


@in_virtual_time
async def test_a_restart_that_is_refused_is_tried_again() -> None:
    clinic = Clinic()
    async with clinic.open():
        await clinic.get_ill()
        clinic.engine.refuse("web.1", "the engine is busy")
        await asyncio.sleep(8)
        assert "start web.1" not in clinic.engine.asked
        clinic.engine.allow("web.1")
        await asyncio.sleep(8)
        assert "start web.1" in clinic.engine.asked


@in_virtual_time
async def test_listeners_hear_of_each_change_and_of_nothing_else() -> None:
    clinic = Clinic()
    async with clinic.open():
        clinic.place(1)
        await asyncio.sleep(5)
        before = clinic.changes
        await asyncio.sleep(60)
        assert clinic.changes == before, "thirty checks found nothing new"
        clinic.fault = "no route to the camera"
        await asyncio.sleep(2.1)
        assert clinic.changes > before
