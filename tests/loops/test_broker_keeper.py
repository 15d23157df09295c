"""A broker of our own is kept up, and one that cannot start is tried for ever, in no haste."""

import asyncio
import itertools
from random import Random

import pytest

from roheletd.errors import Unavailable
from roheletd.loops.broker_keeper import BrokerKeeper
from tests.loops.stage import in_virtual_time, running, settled

TAKEN = "port 9471 is taken by another program"


class OwnBroker:
    """A broker that starts where nothing is in its way."""

    url = "mqtt://127.0.0.1:9471"
    mqtt5 = True
    reason = ""

    def __init__(self) -> None:
        self.obstacle = ""
        self.started_s: list[float] = []
        self.runs = False
        self.closed = False
        self.death = asyncio.Event()

    async def start(self) -> None:
        self.started_s.append(asyncio.get_running_loop().time())
        if self.obstacle:
            raise Unavailable(self.obstacle)

    async def run(self) -> None:
        self.runs = True
        await self.death.wait()
        self.runs = False
        self.death.clear()
        raise FileNotFoundError(2, "No such file or directory", "mosquitto")

    async def close(self) -> None:
        self.closed = True


def needed(broker: OwnBroker) -> BrokerKeeper:
    keeper = BrokerKeeper(broker, rng=Random(1))
    keeper.need()
    return keeper


@in_virtual_time
async def test_one_that_nobody_needs_yet_is_not_started_and_is_no_trouble() -> None:
    broker = OwnBroker()
    keeper = BrokerKeeper(broker, rng=Random(1))
    async with running(keeper):
        await asyncio.sleep(3600)
        assert broker.started_s == []
        assert (keeper.is_needed, keeper.trouble) == (False, "")
        keeper.need()
        assert (keeper.is_needed, keeper.trouble) == (True, "is being started")
        await settled()
        assert broker.runs
    assert broker.closed


@in_virtual_time
async def test_a_broker_that_starts_is_looked_after_and_closed_at_the_end() -> None:
    broker = OwnBroker()
    keeper = needed(broker)
    assert keeper.reason == "is being started"
    async with running(keeper):
        await settled()
        assert keeper.tried.is_set()
        assert keeper.reason == ""
        assert broker.runs
    assert broker.closed


@in_virtual_time
async def test_one_that_cannot_start_says_why_and_is_started_when_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = OwnBroker()
    broker.obstacle = TAKEN
    keeper = needed(broker)
    async with running(keeper):
        await settled()
        assert keeper.tried.is_set()
        assert keeper.reason == TAKEN
        await asyncio.sleep(600)
        assert caplog.messages == [TAKEN], "one line, however often it was tried"
        broker.obstacle = ""
        await asyncio.sleep(30)
        assert keeper.reason == ""
        assert broker.runs


@in_virtual_time
async def test_tries_follow_each_other_in_two_to_thirty_seconds_for_days() -> None:
    broker = OwnBroker()
    broker.obstacle = TAKEN
    async with running(needed(broker)) as (task,):
        await asyncio.sleep(3 * 86_400)
        assert not task.done()
    pauses_s = [later - one for one, later in itertools.pairwise(broker.started_s)]
    assert 1 <= pauses_s[0] <= 2
    assert min(pauses_s[5:]) >= 15
    assert max(pauses_s) <= 30


@in_virtual_time
async def test_another_reason_is_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    broker = OwnBroker()
    broker.obstacle = TAKEN
    async with running(needed(broker)):
        await asyncio.sleep(10)
        broker.obstacle = "mosquitto ended with 3"
        await asyncio.sleep(60)
    assert caplog.messages == [TAKEN, "mosquitto ended with 3"]


@in_virtual_time
async def test_one_whose_program_is_gone_when_it_dies_is_started_when_that_is_back() -> None:
    broker = OwnBroker()
    keeper = needed(broker)
    async with running(keeper) as (task,):
        await settled()
        broker.obstacle = "mosquitto was not found"
        broker.death.set()
        await asyncio.sleep(600)
        assert not task.done()
        assert keeper.reason == "mosquitto was not found"
        broker.obstacle = ""
        await asyncio.sleep(30)
        assert broker.runs
        assert keeper.reason == ""


@in_virtual_time
async def test_it_is_closed_also_if_it_never_started() -> None:
    broker = OwnBroker()
    broker.obstacle = TAKEN
    async with running(needed(broker)):
        await asyncio.sleep(10)
    assert broker.closed
    assert not broker.runs
