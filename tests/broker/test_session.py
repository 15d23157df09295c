"""One link and what becomes of it, over a real mosquitto and over hostile ones."""

import asyncio
import logging
import signal
import subprocess
import sys
import textwrap
import time
from random import Random

import pytest
import uvloop

import roheletd.broker.session as session_module
from roheletd.broker.connection import OUTGOING_BYTES_MAX
from roheletd.broker.session import Access, Session
from tests.broker.brokers import Mosquitto, Owner, hostile, session
from tests.testbed import requirements
from tests.testbed.network import free_port

pytestmark = pytest.mark.mosquitto


async def test_a_message_comes_back_over_mqtt_5(mosquitto):
    async with session(mosquitto.url) as owner:
        await owner.linked()
        assert owner.session.publish("t/a", b"hello")
        await owner.until(lambda: owner.messages)
        assert owner.messages == [("t/a", b"hello")]
        assert owner.session.link.protocol == "5.0"
        assert owner.session.link.url == mosquitto.url
        assert owner.said == [(True, f"connected to {mosquitto.url} (MQTT 5.0)")]


async def test_the_owner_may_publish_from_what_it_is_told(mosquitto):
    class Echo(Owner):
        def on_link(self, connected, reason):
            super().on_link(connected, reason)
            if connected:
                assert self.session.publish("t/ask", b"1", qos=1)

        def on_message(self, topic, payload):
            super().on_message(topic, payload)
            if topic == "t/ask":
                assert self.session.publish("t/answer", payload, qos=1)

    async with session(mosquitto.url, owner=Echo()) as owner:
        await owner.until(lambda: len(owner.messages) == 2)
        assert owner.messages == [("t/ask", b"1"), ("t/answer", b"1")]


@pytest.mark.parametrize("size", [0, 1, 16_384, 100_000, 1 << 20])
async def test_a_payload_of_any_size_up_to_the_limit_arrives_whole(mosquitto, size):
    payload = Random(size).randbytes(size)
    async with session(mosquitto.url) as owner:
        await owner.linked()
        assert owner.session.publish("t/large", payload, qos=1)
        await owner.until(lambda: owner.messages)
        assert owner.messages == [("t/large", payload)]


async def test_without_a_link_nothing_is_taken_and_all_is_counted():
    async with session(f"mqtt://127.0.0.1:{free_port()}") as owner:
        await owner.unlinked("no broker listens there")
        assert not owner.session.publish("t/a", b"lost")
        assert owner.session.link.dropped == 1
        assert not owner.session.link.connected


@pytest.mark.parametrize(("steady_s", "times"), [(60.0, 1), (0.0, 2)])
async def test_the_same_is_logged_once_until_a_link_has_held_well(
    mosquitto, monkeypatch, caplog, steady_s, times
):
    monkeypatch.setattr(session_module, "STEADY_S", steady_s)
    caplog.set_level(logging.INFO)
    async with session(mosquitto.url) as owner:
        await owner.linked()
        await owner.session.leave("it is time")
        await owner.unlinked("it is time")
        again = asyncio.create_task(owner.session.attempt(5))
        await owner.linked()
        await owner.session.leave("it is time")
        await again
    said = [record.message for record in caplog.records]
    assert said.count(f"no link to the broker: {mosquitto.url}: it is time") == times


async def test_a_quiet_link_is_kept_alive(mosquitto):
    async with session(mosquitto.url, keepalive_s=2, tick_s=0.5) as owner:
        await owner.linked()
        with pytest.raises(TimeoutError):
            await owner.until(lambda: len(owner.said) > 1, patience_s=5)


async def test_a_broker_that_names_the_second_daemon_is_believed():
    answer = b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x8e"
    async with hostile([answer]) as url, session(url, subscriptions=()) as owner:
        await owner.until(lambda: len(owner.said) == 2)
        await owner.unlinked("is a second daemon using the name")


WITH_WILL = """
    import asyncio, random, sys
    from roheletd.broker.session import Access, Session
    linked = lambda connected, reason: print(connected, flush=True)
    asyncio.run(
        Session(
            sys.argv[1],
            Access(client_id="doomed"),
            will=lambda: ("t/will", b"offline"),
            on_message=print,
            on_link=linked,
        ).attempt(5)
    )
"""


async def test_the_will_is_published_and_retained_when_the_process_is_killed(mosquitto):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(WITH_WILL), mosquitto.url, stdout=subprocess.PIPE
    )
    async with session(mosquitto.url) as owner:
        await owner.linked()
        assert child.stdout
        assert await child.stdout.readline() == b"True\n"
        child.send_signal(signal.SIGKILL)
        await owner.until(lambda: owner.messages)
        assert owner.messages == [("t/will", b"offline")]
    await child.communicate()
    async with session(mosquitto.url) as late:
        await late.until(lambda: late.messages)
        assert late.messages == [("t/will", b"offline")]


async def test_a_clean_close_says_farewell_and_leaves_no_will(mosquitto):
    """While messages pour in: what is unread at the close must not cost us the farewell."""
    async with session(mosquitto.url) as watcher, session(mosquitto.url) as flooder:
        await watcher.linked()
        await flooder.linked()
        async with session(mosquitto.url, owner=Owner(("t/status", b"will"))) as owner:
            await owner.linked()
            for _ in range(2000):
                flooder.session.publish("t/noise", b"x" * 500)
            started_s = time.monotonic()
            await owner.session.close(("t/status", b"farewell"))
            assert time.monotonic() - started_s < 1
        await watcher.until(lambda: any(topic == "t/status" for topic, _ in watcher.messages))
    async with session(mosquitto.url) as late:
        await late.until(lambda: late.messages)
        assert late.messages == [("t/status", b"farewell")]
    assert ("t/status", b"will") not in watcher.messages


async def test_a_session_that_is_cancelled_leaves_its_will(mosquitto):
    async with session(mosquitto.url) as watcher:
        await watcher.linked()
        owner = Owner(("t/status", b"will"))
        owner.session = Session(
            mosquitto.url,
            Access(client_id="cancelled"),
            will=owner.will,
            on_message=owner.on_message,
            on_link=owner.on_link,
        )
        running = asyncio.create_task(owner.session.attempt(5))
        await owner.linked()
        running.cancel()
        await watcher.until(lambda: watcher.messages)
        assert watcher.messages == [("t/status", b"will")]
        await asyncio.wait({running})


async def test_close_takes_less_than_a_second_when_the_broker_is_frozen(mosquitto):
    async with session(mosquitto.url) as owner:
        await owner.linked()
        mosquitto.freeze()
        owner.session.publish("t/a", b"unanswered", qos=1)
        started_s = time.monotonic()
        await owner.session.close(("t/status", b"farewell"))
        assert time.monotonic() - started_s < 1
    mosquitto.thaw()


async def test_what_waits_for_a_frozen_broker_is_bounded_and_the_rest_is_dropped(mosquitto):
    async with session(mosquitto.url) as owner:
        await owner.linked()
        mosquitto.freeze()
        taken = sum(owner.session.publish("other", b"x" * 10_000) for _ in range(5000))
        assert taken < 5000
        assert owner.session.link.dropped == 5000 - taken
        assert owner.session._connection._channel.unsent_bytes <= OUTGOING_BYTES_MAX + 100
        taken = sum(owner.session.publish("other", b"", qos=1) for _ in range(5000))
        assert taken <= 1000
    mosquitto.thaw()


async def test_unacknowledged_messages_count_against_the_bound(mosquitto):
    async with session(mosquitto.url) as owner:
        await owner.linked()
        mosquitto.freeze()
        taken = sum(owner.session.publish("other", b"x" * 100_000, qos=1) for _ in range(100))
        assert taken * 100_000 <= OUTGOING_BYTES_MAX
    mosquitto.thaw()


async def flood(url: str, count: int) -> list[int]:
    async with session(url) as receiver, session(url, subscriptions=()) as sender:
        await receiver.linked()
        await sender.linked()
        for number in range(count):
            assert sender.session.publish("t/n", b"%d" % number)
            if number % 500 == 0:
                await receiver.until(lambda sent=number: len(receiver.messages) >= sent - 2000)
        await receiver.until(lambda: len(receiver.messages) >= count, patience_s=60)
        return [int(payload) for _, payload in receiver.messages]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_flood_is_received_in_order_and_without_loss(mosquitto, run):
    assert run(flood(mosquitto.url, 20_000)) == list(range(20_000))


async def test_a_flood_does_not_keep_others_from_the_loop(mosquitto):
    async with session(mosquitto.url) as receiver, session(mosquitto.url) as sender:
        await receiver.linked()
        await sender.linked()
        for _ in range(5000):
            sender.session.publish("t/n", b"x" * 100)
        longest_s, turn_s = 0.0, time.monotonic()
        while len(receiver.messages) < 5000:
            await asyncio.sleep(0)
            longest_s, turn_s = max(longest_s, time.monotonic() - turn_s), time.monotonic()
        assert longest_s < 0.5


async def test_a_fault_of_the_owner_ends_the_attempt_instead_of_passing_for_a_lost_link(mosquitto):
    class Faulty(Owner):
        def on_message(self, topic, payload):
            raise ValueError("a fault of the owner")

    async def talk():
        async with session(mosquitto.url, owner=Faulty()) as owner:
            await owner.linked()
            owner.session.publish("t/a", b"")
            await asyncio.wait({owner.running})

    with pytest.raises(ValueError, match="a fault of the owner"):
        await talk()


async def test_a_packet_larger_than_any_of_ours_is_not_waited_for():
    accepted = b"\x20\x03\x00\x00\x00"
    answer = accepted + b"\x30\xff\xff\xff\x7f" + b"x" * 100
    async with hostile([answer]) as url, session(url) as owner:
        await owner.unlinked("bytes where 1114112 are the most; is there such a retained message?")


async def test_a_refused_subscription_is_a_refusal_with_its_reason():
    refused = b"\x20\x03\x00\x00\x00" + b"\x90\x04\x00\x01\x00\x87"
    async with hostile([refused]) as url, session(url) as owner:
        await owner.unlinked("refuses to let us hear t/# (Not authorized)")


@pytest.fixture
def tls_mosquitto(tmp_path):
    requirements.need("openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    extra = f"allow_anonymous true\ncertfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\n"
    broker = Mosquitto(tmp_path, extra)
    broker.start()
    yield f"mqtts://localhost:{broker.port}", str(tmp_path / "cert.pem")
    broker.kill()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls_with_a_trusted_certificate(tls_mosquitto, run):
    url, ca_file = tls_mosquitto

    async def talk():
        async with session(url, ca_file=ca_file) as owner:
            await owner.linked()
            for size in (1, 40_000, 1 << 20):
                assert owner.session.publish("t/a", b"x" * size, qos=1)
                await owner.until(lambda: owner.messages)
                assert owner.messages.pop() == ("t/a", b"x" * size)

    run(talk())


@pytest.mark.parametrize(
    ("ca_file", "reason"),
    [
        (None, "its certificate is not trusted: self-signed certificate (broker.ca_file)"),
        ("/nowhere/ca.pem", "broker.ca_file /nowhere/ca.pem cannot be read"),
    ],
)
async def test_tls_without_trust_says_what_is_missing(tls_mosquitto, ca_file, reason):
    async with session(tls_mosquitto[0], ca_file=ca_file) as owner:
        await owner.unlinked(reason)


async def test_tls_to_a_broker_without_it_says_so(mosquitto):
    async with session(mosquitto.url.replace("mqtt:", "mqtts:")) as owner:
        await owner.until(lambda: owner.said)
        assert owner.session.link.reason
        assert not owner.session.link.connected


async def test_a_name_that_is_not_known_says_so():
    async with session("mqtt://no-such-host.invalid") as owner:
        await owner.unlinked("its name is not known", patience_s=20)
