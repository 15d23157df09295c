"""Leader and rollout keeper together: a change goes through, or back, and is told once."""

from msgspec.structs import replace

from roheletd.cluster.commands import AddServices, Drain
from roheletd.instance_use import InstanceUse
from roheletd.loops.rollout_keeper import RolloutKeeper
from roheletd.model import Neighbour, Service
from roheletd.upkeep import Dependency, UpdatePolicy
from tests.builders import a_node, a_service, with_services
from tests.loops.leading import Leading
from tests.loops.stage import in_virtual_time, running, settled


def web(image: str = "web:1", **policy: object) -> Service:
    return a_service(replicas=2, image=image, update=UpdatePolicy(**policy))  # type: ignore[arg-type]


class Stage(Leading):
    """`pi` and `nano`, whose instances say of themselves what a test makes them say."""

    def __init__(self, service: Service | None = None) -> None:
        cluster = with_services(service or web(), nodes=(a_node(), a_node("nano")))
        super().__init__(cluster, others=("nano",))
        self.leader = self.a_leader()
        self.keeper = RolloutKeeper(
            log=self.log,
            state=self.state,
            soft=self.soft,
            events=self.events,
            clock=self.clock,
            proceed=self.leader.wake,
        )

    def define(self, service: Service) -> None:
        self.driver.apply(AddServices(services=(service,)))
        self.leader.wake()
        self.keeper.wake()

    def all_report(self, *, healthy_for_s: float | None = None, failing: str = "") -> None:
        for node in ("pi", "nano"):
            uses = []
            for name, at in self.state.placements_on(node).items():
                if self.state.edition_of(at).service.image == failing:
                    use = InstanceUse(
                        instance=name, state="waiting", failures=1, reason="exit code 3"
                    )
                else:
                    use = InstanceUse(
                        instance=name,
                        state="running",
                        health="healthy",
                        healthy_for_s=healthy_for_s,
                    )
                uses.append(replace(use, revision=at.revision))
            self.soft.heard_instances(node, uses)
        self.keeper.wake()

    @property
    def images(self) -> list[str]:
        placed = self.state.placements.values()
        return sorted(self.state.edition_of(at).service.image for at in placed)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(it.kind, it.reason) for it in self.events.after(0) if "rollout" in it.kind]


async def all_placed(stage: Stage) -> None:
    await stage.pass_s(1)  # in which `nano` is heard
    stage.leader.wake()
    await settled()
    stage.all_report(healthy_for_s=60.0)


async def begun(stage: Stage, service: Service) -> None:
    """All of the first edition is there and healthy, and then it is changed."""
    await all_placed(stage)
    stage.define(service)
    await settled()


@in_virtual_time
async def test_the_next_is_replaced_when_the_one_before_was_healthy_for_long_enough() -> None:
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await begun(stage, web("web:2"))
        assert stage.images == ["web:1", "web:2"]
        stage.all_report(healthy_for_s=4.9)
        await settled()
        assert stage.images == ["web:1", "web:2"]
        stage.all_report(healthy_for_s=5.0)
        await settled()
        assert stage.images == ["web:2", "web:2"]
        assert stage.told == []
        stage.all_report(healthy_for_s=5.0)
        await settled()
        assert stage.told == [("rollout: completed", "")]
        index = stage.state.applied_index
        await stage.pass_s(600)
        assert stage.state.applied_index == index, "an idle cluster writes nothing"


@in_virtual_time
async def test_a_failure_brings_back_what_was_there_and_says_which_and_why() -> None:
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await begun(stage, web("web:2"))
        stage.all_report(healthy_for_s=60.0, failing="web:2")
        await settled()
        stage.leader.wake()  # as what was applied does
        await settled()
        assert stage.images == ["web:1", "web:1"]
        ((kind, reason),) = stage.told
        assert kind == "rollout: rolling back"
        assert reason.endswith("exit code 3")
        stage.all_report(healthy_for_s=60.0)
        await settled()
        assert stage.told[-1][0] == "rollout: rolled back"


@in_virtual_time
async def test_silence_is_waited_for_until_the_deadline() -> None:
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await begun(stage, web("web:2", deadline_s=30.0))
        stage.soft.instances.clear()
        stage.keeper.wake()
        await stage.pass_s(29)
        assert stage.told == []
        await stage.pass_s(3)
        assert "no progress for 30 s" in stage.told[0][1]


@in_virtual_time
async def test_a_drained_node_is_left_one_by_one() -> None:
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await all_placed(stage)
        stage.driver.apply(Drain(name="pi", draining=True))
        stage.leader.wake()
        await settled()
        for _ in range(2):
            stage.all_report(healthy_for_s=60.0)
            await settled()
        assert stage.state.placements_on("pi") == {}
        assert len(stage.state.placements) == 2
        assert stage.told == []


@in_virtual_time
async def test_one_that_waits_for_a_place_neither_holds_up_the_others_nor_undoes_them() -> None:
    one_a_node = {"anti_affinity": (Neighbour(service="web"),), "min_available": 0, "replicas": 3}
    stage = Stage(replace(web(), **one_a_node))
    async with running(stage.leader, stage.keeper):
        await begun(stage, replace(web("web:2"), **one_a_node))
        for _ in range(3):
            stage.all_report(healthy_for_s=60.0)
            await settled()
            stage.leader.wake()  # as what was applied does
            await settled()
        assert stage.images == ["web:2", "web:2"]
        assert stage.told == [("rollout: completed", "")]
        assert "web" in stage.soft.waiting


@in_virtual_time
async def test_a_paused_one_that_gets_well_is_over() -> None:
    stage = Stage(web(on_failure="pause", parallel=2))
    async with running(stage.leader, stage.keeper):
        await begun(stage, web("web:2", on_failure="pause", parallel=2))
        stage.all_report(healthy_for_s=60.0, failing="web:2")
        await settled()
        assert [kind for kind, _ in stage.told] == ["rollout: paused"]
        stage.all_report(healthy_for_s=60.0)
        await settled()
        assert [kind for kind, _ in stage.told] == ["rollout: paused", "rollout: completed"]


@in_virtual_time
async def test_an_update_goes_on_as_soon_as_what_it_depends_on_is_there() -> None:
    needs = (Dependency(service="db"),)
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await begun(stage, replace(web("web:2"), depends_on=needs))
        stage.all_report(healthy_for_s=60.0)
        await settled()
        assert stage.images == ["web:1", "web:1"]
        stage.define(a_service("db", image="db:1"))
        await settled()
        assert stage.images == ["db:1", "web:1", "web:1"]
        stage.all_report(healthy_for_s=60.0)
        await settled()
        assert stage.images == ["db:1", "web:1", "web:2"]


@in_virtual_time
async def test_a_node_that_does_not_lead_ends_nothing() -> None:
    stage = Stage()
    async with running(stage.leader, stage.keeper):
        await begun(stage, web("web:2"))
        stage.log.leads = False
        stage.all_report(healthy_for_s=60.0, failing="web:2")
        await stage.pass_s(400)
        assert stage.told == []
