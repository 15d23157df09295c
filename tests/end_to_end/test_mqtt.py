"""A daemon and its broker: what is heard, what is obeyed, and every way to lose the link."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from roheletd.messages import LeaderNotice, NodeStatus, Opened, Opener, RecentBoots, Sealer
from roheletd.telemetry import Telemetry
from tests.broker.brokers import MOSQUITTO_PATH, Mosquitto
from tests.end_to_end.mqtt_client import Ear, Heard, Login, ear, publish
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.requirements import absent, need

pytestmark = pytest.mark.mosquitto

TEST = {"name": "test"}
COMMAND = "rohe/test/command"
TELEMETRY = "rohe/test/node/n1/telemetry"
STATUS = "rohe/test/node/n1/status"
LEADER = "rohe/test/leader"


@pytest.fixture(scope="module")
def managed() -> Iterator[RealDaemon]:
    """One daemon with a mosquitto of its own, for the tests that end neither."""
    need("mosquitto", "mosquitto_pub")
    with daemon(cluster=TEST, broker={"mode": "managed"}) as node:
        node.start()
        linked(node)
        yield node


@pytest.fixture
def external(tmp_path: Path) -> Iterator[tuple[RealDaemon, Mosquitto]]:
    """A daemon, not started yet, and a broker that others run, not started either."""
    need("mosquitto", "mosquitto_pub")
    broker = Mosquitto(tmp_path)
    with daemon(
        cluster=TEST, broker={"mode": "external", "urls": [broker.url], "keepalive_s": 2}
    ) as node:
        yield node, broker
        broker.kill()


def login(node: RealDaemon) -> Login:
    """The way into the broker that `node` runs itself."""
    password = (node.data_dir / "broker.password").read_text().strip()
    return Login(node.broker_port, "rohe", password)


def link(node: RealDaemon) -> dict[str, Any]:
    found: dict[str, Any] = node.get("/status")["broker"]
    return found


def linked(node: RealDaemon, *, within_s: float = 15.0) -> None:
    node.until(lambda: link(node)["connected"], within_s=within_s)


def unlinked(node: RealDaemon, reason: str, *, within_s: float = 15.0) -> None:
    def is_lost() -> bool:
        found = link(node)
        return not found["connected"] and reason in found["reason"]

    node.until(is_lost, within_s=within_s)
    assert any(reason in warning for warning in node.get("/status")["warnings"])


def still_measures(node: RealDaemon) -> None:
    """The daemon goes on: its own telemetry gets newer."""

    def newest() -> float:
        (report,) = node.get("/api/v1/telemetry")["telemetry"]
        return float(report["at_s"])

    before = newest()
    node.until(lambda: newest() > before, within_s=5)


def cluster_key(node: RealDaemon) -> bytes:
    return bytes.fromhex((node.data_dir / "cluster.key").read_text())


def opened(node: RealDaemon, message: Heard) -> Opened:
    found = Opener(cluster_key(node), RecentBoots()).open(message.topic, message.payload)
    assert isinstance(found, Opened), found
    return found


def retained_are_there(login: Login) -> None:
    """Whoever comes now is told at once who is online and who leads."""
    with ear(login) as listener:
        assert listener.first(STATUS, lambda message: message.retain).body["state"] == "online"
        assert listener.first(LEADER, lambda message: message.retain).body["name"] == "n1"


def dropped(node: RealDaemon) -> dict[str, int]:
    done = node.cli("status", "--output", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)["dropped_messages"]
    return found


def signed(node: RealDaemon, *arguments: str) -> bytes:
    done = node.cli("sign", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.encode()


def services(node: RealDaemon) -> list[str]:
    return [item["service"]["name"] for item in node.get("/api/v1/services")["services"]]


def added_through(node: RealDaemon, listener: Ear, login: Login, folder: Path, name: str) -> bytes:
    """Add a service as the README says, and return the bytes that did it."""
    conf = folder / f"{name}.yaml"
    conf.write_text(f"services: [{{name: {name}, image: none, memory_mib: 900000000}}]\n")
    message = signed(node, "add-services", "--conf", str(conf))
    publish(login, COMMAND, message)
    reply = listener.first(f"reply/{json.loads(message)['id']}")
    assert reply.body["ok"] is True
    assert reply.body["result"]["changed"] == {name: "added"}
    assert opened(node, reply)
    assert name in services(node)
    return message


def test_telemetry_of_each_core_is_heard_each_second(managed: RealDaemon) -> None:
    with ear(login(managed)) as listener:
        managed.until(lambda: len(listener.on(TELEMETRY)) >= 5)
        reports = listener.on(TELEMETRY)
    gaps_s = [later.at_s - one.at_s for one, later in pairwise(reports)]
    assert sum(gaps_s) / len(gaps_s) == pytest.approx(1.0, abs=0.2)
    for message in reports:
        assert not message.retain
        report = opened(managed, message).read(Telemetry)
        assert report.cpu is not None
        assert report.cpu.used_millicores.keys() == online_cores()
        assert report.interval_s == pytest.approx(1.0, abs=0.5)
        assert report.memory is not None


def online_cores() -> set[int]:
    names = (line.split()[0] for line in Path("/proc/stat").read_text().splitlines())
    return {int(name[3:]) for name in names if name.startswith("cpu") and name != "cpu"}


def test_status_and_leader_are_retained_and_sealed(managed: RealDaemon) -> None:
    with ear(login(managed)) as listener:
        status = listener.first(STATUS, lambda message: message.retain)
        leader = listener.first(LEADER, lambda message: message.retain)
    assert opened(managed, status).read(NodeStatus).state == "online"
    notice = opened(managed, leader)
    assert notice.read(LeaderNotice).name == "n1"
    assert notice.stamp.nonce == managed.get("/api/v1/leader")["challenge"]


def test_a_person_with_mosquitto_sub_reads_json_on_every_topic(managed: RealDaemon) -> None:
    argv = ["mosquitto_sub", *login(managed).arguments, "-t", "rohe/#", "-v", "-C", "4", "-W", "20"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
    topics = set()
    for line in said.splitlines():
        topic, _, text = line.partition(" ")
        assert isinstance(json.loads(text), dict)
        topics.add(topic)
    assert topics >= {STATUS, LEADER, TELEMETRY}


def test_a_signed_file_adds_its_service_and_is_answered_once(
    managed: RealDaemon, tmp_path: Path
) -> None:
    way = login(managed)
    with ear(way) as listener:
        message = added_through(managed, listener, way, tmp_path, "web")
        assert listener.first("event", lambda event: event.body["subject"] == "web")
        before = dropped(managed).get("replayed", 0)
        publish(way, COMMAND, message)
        managed.until(lambda: dropped(managed).get("replayed", 0) == before + 1)
        assert len(listener.on(f"reply/{json.loads(message)['id']}")) == 1
    managed.delete("/api/v1/services/web")


def test_what_is_not_signed_with_this_key_for_this_topic_is_dropped_and_counted(
    managed: RealDaemon,
) -> None:
    body = {"command": "add-services", "id": "1", "services": [{"name": "evil", "image": "e"}]}
    nonce = managed.get("/api/v1/leader")["challenge"]
    stranger = Sealer(bytes(32), "cli", "ab" * 8).seal(COMMAND, body, nonce)
    elsewhere = Sealer(cluster_key(managed), "cli", "cd" * 8).seal("rohe/test/event", body, nonce)
    whole = signed(managed, "add-services", "--json", json.dumps({"services": body["services"]}))
    before = dropped(managed)
    for payload in (
        json.dumps(body).encode(),
        stranger,
        elsewhere,
        whole.replace(b'"evil"', b'"good"'),
    ):
        publish(login(managed), COMMAND, payload)
    expected = {
        "no MAC": before.get("no MAC", 0) + 1,
        "wrong MAC": before.get("wrong MAC", 0) + 3,
    }
    managed.until(lambda: dropped(managed).items() >= expected.items())
    assert services(managed) == []


def test_the_nonce_of_the_leader_topic_is_all_that_a_signer_needs(managed: RealDaemon) -> None:
    """Whoever holds the key need not reach the daemon's own doors."""
    with ear(login(managed)) as listener:
        nonce = listener.first(LEADER).body["nonce"]
        more = ("--challenge", nonce, "--cluster", "test")
        message = signed(managed, "status", *more)
        publish(login(managed), COMMAND, message)
        reply = listener.first(f"reply/{json.loads(message)['id']}")
    assert reply.body["result"]["node"] == "n1"


def test_a_broker_of_our_own_that_is_killed_is_started_again_with_all_that_was_retained(
    managed: RealDaemon,
) -> None:
    reconnects = link(managed)["reconnects"]
    (broker,) = children(managed.pid, "mosquitto")
    os.kill(broker, signal.SIGKILL)
    managed.until(lambda: link(managed)["reconnects"] == reconnects + 1)
    linked(managed)
    assert children(managed.pid, "mosquitto") != [broker]
    retained_are_there(login(managed))
    still_measures(managed)


def test_a_mosquitto_that_is_uninstalled_and_killed_ends_nothing_else(tmp_path: Path) -> None:
    need("mosquitto")
    program = tmp_path / "mosquitto"
    shutil.copy(shutil.which("mosquitto", path=MOSQUITTO_PATH) or "", program)
    with daemon(cluster=TEST, broker={"mode": "managed"}) as node:
        node.launch(env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        node.until(node.answers)
        linked(node)
        (broker,) = children(node.pid, "mosquitto")
        program.unlink()
        os.kill(broker, signal.SIGKILL)
        unlinked(node, f"No such file or directory: '{program}'")
        still_measures(node)


def children(pid: int, name: str) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if Path(f"/proc/{child}/comm").read_text() == f"{name}\n"]


def test_the_will_says_offline_after_kill_9_and_a_start_takes_it_back(
    external: tuple[RealDaemon, Mosquitto],
) -> None:
    node, broker = external
    broker.start()
    node.start()
    linked(node)
    with ear(Login(broker.port)) as listener:
        listener.first(STATUS, lambda message: message.body["state"] == "online")
        node.kill()
        will = listener.first(STATUS, lambda message: message.body["state"] == "offline")
        assert opened(node, will).stamp.will
        node.start()
        listener.first(
            STATUS,
            lambda message: message.body["state"] == "online" and message.at_s > will.at_s,
        )


def test_a_clean_stop_says_offline_in_its_own_name(
    external: tuple[RealDaemon, Mosquitto],
) -> None:
    node, broker = external
    broker.start()
    node.start()
    linked(node)
    with ear(Login(broker.port)) as listener:
        code, took_s = node.terminate()
        assert (code, took_s < 2.0) == (0, True)
        farewell = listener.first(STATUS, lambda message: message.body["state"] == "offline")
        assert not opened(node, farewell).stamp.will
    with ear(Login(broker.port)) as listener:
        assert listener.first(STATUS).body["state"] == "offline"


def test_a_broker_that_comes_late_goes_and_comes_again_is_found_each_time(
    external: tuple[RealDaemon, Mosquitto], tmp_path: Path
) -> None:
    node, broker = external
    node.start()
    unlinked(node, "no broker listens there")
    still_measures(node)
    broker.start()
    linked(node)
    retained_are_there(Login(broker.port))
    broker.kill()
    unlinked(node, "no broker listens there")
    still_measures(node)
    broker.start()
    linked(node)
    assert link(node)["reconnects"] == 1
    retained_are_there(Login(broker.port))
    with ear(Login(broker.port)) as listener:
        added_through(node, listener, Login(broker.port), tmp_path, "web")


def test_a_frozen_broker_is_noticed_within_two_keepalives_and_found_again_when_it_thaws(
    external: tuple[RealDaemon, Mosquitto],
) -> None:
    node, broker = external
    broker.start()
    node.start()
    linked(node)
    broker.freeze()
    try:
        unlinked(node, "fell silent", within_s=2 * 2 + 0.5)
        still_measures(node)
    finally:
        broker.thaw()
    linked(node)
    retained_are_there(Login(broker.port))


def test_a_refused_password_is_named_with_the_keys_to_correct(tmp_path: Path) -> None:
    need("mosquitto")
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "rohe", "right"], check=True)
    broker = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    keys = {"urls": [broker.url], "username": "rohe", "password_file": str(wrong)}
    broker.start()
    try:
        with daemon(cluster=TEST, broker={"mode": "external", **keys}) as node:
            node.start()
            unlinked(node, "broker.password_file")
            still_measures(node)
            code, _ = node.terminate()
            assert code == 0
            wrong.write_text("right\n")
            node.start()
            linked(node)
    finally:
        broker.kill()


def test_a_port_that_is_taken_is_told_and_the_broker_starts_when_it_is_free() -> None:
    need("mosquitto")
    with daemon(cluster=TEST, broker={"mode": "managed"}) as node:
        with socket.create_server(("127.0.0.1", node.broker_port)):
            node.start()
            unlinked(node, f"127.0.0.1:{node.broker_port} is taken by another program")
            still_measures(node)
        linked(node)
        retained_are_there(login(node))


def test_a_broker_in_the_process_carries_telemetry_and_commands(tmp_path: Path) -> None:
    need("mosquitto_pub")
    if find_spec("amqtt") is None:
        absent("needs amqtt: pip install 'roheletd[embedded]'")
    with daemon(cluster=TEST, broker={"mode": "embedded"}) as node:
        node.start()
        linked(node)
        assert link(node)["mode"] == "embedded"
        way = login(node)
        retained_are_there(way)
        with ear(way) as listener:
            assert opened(node, listener.first(TELEMETRY)).read(Telemetry).cpu
            message = added_through(node, listener, way, tmp_path, "web")
            publish(way, COMMAND, message)
            node.until(lambda: dropped(node).get("replayed") == 1)
        code, took_s = node.terminate()
        assert (code, took_s < 2.0) == (0, True), node.log()
