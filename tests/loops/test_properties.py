"""Ten thousand generated messages at the MQTT door: no fault, and no change that nobody asked for.

Most go to `Inbox`, which is everything but the broker; some hundreds through a real one. What is
no `RoheletError` leaves `Inbox.run` and fails the test here.
"""

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roheletd.api.table import MQTT_OPERATIONS as OPERATIONS
from roheletd.broker.session import Session
from roheletd.testing import VirtualTimeLoop
from tests.api.test_properties import VALID, places_in, values
from tests.broker.brokers import Mosquitto, Owner, session
from tests.loops.mqtt_door import OTHER_KEY, TOPICS, MqttDoor, sealed_text
from tests.loops.stage import running, settled

BATCH = 20
"""Messages in one example, one after the other on the same state."""

quick = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
BOOT = "ab" * 8
WRITES = {operation.name for operation in OPERATIONS if operation.writes}
COMMANDS: dict[str, dict[str, Any]] = {
    **{operation.name: {} for operation in OPERATIONS if not operation.writes},
    **{
        name: {"name": "web"}
        for name in ("remove-service", "remove-node", "why", "use", "config-map", "rollout")
    },
    **{name: {"name": "pi"} for name in ("cordon", "uncordon", "draining")},
    **{name: VALID[f"/api/v1/{name}"] for name in ("what-if", "plan", "apply", "rebalance")},
    "set-config-map": VALID["/api/v1/configmaps"],
    "add-services": VALID["/api/v1/services"],
    "add-nodes": VALID["/api/v1/nodes"],
    "import-services": VALID["/api/v1/rohe/services"],
    "import-nodes": VALID["/api/v1/rohe/nodes"],
    "events": {"after": 0, "wait_s": 0},
}


class Fate(NamedTuple):
    """How a command reaches the door: once or again, whole or altered, from whom."""

    kind: str
    dice: int


@st.composite
def commands(draw: st.DrawFn) -> str:
    """The text of a command that works, with up to three of its values replaced or gone."""
    verb = draw(st.sampled_from(sorted(COMMANDS)))
    body = copy.deepcopy(COMMANDS[verb])
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from([*places_in(body), ("name",)]))
        parent: Any = body
        for step in way:
            parent = parent[step]
        if draw(st.booleans()) or not isinstance(parent, dict):
            parent[last] = draw(values)
        else:
            parent.pop(last, None)
    return json.dumps({"command": verb, "id": draw(st.sampled_from(["", "same"])), **body})


class Crowd:
    """One door and those who write to it. `send` checks what must hold after every message."""

    def __init__(self, door: MqttDoor) -> None:
        self.door = door
        self.sent: list[bytes] = []
        self._seq = 0

    def sealed(self, text: bytes) -> bytes:
        """Whatever `text` is, under a right seal with a number of its own."""
        self._seq += 1
        return sealed_text(text, seq=self._seq, nonce=self.door.challenge.nonce, boot=BOOT)

    def command(self, text: str) -> bytes:
        """The same id is a case of its own; all others are new."""
        return self.sealed(text.replace('"id": ""', f'"id": "c{self._seq}"').encode())

    def altered(self, text: str, fate: Fate) -> bytes:
        """A command that must not be acted on."""
        payload = self.command(text)
        match fate.kind:
            case "replayed" if self.sent:
                return self.sent[fate.dice % len(self.sent)]
            case "flipped":
                place, bit = divmod(fate.dice % (8 * len(payload)), 8)
                return payload[:place] + bytes((payload[place] ^ 1 << bit,)) + payload[place + 1 :]
            case "cut":
                return payload[: fate.dice % len(payload)]
            case "unknown boot":
                return sealed_text(text.encode(), seq=1, nonce="nonce0", boot="cd" * 8)
        nonce = self.door.challenge.nonce
        return sealed_text(text.encode(), seq=self._seq, nonce=nonce, boot=BOOT, key=OTHER_KEY)

    async def send(self, payload: bytes) -> list[dict[str, Any]]:
        before, counted = self.door.picture(), sum(self.door.dropped.values())
        self.door.receive(payload)
        await settled()
        replies = self.door.new_replies()
        assert len(replies) + sum(self.door.dropped.values()) - counted == 1, "answered or counted"
        if not may_change(payload, replies):
            assert self.door.picture() == before
        self.door.state.check()
        self.sent.append(payload)
        return replies


def may_change(payload: bytes, replies: list[dict[str, Any]]) -> bool:
    """Only a command that writes, and that was answered with yes."""
    return bool(replies and replies[0]["ok"]) and json.loads(payload)["command"] in WRITES


def must_be_answered(text: str) -> bool:
    """Whether it is JSON to a strict reader: no NaN, no lone surrogates."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def meet(batch: list[Any], each: Callable[[Crowd, Any], Any]) -> None:
    """Every item of `batch` before a new door, whose loops are alive at the end."""

    async def story() -> None:
        door = MqttDoor()
        async with running(door.inbox, door.announcer) as loops:
            crowd = Crowd(door)
            for item in batch:
                await each(crowd, item)
            assert not any(loop.done() for loop in loops)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())


def batches(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, min_size=BATCH, max_size=BATCH)


texts = st.binary(max_size=60) | values.map(json.dumps).map(str.encode)
fates = st.builds(
    Fate,
    st.sampled_from(["replayed", "flipped", "cut", "unknown boot", "another key"]),
    st.integers(0, 2**31),
)


@settings(quick, max_examples=105)
@given(batches(texts))
def test_what_nobody_sealed_is_dropped(batch: list[bytes]) -> None:
    async def each(crowd: Crowd, text: bytes) -> None:
        assert await crowd.send(text) == []

    meet(batch, each)


@settings(quick, max_examples=105)
@given(batches(texts))
def test_whatever_is_sealed_is_answered_once_or_counted_once(batch: list[bytes]) -> None:
    async def each(crowd: Crowd, text: bytes) -> None:
        await crowd.send(crowd.sealed(text))

    meet(batch, each)


@settings(quick, max_examples=150)
@given(batches(commands()))
def test_a_sealed_command_is_answered_exactly_once_whatever_its_members(batch: list[str]) -> None:
    async def each(crowd: Crowd, text: str) -> None:
        replies = await crowd.send(crowd.command(text))
        assert len(replies) == must_be_answered(text)
        assert all(reply["ok"] or reply["reason"] for reply in replies)

    meet(batch, each)


@settings(quick, max_examples=150)
@given(batches(st.tuples(commands(), st.none() | fates)))
def test_what_was_altered_replayed_or_forged_is_dropped_among_commands_that_work(
    batch: list[tuple[str, Fate | None]],
) -> None:
    async def each(crowd: Crowd, item: tuple[str, Fate | None]) -> None:
        text, fate = item
        if fate is None:
            await crowd.send(crowd.command(text))
        else:
            assert await crowd.send(crowd.altered(text, fate)) == []

    meet(batch, each)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_a_command_that_is_mutated_works_to_begin_with(verb: str) -> None:
    async def each(crowd: Crowd, text: str) -> None:
        (reply,) = await crowd.send(crowd.command(text))
        # The only node is alive, and so is not to be forgotten.
        assert reply["ok"] or verb == "remove-node", reply

    meet([json.dumps({"command": verb, "id": "", **COMMANDS[verb]})], each)


class OneLink:
    """A session where all links are expected."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        once: bool = False,
    ) -> bool:
        return self._session.publish(topic, payload, qos=qos, retain=retain)


class Node(Owner):
    """The door behind a real link."""

    def __init__(self, door: MqttDoor) -> None:
        super().__init__()
        self.door = door

    def on_message(self, topic: str, payload: bytes) -> None:
        self.door.receive(payload, topic)
        super().on_message(topic, payload)

    def on_link(self, connected: bool, reason: str) -> None:  # noqa: FBT001 - the session's shape
        self.door.announcer.linked(OneLink(self.session) if connected else None)
        super().on_link(connected, reason)


def drawn(crowd: Crowd, dice: Random) -> bytes:
    """One message, by dice: a command that works, a damaged one, a forged one, or noise."""
    verb = dice.choice(sorted(COMMANDS))
    text = json.dumps({"command": verb, "id": "", **COMMANDS[verb]})
    kind = dice.choice(["works", "damaged", "noise", "replayed", "flipped", "another key"])
    if kind == "works":
        return crowd.command(text)
    if kind == "damaged":
        start, end = sorted(dice.choices(range(len(text)), k=2))
        return crowd.sealed((text[:start] + text[end:]).encode())
    if kind == "noise":
        return dice.randbytes(dice.randrange(200))
    return crowd.altered(text, Fate(kind, dice.getrandbits(31)))


@pytest.mark.mosquitto
async def test_three_hundred_messages_through_a_real_broker(tmp_path: Path) -> None:
    """Seeded, so that a failure can be repeated. The question after each tells that it was met."""
    broker = Mosquitto(tmp_path, "allow_anonymous true\nset_tcp_nodelay true\n")
    door, client = MqttDoor(), Owner()
    node, crowd, dice = Node(door), Crowd(door), Random(20260101)
    answers = 0
    broker.start()
    try:
        async with (
            session(broker.url, owner=node, subscriptions=(TOPICS.command,)),
            session(broker.url, owner=client, subscriptions=(TOPICS.all_replies,)),
            running(door.inbox, door.announcer),
        ):
            await node.linked()
            await client.linked()
            for number in range(300):
                before, counted = door.picture(), sum(door.dropped.values())
                client.messages.clear()
                payload = drawn(crowd, dice)
                crowd.sent.append(payload)
                question = door.command({"command": "leader", "id": f"q{number}"})
                for message in (payload, question):
                    assert client.session.publish(TOPICS.command, message, qos=1)
                last = TOPICS.reply(f"q{number}")
                await client.until(lambda: client.messages and client.messages[-1][0] == last)  # noqa: B023
                replies = [json.loads(answer) for _, answer in client.messages[:-1]]
                assert len(replies) + sum(door.dropped.values()) - counted == 1
                answers += len(replies)
                if not may_change(payload, replies):
                    assert door.picture() == before
    finally:
        broker.kill()
    assert 50 < answers < 200
    assert {"no MAC", "wrong MAC", "replayed"} <= door.dropped.keys()
