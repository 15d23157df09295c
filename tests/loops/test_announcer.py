"""What is said over the link, when it is said again, and when not."""

import itertools
import json
from typing import Any

import msgspec

from roheletd.cluster.commands import AddServices
from roheletd.cluster.events import Event
from roheletd.instance_use import InstanceUse
from roheletd.loops.announcer import Announcer
from roheletd.messages import (
    Challenge,
    Dropped,
    LeaderNotice,
    NodeStatus,
    Opened,
    Opener,
    RecentBoots,
    Sealer,
    Stamp,
    Topics,
)
from roheletd.telemetry import Telemetry
from roheletd.testing import MemoryLink, MemoryLog
from tests.builders import Driver, a_service
from tests.loops.stage import in_virtual_time, running, settled

KEY = bytes(range(32))
TOPICS = Topics("edge")
STATUS = TOPICS.status("pi")
INSTANCES = TOPICS.instances("pi")
REPORT = Telemetry(node="pi", at_s=1.0, interval_s=1.0)


class Stage:
    """The voice of `pi`, which leads."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.log = MemoryLog(self.driver.state, leader="pi", term=3)
        tokens = itertools.count(1)
        self.challenge = Challenge(lambda: f"nonce{next(tokens)}", boots_max=2)
        self.announcer = Announcer(
            node="pi",
            version="0.1.0",
            topics=TOPICS,
            sealer=Sealer(KEY, "pi", "00" * 8),
            challenge=self.challenge,
            log=self.log,
            state=self.driver.state,
        )
        self.link = MemoryLink()

    def topics(self) -> list[str]:
        return [message.topic for message in self.link.published]


def opened(topic: str, payload: bytes) -> Opened:
    found = Opener(KEY, RecentBoots()).open(topic, payload)
    assert isinstance(found, Opened), found
    return found


def said(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)
    return found


def images_said(link: MemoryLink) -> list[list[str] | None]:
    return [said(payload)["images"] for payload in link.on(TOPICS.telemetry("pi"))]


@in_virtual_time
async def test_images_are_said_when_they_change_and_now_and_then_and_to_each_new_link() -> None:
    stage = Stage()
    stage.announcer.linked(stage.link)
    for images in [("web:1",)] * 40 + [("web:1", "web:2")] * 3:
        stage.announcer.telemetry(msgspec.structs.replace(REPORT, images=images))
    told = images_said(stage.link)
    assert [index for index, images in enumerate(told) if images is not None] == [0, 30, 40]
    assert told[40] == ["web:1", "web:2"]
    again = MemoryLink()
    stage.announcer.linked(again)
    stage.announcer.telemetry(msgspec.structs.replace(REPORT, images=images))
    assert images_said(again) == [["web:1", "web:2"]]


@in_virtual_time
async def test_a_new_link_is_told_the_status_and_the_leader_both_sealed_and_retained() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
    assert [(message.qos, message.retain) for message in stage.link.published] == [(1, True)] * 3
    status = opened(STATUS, stage.link.retained[STATUS]).read(NodeStatus)
    assert status == NodeStatus(node="pi", state="online", role="leader", version="0.1.0")
    notice = opened(TOPICS.leader, stage.link.retained[TOPICS.leader])
    assert notice.read(LeaderNotice) == LeaderNotice(name="pi", term=3)
    assert notice.stamp.nonce == "nonce1"


@in_virtual_time
async def test_a_follower_says_nothing_of_who_leads() -> None:
    stage = Stage()
    stage.log.leads = False
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
    assert stage.topics() == [STATUS, INSTANCES]
    assert said(stage.link.retained[STATUS])["role"] == "follower"


@in_virtual_time
async def test_instances_are_said_when_one_changes_and_not_when_they_use_more() -> None:
    stage = Stage()
    use = InstanceUse(instance="web.1", state="running", health="starting", memory_mib=5)
    uses = [use]
    stage.announcer.instances = lambda: tuple(uses)
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        for change in (
            {"memory_mib": 6, "cpu_millicores": 30},
            {"health": "healthy", "healthy_for_s": 0.0},
            {"healthy_for_s": 60.0},
            {"state": "waiting", "reason": "ended with exit code 1"},
        ):
            uses[0] = msgspec.structs.replace(uses[0], **change)
            stage.announcer.wake()
            await settled()
    told = [said(payload)["instances"][0] for payload in stage.link.on(INSTANCES)]
    assert [(it["state"], it["health"]) for it in told] == [
        ("running", "starting"),
        ("running", "healthy"),
        ("waiting", "healthy"),
    ]
    assert all(it["memory_mib"] is None for it in told)


@in_virtual_time
async def test_nothing_is_said_again_while_nothing_has_changed() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        for _ in range(10):
            await settled()
            stage.announcer.wake()
    assert stage.topics() == [STATUS, TOPICS.leader, INSTANCES]


@in_virtual_time
async def test_everything_is_said_again_to_the_next_link() -> None:
    """A broker without persistence comes back empty."""
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        stage.announcer.linked(None)
        await settled()
        stage.link = MemoryLink()
        stage.announcer.linked(stage.link)
        await settled()
    assert stage.topics() == [STATUS, TOPICS.leader, INSTANCES]


@in_virtual_time
async def test_an_applied_entry_and_a_change_of_leader_are_news() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        stage.driver.apply(AddServices(services=(a_service(),)))
        stage.announcer.wake()
        await settled()
        assert said(stage.link.retained[STATUS])["applied"] == 1
        stage.log.leads = False
        stage.announcer.wake()
        await settled()
        assert said(stage.link.retained[STATUS])["role"] == "follower"
    assert len(stage.link.on(STATUS)) == 3


@in_virtual_time
async def test_a_new_nonce_is_announced() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        for number in range(3):
            await settled()
            nonce = stage.challenge.nonce
            stage.challenge.refusal(Stamp(sender="cli", boot=f"{number:016x}", seq=1, nonce=nonce))
            stage.announcer.wake()
        await settled()
    assert stage.challenge.nonce == "nonce2"
    assert said(stage.link.retained[TOPICS.leader])["nonce"] == "nonce2"
    assert len(stage.link.on(TOPICS.leader)) == 2


@in_virtual_time
async def test_what_a_full_link_does_not_take_is_said_with_the_next_report() -> None:
    stage = Stage()
    stage.link.full = True
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        stage.link.full = False
        stage.announcer.telemetry(REPORT)
        await settled()
        stage.announcer.telemetry(REPORT)
        await settled()
    report = TOPICS.telemetry("pi")
    assert stage.topics() == [report, STATUS, TOPICS.leader, INSTANCES, report]


@in_virtual_time
async def test_without_a_link_everything_is_lost_without_a_fault() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        stage.announcer.linked(None)
        stage.announcer.telemetry(REPORT)
        stage.announcer.say("reply", b"{}")
        stage.announcer.event(Event(seq=1, at_s=0.0, node="pi", kind="placed", subject="web.1"))
        await settled()
    assert stage.topics() == []


@in_virtual_time
async def test_telemetry_is_sealed_and_events_and_replies_go_as_they_are() -> None:
    stage = Stage()
    event = Event(seq=1, at_s=0.0, node="pi", kind="placed", subject="web.1", reason="on pi")
    stage.announcer.linked(stage.link)
    stage.announcer.telemetry(REPORT)
    stage.announcer.event(event)
    stage.announcer.say("reply", b"{}")
    first, second, third = stage.link.published
    assert opened(first.topic, first.payload).read(Telemetry) == REPORT
    assert (first.qos, first.retain) == (0, False)
    assert second.topic == TOPICS.event
    assert msgspec.json.decode(second.payload, type=Event) == event
    assert (third.topic, third.qos, third.retain) == ("reply", 1, False)


@in_virtual_time
async def test_what_only_people_read_goes_to_one_broker_and_all_else_to_each() -> None:
    stage = Stage()
    event = Event(seq=1, at_s=0.0, node="pi", kind="placed", subject="web.1")
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        stage.announcer.telemetry(REPORT)
        stage.announcer.event(event)
        stage.announcer.say("reply", b"{}")
        stage.announcer.beat()
    once = {message.topic for message in stage.link.published if message.once}
    assert once == {TOPICS.event}


@in_virtual_time
async def test_a_beat_is_a_sign_of_life_and_not_retained() -> None:
    stage = Stage()
    stage.announcer.beat()
    stage.announcer.linked(stage.link)
    stage.announcer.beat()
    (beat,) = stage.link.published
    assert (beat.topic, beat.qos, beat.retain) == (STATUS, 0, False)
    assert opened(STATUS, beat.payload).read(NodeStatus).state == "online"


@in_virtual_time
async def test_a_node_without_a_log_says_so_with_each_status() -> None:
    stage = Stage()
    stage.log.failure = "the log is lost"
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
    assert said(stage.link.retained[STATUS])["failure"] == "the log is lost"


@in_virtual_time
async def test_the_will_says_offline_also_after_thousands_of_reports() -> None:
    stage = Stage()
    topic, will = stage.announcer.will()
    opener = Opener(KEY, RecentBoots())
    stage.announcer.linked(stage.link)
    for _ in range(5000):
        stage.announcer.telemetry(REPORT)
    for message in stage.link.published:
        opener.open(message.topic, message.payload)
    found = opener.open(topic, will)
    assert not isinstance(found, Dropped)
    assert found.read(NodeStatus).state == "offline"


def test_the_farewell_says_offline_and_a_listener_takes_it_after_all_else() -> None:
    stage = Stage()
    topic, payload = stage.announcer.farewell()
    assert topic == STATUS
    assert opened(topic, payload).read(NodeStatus).state == "offline"


@in_virtual_time
async def test_nothing_is_said_after_the_farewell() -> None:
    stage = Stage()
    async with running(stage.announcer):
        stage.announcer.linked(stage.link)
        await settled()
        said_before = len(stage.link.published)
        _, farewell = stage.announcer.farewell()
        stage.log.leads = False  # which would be news
        stage.announcer.wake()
        stage.announcer.telemetry(REPORT)
        await settled()
    assert said(farewell)["state"] == "offline"
    assert len(stage.link.published) == said_before
