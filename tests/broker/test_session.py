"""The link, against a real mosquitto that is absent, killed, frozen, hostile."""

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
from tests.broker.brokers import Mosquitto, Owner, session
from tests.testbed import requirements

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(session_module, "pause_s", lambda *_, **__: 0.02)


async def test_a_message_comes_back_over_mqtt_5(mosquitto):
    async with session(mosquitto.url) as owner:
        await owner.linked()
        assert owner.session.publish("t/a", b"hello")
        await owner.until(lambda: owner.messages)
        assert owner.messages == [("t/a", b"hello")]
        assert owner.session.link.protocol == "5.0"
        assert owner.session.link.url == mosquitto.url
        assert owner.links == [(True, f"connected to {mosquitto.url} (MQTT 5.0)")]


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


async def test_a_broker_that_is_absent_at_start_is_found_when_it_appears(tmp_path):
    broker = Mosquitto(tmp_path)
    try:
        async with session(broker.url) as owner:
            await owner.unlinked(f"{broker.url}: no broker listens there")
            assert not owner.session.publish("t/a", b"lost")
            broker.start()
            await owner.linked()
            assert owner.session.link.reason == ""
            assert owner.session.link.dropped == 1
    finally:
        broker.kill()


async def test_after_a_restart_of_the_broker_we_hear_again_and_say_again(mosquitto):
    class Announcer(Owner):
        def on_link(self, connected, reason):
            super().on_link(connected, reason)
            if connected:
                self.session.publish("t/status", b"online", qos=1, retain=True)

    async with session(mosquitto.url, owner=Announcer()) as owner:
        await owner.until(lambda: owner.messages)
        mosquitto.kill()
        await owner.unlinked("the connection was lost")
        owner.messages.clear()
        mosquitto.start()
        await owner.until(lambda: owner.messages)
        assert owner.session.link.reconnects == 1
        async with session(mosquitto.url) as late:
            await late.until(lambda: late.messages)
            assert late.messages == [("t/status", b"online")]


async def test_a_frozen_broker_is_noticed_within_twice_the_keepalive(mosquitto):
    async with session(mosquitto.url, keepalive_s=3) as owner:
        await owner.linked()
        mosquitto.freeze()
        frozen_s = time.monotonic()
        await owner.unlinked("it fell silent for 6 s")
        assert time.monotonic() - frozen_s < 6.5
        mosquitto.thaw()
        await owner.linked()


async def test_a_quiet_link_is_kept_alive(mosquitto):
    async with session(mosquitto.url, keepalive_s=2, tick_s=0.5) as owner:
        await owner.linked()
        with pytest.raises(TimeoutError):
            await owner.until(lambda: len(owner.links) > 1, patience_s=5)


async def test_a_frozen_broker_costs_one_timeout_and_then_the_next_url_is_used(
    mosquitto, second_mosquitto, monkeypatch
):
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT_S", 0.5)
    mosquitto.freeze()
    try:
        async with session(mosquitto.url, second_mosquitto.url) as owner:
            await owner.unlinked("no answer within 0.5 s")
            await owner.linked()
            assert owner.session.link.url == second_mosquitto.url
    finally:
        mosquitto.thaw()


async def test_a_broker_that_dies_is_left_for_the_next_one(mosquitto, second_mosquitto):
    async with session(mosquitto.url, second_mosquitto.url) as owner:
        await owner.linked()
        mosquitto.kill()
        await owner.until(lambda: owner.session.link.url == second_mosquitto.url)
        await owner.linked()


async def test_a_refused_password_is_named_in_plain_words_and_logged_once(
    tmp_path, short_pauses, caplog
):
    (tmp_path / "passwords").write_text("")
    broker = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {tmp_path}/passwords\n")
    broker.start()
    caplog.set_level(logging.DEBUG)
    try:
        async with session(broker.url, username="rohe", password="wrong") as owner:
            await owner.until(lambda: owner.attempts >= 5)
            reason = owner.session.link.reason
        assert "refuses the user name or the password" in reason
        assert "broker.password_file" in reason
        assert [said for said, _ in owner.links] == [False]
        assert len(caplog.records) == 1
        assert "wrong" not in caplog.text
    finally:
        broker.kill()


async def test_two_daemons_with_one_name_are_told_so(mosquitto, caplog):
    hint = "is a second daemon using the name twin?"
    async with session(mosquitto.url, client_id="twin") as first:
        await first.linked()
        async with session(mosquitto.url, client_id="twin") as second:
            await second.until(lambda: any(hint in reason for _, reason in second.links))
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) <= 4, "each of the two says each of its two reasons once"


async def test_a_broker_that_names_the_second_daemon_is_believed(short_pauses):
    server, url = await hostile([b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x8e"] * 9)
    async with session(url, subscriptions=()) as owner:
        await owner.until(lambda: len(owner.links) == 2)
        assert "is a second daemon using the name" in owner.links[1][1]
    server.close()


WITH_WILL = """
    import asyncio, random, sys
    from roheletd.broker.session import Access, Session
    from random import Random
    linked = lambda connected, reason: print(connected, flush=True)
    asyncio.run(
        Session(
            Access(urls=(sys.argv[1],), client_id="doomed"),
            will=lambda: ("t/will", b"offline"),
            on_message=print,
            on_link=linked,
            rng=Random(1),
        ).run()
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
        access = Access(urls=(mosquitto.url,), client_id="cancelled")
        owner.session = Session(
            access,
            will=owner.will,
            on_message=owner.on_message,
            on_link=owner.on_link,
            rng=Random(1),
        )
        running = asyncio.create_task(owner.session.run())
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


async def test_close_takes_less_than_a_second_in_the_middle_of_connecting(mosquitto):
    mosquitto.freeze()
    async with session(mosquitto.url) as owner:
        await owner.until(lambda: owner.attempts)
        started_s = time.monotonic()
        await owner.session.close()
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


async def test_a_fault_of_the_owner_ends_run_instead_of_passing_for_a_lost_link(mosquitto):
    class Faulty(Owner):
        def on_message(self, topic, payload):
            raise ValueError("a fault of the owner")

    async def talk():
        async with session(mosquitto.url, owner=Faulty()) as owner:
            await owner.linked()
            owner.session.publish("t/a", b"")
            await asyncio.wait({owner.session._connection.lost})

    with pytest.raises(ValueError, match="a fault of the owner"):
        await talk()


async def hostile(answers):
    """A server that answers each connection with the next of `answers`, and its port."""
    iterator = iter(answers)

    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(next(iterator, b""))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("prefix", [b"", b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x01"])
async def test_a_server_that_sends_nonsense_is_survived(prefix, short_pauses):
    rng = Random(7)
    answers = [prefix + rng.randbytes(rng.randrange(1, 200)) for _ in range(150)]
    server, url = await hostile(answers)
    async with session(url) as owner:
        await owner.until(lambda: owner.attempts >= 150, patience_s=30)
    server.close()


async def test_a_broker_that_refuses_mqtt_5_is_asked_with_3_1_1_and_that_is_remembered(
    short_pauses,
):
    refused, accepted = b"\x20\x02\x00\x01", b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x01"
    server, url = await hostile([refused, accepted, accepted])
    async with session(url) as owner:
        await owner.until(lambda: sum(connected for connected, _ in owner.links) == 2)
        assert owner.attempts == 3
        assert owner.links[0] == (True, f"connected to {url} (MQTT 3.1.1)")
    server.close()


async def test_a_packet_larger_than_any_of_ours_is_not_waited_for(short_pauses):
    accepted = b"\x20\x03\x00\x00\x00"
    server, url = await hostile([accepted + b"\x30\xff\xff\xff\x7f" + b"x" * 100] * 9)
    async with session(url) as owner:
        await owner.until(lambda: len(owner.links) >= 1)
        await owner.unlinked("bytes where 1114112 are the most; is there such a retained message?")
    server.close()


async def test_a_refused_subscription_is_a_refusal_with_its_reason(short_pauses):
    refused = b"\x20\x03\x00\x00\x00" + b"\x90\x04\x00\x01\x00\x87"
    server, url = await hostile([refused] * 9)
    async with session(url) as owner:
        await owner.unlinked("refuses to let us hear t/# (Not authorized)")
    server.close()


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
        await owner.until(lambda: owner.links)
        assert owner.session.link.reason
        assert not owner.session.link.connected


async def test_a_name_that_is_not_known_says_so():
    async with session("mqtt://no-such-host.invalid") as owner:
        await owner.unlinked("its name is not known", patience_s=20)
