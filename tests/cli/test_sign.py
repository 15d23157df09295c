"""Signed messages are opened as the leader opens them."""

import json
from pathlib import Path

import pytest

from roheletd.messages import Challenge, Opened, Opener, Topics
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon

KEY = bytes(range(32))
TOPIC = Topics("edge").command


@pytest.fixture
def key(tmp_path: Path) -> None:
    (tmp_path / "cluster.key").write_text(KEY.hex() + "\n")


def opened(text: str, nonce: str = "c0ffee") -> dict[str, object]:
    found = Opener(KEY, Challenge(lambda: nonce)).open(TOPIC, text.encode())
    assert isinstance(found, Opened), found
    return found.body()


def test_the_leader_accepts_what_was_signed(key: None, daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /api/v1/leader"] = samples.LEADER
    daemon.answers["GET /status"] = samples.STATUS
    done = roheletd("sign", "remove-service", "--json", '{"name": "web"}')
    assert done.returncode == 0, done.stderr
    body = opened(done.stdout)
    assert (body["command"], body["name"]) == ("remove-service", "web")
    assert f"publish on {TOPIC}" in done.stderr
    assert f"rohe/edge/reply/{body['id']}" in done.stderr


def test_with_everything_given_no_daemon_is_needed(key: None, roheletd: Run) -> None:
    done = roheletd("sign", "status", "--challenge", "abc", "--cluster", "edge")
    assert done.returncode == 0, done.stderr
    assert opened(done.stdout, "abc")["command"] == "status"


def test_two_messages_are_never_the_same(key: None, roheletd: Run) -> None:
    args = ("sign", "status", "--challenge", "abc", "--cluster", "edge")
    assert roheletd(*args).stdout != roheletd(*args).stdout


def test_a_rohe_file_becomes_an_import(key: None, roheletd: Run, tmp_path: Path) -> None:
    conf = tmp_path / "add.yaml"
    conf.write_text("data: {app: {one: {service_name: web, image: w}}}")
    args = ("--challenge", "abc", "--cluster", "edge", "--conf", str(conf))
    body = opened(roheletd("sign", "add-services", *args).stdout, "abc")
    assert body["command"] == "import-services"
    conf.write_text(json.dumps({"services": [{"name": "web", "image": "w"}]}))
    body = opened(roheletd("sign", "add-services", *args).stdout, "abc")
    assert (body["command"], body["services"]) == (
        "add-services",
        [{"name": "web", "image": "w"}],
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["destroy"], "COMMAND: expected one of add-nodes"),
        (["remove-service"], "name"),
        (["remove-service", "--json", "{"], "--json, line 1"),
        (["remove-service", "--json", "[]"], "--json: expected an object"),
        (["remove-service", "--json", '{"name": "web", "nmae": 1}'], "nmae"),
        (["remove-service", "--json", '{"name": 3}'], "$.name"),
        (["status", "--key-file", "/nowhere"], "/nowhere: expected a readable file"),
        (["status", "--key-file", "/dev/null"], "expected a cluster key"),
    ],
)
def test_what_the_leader_would_refuse_is_refused_here(
    args: list[str], said: str, key: None, roheletd: Run
) -> None:
    done = roheletd("sign", *args, "--challenge", "abc", "--cluster", "edge")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
