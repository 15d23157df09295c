"""What befalls containers and engines behind the runner's back, and what people are told of it."""

import asyncio

from msgspec.structs import replace

from roheletd.api.engine_doubts import engine_doubts
from roheletd.cluster.container import Container
from tests.loops.stage import in_virtual_time, running, settled
from tests.loops.test_runner import Stage

STRANGER = Container(id="x", instance="web.9", digest="d", state="running", stranger="copied")


def befall(stage: Stage, *containers: Container, without: str = "") -> None:
    """Somebody makes containers, and removes that of one instance."""
    kept = [copy for copy in stage.engine.containers.values() if copy.instance != without]
    stage.engine.containers = {copy.id: copy for copy in (*kept, *containers)}
    stage.runner.wake()


@in_virtual_time
async def test_a_stranger_with_our_labels_is_told_of_once_and_left_alone() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        befall(stage, STRANGER)
        await settled()
        stage.runner.wake()
        await settled()
        assert [event.subject for event in stage.told("unknown container")] == ["copied"]
        assert "x" in stage.engine.containers
        assert [use.instance for use in stage.runner.uses()] == ["web.1"]
        assert any("copied" in doubt for doubt in engine_doubts(stage.soft))
        befall(stage, without="web.9")
        await settled()
        assert engine_doubts(stage.soft) == []


@in_virtual_time
async def test_a_stranger_that_claims_to_be_an_instance_of_ours_does_not_take_its_place() -> None:
    stage = Stage()
    async with running(stage.runner):
        befall(stage, replace(STRANGER, instance="web.1"))
        stage.place(1)
        await settled()
        assert "remove web.1" not in stage.engine.asked
        assert stage.use().state != "running"


@in_virtual_time
async def test_what_somebody_removed_runs_again_at_once_with_that_reason() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        befall(stage, without="web.1")
        await settled()
        assert stage.states() == {"web.1": "running"}
        (ended,) = stage.told("ended")
        assert ended.reason == "its container was removed by somebody"


@in_virtual_time
async def test_what_ended_while_the_engine_was_away_says_so() -> None:
    stage = Stage()
    stage.engine.info = replace(stage.engine.info, ends_containers=True)
    async with running(stage.runner):
        stage.place(1)
        await settled()
        assert any("live-restore" in doubt for doubt in engine_doubts(stage.soft))
        stage.engine.lose("it restarts")
        await settled()
        (copy,) = stage.engine.containers.values()
        befall(stage, replace(copy, state="exited", reason="killed (137)"))
        stage.engine.come_back()
        await asyncio.sleep(2.0)
        (ended,) = stage.told("ended")
        assert ended.reason == (
            "it ended while Memory was away, whose restart ends every container: killed (137)"
        )
        assert [event.subject for event in stage.told("containers ended")] == ["web.1"]
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_what_is_paused_is_left_so_and_told_when_it_changes() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        (copy,) = stage.engine.containers.values()
        befall(stage, replace(copy, paused=True))
        await settled()
        assert stage.use().reason == "paused by somebody"
        befall(stage, copy)
        await settled()
        assert stage.use().reason == ""
        assert len(stage.told("paused")) == len(stage.told("unpaused")) == 1
        assert stage.engine.asked == ["run web.1"]
