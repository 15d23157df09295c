"""The leader: when it looks, what it proposes, what it tells, and what it survives."""

import asyncio
from unittest.mock import patch

import pytest

from roheletd.cluster.commands import AddServices, Place, RemoveService
from roheletd.cluster.events import Event
from roheletd.loops import leader as leader_module
from roheletd.model import Neighbour, Placement, Service
from roheletd.telemetry import MemoryUse, Telemetry
from roheletd.testing import VirtualTimeLoop
from tests.builders import a_node, a_service, with_services
from tests.loops.leading import Leading
from tests.loops.stage import in_virtual_time, running, settled


class Stage(Leading):
    """A leader `pi` of 4 cores and 4096 MiB, alone in its cluster."""

    def __init__(self, *services: Service, others: tuple[str, ...] = ()) -> None:
        nodes = (a_node(), *(a_node(name) for name in others))
        super().__init__(with_services(*services, nodes=nodes), others=others)
        self.leader = self.a_leader()

    def homes(self) -> dict[str, str]:
        return {name: at.node for name, at in sorted(self.state.placements.items())}

    def define(self, *services: Service) -> None:
        self.driver.apply(AddServices(services=services))
        self.leader.wake()

    def remove(self, name: str) -> None:
        self.driver.apply(RemoveService(name=name))
        self.leader.wake()

    def others_use(self, memory_mib: int) -> None:
        """What is measured on `pi` besides our instances."""
        memory = MemoryUse(total_mib=4096, available_mib=4096 - memory_mib)
        self.soft.telemetry["pi"] = Telemetry(node="pi", at_s=0.0, interval_s=1.0, memory=memory)
        self.leader.heard("pi")

    async def measure_each_second(self, memory_mib: int, seconds: int) -> None:
        for _ in range(seconds):
            await asyncio.sleep(1)
            self.others_use(memory_mib)

    def told(self) -> list[Event]:
        return list(self.events.after(0))

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.kind, event.subject) for event in self.told()]


@in_virtual_time
async def test_an_entry_wakes_it_and_the_missing_replicas_are_placed_and_told() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(replicas=2, cores=(500,)))
        await settled()
        assert sorted(stage.state.placements) == ["web.1", "web.2"]
        assert stage.kinds() == [("placed", "web.1"), ("placed", "web.2")]
        assert stage.told()[0].reason.startswith("on pi, cores {")
    stage.state.check()


@in_virtual_time
async def test_nothing_to_do_proposes_nothing() -> None:
    stage = Stage(a_service())
    async with running(stage.leader):
        stage.leader.wake()
        await settled()
        index = stage.state.applied_index
        for _ in range(10):
            stage.leader.wake()
            await settled()
        assert stage.state.applied_index == index


@in_virtual_time
async def test_fewer_replicas_are_released_and_told() -> None:
    stage = Stage(a_service(replicas=3))
    async with running(stage.leader):
        stage.leader.wake()
        await settled()
        stage.define(a_service(replicas=1))
        await settled()
        assert len(stage.state.placements) == 1
        assert [kind for kind, _ in stage.kinds()].count("released") == 2


@in_virtual_time
async def test_what_fits_nowhere_is_told_once_with_its_reason_and_kept_in_mind() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.define(a_service("other"))
        await settled()
        assert stage.kinds() == [("waiting", "web"), ("placed", "other.1")]
        assert "memory" in stage.soft.waiting["web"]
        assert stage.told()[0].reason == stage.soft.waiting["web"]


@in_virtual_time
async def test_what_waited_and_fits_after_a_change_is_told_to_wait_no_longer() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.define(a_service(memory_mib=50))
        await settled()
        assert stage.kinds() == [
            ("waiting", "web"),
            ("placed", "web.1"),
            ("no longer waiting", "web"),
        ]
        assert stage.soft.waiting == {}


@in_virtual_time
async def test_what_waited_and_was_removed_is_forgotten_without_a_word() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.remove("web")
        await settled()
        assert stage.kinds() == [("waiting", "web")]
        assert stage.soft.waiting == {}


@in_virtual_time
async def test_room_that_is_measured_is_looked_for_after_one_second_then_two_then_four() -> None:
    stage = Stage()
    stage.others_use(4000)
    async with running(stage.leader):
        stage.define(a_service(memory_mib=2000))
        await stage.measure_each_second(4000, 1)
        assert "web" in stage.soft.waiting
        await stage.measure_each_second(4000, 3)  # tried at 1 s and at 3 s, next at 7 s
        await stage.measure_each_second(100, 2)
        assert stage.state.placements == {}
        await stage.measure_each_second(100, 2)
        assert list(stage.state.placements) == ["web.1"]


@in_virtual_time
async def test_room_that_is_given_up_is_taken_at_once_however_long_it_was_waited_for() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service("first", memory_mib=4000))
        await settled()
        stage.define(a_service(memory_mib=4000))
        await asyncio.sleep(600)
        stage.remove("first")
        await settled()
        assert list(stage.state.placements) == ["web.1"]


@in_virtual_time
async def test_what_waits_for_a_neighbour_is_placed_with_it() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(affinity=(Neighbour(service="cache"),)))
        await settled()
        assert "must be near cache" in stage.soft.waiting["web"]
        await asyncio.sleep(600)
        stage.define(a_service("cache"))
        await settled()
        assert list(stage.state.placements) == ["cache.1", "web.1"]


@in_virtual_time
async def test_many_instances_are_proposed_in_batches() -> None:
    stage = Stage(a_service(replicas=500))
    async with running(stage.leader):
        stage.leader.wake()
        await settled()
        assert len(stage.state.placements) == 500
        assert len({at.placed_at for at in stage.state.placements.values()}) == 3
    stage.state.check()


@in_virtual_time
async def test_measurements_alone_wake_nobody_while_nothing_waits() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.driver.apply(AddServices(services=(a_service(),)))
        await stage.measure_each_second(100, 60)
        assert stage.state.placements == {}
        stage.leader.wake()
        await settled()
        assert list(stage.state.placements) == ["web.1"]


@in_virtual_time
async def test_a_log_that_takes_nothing_is_logged_once_and_outlived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    async with running(stage.leader) as (task,):
        stage.define(a_service("big", memory_mib=5000))
        await settled()
        stage.log.failure = "the disk is full"
        stage.define(a_service())
        await stage.measure_each_second(100, 60)
        assert not task.done()
        assert stage.state.placements == {}
        assert caplog.messages == ["placements wait: the disk is full"]
        assert ("placed", "web.1") not in stage.kinds()
        stage.log.failure = ""
        await stage.measure_each_second(100, 6)
        assert list(stage.state.placements) == ["web.1"]


async def spread(stage: Stage, *services: Service) -> dict[str, str]:
    """The services placed, at least one instance of them on `nano`."""
    await stage.pass_s(3)
    stage.define(*services)
    await stage.pass_s(1)
    homes = stage.homes()
    assert "nano" in homes.values(), homes
    return homes


@in_virtual_time
async def test_what_was_on_a_lost_node_is_placed_elsewhere_after_its_services_patience() -> None:
    stage = Stage(others=("nano", "xavier"))
    async with running(stage.leader):
        hasty = a_service("hasty", replicas=3, reschedule_after_s=0.0)
        slow = a_service("slow", replicas=3, reschedule_after_s=60.0)
        homes = await spread(stage, hasty, slow)
        moving = {name for name, node in homes.items() if node == "nano"}
        assert {name.partition(".")[0] for name in moving} == {"hasty", "slow"}
        stage.silent = {"nano"}
        await stage.pass_s(1.9)
        assert stage.homes() == homes, "silent, and not lost yet"
        await stage.pass_s(1)
        stage.state.check()
        assert ("node lost", "nano") in stage.kinds()
        here = {name for name, node in stage.homes().items() if node == "nano"}
        assert here == {name for name in moving if name.startswith("slow")}
        await stage.pass_s(58)
        assert {name for name, node in stage.homes().items() if node == "nano"} == here
        await stage.pass_s(2.5)
        assert "nano" not in stage.homes().values()
        assert len(stage.homes()) == 6


@in_virtual_time
async def test_a_node_that_is_back_in_time_keeps_what_it_had() -> None:
    stage = Stage(others=("nano",))
    async with running(stage.leader):
        homes = await spread(stage, a_service(replicas=2, reschedule_after_s=5.0))
        index = stage.state.applied_index
        stage.silent = {"nano"}
        await stage.pass_s(6)
        stage.silent = set()
        await stage.pass_s(60)
        assert stage.homes() == homes
        assert stage.state.applied_index == index, "a blip is no entry"
        told = [kind for kind, subject in stage.kinds() if subject == "nano"]
        assert told == ["node lost", "node back"]


@in_virtual_time
async def test_what_a_lost_node_said_of_itself_is_forgotten() -> None:
    stage = Stage(others=("nano",))
    async with running(stage.leader):
        await spread(stage, a_service(replicas=2))
        stage.soft.telemetry["nano"] = Telemetry(node="nano", at_s=0.0, interval_s=1.0)
        stage.silent = {"nano"}
        await stage.pass_s(4)
        assert stage.soft.telemetry == {}


@in_virtual_time
async def test_a_node_that_was_never_heard_by_this_leader_is_lost_as_any_other() -> None:
    """Its last word was for the leader before."""
    stage = Stage(others=("nano",))
    stage.driver.apply(AddServices(services=(a_service(reschedule_after_s=5.0),)))
    revision = stage.state.services["web"].revision
    at = Placement(instance="web.1", service="web", node="nano", revision=revision)
    stage.driver.apply(Place(placements=(at,)))
    stage.silent = {"nano"}
    async with running(stage.leader):
        await stage.pass_s(7.5)
        assert stage.homes() == {"web.1": "nano"}
        await stage.pass_s(1)
        assert stage.homes() == {"web.1": "pi"}


@in_virtual_time
async def test_a_leader_that_stood_still_calls_nobody_lost_for_that() -> None:
    stage = Stage(others=("nano", "xavier"))
    async with running(stage.leader):
        homes = await spread(stage, a_service(replicas=3, reschedule_after_s=0.0))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.stall(3600)
        await settled()
        await stage.pass_s(60)
        assert stage.homes() == homes
        assert "node lost" not in [kind for kind, _ in stage.kinds()]


@in_virtual_time
async def test_after_it_stood_still_who_is_silent_all_the_same_is_lost_in_time() -> None:
    stage = Stage(others=("nano", "xavier"))
    async with running(stage.leader):
        await spread(stage, a_service(replicas=3, reschedule_after_s=0.0))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        stage.silent = {"nano"}
        loop.stall(3600)
        await stage.pass_s(4)
        assert "nano" not in stage.homes().values()
        assert "xavier" in stage.homes().values()


@in_virtual_time
async def test_only_who_leads_acts_and_the_next_leader_makes_up_for_it() -> None:
    stage = Stage(others=("nano",))
    stage.log.leads = False
    async with running(stage.leader):
        await stage.pass_s(3)
        stage.define(a_service(replicas=2, reschedule_after_s=0.0))
        stage.others_use(100)
        stage.silent = {"nano"}
        await stage.pass_s(60)
        assert stage.homes() == {}
        assert stage.told() == []
        stage.log.leads = True
        stage.leader.wake()
        await settled()
        assert set(stage.homes().values()) == {"pi"}


@in_virtual_time
async def test_who_leads_no_more_forgets_what_waits() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        assert "web" in stage.soft.waiting
        stage.log.leads = False
        stage.leader.wake()
        await settled()
        assert stage.soft.waiting == {}


@in_virtual_time
async def test_while_all_are_alive_and_nothing_happens_it_does_not_pass() -> None:
    stage = Stage(others=("nano",))
    async with running(stage.leader):
        await spread(stage, a_service(replicas=2))
        with patch.object(leader_module, "look", side_effect=AssertionError("it passed")):
            await stage.pass_s(600)
