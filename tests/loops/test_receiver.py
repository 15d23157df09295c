"""Where a message goes, and which ones go nowhere."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roheletd.cluster import exchange
from roheletd.cluster.commands import Applied
from roheletd.cluster.exchange import Answer, Forward
from roheletd.frames import PROTOCOL, Framer
from roheletd.frames import Identity as FrameIdentity
from roheletd.messages import LeaderNotice, NodeStatus, Sealer
from roheletd.raft import SnapshotChunk
from roheletd.raft.values import Append, VoteRequest
from roheletd.telemetry import Telemetry
from roheletd.testing import MemoryStore
from tests.loops.crew import (
    CLUSTER_ID,
    KEY,
    TOPICS,
    Crew,
    Mate,
    a_cluster_of,
    frame_identity,
    member_id,
)
from tests.loops.stage import in_virtual_time

OTHER_KEY = bytes(range(1, 33))
A, B, C = map(member_id, "abc")
VOTE = VoteRequest(sender=B, to=A, term=7, last_index=1, last_term=1, pre=True)
REPORT = Telemetry(node="b", at_s=1.0, interval_s=1.0)


class Ear:
    """The receiver of `a`, whose parts keep what they are given and do nothing."""

    def __init__(self) -> None:
        crew = Crew("a", "b", "c")
        saved = a_cluster_of("a", "b", "c")
        self.mate = Mate(crew, "a", store=MemoryStore(saved), saved=saved)
        self.messages: list[object] = []
        self.forwards: list[tuple[str, Forward]] = []
        self.answers: list[Answer] = []
        self.hints: list[str] = []
        self.mate.elector.receive = self.messages.append  # type: ignore[method-assign,assignment]
        self.mate.elector.hint = self.hints.append  # type: ignore[method-assign,assignment]
        self.mate.forwards.receive = self._forward  # type: ignore[method-assign]
        self.mate.proposer.on_answer = self.answers.append  # type: ignore[method-assign,assignment]
        self.framers = {name: Framer(KEY, frame_identity(name)) for name in "abc"}
        self.sealers = {name: Sealer(KEY, name, f"{ord(name):016x}") for name in "abc"}

    def _forward(self, sender: str, forward: Forward) -> None:
        self.forwards.append((sender, forward))

    def frame(self, speech: object, *, by: str = "b", topic: str = TOPICS.raft("a")) -> bytes:
        return self.framers[by].seal(topic, exchange.encode(speech))  # type: ignore[arg-type]

    def hear(self, payload: bytes, *, topic: str = TOPICS.raft("a"), link: int = 0) -> None:
        self.mate.receiver.receive(topic, payload, link)

    def status(
        self,
        state: str,
        *,
        of: str = "b",
        will: bool = False,
        link: int = 0,
        beat: bool = True,
    ) -> None:
        topic = TOPICS.status(of)
        seal = self.sealers[of].will if will else self.sealers[of].seal
        beats = beat and state == "online"
        body = NodeStatus(node=of, state=state, beat=beats)  # type: ignore[arg-type]
        self.hear(seal(topic, body), topic=topic, link=link)

    def liveness(self, node: str = "b") -> str:
        return self.mate.membership.liveness(node, self.mate.clock.now_s())

    @property
    def dropped(self) -> dict[str, int]:
        return {**self.mate.receiver.dropped, **self.mate.soft.dropped_messages}


@in_virtual_time
async def test_each_kind_of_speech_goes_to_the_one_who_cares() -> None:
    ear = Ear()
    forward = Forward(boot=1, proposal=b"")
    answer = Answer(id="1", index=3, outcome=Applied())
    for speech in (VOTE, forward, answer):
        ear.hear(ear.frame(speech))
    assert (ear.messages, ear.forwards, ear.answers) == ([VOTE], [(B, forward)], [answer])
    assert ear.mate.receiver.boots == {B: 1}
    assert ear.liveness() == "alive"
    assert ear.dropped == {}


@in_virtual_time
async def test_the_log_and_snapshots_have_topics_of_their_own() -> None:
    ear = Ear()
    word = Append(sender=B, to="*", term=2, prev_index=0, prev_term=0, commit=0)
    ear.hear(ear.frame(word, topic=TOPICS.log), topic=TOPICS.log)
    chunk = SnapshotChunk(
        sender=B,
        to=A,
        term=2,
        index=1,
        snapshot_term=1,
        configuration=ear.mate.core.configuration,
        size=1,
        offset=0,
        data=b"x",
    )
    topic = TOPICS.snapshot("a")
    ear.hear(ear.frame(chunk, topic=topic), topic=topic)
    assert ear.messages == [word, chunk]


@in_virtual_time
async def test_nobody_speaks_in_the_name_of_another() -> None:
    ear = Ear()
    ear.hear(ear.frame(VOTE, by="c"))
    assert ear.messages == []
    assert ear.dropped == {"said for somebody else": 1}


@in_virtual_time
async def test_its_own_echo_is_no_sign_of_life_of_anybody() -> None:
    ear = Ear()
    ear.hear(ear.frame(VOTE, by="a"))
    topic = TOPICS.telemetry("a")
    ear.hear(ear.sealers["a"].seal(topic, REPORT), topic=topic)
    assert ear.mate.peers_heard == []
    assert (ear.messages, ear.mate.soft.telemetry, ear.dropped) == ([], {}, {})


@in_virtual_time
async def test_what_comes_over_two_links_is_heard_on_both_and_acted_on_once() -> None:
    ear = led_by_b(Ear())
    vote = ear.frame(VOTE)
    topic = TOPICS.telemetry("b")
    report = ear.sealers["b"].seal(topic, REPORT)
    for link in (0, 1):
        ear.hear(vote, link=link)
        ear.hear(report, topic=topic, link=link)
    assert ear.messages == [VOTE]
    assert ear.mate.peers_heard == [0, 1]
    assert ear.mate.soft.telemetry == {"b": REPORT}
    assert ear.dropped == {}


@in_virtual_time
async def test_a_link_on_which_only_others_than_the_leader_are_heard_is_not_a_good_one() -> None:
    ear = led_by_b(Ear())
    ear.hear(ear.framers["c"].seal(TOPICS.raft("a"), b"\x91\xa4soar"), link=1)
    ear.hear(ear.frame(VOTE), link=0)
    assert ear.mate.peers_heard == [0]


@in_virtual_time
async def test_what_is_replayed_altered_or_forged_is_counted_and_goes_nowhere() -> None:
    ear = led_by_b(Ear())
    good = ear.frame(VOTE)
    ear.hear(good)
    forged = Framer(OTHER_KEY, frame_identity("b")).seal(TOPICS.raft("a"), exchange.encode(VOTE))
    altered = good[:40] + bytes((good[40] ^ 1,)) + good[41:]
    elsewhere = ear.frame(VOTE, topic=TOPICS.raft("c"))
    for bad in (good, forged, altered, elsewhere, b"", b"{}"):
        ear.hear(bad)
    assert ear.messages == [VOTE]
    assert sum(ear.dropped.values()) == 6
    assert ear.dropped["replayed"] == 1
    assert ear.dropped["wrong MAC"] >= 2
    assert ear.mate.peers_heard == [0]


@in_virtual_time
async def test_the_same_holds_for_what_people_can_read() -> None:
    ear = Ear()
    topic = TOPICS.telemetry("b")
    good = ear.sealers["b"].seal(topic, REPORT)
    forged = Sealer(OTHER_KEY, "b", "00" * 8).seal(topic, REPORT)
    ear.hear(good, topic=topic)
    for bad in (good, forged, good.replace(b"interval_s", b"interval_t"), b"{}"):
        ear.hear(bad, topic=topic)
    assert ear.dropped == {"replayed": 1, "wrong MAC": 2, "no MAC": 1}
    assert ear.mate.peers_heard == []


@in_virtual_time
async def test_after_a_start_of_the_sender_nothing_of_before_is_heard() -> None:
    ear = Ear()
    delayed = ear.frame(VOTE)
    again = Framer(KEY, frame_identity("b", boot=2))
    ear.hear(again.seal(TOPICS.raft("a"), exchange.encode(VOTE)))
    ear.hear(delayed)
    assert ear.messages == [VOTE]
    assert ear.mate.receiver.boots == {B: 2}
    assert ear.dropped == {"old boot": 1}


@in_virtual_time
async def test_what_is_of_another_epoch_cluster_or_protocol_is_told_with_both() -> None:
    ear = Ear()
    topic, body = TOPICS.raft("a"), exchange.encode(VOTE)
    ear.hear(Framer(KEY, frame_identity("b", epoch=2)).seal(topic, body))
    other = FrameIdentity(cluster_id="fedcba9876543210", epoch=1, member=B, boot=1)
    ear.hear(Framer(KEY, other).seal(topic, body))
    ear.hear(bytes((PROTOCOL + 1,)) + ear.frame(VOTE)[1:])
    assert ear.messages == []
    later, stranger, newer = ear.mate.dropped
    assert (later.reason, later.epoch) == ("other epoch", 2)
    assert "epoch 2, where this node is in 1" in later.explanation
    assert f"where this node is of {CLUSTER_ID}" in stranger.explanation
    assert f"protocol {PROTOCOL + 1}, where this version speaks {PROTOCOL}" in newer.explanation


@in_virtual_time
async def test_a_speech_of_a_later_version_is_counted_and_its_sender_is_alive() -> None:
    ear = Ear()
    ear.hear(ear.framers["b"].seal(TOPICS.raft("a"), b"\x91\xa4soar"))
    assert ear.dropped == {"not understood": 1}
    assert ear.liveness() == "alive"


@in_virtual_time
async def test_commands_are_for_the_leader_alone() -> None:
    crew = Crew("a", "b", "c")
    await crew.start()
    leader, (follower, _) = await crew.leader(), await crew.followers()
    for mate in (leader, follower):
        mate.receiver.receive(TOPICS.command, b"{}", 0)
    assert (leader.desk.received, follower.desk.received) == ([b"{}"], [])
    await crew.stop()


@in_virtual_time
async def test_reports_of_others_are_kept_under_the_name_of_who_said_them() -> None:
    ear = Ear()
    topic = TOPICS.telemetry("b")
    lie = Telemetry(node="c", at_s=1.0, interval_s=1.0)
    ear.hear(ear.sealers["b"].seal(topic, lie), topic=topic)
    assert ear.mate.soft.telemetry == {"b": REPORT}
    elsewhere = TOPICS.telemetry("c")
    ear.hear(ear.sealers["b"].seal(elsewhere, lie), topic=elsewhere)
    assert ear.mate.soft.telemetry == {"b": REPORT}
    assert ear.liveness("c") == "never seen"


@in_virtual_time
async def test_a_report_that_is_none_is_counted() -> None:
    ear = Ear()
    topic = TOPICS.telemetry("b")
    ear.hear(ear.sealers["b"].seal(topic, {"node": 3}), topic=topic)
    assert ear.dropped == {"not understood": 1}
    assert ear.mate.soft.telemetry == {}


@in_virtual_time
async def test_a_will_makes_its_node_suspect_until_it_is_heard() -> None:
    ear = Ear()
    ear.status("online")
    assert ear.liveness() == "alive"
    ear.status("offline", will=True)
    assert ear.liveness() == "suspect"
    ear.status("online")
    assert ear.liveness() == "alive"
    assert ear.hints == [], "it did not lead"


def led_by_b(ear: Ear) -> Ear:
    ear.mate.core.step(Append(sender=B, to=A, term=2, prev_index=3, prev_term=1, commit=3), 0.0)
    assert ear.mate.core.leader == B
    ear.status("online")
    return ear


@in_virtual_time
async def test_the_will_of_the_leader_is_a_hint_that_it_died() -> None:
    ear = led_by_b(Ear())
    ear.status("offline", will=True)
    assert ear.hints == [B]


@in_virtual_time
async def test_of_two_links_one_will_alone_says_nothing_and_both_are_a_hint() -> None:
    ear = led_by_b(Ear())
    ear.mate.links_up = 2
    ear.status("offline", will=True, link=0)
    assert (ear.hints, ear.liveness()) == ([], "alive")
    ear.status("offline", will=True, link=1)
    assert (ear.hints, ear.liveness()) == ([B], "suspect")


@in_virtual_time
async def test_what_a_broker_kept_of_a_node_is_no_sign_of_life() -> None:
    ear = Ear()
    ear.status("online", beat=False)
    assert ear.liveness() == "never seen"
    ear.status("online", beat=True)
    assert ear.liveness() == "alive"


@in_virtual_time
async def test_a_will_is_forgotten_once_its_node_was_heard_again() -> None:
    ear = led_by_b(Ear())
    ear.mate.links_up = 2
    ear.status("offline", will=True, link=0)
    ear.status("online", link=1)
    ear.status("offline", will=True, link=1)
    assert (ear.hints, ear.liveness()) == ([], "alive")


@in_virtual_time
async def test_a_will_that_a_broker_kept_is_no_sign_of_life_and_no_hint_about_who_lives() -> None:
    ear = Ear()
    ear.mate.links_up = 2
    ear.status("offline", will=True)
    assert ear.liveness() == "never seen"
    assert ear.mate.peers_heard == [], "the broker said it"


@in_virtual_time
async def test_a_farewell_is_the_word_of_the_node_and_believed_over_any_link() -> None:
    ear = led_by_b(Ear())
    ear.mate.links_up = 2
    ear.status("offline")
    assert (ear.hints, ear.liveness()) == ([B], "suspect")


@in_virtual_time
async def test_nobody_says_offline_for_another() -> None:
    ear = led_by_b(Ear())
    topic = TOPICS.status("c")
    ear.hear(ear.sealers["c"].seal(topic, NodeStatus(node="b", state="offline")), topic=topic)
    assert ear.hints == []
    topic = TOPICS.status("b")
    ear.hear(ear.sealers["c"].seal(topic, NodeStatus(node="b", state="offline")), topic=topic)
    assert ear.hints == []


@in_virtual_time
async def test_the_nonce_of_the_leader_is_kept_for_who_signs_commands_here() -> None:
    ear = Ear()
    for name, term, nonce in (("b", 3, "three"), ("c", 2, "two")):
        notice = LeaderNotice(name=name, term=term)
        ear.hear(ear.sealers[name].seal(TOPICS.leader, notice, nonce=nonce), topic=TOPICS.leader)
    assert ear.mate.soft.leader_nonce == "three"
    ear.hear(ear.sealers["b"].seal(TOPICS.leader, {"term": "x"}), topic=TOPICS.leader)
    assert ear.dropped == {"not understood": 1}


def topics() -> Iterator[str]:
    yield from (TOPICS.raft("a"), TOPICS.log, TOPICS.snapshot("a"), TOPICS.leader, TOPICS.command)
    yield from (TOPICS.telemetry("b"), TOPICS.status("b"), TOPICS.status("a"), "rohe/edge/more")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(list(topics())), st.binary(max_size=80)), max_size=20))
def test_whatever_the_bytes_nothing_is_raised_and_nothing_is_acted_on(
    messages: list[tuple[str, bytes]],
) -> None:
    @in_virtual_time
    async def story() -> None:
        ear = Ear()
        for topic, payload in messages:
            ear.hear(payload, topic=topic)
        assert (ear.messages, ear.forwards, ear.answers, ear.hints) == ([], [], [], [])

    story()


@pytest.mark.parametrize("topic", list(topics()))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=60))
def test_whatever_a_holder_of_the_key_seals_nothing_is_raised(topic: str, body: bytes) -> None:
    @in_virtual_time
    async def story() -> None:
        ear = Ear()
        ear.hear(ear.framers["b"].seal(topic, body), topic=topic)
        ear.hear(ear.sealers["b"].seal(topic, {"x": body.hex()}), topic=topic)
        assert (ear.messages, ear.hints) == ([], [])

    story()
