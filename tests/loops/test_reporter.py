"""The beat: one report each interval, one registration per change, whatever holds it up."""

import asyncio
from pathlib import Path

import pytest

from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.collectors import Collectors
from roheletd.instance_use import InstanceUse
from roheletd.loops.reporter import REGISTER_AGAIN_S, Beat, Reporter
from roheletd.telemetry import Telemetry
from roheletd.testing import LoopClock, MemoryLog, VirtualTimeLoop
from tests.collectors.machines import unpack
from tests.loops.stage import in_virtual_time, running, settled

MACHINE = "jetson_xavier"
GPU_LOAD = "sys/devices/17000000.gv11b/load"


class Stage:
    """A captured Jetson, whose files a test may change, and a log in memory."""

    def __init__(self, root: Path, *, report_s: float = 1.0, beat_s: float = 1.0) -> None:
        self.root = unpack(MACHINE, root)
        self.clock = LoopClock()
        self.state = ClusterState()
        self.log = MemoryLog(self.state, leader="pi")
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker", reachable=True)
        )
        self.membership = Membership(me="leader", limits=thresholds(report_s))
        self.reports: list[tuple[float, Telemetry]] = []
        self.beats: list[float] = []
        self.admitted = True
        self.collectors = Collectors(str(root), look_interval_s=0.0)
        self.collectors.open()
        self.reporter = Reporter(
            node="pi",
            labels={"room": "attic"},
            host_paths=(),
            beat=Beat(report_s=report_s, beat_s=beat_s, also=(self._beaten,)),
            collectors=self.collectors,
            log=self.log,
            soft=self.soft,
            membership=self.membership,
            clock=self.clock,
            uses=lambda: (InstanceUse(instance="web.1", state="running"),),
            measured=lambda report: self.reports.append((self.clock.now_s(), report)),
            admitted=lambda: self.admitted,
        )

    def _beaten(self) -> None:
        self.beats.append(self.clock.now_s())

    @property
    def times(self) -> list[float]:
        return [at_s for at_s, _ in self.reports]

    def unplug_gpu(self) -> None:
        (self.root / GPU_LOAD).rename(self.root / "load")

    def plug_gpu(self) -> None:
        (self.root / "load").rename(self.root / GPU_LOAD)


@in_virtual_time
async def test_one_report_each_interval_and_no_drift(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with running(stage.reporter):
        await asyncio.sleep(600.5)
    assert stage.times == pytest.approx(range(601))
    assert stage.beats == stage.times
    assert {report.interval_s for _, report in stage.reports[1:]} == {1.0}


@in_virtual_time
async def test_a_report_says_what_was_sampled_and_what_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.soft.images = ("web:1",)
    async with running(stage.reporter):
        await asyncio.sleep(1.5)
    _, report = stage.reports[-1]
    assert report.node == "pi"
    assert report.at_s == pytest.approx(stage.clock.wall_s() - 0.5)
    assert report.cpu is not None
    assert len(report.cpu.used_millicores) == 6
    assert [use.instance for use in report.instances] == ["web.1"]
    assert report.images == ("web:1",)
    assert stage.soft.telemetry == {"pi": report}
    assert stage.soft.usual_millicores["pi"].keys() == report.cpu.used_millicores.keys()
    assert stage.membership.liveness("pi", stage.clock.now_s()) == "alive"


@in_virtual_time
async def test_after_a_stall_it_goes_on_from_now_and_makes_up_for_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with running(stage.reporter):
        await asyncio.sleep(2.5)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.stall(7.2)
        await asyncio.sleep(2.5)
    assert stage.times == pytest.approx([0, 1, 2, 9.7, 10.7, 11.7])
    assert [report.interval_s for _, report in stage.reports[3:]] == [7.7, 1.0, 1.0]


@in_virtual_time
async def test_what_rides_along_is_called_as_often_as_it_asked_and_at_least_each_five_seconds(
    tmp_path: Path,
) -> None:
    (tmp_path / "watched").mkdir()
    (tmp_path / "slow").mkdir()
    watched = Stage(tmp_path / "watched", report_s=1.0, beat_s=0.5)
    slow = Stage(tmp_path / "slow", report_s=60.0, beat_s=60.0)
    async with running(watched.reporter, slow.reporter):
        await asyncio.sleep(60.1)
    assert watched.beats == pytest.approx([0.5 * number for number in range(121)])
    assert watched.times == pytest.approx(range(61))
    assert slow.beats == pytest.approx(range(0, 61, 5))
    assert slow.times == pytest.approx([0, 60])


@in_virtual_time
async def test_the_node_is_registered_as_measured_with_its_labels(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with running(stage.reporter):
        await settled()
    node = stage.state.nodes["pi"]
    assert len(node.capacity.cores) == 6
    assert [gpu.kind for gpu in node.capacity.gpus] == ["gpu"]
    assert (node.engine, node.labels, node.source) == ("docker", {"room": "attic"}, "measured")


@in_virtual_time
async def test_an_unchanged_node_is_not_registered_again_not_even_by_the_next_daemon(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    async with running(stage.reporter):
        await asyncio.sleep(600)
    assert stage.state.applied_index == 1
    (tmp_path / "next").mkdir()
    following = Stage(tmp_path / "next")
    following.reporter._log = stage.log
    async with running(following.reporter):
        await asyncio.sleep(60)
    assert stage.state.applied_index == 1


@in_virtual_time
async def test_a_change_of_the_machine_is_registered(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with running(stage.reporter):
        await asyncio.sleep(REGISTER_AGAIN_S + 1)
        stage.unplug_gpu()
        await asyncio.sleep(2)
        assert stage.state.nodes["pi"].capacity.gpus == ()


@in_virtual_time
async def test_a_gpu_that_comes_and_goes_is_a_write_each_minute_and_not_each_second(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    minutes = 5
    async with running(stage.reporter):
        for _ in range(30 * minutes):
            stage.unplug_gpu()
            await asyncio.sleep(1)
            stage.plug_gpu()
            await asyncio.sleep(1)
        assert 1 <= stage.state.applied_index <= minutes + 1
        assert {len(report.gpus) for _, report in stage.reports} == {0, 1}


@in_virtual_time
async def test_a_log_that_takes_nothing_stops_no_report_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path)
    stage.log.failure = "the disk is full"
    async with running(stage.reporter):
        await asyncio.sleep(30.5)
        assert len(stage.reports) == 31
        assert caplog.messages == ["this node is not registered yet: the disk is full"]
        stage.log.failure = ""
        await asyncio.sleep(REGISTER_AGAIN_S)
        assert "pi" in stage.state.nodes
