"""A node without a container engine and without a broker: real processes, and every kind of end."""

import contextlib
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roheletd.engines import procfs
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.network import free_port
from tests.testbed.requirements import need

SAMPLE = [sys.executable, "-m", "roheletd", "sample"]


@pytest.fixture
def node() -> Iterator[RealDaemon]:
    nowhere = f"mqtt://127.0.0.1:{free_port()}"
    broker = {"mode": "external", "urls": [nowhere]}
    with daemon(broker=broker, engine={"kind": "process"}) as made:
        yield made


def sample(**more: Any) -> dict[str, Any]:
    base = {"name": "web", "command": SAMPLE, "replicas": 2, "cores": [100]}
    return {**base, "ports": [{"container_port": 8080}], **more}


def sleeper(**more: Any) -> dict[str, Any]:
    return {"name": "nap", "command": ["sleep", "600"], "replicas": 2, **more}


def submit(node: RealDaemon, *services: dict[str, Any]) -> dict[str, str]:
    changed: dict[str, str] = node.post("/api/v1/services", {"services": services})["changed"]
    return changed


def pids(node: RealDaemon) -> dict[str, int]:
    """By instance, as the kernel has them; fails on a second copy."""
    with procfs.marked({"ROHE_CLUSTER": node.config["cluster"]["name"]}) as found:
        leaders = [process for process in found if process.pid == process.session]
        assert len({process.instance for process in leaders}) == len(leaders), "duplicates"
        return {process.instance: process.pid for process in leaders}


def alive(node: RealDaemon, number: int) -> dict[str, int]:
    """So many that run; a process that was just started is found by its environment a bit later."""
    node.running(number)
    node.until(lambda: len(pids(node)) == number)
    return pids(node)


def measured_s(node: RealDaemon) -> float:
    (report,) = node.get("/api/v1/telemetry")["telemetry"]
    return float(report["at_s"])


def page(port: int) -> dict[str, Any] | None:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/") as got:
        facts: dict[str, Any] = json.loads(got.read())
        return facts
    return None


def events(node: RealDaemon, *kinds: str) -> list[dict[str, Any]]:
    found = node.get("/api/v1/events")["events"]
    return [event for event in found if event["kind"] in kinds]


def ended(node: RealDaemon, *arguments: str) -> tuple[int, str]:
    """Exit code and last words of a daemon that is not expected to run."""
    done = subprocess.run(
        [sys.executable, "-m", "roheletd", "run", "--config", str(node.config_path), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def stop_broker_of(node: RealDaemon) -> None:
    """A daemon that was killed leaves its mosquitto running."""
    config = str(node.data_dir / "mosquitto" / "mosquitto.conf").encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and config in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
    node.until(lambda: _is_free(node.broker_port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_two_replicas_run_pinned_each_to_its_core_and_answer_http(node: RealDaemon) -> None:
    node.start()
    assert submit(node, sample()) == {"web": "added"}
    for item in node.running(2):
        (core,) = map(int, item["cores"])
        assert os.sched_getaffinity(pids(node)[item["instance"]]) == {core}
        port = item["ports"][0]["host_port"]
        node.until(lambda port=port: page(port))
        facts = page(port)
        assert facts is not None
        assert (facts["instance"], facts["node"]) == (item["instance"], "n1")
        assert facts["cores"] == [core]
    assert len({item["ports"][0]["host_port"] for item in node.instances()}) == 2
    unenforced = node.get("/status")["engine"]["unenforced"]
    assert unenforced == ["quota", "memory"]


def test_kill_9_and_restart_keep_the_very_same_processes(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper())
    before = alive(node, 2)
    node.kill()
    assert pids(node) == before
    node.start()
    node.running(2)
    assert pids(node) == before
    assert [item["restarts"] for item in node.instances()] == [0, 0]


def test_a_killed_instance_is_started_again_and_its_end_is_told(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper(replicas=1))
    before = alive(node, 1)
    os.kill(before["nap.1"], signal.SIGKILL)
    node.until(lambda: pids(node).get("nap.1") not in {None, before["nap.1"]})
    (item,) = node.running(1)
    assert item["restarts"] == 1
    (told,) = events(node, "ended")
    assert (told["subject"], told["reason"]) == ("nap.1", "killed by SIGKILL (137)")
    assert [event["subject"] for event in events(node, "running")] == ["nap.1"] * 2


def test_an_instance_that_was_killed_while_no_daemon_watched_is_run_again(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper())
    before = alive(node, 2)
    node.kill()
    os.kill(before["nap.1"], signal.SIGKILL)
    node.start()
    node.until(lambda: len(pids(node)) == 2)
    node.running(2)
    assert pids(node)["nap.1"] != before["nap.1"]
    assert pids(node)["nap.2"] == before["nap.2"]


def test_an_adopted_instance_that_is_killed_is_run_again(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper(replicas=1))
    node.running(1)
    node.kill()
    node.start()
    before = alive(node, 1)
    os.kill(before["nap.1"], signal.SIGKILL)
    node.until(lambda: pids(node).get("nap.1") not in {None, before["nap.1"]})
    node.running(1)


def test_sigterm_ends_the_daemon_in_under_two_seconds_and_no_instance(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper())
    before = alive(node, 2)
    code, took_s = node.terminate()
    assert code == 0, node.log()
    assert took_s < 2.0
    assert pids(node) == before
    assert not (node.data_dir / "roheletd.sock").exists()


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3, 0.45])
def test_sigterm_at_any_moment_of_the_start_ends_it(node: RealDaemon, delay_s: float) -> None:
    node.launch()
    time.sleep(delay_s)
    code, took_s = node.terminate()
    assert code in {0, -signal.SIGTERM}, node.log()
    assert took_s < 2.0


def test_a_removed_service_takes_its_processes_along(node: RealDaemon) -> None:
    node.start()
    submit(node, sleeper(), sample(replicas=1))
    node.running(3)
    node.delete("/api/v1/services/nap")
    node.until(lambda: list(pids(node)) == ["web.1"])
    node.running(1)


def test_a_second_daemon_on_the_same_data_is_refused_and_the_first_goes_on(
    node: RealDaemon,
) -> None:
    node.start()
    submit(node, sleeper())
    before = alive(node, 2)
    code, said = ended(node)
    assert code == 1
    assert f"{node.data_dir} is in use by another roheletd: stop it first" in said
    assert node.get("/status")["instances_running"] == 2
    assert pids(node) == before


@pytest.mark.parametrize("place", [0, 5000])
def test_a_damaged_log_ends_the_part_of_the_node_in_the_cluster_and_no_instance(
    node: RealDaemon, place: int
) -> None:
    """The head of the file, or the middle of what it holds."""
    node.start()
    submit(node, sleeper())
    before = alive(node, 2)
    node.terminate()
    path = node.data_dir / "log.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + secrets.token_bytes(4000) + whole[place + 4000 :])
    damaged = path.read_bytes()
    node.start()
    failure = node.get("/api/v1/cluster")["failure"]
    assert str(path) in failure
    assert "containers keep running" in failure
    assert "this node is alone: move the file away" in failure
    assert any(failure in warning for warning in node.get("/status")["warnings"])
    with pytest.raises(RuntimeError, match=r"503.*takes no commands until it is restarted"):
        submit(node, sleeper(name="more"))
    seen_s = measured_s(node)
    node.until(lambda: measured_s(node) > seen_s + 2)
    assert pids(node) == before
    assert node.terminate()[0] == 0
    assert path.read_bytes() == damaged, "it is left as it is, for whoever wants to save something"
    path.write_bytes(whole)
    node.start()
    node.running(2)
    assert pids(node) == before


def test_nothing_that_was_acknowledged_is_lost_by_kill_9(node: RealDaemon) -> None:
    acknowledged = set()
    for number in range(4):
        node.start()
        for part in "abc":
            name = f"s{number}{part}"
            submit(node, sleeper(name=name, replicas=0))
            acknowledged.add(name)
        node.kill()
    node.start()
    services = node.get("/api/v1/services")["services"]
    assert {item["service"]["name"] for item in services} == acknowledged


@pytest.mark.parametrize(
    ("section", "keys", "said"),
    [
        ("engine", {"kind": "kubernetes"}, "$.engine.kind"),
        ("telemetry", {"interval": 1}, "$.telemetry.interval"),
        ("api", {"port": 70000}, "$.api.port"),
        ("broker", {"mode": "external", "urls": []}, "$.broker.urls"),
        ("broker", {"password_file": "/nowhere"}, "$.broker.password_file"),
    ],
)
def test_a_wrong_configuration_names_its_key(
    node: RealDaemon, section: str, keys: dict[str, Any], said: str
) -> None:
    node.config[section] = {**node.config.get(section, {}), **keys}
    node.launch()
    assert node.process is not None
    assert node.process.wait(timeout=20) == 1
    assert said in node.log()
    assert "Traceback" not in node.log()


def test_the_service_manager_hears_that_it_is_ready_alive_and_stopping(
    node: RealDaemon, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        node.launch(env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"})
        heard: list[tuple[float, str]] = []

        def hear_until(word: str, times: int = 1) -> None:
            while [said for _, said in heard].count(word) < times:
                heard.append((time.monotonic(), manager.recv(4096).decode()))

        hear_until("READY=1")
        assert node.get("/healthz"), "ready means that it answers"
        hear_until("WATCHDOG=1", times=3)
        signs = [at_s for at_s, word in heard if word == "WATCHDOG=1"]
        assert max(later - one for one, later in itertools.pairwise(signs)) < 2.0
        code, _ = node.terminate()
        hear_until("STOPPING=1")
        assert code == 0


def test_with_no_network_and_nothing_but_its_disk_it_starts_its_last_placements(
    node: RealDaemon,
) -> None:
    """A power cut takes the daemon and the instances; the broker never comes back."""
    node.start()
    submit(node, sleeper())
    node.running(2)
    before = node.instances()
    node.kill()
    procfs.kill_marked({"ROHE_CLUSTER": node.config["cluster"]["name"]})
    node.until(lambda: pids(node) == {})  # the kernel takes a moment
    node.start()
    node.running(2)
    assert [item["cores"] for item in node.instances()] == [item["cores"] for item in before]
    status = node.get("/status")
    assert not status["broker"]["connected"]
    assert "no broker listens there" in status["broker"]["reason"]


@pytest.mark.mosquitto
def test_a_broker_port_that_is_taken_keeps_no_instance_from_running(node: RealDaemon) -> None:
    need("mosquitto")
    node.config["broker"] = {"mode": "managed", "port": node.broker_port}
    node.start()
    submit(node, sleeper())
    node.running(2)
    node.kill()
    procfs.kill_marked({"ROHE_CLUSTER": node.config["cluster"]["name"]})
    stop_broker_of(node)
    with socket.create_server(("127.0.0.1", node.broker_port)):
        node.start()
        node.running(2)
        reason = f"127.0.0.1:{node.broker_port} is taken by another program"
        node.until(lambda: reason in node.get("/status")["broker"]["reason"])
        assert any(reason in warning for warning in node.get("/status")["warnings"])
        assert node.process is not None
        assert node.process.poll() is None


def test_a_port_of_the_api_that_is_taken_is_told_and_the_socket_still_answers(
    node: RealDaemon,
) -> None:
    with socket.create_server(("127.0.0.1", node.api_port)):
        node.start()
        assert any(str(node.api_port) in warning for warning in node.get("/status")["warnings"])
