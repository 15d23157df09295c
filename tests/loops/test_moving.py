"""The leader and what fails again and again where it was placed."""

import asyncio

from roheletd.allocation.failing import AVOID_NODE_S
from roheletd.instance_use import InstanceUse
from tests.builders import a_service
from tests.loops.stage import in_virtual_time, running, settled
from tests.loops.test_leader import Stage


class Hospital(Stage):
    """`web.1` may be on `pi` or on `nano`."""

    def __init__(self) -> None:
        super().__init__(others=("nano",))

    @property
    def home(self) -> str:
        return self.homes()["web.1"]

    async def fails(self, failures: int) -> None:
        """Its node says so."""
        at = self.state.placements["web.1"]
        self.soft.instances[at.node] = {
            "web.1": InstanceUse(
                instance="web.1",
                state="waiting",
                revision=at.revision,
                health="unhealthy",
                failures=failures,
                last_failure="ended with exit code 1: no camera",
            )
        }
        await self.pass_s(2)
        self.leader.heard(at.node)
        await settled()


@in_virtual_time
async def test_it_is_placed_elsewhere_and_not_back_again_until_its_node_is_forgiven() -> None:
    stage = Hospital()
    async with running(stage.leader):
        await stage.pass_s(1)
        stage.define(a_service())
        await settled()
        first = stage.home
        await stage.fails(4)
        assert stage.home == first
        await stage.fails(5)
        second = stage.home
        assert second != first
        await stage.fails(5)
        assert stage.home == second, "nobody is left to try, and it goes on here"
        await stage.pass_s(AVOID_NODE_S)
        await stage.fails(9)
        assert stage.home == first
        stage.state.check()
    await asyncio.sleep(0)
