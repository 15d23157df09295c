"""The one broker of the list, absent, killed, frozen, hostile: it is tried until it is back."""

import asyncio
import logging
import time
from random import Random

import pytest

import roheletd.broker.walk as walk_module
from tests.broker.brokers import Mosquitto, Owner, hostile, links

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def short_pauses(monkeypatch):
    """Of each it is noted whether it follows a refusal."""
    refusals = []

    def pause_s(_attempt, *, refused, rng):
        refusals.append(refused)
        return 0.02

    monkeypatch.setattr(walk_module, "pause_s", pause_s)
    return refusals


async def test_a_broker_that_is_absent_at_start_is_found_when_it_appears(tmp_path):
    broker = Mosquitto(tmp_path)
    try:
        async with links(broker.url) as owner:
            await owner.unlinked(f"{broker.url}: no broker listens there")
            assert not owner.links.publish("t/a", b"lost")
            assert not owner.links.connected
            broker.start()
            await owner.linked()
            assert owner.links.links[0].reason == ""
            assert owner.links.dropped == 1
    finally:
        broker.kill()


async def test_after_a_restart_of_the_broker_we_hear_again_and_say_again(mosquitto):
    class Announcer(Owner):
        def on_link(self, connected, reason):
            super().on_link(connected, reason)
            if connected:
                self.links.publish("t/status", b"online", qos=1, retain=True)

    async with links(mosquitto.url, owner=Announcer()) as owner:
        await owner.until(lambda: owner.messages)
        mosquitto.kill()
        await owner.unlinked("the connection was lost")
        owner.messages.clear()
        mosquitto.start()
        await owner.until(lambda: owner.messages)
        assert owner.links.links[0].reconnects == 1
        async with links(mosquitto.url) as late:
            await late.until(lambda: late.messages)
            assert late.messages == [("t/status", b"online")]


async def test_a_frozen_broker_is_noticed_within_twice_the_keepalive(mosquitto):
    async with links(mosquitto.url, keepalive_s=3) as owner:
        await owner.linked()
        mosquitto.freeze()
        frozen_s = time.monotonic()
        await owner.unlinked("it fell silent for 6 s")
        assert time.monotonic() - frozen_s < 6.5
        mosquitto.thaw()
        await owner.linked()


async def test_a_refused_password_is_named_in_plain_words_and_logged_once(
    tmp_path, short_pauses, caplog
):
    (tmp_path / "passwords").write_text("")
    broker = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {tmp_path}/passwords\n")
    broker.start()
    caplog.set_level(logging.DEBUG)
    try:
        async with links(broker.url, username="rohe", password="wrong") as owner:
            await owner.until(lambda: owner.attempts >= 5)
            reason = owner.links.links[0].reason
        assert "refuses the user name or the password" in reason
        assert "broker.password_file" in reason
        assert [said for said, _ in owner.said] == [False]
        assert len(caplog.records) == 1
        assert short_pauses[:4] == [True] * 4
        assert "wrong" not in caplog.text
    finally:
        broker.kill()


async def test_two_daemons_with_one_name_are_told_so(mosquitto, caplog):
    hint = "is a second daemon using the name twin?"
    async with links(mosquitto.url, client_id="twin") as first:
        await first.linked()
        async with links(mosquitto.url, client_id="twin") as second:
            await second.until(lambda: any(hint in reason for _, reason in second.said))
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) <= 4, "each of the two says each of its two reasons once"


async def test_a_fault_of_the_owner_in_what_it_makes_of_a_message_ends_run(mosquitto):
    class Faulty(Owner):
        def on_message(self, topic, payload):
            raise ValueError("a fault of the owner")

    async def talk():
        async with links(mosquitto.url, owner=Faulty()) as owner:
            await owner.linked()
            owner.links.publish("t/a", b"")
            await asyncio.wait({owner.running})

    with pytest.raises(ExceptionGroup) as caught:
        await talk()
    assert caught.group_contains(ValueError, match="a fault of the owner")


async def test_close_takes_less_than_a_second_in_the_middle_of_connecting(mosquitto):
    mosquitto.freeze()
    async with links(mosquitto.url) as owner:
        await owner.until(lambda: owner.attempts)
        started_s = time.monotonic()
        await owner.links.close()
    assert time.monotonic() - started_s < 1
    mosquitto.thaw()


@pytest.mark.parametrize("prefix", [b"", b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x01"])
async def test_a_server_that_sends_nonsense_is_survived(prefix, short_pauses):
    rng = Random(7)
    answers = [prefix + rng.randbytes(rng.randrange(1, 200)) for _ in range(150)]
    async with hostile(answers) as url, links(url) as owner:
        await owner.until(lambda: owner.attempts >= 150, patience_s=30)


async def test_a_broker_that_refuses_mqtt_5_is_asked_with_3_1_1_and_that_is_remembered(
    short_pauses,
):
    refused, accepted = b"\x20\x02\x00\x01", b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x01"
    async with hostile([refused, accepted, accepted]) as url, links(url) as owner:
        await owner.until(lambda: sum(connected for connected, _ in owner.said) == 2)
        assert owner.attempts == 3
        assert owner.said[0] == (True, f"connected to {url} (MQTT 3.1.1)")
