"""Two links at once, over real brokers that are killed, frozen, listed and unlisted."""

import asyncio
import contextlib
import time
from random import Random

import pytest
import uvloop

import roheletd.broker.links as links_module
from roheletd.broker.links import Links
from roheletd.broker.session import Access
from roheletd.broker.walk import OVERLAP_S
from tests.broker.brokers import Mosquitto

pytestmark = pytest.mark.mosquitto

TICK_S = 0.25
SILENCE_S = 1.0


@pytest.fixture
def brokers(tmp_path):
    """Three brokers that run, for tests to kill and freeze."""
    found = [Mosquitto(tmp_path) for _ in range(3)]
    for broker in found:
        broker.start()
    yield found
    for broker in found:
        broker.kill()


class Node:
    """What the daemon is to its links: it speaks on `peer`, hears the others, and ticks."""

    def __init__(self, name, *, silence_s=SILENCE_S):
        self.name = name
        self.said = []
        self.heard = []
        self.attempts = 0
        self.links = Links(
            Access(client_id=name, subscriptions=("peer/#",), keepalive_s=30),
            will=self.will,
            on_message=self.on_message,
            on_link=lambda connected, reason: self.said.append((connected, reason)),
            rng=Random(name),
            silence_s=silence_s,
        )

    def will(self):
        self.attempts += 1
        return f"peer/{self.name}/status", b"offline"

    def on_message(self, topic, payload, link):
        if not topic.startswith(f"peer/{self.name}/"):
            self.heard.append((topic, payload, link))
            self.links.heard(link)

    @property
    def up(self):
        return [link.url for link in self.links.links if link.connected]

    async def beat(self):
        while True:
            self.links.publish(f"peer/{self.name}/beat", b"")
            self.links.tick()
            await asyncio.sleep(TICK_S)


async def until(condition, patience_s=10.0):
    """Polls: what is waited for here is the sum of many events of several nodes."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def running(*nodes):
    async with asyncio.TaskGroup() as tasks:
        beats = [tasks.create_task(node.beat()) for node in nodes]
        for node in nodes:
            tasks.create_task(node.links.run())
        try:
            yield
        finally:
            for beat in beats:
                beat.cancel()
            await asyncio.gather(*(node.links.close() for node in nodes))


def met(*nodes):
    """Each node has two links and heard another over both."""
    return all(len({link for _, _, link in node.heard}) == len(node.up) == 2 for node in nodes)


def urls(*brokers):
    return tuple(broker.url for broker in brokers)


def two_nodes(listed, **settings):
    nodes = Node("pi", **settings), Node("jetson", **settings)
    for node in nodes:
        node.links.want(listed, 2)
    return nodes


async def test_what_is_published_arrives_once_by_each_link(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    async with running(pi, jetson):
        await until(lambda: len(pi.up) == len(jetson.up) == 2)
        assert pi.links.publish("peer/pi/vote", b"x")
        await until(lambda: sum(topic == "peer/pi/vote" for topic, _, _ in jetson.heard) == 2)
    arrived = {link for topic, _, link in jetson.heard if topic == "peer/pi/vote"}
    assert arrived == {0, 1}
    assert [connected for connected, _ in pi.said[:2]] == [True, True]


async def test_one_broker_in_the_list_is_one_link(brokers):
    pi = Node("pi")
    pi.links.want(urls(brokers[0]), 2)
    async with running(pi):
        await until(lambda: pi.up == [brokers[0].url])
        await asyncio.sleep(3 * SILENCE_S)
        assert pi.up == [brokers[0].url]
        assert pi.attempts == 1


async def test_without_a_link_publish_says_so_and_counts():
    pi = Node("pi")
    assert not pi.links.publish("peer/pi/vote", b"x")
    assert pi.links.dropped == 1
    assert pi.links.links == ()
    assert not pi.links.connected


async def test_a_killed_broker_is_replaced_and_nothing_is_missed_meanwhile(brokers):
    pi, jetson = two_nodes(urls(*brokers))
    async with running(pi, jetson):
        await until(lambda: met(pi, jetson))
        brokers[0].kill()
        for number in range(50):
            assert pi.links.publish("peer/pi/n", b"%d" % number)
            await asyncio.sleep(0.001)
        await until(lambda: pi.up == jetson.up == [brokers[1].url, brokers[2].url])
        numbers = {b"%d" % number for number in range(50)}
        await until(lambda: numbers <= {payload for _, payload, _ in jetson.heard})
        dead = pi.links.links[0]
        assert (dead.url, dead.connected) == (brokers[0].url, False)
        assert all(connected for connected, _ in pi.said), "one link was there all the time"


async def test_a_frozen_broker_is_left_and_the_other_link_never_pauses(brokers):
    pi, jetson = two_nodes(urls(*brokers))
    async with running(pi, jetson):
        await until(lambda: met(pi, jetson))
        brokers[1].freeze()
        longest_s, last_s = 0.0, time.monotonic()
        frozen_s = last_s
        while pi.up != [brokers[0].url, brokers[2].url]:
            jetson.heard.clear()
            pi.links.publish("peer/pi/n", b"")
            await until(lambda: any(topic == "peer/pi/n" for topic, _, _ in jetson.heard), 1)
            longest_s = max(longest_s, time.monotonic() - last_s)
            last_s = time.monotonic()
        assert last_s - frozen_s < SILENCE_S + 3 * TICK_S
        assert longest_s < 0.3
        await until(lambda: "no other node was heard there for 1 s" in pi.links.links[1].reason)


async def test_a_broker_frozen_from_the_start_does_not_delay_the_other_link(brokers):
    brokers[0].freeze()
    pi = Node("pi")
    pi.links.want(urls(*brokers), 2)
    async with running(pi):
        started_s = time.monotonic()
        await until(lambda: pi.up == [brokers[1].url])
        assert time.monotonic() - started_s < 0.5
        await until(lambda: pi.up == [brokers[1].url, brokers[2].url])
        assert time.monotonic() - started_s < 3
        assert "no answer within 2 s" in pi.links.links[0].reason


async def test_a_frozen_broker_without_a_third_is_back_soon_after_it_thaws(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    async with running(pi, jetson):
        await until(lambda: met(pi, jetson))
        brokers[0].freeze()
        await until(lambda: pi.up == jetson.up == [brokers[1].url])
        brokers[0].thaw()
        await until(lambda: len(pi.up) == len(jetson.up) == 2, 6)


async def test_a_single_link_to_a_frozen_broker_is_left_for_where_others_are(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    pi.links.want(urls(*brokers[:2]), 1)
    async with running(pi, jetson):
        await until(lambda: pi.up == [brokers[0].url] and pi.heard)
        brokers[0].freeze()
        await until(lambda: pi.up == [brokers[1].url], 2 * SILENCE_S + 4 * TICK_S)


async def test_a_single_link_costs_one_timeout_where_the_first_broker_is_frozen(
    brokers, monkeypatch
):
    monkeypatch.setattr(links_module, "CONNECT_TIMEOUT_WITH_OTHERS_S", 0.5)
    brokers[0].freeze()
    pi = Node("pi")
    pi.links.want(urls(*brokers[:2]), 1)
    async with running(pi):
        await until(lambda: pi.up == [brokers[1].url])
        assert [connected for connected, _ in pi.said] == [False, True]
        assert pi.said[0][1] == f"{brokers[0].url}: no answer within 0.5 s"


async def test_a_single_link_is_made_to_the_next_broker_when_its_own_dies(brokers):
    pi = Node("pi")
    pi.links.want(urls(*brokers[:2]), 1)
    async with running(pi):
        await until(lambda: pi.up == [brokers[0].url])
        brokers[0].kill()
        await until(lambda: pi.up == [brokers[1].url], SILENCE_S / 2)


async def test_a_change_of_the_list_keeps_what_is_still_right_and_takes_leave_of_the_rest(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    watcher = Node("watcher")
    watcher.links.want(urls(brokers[0]), 1)
    async with running(pi, jetson, watcher):
        await until(lambda: len(pi.up) == 2 and watcher.up)
        watcher.heard.clear()
        pi.links.want(urls(brokers[1], brokers[2]), 2)
        await until(lambda: pi.up == [brokers[1].url, brokers[2].url])
        assert pi.attempts == 3
        await until(lambda: len(pi.links.links) == 2)
        await asyncio.sleep(0.2)
        assert ("peer/pi/status", b"offline", 0) not in watcher.heard, "a leave is no death"


async def test_fewer_links_are_kept_when_the_role_asks_for_one(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    async with running(pi, jetson):
        await until(lambda: len(pi.up) == 2)
        pi.links.want(urls(*brokers[:2]), 1)
        await until(lambda: pi.up == [brokers[0].url], patience_s=2 * OVERLAP_S)


async def test_two_names_of_one_broker_do_not_end_each_other(brokers):
    alias = brokers[0].url.replace("127.0.0.1", "localhost")
    pi, jetson = two_nodes((brokers[0].url, alias))
    async with running(pi, jetson):
        await until(lambda: len(pi.up) == len(jetson.up) == 2)
        await asyncio.sleep(2 * SILENCE_S)
        assert len(pi.up) == len(jetson.up) == 2
        assert pi.attempts == 2


async def test_close_says_farewell_on_both_links_and_leaves_no_will(brokers):
    pi, jetson = two_nodes(urls(*brokers[:2]))
    async with running(pi, jetson):
        await until(lambda: len(pi.up) == len(jetson.up) == 2)
        jetson.heard.clear()
        started_s = time.monotonic()
        await pi.links.close(("peer/pi/status", b"farewell"))
        assert time.monotonic() - started_s < 1
        farewells = {("peer/pi/status", b"farewell", link) for link in (0, 1)}
        await until(lambda: farewells <= set(jetson.heard))
        assert b"offline" not in [payload for _, payload, _ in jetson.heard]
        assert not pi.links.publish("peer/pi/vote", b"x")


async def test_close_takes_less_than_a_second_with_one_broker_frozen_and_one_being_tried(brokers):
    pi = Node("pi", silence_s=30)
    pi.links.want(urls(*brokers[:2]), 2)
    brokers[1].freeze()
    async with running(pi):
        await until(lambda: pi.up and pi.attempts == 2)
        brokers[0].freeze()
        started_s = time.monotonic()
        await pi.links.close(("peer/pi/status", b"farewell"))
    assert time.monotonic() - started_s < 1


async def test_a_fault_of_the_owner_ends_run(brokers):
    pi = two_nodes(urls(*brokers[:2]))[0]

    def faulty(connected, reason):
        raise ValueError("a fault of the owner")

    pi.links._on_link = faulty
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(pi.links.run(), 5)
    assert caught.group_contains(ValueError, match="a fault of the owner")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_node_that_stood_still_blames_no_broker(brokers, run):
    async def stand_still():
        pi, jetson = two_nodes(urls(*brokers))
        async with running(pi, jetson):
            await until(lambda: met(pi, jetson))
            for _ in range(3):
                time.sleep(1.2 * SILENCE_S)  # noqa: ASYNC251 - as a card that does not answer
                await asyncio.sleep(SILENCE_S / 2)
            for node in (pi, jetson):
                assert node.up[:2] == [brokers[0].url, brokers[1].url]
                assert [link.reconnects for link in node.links.links[:2]] == [0, 0]

    run(stand_still())
