"""The rebalancer: how often it moves, when it does not, and what it tells."""

from roheletd.cluster.commands import AddNodes, AddServices, Place
from roheletd.loops.rebalancer import Rebalancer
from roheletd.model import Placement
from tests.builders import a_node, a_service, with_services
from tests.loops.leading import Leading
from tests.loops.stage import in_virtual_time, running


class Stage(Leading):
    """Four instances on `pi`, and an empty node `nano` that joined later."""

    def __init__(self, *, moves_per_hour: int) -> None:
        services = [a_service(f"s{number}", cores=(900,), memory_mib=900) for number in range(4)]
        driver = with_services(*services)
        revision = driver.state.services["s0"].revision
        placements = tuple(
            Placement(
                instance=f"s{core}.1",
                service=f"s{core}",
                node="pi",
                revision=revision,
                cores={core: 900},
                cpu_millicores=900,
                memory_mib=900,
            )
            for core in range(4)
        )
        driver.apply(Place(placements=placements))
        driver.apply(AddNodes(nodes=(a_node("nano"),)))
        super().__init__(driver, others=("nano",))
        self.rebalancer = Rebalancer(
            moves_per_hour=moves_per_hour,
            operations=self.operations(),
            log=self.log,
            soft=self.soft,
            events=self.events,
        )

    @property
    def moved(self) -> int:
        return len(self.state.placements_on("nano"))


@in_virtual_time
async def test_it_moves_as_often_as_it_may_and_stops_where_nothing_would_be_better() -> None:
    stage = Stage(moves_per_hour=60)
    async with running(stage.rebalancer):
        await stage.pass_s(59)
        assert stage.moved == 0
        await stage.pass_s(2)
        assert stage.moved == 1
        await stage.pass_s(60)
        assert stage.moved == 2
        index = stage.state.applied_index
        await stage.pass_s(3600)
        assert stage.state.applied_index == index
    stage.state.check()
    told = [event for event in stage.events.after(0) if event.kind == "rebalanced"]
    assert len(told) == 2
    assert told[0].reason.startswith("from pi to nano, score +0.")


@in_virtual_time
async def test_it_leaves_everything_alone_while_it_does_not_lead_or_a_service_waits() -> None:
    stage = Stage(moves_per_hour=60)
    stage.log.leads = False
    async with running(stage.rebalancer):
        await stage.pass_s(300)
        stage.log.leads = True
        stage.soft.waiting = {"big": "no node fits"}
        await stage.pass_s(300)
        assert stage.moved == 0
        stage.soft.waiting = {}
        await stage.pass_s(61)
        assert stage.moved == 1


@in_virtual_time
async def test_a_log_that_takes_nothing_is_outlived() -> None:
    stage = Stage(moves_per_hour=60)
    stage.log.failure = "the disk is full"
    async with running(stage.rebalancer) as (task,):
        await stage.pass_s(330)
        assert not task.done()
        assert stage.moved == 0
        stage.log.failure = ""
        stage.driver.apply(AddServices(services=(a_service("late", replicas=0),)))
        await stage.pass_s(59)
        assert stage.moved == 1
