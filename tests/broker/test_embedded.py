"""amqtt in the process: MQTT 3.1.1, which the link falls back to."""

import asyncio
import builtins
import subprocess
import sys

import pytest

import roheletd.broker.links as links_module
from roheletd.broker.embedded import EmbeddedBroker, amqtt_installed
from roheletd.errors import Unavailable
from tests.broker.brokers import Owner, links, session
from tests.testbed import requirements
from tests.testbed.network import free_port

PASSWORD = "an-unusual-password"
CREDENTIALS = {"username": "rohe", "password": PASSWORD}
ACCESS = {**CREDENTIALS, "mqtt5": EmbeddedBroker.mqtt5}


@pytest.fixture
async def embedded():
    if not amqtt_installed():
        requirements.absent("needs amqtt: pip install 'roheletd[embedded]'")
    broker = EmbeddedBroker(listen="127.0.0.1", port=free_port(), **CREDENTIALS)
    await broker.start()
    yield broker
    await asyncio.wait_for(broker.close(), 1)


async def test_after_silence_to_mqtt_5_the_link_tries_3_1_1(embedded, monkeypatch):
    """amqtt takes a CONNECT of MQTT 5 for one of 3.1.1, and waits for the rest of it."""
    monkeypatch.setattr(links_module, "CONNECT_TIMEOUT_S", 0.3)
    async with links(embedded.url, **CREDENTIALS) as owner:
        await owner.linked()
        assert owner.links.links[0].protocol == "3.1.1"
        assert [connected for connected, _ in owner.said] == [False, True]


async def test_the_link_comes_back_after_a_restart(embedded):
    async with links(embedded.url, **ACCESS) as owner:
        await owner.linked()
        assert owner.said == [(True, f"connected to {embedded.url} (MQTT 3.1.1)")]
        await embedded.close()
        await owner.unlinked("")
        await embedded.start()
        await owner.linked()
        assert owner.links.links[0].reconnects == 1


async def test_messages_retained_messages_and_wills_work(embedded):
    async with session(embedded.url, **ACCESS) as owner:
        await owner.linked()
        assert owner.session.publish("t/a", b"1")
        assert owner.session.publish("t/kept", b"2", qos=1, retain=True)
        await owner.until(lambda: len(owner.messages) == 2)
        assert sorted(owner.messages) == [("t/a", b"1"), ("t/kept", b"2")]
        async with session(embedded.url, owner=Owner(("t/will", b"gone")), **ACCESS) as late:
            await late.linked()
            await late.until(lambda: ("t/kept", b"2") in late.messages)
            late.session._connection._channel.close()
            await owner.until(lambda: ("t/will", b"gone") in owner.messages)


async def test_a_wrong_password_is_refused(embedded):
    for wrong in ({}, {"username": "rohe", "password": "wrong"}):
        async with session(embedded.url, mqtt5=False, **wrong) as owner:
            await owner.unlinked("refuses the user name or the password")


async def test_its_warnings_about_our_own_clients_are_not_logged(embedded, caplog):
    async with session(embedded.url, **ACCESS) as owner:
        await owner.linked()
    assert {record.name for record in caplog.records} <= {"roheletd.broker.session"}


async def test_a_port_that_is_taken_names_the_setting(embedded):
    port = int(embedded.url.rpartition(":")[2])
    with pytest.raises(Unavailable, match=r"is taken.*broker\.port"):
        await EmbeddedBroker(listen="127.0.0.1", port=port, **CREDENTIALS).start()


async def test_without_amqtt_the_remedy_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name.startswith("amqtt"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Unavailable, match=r"pip install 'roheletd\[embedded\]'"):
        await EmbeddedBroker(listen="127.0.0.1", port=free_port(), **CREDENTIALS).start()


def test_amqtt_is_not_imported_before_it_is_used():
    code = (
        "import sys, roheletd.broker.embedded as e; e.amqtt_installed();"
        "print([m for m in sys.modules if m.split('.')[0] in ('amqtt', 'paho', 'transitions')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    assert isinstance(amqtt_installed(), bool)
