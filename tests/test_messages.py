"""The seal of MQTT messages: what is altered, misplaced or repeated is dropped."""

import json
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.errors import InvalidInput
from roheletd.messages import (
    BOOTS_PER_SENDER,
    EXPLANATIONS,
    PAYLOAD_BYTES_MAX,
    WINDOW,
    Challenge,
    CommandHead,
    Dropped,
    LeaderNotice,
    NodeStatus,
    Opened,
    Opener,
    RecentBoots,
    Sealer,
    Topics,
    Window,
    broker_password,
    subkey,
)

KEY = bytes(range(32))
BOOT = "0123456789abcdef"
OTHER_BOOT = "fedcba9876543210"
TOPIC = Topics("edge").command
BODY = {"command": "remove-service", "id": "7", "name": "web"}
NONCE = "nonce-1"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.text(max_size=12).filter(
        lambda name: name not in {"sender", "boot", "seq", "nonce", "will", "alg", "mac"}
    ),
    json_values,
    max_size=6,
)


def tokens(prefix="nonce"):
    numbers = iter(range(1, 1_000_000))
    return lambda: f"{prefix}-{next(numbers)}"


def strict(boots_max=1024):
    guard = Challenge(tokens(), boots_max)
    return Opener(KEY, guard), guard


def loose(**limits):
    return Opener(KEY, RecentBoots(**limits))


def sealer(boot=BOOT, key=KEY, sender="cli"):
    return Sealer(key, sender, boot)


def reason_of(found):
    return found.reason if isinstance(found, Dropped) else None


@given(bodies)
@settings(max_examples=200)
def test_what_is_sealed_is_json_that_ends_with_the_mac_and_opens_to_the_same_body(body):
    payload = sealer().seal(TOPIC, body, NONCE)
    assert list(json.loads(payload))[-6:] == ["sender", "boot", "seq", "nonce", "alg", "mac"]
    opener, _ = strict()
    opened = opener.open(TOPIC, payload)
    assert isinstance(opened, Opened)
    assert opened.body() == body
    assert (opened.stamp.sender, opened.stamp.boot, opened.stamp.seq) == ("cli", BOOT, 1)


@given(st.data(), bodies)
@settings(max_examples=200)
def test_a_message_with_any_bit_altered_is_dropped(data, body):
    payload = bytearray(sealer().seal(TOPIC, body, NONCE))
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    opener, _ = strict()
    assert isinstance(opener.open(TOPIC, bytes(payload)), Dropped)
    assert sum(opener.dropped.values()) == 1


def test_every_single_bit_of_one_message_is_guarded():
    payload = sealer().seal(TOPIC, BODY, NONCE)
    for bit in range(len(payload) * 8):
        altered = bytearray(payload)
        altered[bit // 8] ^= 1 << bit % 8
        assert isinstance(loose().open(TOPIC, bytes(altered)), Dropped), bit
    assert isinstance(loose().open(TOPIC, payload), Opened)


@given(st.text(max_size=40))
def test_a_message_for_another_topic_is_dropped(topic):
    payload = sealer().seal(TOPIC, BODY, NONCE)
    found = strict()[0].open(topic, payload)
    assert (reason_of(found) == "wrong MAC") == (topic != TOPIC)


@given(st.binary(min_size=32, max_size=32))
def test_a_message_sealed_with_another_key_is_dropped(key):
    found = strict()[0].open(TOPIC, sealer(key=key).seal(TOPIC, BODY, NONCE))
    assert (reason_of(found) == "wrong MAC") == (key != KEY)


@given(st.binary(max_size=400))
@settings(max_examples=10_000)
def test_arbitrary_bytes_are_dropped_and_never_raise(payload):
    opener, _ = strict()
    assert isinstance(opener.open(TOPIC, payload), Dropped)


@given(st.binary(max_size=60), st.text(max_size=12), st.text(max_size=60), st.binary(max_size=4))
@settings(max_examples=3_000)
def test_arbitrary_bytes_that_end_like_a_seal_are_dropped_and_never_raise(head, alg, mac, tail):
    payload = head + f',"alg":"{alg}","mac":"{mac}"}}'.encode() + tail
    opener, _ = strict()
    assert isinstance(opener.open(TOPIC, payload), Dropped)


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_arbitrary_bytes_under_a_right_mac_never_raise(inner):
    """A holder of the key with a fault of its own must not stop a receiver."""
    opener, _ = strict()
    found = opener.open(TOPIC, forged(inner))
    assert reason_of(found) in {None, "malformed", "unknown boot"}
    if isinstance(found, Opened):
        found.body()


def forged(inner, key=KEY):
    from hashlib import blake2b  # noqa: PLC0415 - the seal once more, by hand, from its description

    signed = inner + b',"alg":"blake2b"'
    mac = blake2b(
        TOPIC.encode() + b"\0" + signed, digest_size=16, key=subkey(key, "message-mac")
    ).hexdigest()
    return signed + b',"mac":"' + mac.encode() + b'"}'


def test_the_seal_can_be_made_from_its_description_alone():
    """With spaces, in any order: another language needs no canonical form."""
    inner = b'{ "seq": 1, "nonce":"nonce-1", "sender": "node-red", "boot":"0123456789abcdef", "a":1'
    opened = strict()[0].open(TOPIC, forged(inner) + b"\n")
    assert isinstance(opened, Opened)
    assert opened.body() == {"a": 1}


@pytest.mark.parametrize(
    "inner",
    [
        b'{"a":"\xff","sender":"cli","boot":"0123456789abcdef","seq":1',
        b'{"sender":"\xff","boot":"0123456789abcdef","seq":1',
        b'{"a":' + b"[" * 100_000,
        b'["sender"',
        b'{"sender":"cli","boot":"0123456789abcdef","seq":0',
        b'{"sender":"cli","boot":"0123456789abcdef","seq":true',
        b'{"sender":"cli","boot":"0123456789ABCDEF","seq":1',
        b'{"sender":"cli/x","boot":"0123456789abcdef","seq":1',
        b'{"sender":"cli","boot":"0123456789abcdef"',
        b'{"a":{"sender":"cli","boot":"0123456789abcdef","seq":1',
    ],
)
def test_a_right_mac_over_nonsense_is_malformed(inner):
    found = loose().open(TOPIC, forged(inner))
    if isinstance(found, Opened):  # members that the seal does not need are read only on demand
        with pytest.raises(InvalidInput):
            found.body()
    else:
        assert found.reason == "malformed"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no MAC"),
        (b"hello", "no MAC"),
        (b'{"command":"status"}', "no MAC"),
        (b'{"command":"status","mac":"00"}', "no MAC"),
        (b'{"command":"status","alg":"","mac":"00"}', "no MAC"),
        (b'{"command":"status","alg":"ed25519","mac":"00"}', "unknown alg"),
        (b'{"command":"status","alg":"blake2b","mac":"00"}', "wrong MAC"),
        (b"x" * (PAYLOAD_BYTES_MAX + 1), "too large"),
    ],
)
def test_each_kind_of_bad_message_is_counted_under_its_own_reason(payload, reason):
    opener, _ = strict()
    assert reason_of(opener.open(TOPIC, payload)) == reason
    assert opener.dropped == {**dict.fromkeys(EXPLANATIONS, 0), reason: 1}


def test_the_mac_in_capitals_is_an_altered_message():
    payload = sealer().seal(TOPIC, BODY, NONCE)
    capitals = payload[:-34] + payload[-34:-2].upper() + payload[-2:]
    assert capitals != payload
    assert reason_of(strict()[0].open(TOPIC, capitals)) == "wrong MAC"


def test_a_body_may_hold_another_sealed_message():
    inner = json.loads(sealer().seal(TOPIC, BODY, NONCE))
    opened = strict()[0].open(TOPIC, sealer().seal(TOPIC, {"quoted": inner}, NONCE))
    assert isinstance(opened, Opened)
    assert opened.body() == {"quoted": inner}


@pytest.mark.parametrize("name", ["sender", "boot", "seq", "nonce", "will", "alg", "mac"])
def test_a_body_cannot_bring_members_of_the_seal(name):
    with pytest.raises(InvalidInput, match=rf"\$\.{name}"):
        sealer().seal(TOPIC, {"a": 1, name: "x"})


def test_a_struct_cannot_bring_members_of_the_seal_either():
    with pytest.raises(InvalidInput, match=r"\$\.boot"):
        sealer().seal(TOPIC, msgspec.defstruct("Clash", [("boot", str, "x")])())


def test_a_body_too_large_to_be_received_is_refused_at_the_sender():
    with pytest.raises(InvalidInput, match="1048576 bytes"):
        sealer().seal(TOPIC, {"a": "x" * PAYLOAD_BYTES_MAX})


@pytest.mark.parametrize(("sender", "boot"), [('a"b', BOOT), ("a", "short"), ("", BOOT)])
def test_a_sealer_needs_a_name_and_a_boot_id(sender, boot):
    with pytest.raises(msgspec.ValidationError):
        Sealer(KEY, sender, boot)


def test_a_command_is_accepted_once():
    opener, _ = strict()
    payload = sealer().seal(TOPIC, BODY, NONCE)
    assert isinstance(opener.open(TOPIC, payload), Opened)
    assert reason_of(opener.open(TOPIC, payload)) == "replayed"
    assert opener.dropped["replayed"] == 1


@given(st.permutations(range(WINDOW)), st.integers(0, 2**32))
@settings(max_examples=100)
def test_messages_reordered_within_the_window_are_accepted_once_each(order, seed):
    sender = sealer()
    payloads = [sender.seal(TOPIC, BODY, NONCE) for _ in range(WINDOW)]
    opener, _ = strict()
    arrivals = [payloads[index] for index in order]
    arrivals += Random(seed).sample(arrivals, k=len(arrivals))
    accepted = [isinstance(opener.open(TOPIC, payload), Opened) for payload in arrivals]
    assert accepted == [True] * WINDOW + [False] * WINDOW


def test_a_message_64_or_more_behind_is_taken_for_a_replay():
    window = Window()
    assert window.admit(WINDOW + 1)
    assert not window.admit(1)
    assert window.admit(2)


@given(st.lists(st.integers(1, 400), max_size=200))
def test_a_window_never_admits_a_number_twice(numbers):
    window = Window()
    admitted = [number for number in numbers if window.admit(number)]
    assert len(admitted) == len(set(admitted))
    newest_first = [n for i, n in enumerate(numbers) if all(n > m for m in numbers[:i])]
    assert set(newest_first) <= set(admitted)


def test_a_command_from_a_new_boot_without_the_nonce_is_dropped():
    opener, _ = strict()
    assert reason_of(opener.open(TOPIC, sealer().seal(TOPIC, BODY))) == "unknown boot"
    assert reason_of(opener.open(TOPIC, sealer().seal(TOPIC, BODY, "old"))) == "unknown boot"
    assert isinstance(opener.open(TOPIC, sealer().seal(TOPIC, BODY, NONCE)), Opened)


def test_a_known_boot_need_not_repeat_the_nonce():
    opener, _ = strict()
    sender = sealer()
    opener.open(TOPIC, sender.seal(TOPIC, BODY, NONCE))
    assert isinstance(opener.open(TOPIC, sender.seal(TOPIC, BODY)), Opened)


def test_after_a_restart_of_the_receiver_old_commands_are_dropped():
    payload = sealer().seal(TOPIC, BODY, NONCE)
    restarted = Opener(KEY, Challenge(tokens("later")))
    assert reason_of(restarted.open(TOPIC, payload)) == "unknown boot"


@given(st.integers(1, 20), st.integers(1, 60))
def test_no_command_is_ever_accepted_twice_across_rotations_of_the_nonce(boots_max, senders):
    opener, guard = strict(boots_max)
    sent = []
    for number in range(senders):
        sender = sealer(boot=f"{number:016x}")
        sent += [sender.seal(TOPIC, BODY, guard.nonce), sender.seal(TOPIC, BODY, guard.nonce)]
        assert all(isinstance(opener.open(TOPIC, payload), Opened) for payload in sent[-2:-1])
    rotations = (senders - 1) // boots_max
    assert guard.nonce == f"nonce-{1 + rotations}"
    firsts = sent[::2]
    assert all(isinstance(opener.open(TOPIC, payload), Dropped) for payload in firsts)


def test_telemetry_needs_no_nonce_and_is_accepted_once():
    opener = loose()
    payload = sealer(sender="pi").seal("t", {"cpu": 1})
    assert isinstance(opener.open("t", payload), Opened)
    assert reason_of(opener.open("t", payload)) == "replayed"


def test_a_status_left_over_from_an_earlier_boot_does_not_mute_the_node():
    opener = loose()
    stale = sealer(boot=OTHER_BOOT, sender="pi").seal("t", {"state": "online"})
    live = sealer(sender="pi")
    assert isinstance(opener.open("t", live.seal("t", {"state": "online"})), Opened)
    opener.open("t", stale)
    assert isinstance(opener.open("t", live.seal("t", {"state": "online"})), Opened)
    assert reason_of(opener.open("t", stale)) == "replayed"


def test_a_will_made_at_connect_counts_after_thousands_of_later_messages():
    opener = loose()
    node = sealer(sender="pi")
    offline = NodeStatus(node="pi", state="offline")
    will = node.will("t", offline)
    for _ in range(5000):
        opener.open("t", node.seal("t", NodeStatus(node="pi", state="online")))
    opened = opener.open("t", will)
    assert isinstance(opened, Opened)
    assert opened.stamp.will
    assert opened.read(NodeStatus) == offline
    assert reason_of(opener.open("t", will)) == "replayed"
    assert isinstance(opener.open("t", node.will("t", offline)), Opened)


def test_the_will_of_an_earlier_boot_does_not_count_once_the_node_is_back():
    opener = loose()
    before, after = sealer(boot=OTHER_BOOT, sender="pi"), sealer(sender="pi")
    will = before.will("t", NodeStatus(node="pi", state="offline"))
    opener.open("t", before.seal("t", {"a": 1}))
    opener.open("t", after.seal("t", {"a": 1}))
    assert reason_of(opener.open("t", will)) == "unknown boot"


def test_a_replayed_message_of_an_earlier_boot_does_not_silence_the_will_of_the_present_one():
    opener = loose()
    before, after = sealer(boot=OTHER_BOOT, sender="pi"), sealer(sender="pi")
    old = before.seal("t", {"a": 1})
    will = after.will("t", NodeStatus(node="pi", state="offline"))
    for payload in (old, after.seal("t", {"a": 1}), old):
        opener.open("t", payload)
    assert isinstance(opener.open("t", will), Opened)


def test_what_the_loose_guard_remembers_is_bounded():
    guard = RecentBoots(senders_max=10)
    opener = Opener(KEY, guard)
    for number in range(200):
        boot = f"{number:016x}"
        opener.open("t", sealer(boot=boot, sender=f"n{number % 20}").seal("t", {}))
    assert len(guard._senders) == 10
    assert all(len(boots) <= BOOTS_PER_SENDER for boots in guard._senders.values())


def test_a_reader_of_the_wrong_kind_gets_the_field_that_is_wrong():
    opened = strict()[0].open(TOPIC, sealer().seal(TOPIC, {"command": 5, "id": "1"}, NONCE))
    assert isinstance(opened, Opened)
    with pytest.raises(InvalidInput) as refusal:
        opened.read(CommandHead)
    assert refusal.value.field == "$.command"
    assert refusal.value.expected == "Expected `str`, got `int`"


def test_the_leaders_notice_carries_the_nonce_in_its_seal():
    payload = sealer(sender="pi").seal("t", LeaderNotice(name="pi", term=3), NONCE)
    opened = loose().open("t", payload)
    assert isinstance(opened, Opened)
    assert opened.read(LeaderNotice) == LeaderNotice(name="pi", term=3)
    assert opened.stamp.nonce == NONCE


def test_topics_of_one_cluster():
    topics = Topics("edge")
    assert topics.telemetry("pi") == "rohe/edge/node/pi/telemetry"
    assert topics.status("pi") == "rohe/edge/node/pi/status"
    assert topics.reply("7") == "rohe/edge/reply/7"
    assert (topics.leader, topics.event, topics.command) == (
        "rohe/edge/leader",
        "rohe/edge/event",
        "rohe/edge/command",
    )
    assert topics.all_status == "rohe/edge/node/+/status"


def test_keys_for_different_purposes_differ_and_stay_the_same_for_ever():
    assert subkey(KEY, "a") != subkey(KEY, "b") != KEY
    assert broker_password(KEY) == broker_password(KEY)
    assert len(broker_password(KEY)) == 32
