"""quickstart for real: real daemon, real mosquitto, real processes or containers, and no trace."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.engines import RealEngine
from tests.testbed.requirements import need
from tests.testbed.unix_http import request

PROGRAM = [sys.executable, "-m", "roheletd", "quickstart"]
PROCESSES = [*PROGRAM, "--engine", "process"]
_LONG_S = 30.0


class Place:
    """A runtime directory of the test's own, so that the user's quickstart is left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path / "roheletd-quickstart"
        self.data_dir = self.home / "data"
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(path), "TERM": "xterm"}
        self.env.pop("DOCKER_HOST", None)
        self.children: list[subprocess.Popen[str]] = []

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_LONG_S,
            check=False,
            env={**self.env, **env},
        )

    def spawn(self, *argv: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env
        )
        self.children.append(child)
        return child

    def ask(self, path: str) -> Any:
        return request(self.data_dir / "roheletd.sock", "GET", path, timeout_s=5)

    def running(self) -> bool:
        with contextlib.suppress(OSError):
            states = [view["state"] for view in self.ask("/api/v1/instances")["instances"]]
            return states == ["running", "running"]
        return False

    def until(self, condition: Any) -> None:
        deadline_s = time.monotonic() + _LONG_S
        while not condition():
            assert time.monotonic() < deadline_s, f"not in time\n{self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.home / "daemon.log").read_text()[-4000:]
        return "no log"

    def traces(self) -> list[str]:
        """Processes that have this place in their arguments or environment, and its directory."""
        found = [str(self.home)] if self.home.exists() else []
        mark = str(self.path).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes()
                if mark in arguments or mark in (entry / "environ").read_bytes():
                    found.append(arguments.replace(b"\0", b" ").decode())
        return found

    def sample_pids(self) -> list[int]:
        """Instances of the sample, by what their environment says."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                told = entry.name.isdigit() and (entry / "environ").read_bytes()
                if told and f"ROHE_CLUSTER={self._cluster()}".encode() in told.split(b"\0"):
                    found.append(int(entry.name))
        return found

    def _cluster(self) -> str:
        from roheletd.cli.home import Home  # noqa: PLC0415 - a name, without claiming anything

        return Home(self.home, -1).cluster


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Place]:
    need("mosquitto")
    found = Place(tmp_path)
    yield found
    for child in found.children:
        child.kill()
        child.communicate()
    if found.home.exists():
        found.run(*PROGRAM, "--stop")
    assert found.traces() == []
    assert found.sample_pids() == []


@pytest.mark.mosquitto
def test_once_is_done_when_both_replicas_answer(where: Place) -> None:
    done = where.run(*PROCESSES, "--once", "--output", "json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["engine"], facts["broker"]) == ("process", "managed")
    assert facts["leader"] == facts["node"] != ""
    first, second = facts["instances"]
    assert first["state"] == second["state"] == "running"
    assert first["ports"][0]["host_port"] != second["ports"][0]["host_port"]
    for instance in (first, second):
        assert [str(core) for core in instance["answer"]["cores"]] == list(instance["cores"])
        assert instance["answer"]["instance"] == instance["instance"]
        assert 0 <= instance["score"] <= 1
    assert len(facts["urls"]) == 2
    assert not where.home.exists()


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_once_on_docker_brings_the_image_and_takes_it_away(
    where: Place, dockerd: RealEngine
) -> None:
    host = {"DOCKER_HOST": f"unix://{dockerd.socket}"}
    done = where.run(*PROGRAM, "--once", "--output", "json", **host)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["engine"], facts["engine_name"]) == ("docker", "Docker")
    assert [item["state"] for item in facts["instances"]] == ["running", "running"]
    left = request(dockerd.socket, "GET", "/containers/json?all=1")
    assert not [item for item in left if facts["cluster"] in json.dumps(item["Labels"])]
    tags = [
        tag for image in request(dockerd.socket, "GET", "/images/json") for tag in image["RepoTags"]
    ]
    assert not [tag for tag in tags if "roheletd-sample" in tag]


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_docker_pins_the_sample_to_the_chosen_cores(where: Place, dockerd: RealEngine) -> None:
    host = {"DOCKER_HOST": f"unix://{dockerd.socket}"}
    done = where.run(*PROGRAM, "--keep", "--output", "json", **host)
    assert done.returncode == 0, done.stderr
    try:
        facts = json.loads(done.stdout)
        pinned = {}
        for item in request(dockerd.socket, "GET", "/containers/json"):
            if facts["cluster"] in json.dumps(item["Labels"]):
                inspected = request(dockerd.socket, "GET", f"/containers/{item['Id']}/json")
                cpuset = inspected["HostConfig"]["CpusetCpus"]
                pinned[item["Labels"]["rohe.instance"]] = cpuset.split(",")
        assert pinned == {item["instance"]: list(item["cores"]) for item in facts["instances"]}
    finally:
        stopped = where.run(*PROGRAM, "--stop", **host)
    assert stopped.returncode == 0, stopped.stderr
    left = request(dockerd.socket, "GET", "/containers/json?all=1")
    assert not [item for item in left if facts["cluster"] in json.dumps(item["Labels"])]


@pytest.mark.mosquitto
def test_keep_stays_until_stop_and_refuses_another(where: Place) -> None:
    kept = where.run(*PROCESSES, "--keep", "--once")
    assert kept.returncode == 0, kept.stderr
    assert "quickstart --stop" in kept.stdout
    assert where.running()
    second = where.run(*PROCESSES, "--once")
    assert second.returncode == 1
    assert "is kept running" in second.stderr
    assert where.running()
    stopped = where.run(*PROGRAM, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped; nothing is left of it\n")
    again = where.run(*PROGRAM, "--stop")
    assert (again.returncode, again.stdout) == (0, "no quickstart is running\n")


@pytest.mark.mosquitto
def test_a_second_one_at_the_same_time_is_refused(where: Place) -> None:
    first = where.spawn(*PROCESSES)
    where.until(where.running)
    second = where.run(*PROCESSES, "--once")
    assert second.returncode == 1
    assert f"is running already (process {first.pid})" in second.stderr
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=_LONG_S)
    assert first.returncode == 130


@pytest.mark.mosquitto
def test_a_killed_client_is_cleaned_up_after_by_the_next(where: Place) -> None:
    first = where.spawn(*PROCESSES)
    where.until(where.running)
    before = where.sample_pids()
    assert len(before) == 2
    first.kill()
    first.communicate(timeout=_LONG_S)
    assert where.sample_pids() == before
    done = where.run(*PROCESSES, "--once")
    assert done.returncode == 0, done.stderr


@pytest.mark.mosquitto
def test_after_client_and_daemon_were_killed_stop_ends_the_rest(where: Place) -> None:
    first = where.spawn(*PROCESSES)
    where.until(where.running)
    first.kill()
    first.communicate(timeout=_LONG_S)
    for line in where.run("pgrep", "-f", f"run --config {where.home}").stdout.split():
        os.kill(int(line), signal.SIGKILL)
    where.until(lambda: not where.run("pgrep", "-f", f"run --config {where.home}").stdout)
    assert len(where.sample_pids()) == 2
    assert where.run(*PROGRAM, "--stop").returncode == 0
    assert where.sample_pids() == []


@pytest.mark.mosquitto
def test_where_the_usual_ports_are_taken_others_are_found(where: Place) -> None:
    with contextlib.ExitStack() as held:
        for port in (9470, 9471):
            # Taken by this test, or by another daemon of this machine: either will do.
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        done = where.run(*PROCESSES, "--once", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["broker_url"].endswith(":9471")


@pytest.mark.mosquitto
def test_a_daemon_that_dies_is_told_with_its_last_words(where: Place) -> None:
    first = where.spawn(*PROCESSES)
    where.until(where.running)
    (daemon,) = where.run("pgrep", "-f", f"run --config {where.home}").stdout.split()
    os.kill(int(daemon), signal.SIGKILL)
    _, said = first.communicate(timeout=_LONG_S)
    assert first.returncode == 1
    assert "the daemon was ended by SIGKILL; the end of its log:" in said
    assert "\n  INFO roheletd: " in said
    assert "exit code is unknown" not in said


@pytest.mark.mosquitto
def test_what_does_not_come_to_life_in_time_is_told(where: Place) -> None:
    done = where.run(*PROCESSES, "--once", "--timeout", "0.2")
    assert done.returncode == 1
    assert "not ready within 0.2 s: waiting for" in done.stderr


def test_without_an_engine_there_is_a_reason_and_no_trace(where: Place) -> None:
    done = where.run(
        *PROGRAM, "--engine", "docker", "--once", DOCKER_HOST=f"unix://{where.path}/nobody"
    )
    assert done.returncode == 1
    assert f"{where.path}/nobody" in done.stderr


def test_nothing_is_silent_for_long(where: Place) -> None:
    """Progress is a line each second where there is no terminal."""
    done = where.run(*PROCESSES, "--once")
    story = [line for line in done.stderr.splitlines() if not re.search(r"\(\d+ s\)$", line)]
    assert story == []
    assert done.stdout.splitlines()[0].startswith("broker managed: mosquitto found at")


@pytest.mark.mosquitto
@pytest.mark.parametrize("key", ["q", "C-c"])
def test_the_live_screen_ends_with_a_key_and_restores_the_terminal(where: Place, key: str) -> None:
    need("tmux")
    tmux = ["tmux", "-S", str(where.path / "tmux"), "-f", "/dev/null"]
    script = f"{' '.join(PROCESSES)}; echo ended with $?; stty -a | grep -o -- '-*icanon'; sleep 60"
    where.run(*tmux, "new-session", "-d", "-x", "90", "-y", "30", script)

    def shown() -> str:
        return where.run(*tmux, "capture-pane", "-p").stdout

    try:
        where.until(lambda: "sample.2" in shown() and "core 0" in shown())
        page = shown()
        assert "leader" in page
        assert "curl http://127.0.0.1:" in page
        assert "mosquitto_sub" in page
        where.run(*tmux, "resize-window", "-x", "60", "-y", "20")
        where.until(lambda: "cores " in shown())
        where.run(*tmux, "send-keys", key)
        where.until(lambda: "ended with" in shown())
        where.until(lambda: "icanon" in shown())
        assert f"ended with {0 if key == 'q' else 130}" in shown()
        assert "stopped; nothing is left of it" in shown()
        assert "-icanon" not in shown()
        assert not where.home.exists()
    finally:
        where.run(*tmux, "kill-server")
        where.until(lambda: not where.traces())


@pytest.mark.mosquitto
def test_a_storm_of_signals_does_not_keep_it_from_cleaning_up(where: Place) -> None:
    first = where.spawn(*PROCESSES)
    where.until(where.running)
    while first.poll() is None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            first.send_signal(number)
        time.sleep(0.001)
    first.communicate(timeout=_LONG_S)
    assert first.returncode == 130
    assert not where.home.exists()


@pytest.mark.mosquitto
def test_a_terminal_that_is_closed_ends_it_too(where: Place) -> None:
    need("tmux")
    tmux = ["tmux", "-S", str(where.path / "tmux"), "-f", "/dev/null"]
    where.run(*tmux, "new-session", "-d", "-x", "90", "-y", "30", " ".join(PROCESSES))
    where.until(where.running)
    where.run(*tmux, "kill-server")
    where.until(lambda: not where.home.exists())
    where.until(lambda: not where.traces())


def test_the_sub_line_needs_no_more_than_what_it_says(where: Place) -> None:
    if shutil.which("mosquitto_sub") is None:
        need("mosquitto_sub")
    first = where.spawn(*PROCESSES, "--output", "json")
    where.until(where.running)
    assert first.stdout is not None
    command = json.loads(first.stdout.readline())["watch"]
    heard = where.run("sh", "-c", f"timeout 10 {command} -C 3")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=_LONG_S)
    assert heard.returncode == 0, heard.stderr
    assert "/telemetry {" in heard.stdout or "/status {" in heard.stdout
