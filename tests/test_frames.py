"""The frames between nodes: altered, misplaced, old or repeated ones are dropped, and told why."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.frames import (
    BODY_BYTES_MAX,
    EXPLANATIONS,
    FRAME_BYTES_MAX,
    LINKS_PER_SENDER,
    PROTOCOL,
    Dropped,
    Duplicate,
    Frame,
    Framer,
    Frames,
    Identity,
    _mac,
)
from roheletd.messages import WINDOW, Topics, subkey

KEY = bytes(range(32))
CLUSTER = "0123456789abcdef"
OTHER_CLUSTER = "fedcba9876543210"
PI = "pi.0a1b2c3d"
TOPIC = Topics("edge").raft("jetson")


def identity(member=PI, boot=1, epoch=1, cluster_id=CLUSTER):
    return Identity(cluster_id=cluster_id, epoch=epoch, member=member, boot=boot)


def framer(key=KEY, **who):
    return Framer(key, identity(**who))


def frames(key=KEY, cluster_id=CLUSTER, epoch=1, **limits):
    return Frames(key, cluster_id, epoch, **limits)


def sealed_by_hand(content, topic=TOPIC, key=KEY):
    """A frame with a right MAC around anything."""
    signed = bytes((PROTOCOL,)) + content
    return signed + _mac(subkey(key, "frame-mac"), topic, signed)


def reason_of(found):
    return found.reason if isinstance(found, Dropped) else found


@given(st.binary(max_size=2000), st.text(min_size=1, max_size=40))
def test_what_was_sealed_opens_to_the_same_body_and_names_its_sender(body, topic):
    payload = framer(boot=7).seal(topic, body)
    assert payload[0] == PROTOCOL
    assert frames().open(topic, payload) == Frame(PI, 7, 1, body)


@given(st.binary(max_size=400), st.sampled_from([b"", bytes((PROTOCOL,))]))
@settings(max_examples=500)
def test_any_bytes_are_dropped_and_counted_and_never_raise(noise, start):
    receiver = frames()
    assert isinstance(receiver.open(TOPIC, start + noise), Dropped)
    assert sum(receiver.dropped.values()) == 1


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_content_with_a_right_mac_is_dropped_or_a_frame_and_never_raises(content):
    assert isinstance(frames().open(TOPIC, sealed_by_hand(content)), Dropped)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=16,
)


@given(json_like)
def test_any_msgpack_with_a_right_mac_never_raises(value):
    payload = sealed_by_hand(msgspec.msgpack.encode(value))
    assert frames().open(TOPIC, payload) == Dropped("malformed")


def test_content_that_is_nested_too_deep_is_malformed():
    head = msgspec.msgpack.encode([CLUSTER, 1, PI, 1, 1, "blake2b", b""])
    deep = b"\x98" + head[1:] + b"\x91" * 100_000 + b"\xc0"
    assert frames().open(TOPIC, sealed_by_hand(deep)) == Dropped("malformed")


@given(st.binary(max_size=60), st.data())
@settings(max_examples=500)
def test_any_altered_bit_makes_it_no_frame(body, data):
    altered = bytearray(framer().seal(TOPIC, body))
    bit = data.draw(st.integers(0, len(altered) * 8 - 1))
    altered[bit // 8] ^= 1 << (bit % 8)
    assert isinstance(frames().open(TOPIC, bytes(altered)), Dropped)


@given(st.binary(max_size=60), st.data())
def test_any_frame_that_is_cut_short_or_goes_on_is_dropped(body, data):
    payload = framer().seal(TOPIC, body)
    cut = data.draw(st.integers(0, len(payload) - 1))
    assert isinstance(frames().open(TOPIC, payload[:cut]), Dropped)
    assert isinstance(frames().open(TOPIC, payload + b"\0"), Dropped)


def test_a_frame_for_one_topic_is_none_on_another():
    payload = framer().seal(TOPIC, b"vote")
    assert frames().open(Topics("edge").log, payload) == Dropped("wrong MAC")


def test_another_key_is_a_wrong_mac():
    payload = framer(key=bytes(32)).seal(TOPIC, b"vote")
    assert frames().open(TOPIC, payload) == Dropped("wrong MAC")


def test_another_protocol_is_refused_with_both_versions_named():
    payload = b"\x02" + framer().seal(TOPIC, b"vote")[1:]
    dropped = frames().open(TOPIC, payload)
    assert reason_of(dropped) == "other protocol"
    assert dropped.explanation.startswith("protocol 2, where this version speaks 1: ")
    assert dropped.sender == "", "nobody vouches for a name in bytes that cannot be read"


@pytest.mark.parametrize("key", [KEY, bytes(32)], ids=["one key", "two keys"])
def test_another_cluster_of_the_same_name_is_named_whatever_its_key(key):
    payload = framer(key=key, cluster_id=OTHER_CLUSTER).seal(TOPIC, b"vote")
    dropped = frames().open(TOPIC, payload)
    assert reason_of(dropped) == "other cluster"
    assert dropped.found == f"cluster {OTHER_CLUSTER}, where this node is of {CLUSTER}"


@pytest.mark.parametrize("epoch", [1, 3])
def test_another_epoch_is_refused_with_who_said_it_and_which_epoch_that_is(epoch):
    dropped = frames(epoch=2).open(TOPIC, framer(epoch=epoch).seal(TOPIC, b"append"))
    assert reason_of(dropped) == "other epoch"
    assert (dropped.sender, dropped.epoch) == (PI, epoch)
    assert f"epoch {epoch}, where this node is in 2" in dropped.explanation


def test_an_epoch_is_only_believed_where_the_mac_is_right():
    dropped = frames().open(TOPIC, framer(key=bytes(32), epoch=9).seal(TOPIC, b""))
    assert dropped == Dropped("wrong MAC")


def test_an_algorithm_to_come_is_refused_by_its_name():
    content = msgspec.msgpack.encode([CLUSTER, 1, PI, 1, 1, "ed25519", b"", b"signature"])
    dropped = frames().open(TOPIC, sealed_by_hand(content))
    assert dropped == Dropped("unknown alg", PI, "ed25519")


def test_a_member_that_a_later_version_adds_is_skipped():
    content = msgspec.msgpack.encode([CLUSTER, 1, PI, 1, 1, "blake2b", b"body", {"more": 1}])
    assert frames().open(TOPIC, sealed_by_hand(content)) == Frame(PI, 1, 1, b"body")


@pytest.mark.parametrize(
    "content",
    [
        ["", 1, PI, 1, 1, "blake2b", b""],
        [CLUSTER, 0, PI, 1, 1, "blake2b", b""],
        [CLUSTER, 1, "pi", 1, 1, "blake2b", b""],
        [CLUSTER, 1, PI + "\n", 1, 1, "blake2b", b""],
        [CLUSTER, 1, PI, 0, 1, "blake2b", b""],
        [CLUSTER, 1, PI, 1, 2**63, "blake2b", b""],
        [CLUSTER, 1, PI, 1, 1, "\x1b[2J", b""],
        [CLUSTER, 1, PI, 1, 1, "blake2b"],
        [CLUSTER, 1, PI, 1, 1, "blake2b", "text"],
    ],
)
def test_what_is_none_of_the_members_is_malformed(content):
    payload = sealed_by_hand(msgspec.msgpack.encode(content))
    assert frames().open(TOPIC, payload) == Dropped("malformed")


def test_the_largest_body_passes_and_a_larger_frame_is_dropped_unread():
    payload = framer(member="a" * 63 + ".0a1b2c3d", boot=2**63 - 1, epoch=2**63 - 1).seal(
        TOPIC, b"x" * BODY_BYTES_MAX
    )
    assert isinstance(frames(epoch=2**63 - 1).open(TOPIC, payload), Frame)
    assert frames().open(TOPIC, bytes(FRAME_BYTES_MAX + 1)) == Dropped("too large")


def test_an_identity_that_no_receiver_would_read_is_not_made():
    with pytest.raises(msgspec.ValidationError):
        framer(member="pi")


def test_the_copy_that_another_link_brings_is_a_duplicate_and_counts_as_nothing():
    sender, receiver = framer(), frames()
    for number in range(1, 4):
        payload = sender.seal(TOPIC, b"append")
        assert receiver.open(TOPIC, payload, 0) == Frame(PI, 1, number, b"append")
        assert receiver.open(TOPIC, payload, 1) == Duplicate(PI)
    assert sum(receiver.dropped.values()) == 0


def test_the_same_frame_twice_on_one_link_is_a_replay():
    payload, receiver = framer().seal(TOPIC, b"append"), frames()
    receiver.open(TOPIC, payload, 0)
    receiver.open(TOPIC, payload, 1)
    for link in (0, 1):
        assert reason_of(receiver.open(TOPIC, payload, link)) == "replayed"
    assert receiver.dropped["replayed"] == 2


def test_a_link_that_thaws_brings_old_copies_that_are_no_replays_and_no_news():
    sender, receiver = framer(), frames()
    payloads = [sender.seal(TOPIC, b"append") for _ in range(3 * WINDOW)]
    for payload in payloads:
        receiver.open(TOPIC, payload, 0)
    assert {receiver.open(TOPIC, payload, 1) for payload in payloads} == {Duplicate(PI)}


def test_frames_that_overtook_each_other_are_all_new():
    sender, receiver = framer(), frames()
    payloads = [sender.seal(TOPIC, b"append") for _ in range(WINDOW)]
    assert all(isinstance(receiver.open(TOPIC, late), Frame) for late in reversed(payloads))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2 * LINKS_PER_SENDER)), max_size=200))
def test_in_whatever_order_and_on_whatever_links_a_frame_is_new_once_at_most(arrivals):
    sender, receiver = framer(), frames()
    payloads = [sender.seal(TOPIC, b"append") for _ in range(31)]
    found = [receiver.open(TOPIC, payloads[which], link) for which, link in arrivals]
    new = [frame.seq for frame in found if isinstance(frame, Frame)]
    assert sorted(new) == sorted({which + 1 for which, _ in arrivals})


def test_after_a_later_start_of_the_sender_its_earlier_frames_are_refused_for_good():
    before, after, receiver = framer(boot=1), framer(boot=2), frames()
    early = [before.seal(TOPIC, b"append") for _ in range(3)]
    assert isinstance(receiver.open(TOPIC, early[0]), Frame)
    assert receiver.open(TOPIC, after.seal(TOPIC, b"vote")) == Frame(PI, 2, 1, b"vote")
    for payload in early:
        dropped = receiver.open(TOPIC, payload)
        assert dropped == Dropped("old boot", PI, "start 1, where 2 was heard")
    assert receiver.open(TOPIC, after.seal(TOPIC, b"vote")) == Frame(PI, 2, 2, b"vote")


def test_senders_do_not_share_numbers():
    receiver = frames()
    for member in (PI, "jetson.0a1b2c3d"):
        assert isinstance(receiver.open(TOPIC, framer(member=member).seal(TOPIC, b"")), Frame)


def test_of_too_many_senders_the_one_heard_longest_ago_is_forgotten():
    receiver = frames(senders_max=2)
    first, second, third = (framer(member=f"n{number}.0a1b2c3d") for number in range(3))
    kept, lost = first.seal(TOPIC, b""), second.seal(TOPIC, b"")
    for payload in (kept, lost, first.seal(TOPIC, b""), third.seal(TOPIC, b"")):
        assert isinstance(receiver.open(TOPIC, payload), Frame)
    assert reason_of(receiver.open(TOPIC, kept)) == "replayed"
    assert isinstance(receiver.open(TOPIC, lost), Frame)


def test_the_topics_of_frames():
    topics = Topics("edge")
    assert topics.log == "rohe/edge/log"
    assert topics.raft("pi") == "rohe/edge/raft/pi"
    assert topics.snapshot("pi") == "rohe/edge/snapshot/pi"


def test_every_reason_is_explained_and_counted_from_zero():
    assert frames().dropped == dict.fromkeys(EXPLANATIONS, 0)
