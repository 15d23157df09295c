"""The runner against an engine in memory: what runs, what is told, and how losses are survived."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random

from msgspec.structs import replace

from roheletd.cluster.commands import AddNodes, AddServices, Place, RemoveService, SetSecret
from roheletd.cluster.container import Container, Usage
from roheletd.cluster.events import Event, Events
from roheletd.cluster.isolation import isolation
from roheletd.cluster.orders import Orders, parting, specifications
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.engines.files import ValueFolders
from roheletd.instance_use import InstanceUse
from roheletd.loops.furnisher import Furnisher
from roheletd.loops.runner import RECONNECT_S_MAX, Runner
from roheletd.loops.slots import ACTIONS_AT_ONCE
from roheletd.model import Placement, Service
from roheletd.testing import LoopClock, MemoryEngine
from roheletd.upkeep import Inclusion
from roheletd.vault import Vault
from tests.builders import Driver, a_node, a_service, with_services
from tests.loops.stage import in_virtual_time, running, settled


class Stage:
    """A node `pi` with an engine in memory, and a service `web` that may be placed on it."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.driver: Driver = with_services(a_service())
        self.engine = MemoryEngine()
        self.informed = True
        self.leader_heard_s = 0.0
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind=self.engine.info.kind)
        )
        furnisher = Furnisher(
            state=self.driver.state,
            vault=Vault(bytes(32)),
            folders=ValueFolders(Path("/nonexistent")),
        )
        self.runner = Runner(
            engine=self.engine,
            furnisher=furnisher,
            node="pi",
            state=self.driver.state,
            soft=self.soft,
            events=self.events,
            clock=self.clock,
            rng=Random(1),
            orders=self._orders,
        )

    def _orders(self) -> Orders | None:
        """As the daemon gives them, of a node that hears its leader unless it is said otherwise."""
        if not self.informed:
            return None
        stopping, for_s = isolation(
            self.driver.state,
            "pi",
            isolated_for_s=self.clock.now_s() - self.leader_heard_s,
            lost_after_s=3.0,
        )
        wanted = specifications(self.driver.state, cluster="edge", node="pi", stopping=stopping)
        return Orders(
            run=wanted, for_s=for_s, parting=partial(parting, self.driver.state, stopping)
        )

    def place(self, *slots: int, node: str = "pi") -> None:
        revision = self.driver.state.services["web"].revision
        placements = tuple(
            Placement(instance=f"web.{slot}", service="web", node=node, revision=revision)
            for slot in slots
        )
        self.driver.apply(Place(placements=placements))
        self.runner.wake()

    def release(self, *slots: int) -> None:
        self.driver.apply(Place(released=tuple(f"web.{slot}" for slot in slots)))
        self.runner.wake()

    def define(self, service: Service) -> None:
        self.driver.apply(AddServices(services=(service,)))

    def hear_leader(self) -> None:
        self.leader_heard_s = self.clock.now_s()
        self.runner.wake()

    def states(self) -> Mapping[str, str]:
        """By instance, as the engine has it; fails on a second copy."""
        found = {copy.instance: copy.state for copy in self.engine.containers.values()}
        assert len(found) == len(self.engine.containers), "there are duplicates"
        return found

    def told(self, *kinds: str) -> list[Event]:
        return [event for event in self.events.after(0) if event.kind in kinds]

    def use(self, instance: str = "web.1") -> InstanceUse:
        return {use.instance: use for use in self.runner.uses()}[instance]


RUNNING = {"web.1": "running", "web.2": "running"}


@in_virtual_time
async def test_that_an_instance_got_another_address_is_news() -> None:
    """A restart by hand, between two looks at the engine."""
    stage = Stage()
    found: list[Mapping[str, str]] = []
    stage.runner.news.on_change.append(lambda: found.append(stage.runner.news.addresses()))
    async with running(stage.runner):
        stage.place(1)
        for address in ("172.17.0.2", "172.17.0.3"):
            await settled()
            (copy,) = stage.engine.containers.values()
            stage.engine.containers[copy.id] = replace(copy, address=address)
            stage.runner.wake()
        await settled()
    assert found[-2:] == [{"web.1": "172.17.0.2"}, {"web.1": "172.17.0.3"}]


@in_virtual_time
async def test_what_is_placed_here_runs_and_what_is_released_goes() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1, 2)
        await settled()
        assert stage.states() == RUNNING
        stage.release(2)
        await settled()
        assert stage.states() == {"web.1": "running"}
        assert [event.reason for event in stage.told("stopping")] == ["no longer placed here"]


@in_virtual_time
async def test_what_is_placed_on_another_node_is_not_our_business() -> None:
    stage = Stage()
    stage.driver.apply(AddNodes(nodes=(a_node("nano"),)))
    async with running(stage.runner):
        stage.place(1)
        stage.place(2, node="nano")
        await settled()
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_a_service_that_is_removed_takes_its_instances_along() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1, 2)
        await settled()
        stage.driver.apply(RemoveService(name="web"))
        stage.runner.wake()
        await settled()
        assert stage.states() == {}


@in_virtual_time
async def test_a_copy_has_the_grace_of_its_service_as_long_as_that_is_known() -> None:
    stage = Stage()
    stage.define(a_service(stop_grace_s=3.0))
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.define(a_service(stop_grace_s=3.0, image="web:2"))
        stage.place(1)
        await settled()
        assert stage.engine.grace_s["web.1"] == 3.0
        stage.release(1)
        await settled()
        assert stage.engine.grace_s["web.1"] == 3.0
        stage.place(2)
        await settled()
        stage.driver.apply(RemoveService(name="web"))
        stage.runner.wake()
        await settled()
        assert stage.engine.grace_s["web.2"] == 10.0


@in_virtual_time
async def test_a_changed_definition_replaces_the_copy_and_never_has_two() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        before = stage.engine.copy_of("web.1")
        stage.define(a_service(image="web:2"))
        stage.place(1)
        await settled()
        assert stage.engine.asked == ["run web.1", "remove web.1", "run web.1"]
        assert stage.engine.copy_of("web.1").digest != before.digest


@in_virtual_time
async def test_what_an_earlier_daemon_left_is_adopted_or_removed() -> None:
    first = Stage()
    async with running(first.runner):
        first.place(1, 2)
        await settled()
    second = Stage()
    second.engine.containers = first.engine.containers
    second.place(1)
    async with running(second.runner):
        await settled()
        assert second.engine.asked == ["remove web.2"]
        assert second.states() == {"web.1": "running"}
        kinds = [event.kind for event in second.events.after(0)]
        assert kinds == ["engine answers", "running", "stopping"]


@in_virtual_time
async def test_of_two_copies_one_is_removed() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.engine.containers["twin"] = replace(stage.engine.copy_of("web.1"), id="twin")
        stage.runner.wake()
        await settled()
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_an_instance_that_ends_is_started_again_and_both_are_told() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.engine.die("web.1", exit_code=3)
        await settled()
        assert stage.states() == {"web.1": "running"}
        assert stage.engine.asked == ["run web.1", "start web.1"]
        kinds = [event.kind for event in stage.told("running", "ended")]
        assert kinds == ["running", "ended", "running"]
        assert stage.told("ended")[0].reason == "ended with exit code 3"
        assert stage.use().restarts == 1


@in_virtual_time
async def test_a_copy_that_vanishes_is_run_again() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.engine.vanish("web.1")
        await settled()
        assert stage.engine.asked == ["run web.1", "run web.1"]


@in_virtual_time
async def test_a_refusal_is_told_and_tried_again_ever_more_seldom() -> None:
    stage = Stage()
    stage.engine.refuse("web.1", "no such image: web:1")
    async with running(stage.runner):
        stage.place(1)
        await asyncio.sleep(60)
        # At once, then after 0, 1, 2, 4, 8, 16 s, and the next one only after 32 s more.
        assert stage.engine.asked == ["run web.1"] * 7
        assert len(stage.told("engine refused")) == 7
        assert stage.use().state == "waiting"
        assert stage.use().reason == "no such image: web:1"
        stage.engine.allow("web.1")
        await asyncio.sleep(60)
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_what_can_never_work_is_tried_once_until_it_is_changed() -> None:
    stage = Stage()
    stage.engine.refuse("web.1", "web names no image", retry=False)
    async with running(stage.runner):
        stage.place(1)
        await asyncio.sleep(3600)
        assert stage.engine.asked == ["run web.1"]
        assert stage.use().state == "failed"
        stage.engine.allow("web.1")
        stage.define(a_service(image="web:2"))
        stage.place(1)
        await settled()
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_a_secret_that_there_is_no_memory_for_is_a_refusal_and_not_written_anywhere() -> None:
    stage = Stage()
    sealed = Vault(bytes(32)).seal("db", "password", b"hunter2")
    stage.driver.apply(SetSecret(name="db", values={"password": sealed}))
    stage.define(a_service(secrets=(Inclusion(name="db", path="/run/secrets"),)))
    async with running(stage.runner):
        stage.place(1)
        await settled()
        assert stage.states() == {}
        assert "given as files in memory only" in stage.told("engine refused")[0].reason
        stage.define(a_service(secrets=(Inclusion(name="db"),)))
        stage.place(1)
        await settled()
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_ports_that_another_program_holds_are_reported_until_the_instance_runs() -> None:
    stage = Stage()
    stage.engine.refuse_ports("web.1", 8080)
    async with running(stage.runner):
        stage.place(1)
        await settled()
        assert stage.use().refused_ports == (8080,)
        assert stage.use().reason == "port 8080 of this node is in use by another program"
        stage.engine.allow("web.1")
        await asyncio.sleep(2)
        assert stage.use().refused_ports == ()
        assert stage.states() == {"web.1": "running"}
        assert (stage.use().failures, stage.use().last_failure) == (0, "")


@in_virtual_time
async def test_an_image_that_cannot_be_had_is_reported_until_the_instance_runs() -> None:
    stage = Stage()
    stage.engine.refuse_image("web.1", "image web:1: registry unreachable")
    async with running(stage.runner):
        stage.place(1)
        await asyncio.sleep(20)
        assert stage.use().refused_image
        assert stage.use().reason == "image web:1: registry unreachable"
        stage.engine.refuse("web.1", "the disk is on fire")
        await asyncio.sleep(20)
        assert not stage.use().refused_image
        stage.engine.refuse_image("web.1", "image web:1: registry unreachable")
        await asyncio.sleep(60)
        assert stage.use().refused_image
        stage.engine.allow("web.1")
        await asyncio.sleep(60)
        assert not stage.use().refused_image
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_the_images_of_the_engine_are_known_from_its_return_on() -> None:
    stage = Stage()
    stage.engine.has_images("web:1")
    async with running(stage.runner):
        await settled()
        assert stage.soft.images == ("web:1",)
        stage.engine.has_images("web:1", "web:2")
        await settled()
        assert stage.soft.images == ("web:1", "web:2")
        stage.engine.lose("frozen")
        await settled()
        stage.engine.has_images("web:3")
        stage.engine.come_back()
        await asyncio.sleep(60)
        assert stage.soft.images == ("web:3",)


@in_virtual_time
async def test_an_engine_that_lists_no_images_runs_instances_all_the_same() -> None:
    stage = Stage()
    stage.engine.refuse("images", "forbidden by the socket's proxy")
    async with running(stage.runner):
        stage.place(1)
        await settled()
        assert stage.states() == {"web.1": "running"}
        assert stage.soft.images is None


@in_virtual_time
async def test_a_removal_that_is_refused_is_tried_again() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.engine.refuse("web.1", "device or resource busy", retry=False)
        stage.release(1)
        await asyncio.sleep(1.5)
        assert stage.engine.asked.count("remove web.1") == 3
        stage.engine.allow("web.1")
        await asyncio.sleep(60)
        assert stage.states() == {}


@in_virtual_time
async def test_no_more_than_four_requests_are_under_way_at_once() -> None:
    stage = Stage()
    slots = range(1, 3 * ACTIONS_AT_ONCE + 1)
    stage.engine.slow = {f"web.{slot}" for slot in slots}
    async with running(stage.runner):
        stage.place(*slots)
        for _ in range(3):
            await settled()
            assert len(stage.engine.working) == ACTIONS_AT_ONCE
            for instance in list(stage.engine.working):
                stage.engine.finish(instance)
        await settled()
        assert len(stage.states()) == len(slots)


@in_virtual_time
async def test_slow_pulls_keep_nothing_from_starting_that_is_here() -> None:
    stage = Stage()
    slots = range(1, ACTIONS_AT_ONCE + 2)
    stage.engine.slow = {f"web.{slot}" for slot in slots}
    stage.engine.has_images("here:1")
    stage.define(a_service("near", image="here:1"))
    async with running(stage.runner):
        await settled()
        stage.place(*slots)
        await settled()
        assert len(stage.engine.working) == ACTIONS_AT_ONCE
        revision = stage.driver.state.services["near"].revision
        near = Placement(instance="near.1", service="near", node="pi", revision=revision)
        stage.driver.apply(Place(placements=(near,)))
        stage.runner.wake()
        await settled()
        assert stage.states() == {"near.1": "running"}


@in_virtual_time
async def test_how_far_a_pull_has_come_is_the_reason_why_an_instance_does_not_run_yet() -> None:
    stage = Stage()
    stage.engine.slow = {"web.1"}
    stage.engine.steps["web.1"] = "pulling 45 % of 193 MB"
    async with running(stage.runner):
        stage.place(1)
        await settled()
        use = stage.use("web.1")
        assert (use.state, use.reason) == ("starting", "pulling 45 % of 193 MB")


@in_virtual_time
async def test_a_slow_pull_holds_up_no_other_instance() -> None:
    stage = Stage()
    stage.engine.slow = {"web.1"}
    async with running(stage.runner):
        stage.place(1, 2)
        await asyncio.sleep(600)
        assert stage.states() == {"web.2": "running"}
        assert stage.use("web.1").state == "starting"
        stage.engine.die("web.2")
        await settled()
        assert stage.states() == {"web.2": "running"}
        stage.engine.finish("web.1")
        await settled()
        assert stage.states() == RUNNING
        assert stage.engine.asked.count("run web.1") == 1


@in_virtual_time
async def test_what_is_released_while_its_image_is_pulled_is_removed_as_soon_as_it_is_there() -> (
    None
):
    stage = Stage()
    stage.engine.slow = {"web.1"}
    async with running(stage.runner):
        stage.place(1)
        await settled()
        stage.release(1)
        await settled()
        stage.engine.slow.clear()
        stage.engine.finish("web.1")
        await settled()
        assert stage.engine.asked == ["run web.1", "remove web.1"]
        assert stage.states() == {}


@in_virtual_time
async def test_an_engine_that_returns_is_found_with_what_it_had_and_nothing_twice() -> None:
    stage = Stage()
    stage.engine.slow = {"web.2"}
    async with running(stage.runner):
        stage.place(1, 2)
        await settled()
        stage.engine.lose("Memory is gone")
        await settled()
        assert stage.engine.working == {}, "a request on a lost engine goes on"
        assert not stage.soft.engine.reachable
        assert stage.soft.engine.reason == "Memory is gone"
        stage.engine.slow.clear()
        stage.engine.come_back()
        await asyncio.sleep(RECONNECT_S_MAX)
        assert stage.states() == RUNNING
        assert stage.engine.asked == ["run web.1", "run web.2", "run web.2"]
        assert stage.soft.engine.reachable
        assert stage.soft.engine.name == "Memory"


@in_virtual_time
async def test_what_the_engine_did_before_it_was_lost_is_not_done_again() -> None:
    stage = Stage()
    stage.engine.slow = {"web.1"}
    async with running(stage.runner):
        stage.place(1)
        await settled()
        digest = next(iter(stage.runner._instances._histories.values())).digest
        stage.engine.containers["made"] = Container(
            id="made", instance="web.1", digest=digest, state="created"
        )
        stage.engine.slow.clear()
        stage.engine.lose("Memory is gone")
        stage.engine.come_back()
        await asyncio.sleep(RECONNECT_S_MAX)
        assert stage.engine.asked == ["run web.1", "start web.1"]
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_each_loss_and_each_reason_is_told_once_however_long_it_lasts() -> None:
    stage = Stage()
    async with running(stage.runner):
        await settled()
        stage.engine.lose("Memory is gone")
        await asyncio.sleep(600)
        stage.engine.lose("permission denied")
        await asyncio.sleep(600)
        stage.engine.come_back()
        await asyncio.sleep(RECONNECT_S_MAX)
    told = [(event.kind, event.reason) for event in stage.told("engine lost", "engine answers")]
    assert told == [
        ("engine answers", "1 at memory"),
        ("engine lost", "Memory is gone"),
        ("engine lost", "permission denied"),
        ("engine answers", "1 at memory"),
    ]


@in_virtual_time
async def test_an_engine_that_never_answers_is_asked_for_days() -> None:
    stage = Stage()
    stage.engine.lose("no container engine answers")
    async with running(stage.runner) as (task,):
        await asyncio.sleep(7 * 86_400)
        assert not task.done()
        assert len(stage.told("engine lost")) == 1
        stage.engine.come_back()
        await asyncio.sleep(RECONNECT_S_MAX)
        assert stage.soft.engine.reachable


@in_virtual_time
async def test_an_engine_that_refuses_to_list_is_told_once_and_asked_ever_more_seldom() -> None:
    stage = Stage()
    stage.engine.refuse("list", "database is locked")
    async with running(stage.runner) as (task,):
        stage.place(1)
        await asyncio.sleep(600)
        assert not task.done()
        assert not stage.soft.engine.reachable
        assert stage.engine.opened < 60
        assert len(stage.told("engine lost")) == 1
        assert stage.told("engine answers") == []
        stage.engine.allow("list")
        await asyncio.sleep(RECONNECT_S_MAX)
        assert stage.states() == {"web.1": "running"}


@in_virtual_time
async def test_an_engine_that_is_lost_as_soon_as_it_is_back_is_asked_ever_more_seldom() -> None:
    stage = Stage()
    async with running(stage.runner):
        for _ in range(600):
            await asyncio.sleep(1)
            stage.engine.lose("Memory is gone")
            await settled()
            stage.engine.come_back()
        assert stage.engine.opened < 100


@in_virtual_time
async def test_use_is_what_the_engine_measured_and_unknown_without_it() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        container_id = stage.engine.copy_of("web.1").id
        stage.engine.used[container_id] = Usage(cpu_s=1.0, memory_mib=40)
        stage.runner.uses()
        await asyncio.sleep(2)
        stage.engine.used[container_id] = Usage(cpu_s=1.5, memory_mib=41)
        assert (stage.use().cpu_millicores, stage.use().memory_mib) == (250, 41)
        stage.engine.lose("Memory is gone")
        await settled()
        assert stage.use().memory_mib is None


@in_virtual_time
async def test_being_closed_it_lets_go_of_the_engine_and_leaves_the_containers() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1, 2)
        await settled()
    assert stage.engine.closed
    assert stage.states() == RUNNING


@in_virtual_time
async def test_being_closed_in_the_moment_in_which_the_engine_is_lost_it_ends_all_the_same() -> (
    None
):
    """A machine that shuts down stops the engine and the daemon in one second."""

    class Reluctant(MemoryEngine):
        async def run(self, spec: object, tell: object = None) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)

    stage = Stage()
    stage.runner._engine = engine = Reluctant()
    stage.place(1)
    task = asyncio.create_task(stage.runner.run())
    await settled()
    engine.lose("Memory is gone")
    await settled()
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=60)
    assert ended == {task}
    assert task.cancelled()


@in_virtual_time
async def test_at_rest_it_asks_nothing() -> None:
    stage = Stage()
    async with running(stage.runner):
        stage.place(1)
        await settled()
        asked: list[float] = []
        listing = stage.engine.list

        async def counted() -> list[Container]:
            asked.append(stage.clock.now_s())
            return await listing()

        stage.engine.list = counted  # type: ignore[method-assign]
        await asyncio.sleep(3600)
        assert asked == []


@in_virtual_time
async def test_before_it_knows_what_is_wanted_it_acts_on_nothing() -> None:
    """Half of a log, or none, would have it stop what the rest of it wants."""
    first = Stage()
    async with running(first.runner):
        first.place(1, 2)
        await settled()
    stage = Stage()
    stage.engine.containers = first.engine.containers
    stage.informed = False
    stage.place(1)
    async with running(stage.runner):
        await asyncio.sleep(3600)
        assert stage.engine.asked == []
        assert stage.soft.engine.reachable
        stage.informed = True
        stage.runner.wake()
        await settled()
        assert stage.engine.asked == ["remove web.2"]


@in_virtual_time
async def test_cut_off_from_its_leader_it_stops_what_is_to_stop_in_time_and_keeps_the_rest() -> (
    None
):
    stage = Stage()
    stage.define(a_service(on_isolation="stop", reschedule_after_s=5.0))
    stage.driver.apply(AddServices(services=(a_service("door"),)))
    revision = stage.driver.state.services["door"].revision
    door = Placement(instance="door.1", service="door", node="pi", revision=revision)
    stage.driver.apply(Place(placements=(door,)))
    async with running(stage.runner):
        stage.place(1)
        for _ in range(5):
            await asyncio.sleep(1)
            stage.hear_leader()
        await asyncio.sleep(7.9)
        assert stage.states() == {"web.1": "running", "door.1": "running"}
        await asyncio.sleep(0.2)
        assert stage.states() == {"door.1": "running"}, "nobody had to wake it"
        await asyncio.sleep(3600)
        assert stage.states() == {"door.1": "running"}
        stage.hear_leader()
        await settled()
        assert stage.states() == {"web.1": "running", "door.1": "running"}


@in_virtual_time
async def test_a_leader_that_is_heard_again_in_time_stops_nothing() -> None:
    stage = Stage()
    stage.define(a_service(on_isolation="stop", reschedule_after_s=5.0))
    async with running(stage.runner):
        stage.place(1)
        for _ in range(10):
            await asyncio.sleep(7)
            stage.hear_leader()
        assert stage.engine.asked == ["run web.1"]
