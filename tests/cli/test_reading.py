"""The commands that ask, as processes: what they print, where, and how they end."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import yaml

from roheletd.api import views
from roheletd.cli.client import address_of
from roheletd.errors import InvalidInput
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon, on_tcp

READS = {
    "status": ("/status", samples.STATUS),
    "nodes": ("/api/v1/nodes", samples.NODES),
    "services": ("/api/v1/services", samples.SERVICES),
    "instances": ("/api/v1/instances", samples.INSTANCES),
    "registry": ("/api/v1/registry", samples.REGISTRY),
    "registry web": ("/api/v1/registry?service=web", samples.REGISTRY),
    "volume list": ("/api/v1/volumes", samples.VOLUMES),
    "volume list --node pi1": ("/api/v1/volumes?node=pi1", samples.VOLUMES),
    "leader": ("/api/v1/leader", samples.LEADER),
    "why detector": ("/api/v1/why/detector", samples.WHY),
    "cluster status": ("/api/v1/cluster", samples.CLUSTER),
    "orchestration get-service": ("/api/v1/services", samples.SERVICES),
    "orchestration get-node": ("/api/v1/nodes", samples.NODES),
}


@pytest.mark.parametrize("command", READS)
def test_json_is_the_daemons_own_answer_and_nothing_else(
    command: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    path, answer = READS[command]
    daemon.answers[f"GET {path}"] = answer
    done = roheletd(*command.split(), "--output", "json")
    assert done.stdout.encode() == msgspec.json.encode(answer) + b"\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", READS)
def test_yaml_holds_the_same_values(command: str, daemon: FakeDaemon, roheletd: Run) -> None:
    path, answer = READS[command]
    daemon.answers[f"GET {path}"] = answer
    done = roheletd("-o", "yaml", *command.split())
    assert yaml.safe_load(done.stdout) == json.loads(msgspec.json.encode(answer))


@pytest.mark.parametrize("command", READS)
def test_tables_are_the_default(command: str, daemon: FakeDaemon, roheletd: Run) -> None:
    path, answer = READS[command]
    daemon.answers[f"GET {path}"] = answer
    done = roheletd(*command.split())
    assert done.returncode == 0, done.stderr
    assert "{" not in done.stdout
    assert "\x1b" not in done.stdout


def test_options_work_before_and_after_the_command(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /status"] = samples.STATUS
    before = roheletd("--data-dir", str(Path(daemon.address).parent), "-o", "json", "status")
    after = roheletd("status", "--data-dir", str(Path(daemon.address).parent), "-o", "json")
    assert before.stdout == after.stdout != ""


@pytest.mark.parametrize("command", ["status", "cluster status"])
def test_status_loads_nothing_that_it_does_not_need(
    command: str, daemon: FakeDaemon, tmp_path: Path
) -> None:
    path, answer = READS[command]
    daemon.answers[f"GET {path}"] = answer
    script = (
        "import sys; before = set(sys.modules); from roheletd.cli import main; "
        f"assert main([*{command.split()!r}, '--data-dir', {str(tmp_path)!r}]) == 0; "
        "print(*sys.modules.keys() - before, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stderr.split())
    heavy = {
        "asyncio",
        "aiohttp",
        "msgspec",
        "yaml",
        "ssl",
        "email",
        "http",
        "pathlib",
        "threading",
    }
    assert not heavy & loaded
    assert "roheletd.cli.pages" in loaded


def test_a_name_with_strange_characters_stays_one_segment(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["GET /api/v1/why/a%2Fb%20%3F%C3%A9"] = (
        404,
        views.Problem(error="not found", reason="there is no service a/b ?é"),
    )
    done = roheletd("why", "a/b ?é")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "roheletd: not found: there is no service a/b ?é\n"


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        (400, views.Problem(error="invalid", reason="expected int", field="$.a"), "$.a: expected"),
        (409, views.Problem(error="refused", reason="the node is alive"), "the node is alive"),
        (503, views.Problem(error="unavailable", reason="the disk is full"), "the disk is full"),
        (401, views.Problem(error="forbidden", reason="no token"), "--token-file"),
    ],
)
def test_what_the_daemon_refuses_is_exit_1_with_its_reason(
    status: int, problem: views.Problem, said: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["GET /status"] = (status, problem)
    done = roheletd("status", "-o", "json")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_socket_is_exit_3_and_says_what_to_do(roheletd: Run, tmp_path: Path) -> None:
    done = roheletd("status")
    assert (done.returncode, done.stdout) == (3, "")
    assert str(tmp_path / "roheletd.sock") in done.stderr
    assert "systemctl start roheletd" in done.stderr
    assert "--data-dir" in done.stderr


def test_a_quickstart_that_runs_is_pointed_at(roheletd: Run, tmp_path: Path) -> None:
    data_dir = tmp_path / "roheletd-quickstart" / "data"
    data_dir.mkdir(parents=True)
    (data_dir / "roheletd.sock").touch()
    done = roheletd("status", "--data-dir", "/nowhere", XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 3
    assert f"a quickstart of yours is running: --data-dir {data_dir}" in done.stderr


def test_a_socket_that_nobody_serves_is_told_from_one_that_is_not_there(
    roheletd: Run, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "roheletd.sock"))
    done = roheletd("status")
    assert done.returncode == 3
    assert "the daemon has ended" in done.stderr


@pytest.mark.root
def test_a_forbidden_socket_says_who_may(daemon: FakeDaemon, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tmp_path.chmod(0o755)
    Path(daemon.address).chmod(0o600)
    script = (
        "import os, sys; sys.path.insert(0, os.getcwd()); "
        "from roheletd.cli import client; os.setuid(65534); "
        f"client.Client(client.Address(path={daemon.address!r})).get('/status')"
    )
    for parent in tmp_path.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "may not be opened by this user" in done.stderr


def test_a_daemon_that_does_not_answer_is_given_up(roheletd: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "roheletd.sock"))
        silent.listen()
        began_s = time.monotonic()
        done = roheletd("status", "--timeout", "1.5")
    assert done.returncode == 3
    assert "does not answer within 1.5 s" in done.stderr
    assert "waiting for the daemon (1 s)" in done.stderr
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize(
    "answer",
    [b"hello", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"],
)
def test_somebody_else_on_the_socket_is_not_taken_for_the_daemon(
    answer: bytes, roheletd: Run, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "roheletd.sock"))
        other.listen()
        child = subprocess.Popen(
            [sys.executable, "-m", "roheletd", "--data-dir", str(tmp_path), "status"],
            stderr=subprocess.PIPE,
        )
        connection, _ = other.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 3
    assert said.count(b"\n") == 1
    assert b"answer" in said


def test_an_answer_of_another_version_is_no_traceback(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /status"] = b'{"version":"9"}'
    done = roheletd("status")
    assert done.returncode == 3
    assert "--output json shows it" in done.stderr
    assert roheletd("status", "-o", "json").stdout == '{"version":"9"}\n'


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_it_quietly(
    unbuffered: str, daemon: FakeDaemon, tmp_path: Path
) -> None:
    many = views.Instances(instances=(samples.instance(0),) * 5000)
    daemon.answers["GET /api/v1/instances"] = many
    command = f"{sys.executable} -m roheletd --data-dir {tmp_path} instances | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("INSTANCE")


def test_control_c_ends_it_quietly(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "roheletd.sock"))
        silent.listen()
        child = subprocess.Popen(
            [sys.executable, "-m", "roheletd", "--data-dir", str(tmp_path), "status"],
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        with connection:
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (130, b"")


@pytest.mark.parametrize(
    ("env", "escape"),
    [({}, b"\x1b[1m"), ({"NO_COLOR": "1"}, b""), ({"TERM": "dumb"}, b"")],
)
def test_colour_is_for_terminals_that_want_it(
    env: dict[str, str], escape: bytes, daemon: FakeDaemon, tmp_path: Path
) -> None:
    daemon.answers["GET /status"] = samples.STATUS
    main, end = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-m", "roheletd", "--data-dir", str(tmp_path), "status"],
        stdout=end,
        check=True,
        timeout=30,
        env={**base, "TERM": "xterm", **env},
    )
    shown = os.read(main, 4096)
    os.close(end)
    os.close(main)
    assert shown.startswith(escape + b"roheletd 0.1.0")
    assert (b"\x1b" in shown) == bool(escape)


def test_tcp_is_asked_at_host_and_port_whatever_the_path_says(roheletd: Run) -> None:
    with on_tcp() as daemon:
        daemon.answers["GET /status"] = samples.STATUS
        done = roheletd("status", "-o", "json", "--url", f"{daemon.address}/management/status?x=1")
        assert done.returncode == 0, done.stderr
        host = daemon.requests[0].headers["host"]
    assert host == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://pi1", "http://pi1:9470"),
        ("pi1:80", "http://pi1:80"),
        ("https://pi1:443/management/add-node", "https://pi1:443"),
        ("http://[::1]:9470/", "http://[::1]:9470"),
        ("http://user@pi1:1", "http://pi1:1"),
    ],
)
def test_of_a_url_only_scheme_host_and_port_count(url: str, address: str) -> None:
    assert str(address_of(url=url, data_dir=None)) == address


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://pi:0", "http://pi:65536", "pi:x"]
)
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="--url: expected http://HOST"):
        address_of(url=url, data_dir=None)


@pytest.mark.parametrize(
    "argv",
    [
        ["bogus"],
        [],
        ["status", "--output", "xml"],
        ["status", "--timeout", "nan"],
        ["status", "--timeout", "0"],
        ["why"],
        ["events", "--after", "-1"],
        ["orchestration"],
        ["orchestration", "remove-node"],
        ["orchestration", "remove-node", "pi1", "--conf", "x"],
        ["orchestration", "add-service"],
        ["quickstart", "--once", "--stop"],
    ],
)
def test_wrong_usage_is_exit_2(argv: list[str], roheletd: Run) -> None:
    done = roheletd(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: roheletd" in done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["status", "--help"], ["orchestration", "--help"]])
def test_help_has_examples(argv: list[str], roheletd: Run) -> None:
    done = roheletd(*argv)
    assert done.returncode == 0
    assert "examples:" in done.stdout


def test_help_documents_the_exit_codes(roheletd: Run) -> None:
    said = roheletd("--help").stdout
    for code in ("0    done", "1    refused", "2    wrong", "3    the daemon cannot", "130", "141"):
        assert code in said
