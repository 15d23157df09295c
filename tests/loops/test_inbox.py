"""Commands over MQTT: each is answered once, in its turn, or dropped and counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roheletd.loops.inbox import COMMANDS_MAX
from roheletd.messages import PAYLOAD_BYTES_MAX
from tests.loops.mqtt_door import OTHER_KEY, TOPICS, MqttDoor, sealed_text
from tests.loops.stage import in_virtual_time, running, settled

ADD = {"command": "add-services", "services": [{"name": "shop", "image": "shop:1"}]}


@asynccontextmanager
async def serving(door: MqttDoor) -> AsyncIterator[MqttDoor]:
    async with running(door.inbox, door.announcer):
        await settled()
        yield door


async def answered(door: MqttDoor, **body: object) -> dict[str, Any]:
    door.receive(door.command({"id": "1", **body}))
    await settled()
    (reply,) = door.new_replies()
    return reply


@in_virtual_time
async def test_a_command_is_carried_out_and_answered_on_the_topic_of_its_id() -> None:
    async with serving(MqttDoor()) as door:
        door.receive(door.command({"id": "order-7", **ADD}))
        await settled()
        (reply,) = door.new_replies()
        assert reply["id"] == "order-7"
        assert reply["ok"] is True
        assert reply["result"]["changed"] == {"shop": "added"}
        assert "shop" in door.state.services
        (message,) = [message for message in door.link.published if "reply" in message.topic]
        assert message.topic == "rohe/edge/reply/order-7"
        assert (message.qos, message.retain) == (1, False)


@in_virtual_time
async def test_every_verb_of_the_other_doors_is_answered_here() -> None:
    async with serving(MqttDoor()) as door:
        for verb in ("status", "ready", "leader", "nodes", "services", "instances", "telemetry"):
            assert (await answered(door, command=verb))["ok"], verb
        assert (await answered(door, command="why", name="web"))["result"]["replicas"] == 2
        assert (await answered(door, command="events"))["result"]["last"] == 1


@in_virtual_time
async def test_what_looks_ahead_answers_here_as_well_and_what_changes_changes() -> None:
    async with serving(MqttDoor()) as door:
        before, body = door.picture(), {"services": ADD["services"], "prune": True}
        seen = await answered(door, command="what-if", services=ADD["services"])
        assert seen["result"]["forecast"]["refused"][0]["service"] == "shop"
        plan = await answered(door, command="plan", **body)
        assert plan["result"]["services"]["removed"] == ["web"]
        assert (await answered(door, command="rebalance", dry_run=True))["result"]["moves"] == []
        assert door.picture() == before
        done = await answered(door, command="apply", id="2", **body)
        assert done["result"]["changed"] == {"shop": "added", "web": "removed"}
        cordoned = await answered(door, command="cordon", id="3", name="pi")
        assert cordoned["result"]["changed"] == {"pi": "cordoned"}
        assert door.state.cordoned == {"pi"}


@in_virtual_time
async def test_a_refusal_says_kind_and_reason() -> None:
    async with serving(MqttDoor()) as door:
        missing = await answered(door, command="remove-service", name="nobody")
        assert (missing["ok"], missing["error"]) == (False, "not found")
        assert missing["reason"] == "there is no service nobody"
        alive = await answered(door, command="remove-node", name="pi")
        assert alive["error"] == "refused"
        assert "is alive" in alive["reason"]
        door.log.failure = "the disk is full"
        waits = await answered(door, **ADD)
        assert (waits["error"], waits["reason"]) == ("unavailable", "the disk is full")


@in_virtual_time
async def test_an_unknown_command_is_told_which_there_are() -> None:
    async with serving(MqttDoor()) as door:
        reply = await answered(door, command="destroy")
        assert (reply["error"], reply["field"]) == ("invalid", "$.command")
        assert "add-services" in reply["reason"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"command": "remove-service"}, "$.name"),
        ({"command": "remove-service", "name": 3}, "$.name"),
        ({"command": "remove-service", "name": "web", "force": True}, "$.force"),
        ({"command": "add-services", "services": []}, "$.services"),
        (
            {"command": "add-services", "services": [{"name": "web", "replicas": -1}]},
            "$.services[0].replicas",
        ),
        (
            {"command": "add-services", "services": [{"name": "a"}, {"name": "a"}]},
            "$.services[1].name",
        ),
        ({"command": "add-services", "services": [{"name": "a", "strategy": "any"}]}, "strategy"),
        ({"command": "events", "wait_s": 5}, "$.wait_s"),
        (
            {
                "command": "add-nodes",
                "nodes": [{"name": "a", "capacity": {"cores": {"0": "all"}, "memory_mib": 1}}],
            },
            "$.nodes[0].capacity.cores",
        ),
    ],
)
def test_what_is_wrong_in_a_command_is_named_and_changes_nothing(
    body: dict[str, object], field: str
) -> None:
    @in_virtual_time
    async def story() -> None:
        async with serving(MqttDoor()) as door:
            before = door.picture()
            reply = await answered(door, **body)
            assert reply["error"] == "invalid"
            assert field in reply["field"]
            assert reply["reason"]
            assert door.picture() == before

    story()


@in_virtual_time
async def test_core_ids_are_numbers_also_as_the_text_that_json_makes_of_them() -> None:
    async with serving(MqttDoor()) as door:
        node = {"name": "nano", "capacity": {"cores": {"0": 1000, "3": 500}, "memory_mib": 512}}
        reply = await answered(door, command="add-nodes", nodes=[node])
        assert reply["result"]["changed"] == {"nano": "added"}
        assert door.state.nodes["nano"].capacity.cores == {0: 1000, 3: 500}


@in_virtual_time
async def test_the_same_id_again_is_the_same_answer_and_another_command_under_it_is_refused() -> (
    None
):
    async with serving(MqttDoor()) as door:
        assert (await answered(door, **ADD))["result"]["changed"] == {"shop": "added"}
        assert (await answered(door, **ADD))["result"]["changed"] == {"shop": "added"}
        other = await answered(door, command="remove-service", name="shop")
        assert (other["ok"], other["error"]) == (False, "refused")
        assert "shop" in door.state.services


@in_virtual_time
async def test_commands_are_carried_out_in_the_order_in_which_they_came() -> None:
    async with serving(MqttDoor()) as door:
        door.receive(door.command({"id": "1", **ADD}))
        door.receive(door.command({"id": "2", "command": "remove-service", "name": "shop"}))
        door.receive(door.command({"id": "3", **ADD}))
        await settled()
        assert [reply["id"] for reply in door.new_replies()] == ["1", "2", "3"]
        assert "shop" in door.state.services


@in_virtual_time
async def test_what_is_not_for_us_is_dropped_and_counted_by_its_reason() -> None:
    async with serving(MqttDoor()) as door:
        before = door.picture()
        good = door.command({"id": "1", **ADD})
        elsewhere = door.sender().seal(TOPICS.leader, {"id": "1", **ADD}, door.challenge.nonce)
        for payload in (
            json.dumps({"id": "1", **ADD}).encode(),
            door.command({"id": "1", **ADD}, sender=door.sender(OTHER_KEY)),
            good.replace(b"shop:1", b"evil:1"),
            elsewhere,
            door.sender().seal(TOPICS.command, {"id": "1", **ADD}, "nonce0"),
            door.sender().seal(TOPICS.command, {"id": "1", **ADD}),
            b"x" * (PAYLOAD_BYTES_MAX + 1),
            good.replace(b'"alg":"blake2b"', b'"alg":"ed25519"'),
            sealed_text(b"[1]", seq=1, nonce=door.challenge.nonce, boot="zz"),
        ):
            door.receive(payload)
        await settled()
        assert door.new_replies() == []
        assert door.picture() == before
        assert door.dropped == {
            "no MAC": 1,
            "wrong MAC": 3,
            "unknown boot": 2,
            "too large": 1,
            "unknown alg": 1,
            "malformed": 1,
        }


@in_virtual_time
async def test_a_message_that_comes_again_is_dropped_as_replayed() -> None:
    async with serving(MqttDoor()) as door:
        payload = door.command({"id": "1", **ADD})
        door.receive(payload)
        await settled()
        for _ in range(3):
            door.receive(payload)
        await settled()
        assert len(door.new_replies()) == 1
        assert door.dropped == {"replayed": 3}


@in_virtual_time
async def test_other_topics_are_not_looked_at() -> None:
    async with serving(MqttDoor()) as door:
        payload = door.sender().seal(TOPICS.event, {"id": "1", **ADD}, door.challenge.nonce)
        door.receive(payload, TOPICS.event)
        await settled()
        assert (door.new_replies(), door.dropped) == ([], {})


@pytest.mark.parametrize(
    "body",
    [
        {"command": "status"},
        {"id": "1"},
        {"command": 5, "id": "1"},
        {"command": "status", "id": "a/b"},
        {"command": "status", "id": "x" * 64},
        {"command": "status", "id": "+"},
        {"command": "s" * 65, "id": "1"},
    ],
)
def test_a_command_that_cannot_be_answered_is_counted_and_published_nowhere(
    body: dict[str, object],
) -> None:
    @in_virtual_time
    async def story() -> None:
        async with serving(MqttDoor()) as door:
            door.receive(door.command(body))
            await settled()
            assert door.new_replies() == []
            assert door.dropped == {"not understood": 1}

    story()


@in_virtual_time
async def test_a_flood_is_counted_and_the_rest_is_answered() -> None:
    async with serving(MqttDoor()) as door:
        sender = door.sender()
        for number in range(COMMANDS_MAX + 20):
            command = {"id": f"c{number}", "command": "leader"}
            door.receive(door.command(command, sender=sender))
        await settled()
        assert len(door.new_replies()) == COMMANDS_MAX
        assert door.dropped == {"too many commands": 20}
        assert (await answered(door, command="status"))["result"]["dropped_messages"] == {
            "too many commands": 20
        }


@in_virtual_time
async def test_an_answer_that_is_too_large_for_a_message_is_refused_and_says_where_to_ask() -> None:
    async with serving(MqttDoor()) as door:
        long = ["x" * 4000] * 100
        for number in range(3):
            service = {"name": f"s{number}", "image": "web:1", "command": long}
            body = {"id": f"a{number}", "command": "add-services", "services": [service]}
            door.receive(door.command(body))
        await settled()
        assert all(reply["ok"] for reply in door.new_replies())
        reply = await answered(door, command="services")
        assert (reply["ok"], reply["error"]) == (False, "refused")
        assert reply["reason"].endswith("ask over HTTP")
        assert (await answered(door, command="status"))["ok"]


@in_virtual_time
async def test_a_nonce_that_is_used_up_is_announced_and_the_old_one_opens_nothing() -> None:
    door = MqttDoor(boots_max=3)
    async with serving(door):
        first = door.challenge.nonce
        for number in range(4):
            door.receive(door.command({"id": f"c{number}", "command": "leader"}))
        await settled()
        assert len(door.new_replies()) == 4
        assert door.challenge.nonce != first
        assert json.loads(door.link.retained[TOPICS.leader])["nonce"] == door.challenge.nonce
        door.receive(door.sender().seal(TOPICS.command, {"id": "x", "command": "leader"}, first))
        await settled()
        assert door.new_replies() == []
        assert door.dropped == {"unknown boot": 1}


@in_virtual_time
async def test_a_command_that_waits_for_the_disk_does_not_keep_messages_from_being_taken_in() -> (
    None
):
    door = MqttDoor()
    gate = asyncio.Event()
    propose = door.log.propose

    async def slow(*args: Any, **more: Any) -> Any:
        await gate.wait()
        return await propose(*args, **more)

    door.log.propose = slow  # type: ignore[method-assign]
    async with serving(door):
        door.receive(door.command({"id": "1", **ADD}))
        door.receive(door.command({"id": "2", "command": "leader"}))
        await settled()
        assert door.new_replies() == []
        gate.set()
        await settled()
        assert [reply["id"] for reply in door.new_replies()] == ["1", "2"]
