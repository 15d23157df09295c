"""ROHE's verbs: which file goes to which door, and what is sent."""

import json
from pathlib import Path

import pytest

from roheletd.api import views
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon, on_tcp

ROHE = """\
application: test
command: ADD SERVICE
data:
  vision:
    one: {service_name: detector, image: "d:1"}
  sound:
    two: {service_name: listener, image: "l:1"}
"""
OWN = """\
services:
- {name: detector, image: "d:1"}
- {name: listener, image: "l:1", application: sound}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def test_a_rohe_file_goes_to_the_importer(daemon: FakeDaemon, roheletd: Run, conf: Path) -> None:
    conf.write_text(ROHE)
    daemon.answers["POST /api/v1/rohe/services"] = samples.CHANGES
    done = roheletd("orchestration", "add-service", "--app", "test", "--conf", str(conf))
    assert done.returncode == 0, done.stderr
    (request,) = daemon.requests
    assert request.body["document"]["data"].keys() == {"vision", "sound"}
    assert len(request.headers["idempotency-key"]) == 32
    assert "the sum 430 is nearest to 424" in done.stdout


def test_app_limits_a_rohe_file_to_one_application(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    conf.write_text(ROHE)
    daemon.answers["POST /api/v1/rohe/services"] = samples.CHANGES
    assert roheletd("orchestration", "add-service", "--app", "sound", "--conf", str(conf))
    assert daemon.requests[0].body["document"]["data"].keys() == {"sound"}
    done = roheletd("orchestration", "add-service", "--app", "smell", "--conf", str(conf))
    assert done.returncode == 1
    assert "--app: expected an application of the file (vision, sound)" in done.stderr
    assert len(daemon.requests) == 1


def test_our_own_file_goes_to_our_own_door(daemon: FakeDaemon, roheletd: Run, conf: Path) -> None:
    conf.write_text(OWN)
    daemon.answers["POST /api/v1/services"] = samples.CHANGES
    assert roheletd("orchestration", "add-service", "--conf", str(conf)).returncode == 0
    assert [item["name"] for item in daemon.requests[0].body["services"]] == [
        "detector",
        "listener",
    ]


def test_app_names_the_application_of_our_own_services_without_one(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    conf.write_text(OWN)
    daemon.answers["POST /api/v1/services"] = samples.CHANGES
    assert roheletd("orchestration", "add-service", "--app", "vision", "--conf", str(conf))
    (service,) = daemon.requests[0].body["services"]
    assert (service["name"], service["application"]) == ("detector", "vision")


def test_a_file_can_come_from_standard_input(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["POST /api/v1/nodes"] = samples.CHANGES
    text = json.dumps({"nodes": [{"name": "pi9"}]})
    done = roheletd("orchestration", "add-node", "--conf", "-", text=text)
    assert done.returncode == 0, done.stderr
    assert daemon.requests[0].body == {"nodes": [{"name": "pi9"}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a readable file"),
        (b"a: [", "file.yaml, line 2, column 1"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 2_000_000, "at most"),
        (b"a: !!python/object:os.system {}", "file.yaml, line 1"),
    ],
)
def test_a_bad_file_is_exit_1_and_nothing_is_sent(
    content: bytes | None, said: str, daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    if content is not None:
        conf.write_bytes(content)
    done = roheletd("orchestration", "add-node", "--conf", str(conf))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not daemon.requests


def test_get_takes_rohes_file_and_says_that_it_was_not_read(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["GET /api/v1/nodes"] = samples.NODES
    done = roheletd("orchestration", "get-node", "--conf", "get_node.yaml", "-o", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["nodes"]
    assert done.stderr == "note: get-node lists every node; get_node.yaml was not read\n"


def test_remove_by_name_answers_as_the_daemon_does(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["DELETE /api/v1/services/web"] = views.Changes(changed={"web": "removed"})
    done = roheletd("orchestration", "remove-service", "web", "-o", "json")
    assert done.stdout == '{"changed":{"web":"removed"},"notes":[]}\n'


def test_the_file_that_added_services_removes_them(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    for name in ("detector", "listener"):
        changed = views.Changes(changed={name: "removed"})
        daemon.answers[f"DELETE /api/v1/services/{name}"] = changed
    for text in (ROHE, OWN):
        conf.write_text(text)
        done = roheletd("orchestration", "remove-service", "--conf", str(conf), "-o", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["changed"].keys() == {"detector", "listener"}


def test_remove_all_node_removes_what_can_be_and_names_what_cannot(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    conf.write_text("application: test\ncommand: REMOVE ALL NODE\n")
    daemon.answers["GET /api/v1/nodes"] = samples.NODES
    daemon.answers["DELETE /api/v1/nodes/xavier"] = views.Changes(changed={"xavier": "removed"})
    daemon.answers["DELETE /api/v1/nodes/nano"] = views.Changes(changed={"nano": "removed"})
    daemon.answers["DELETE /api/v1/nodes/pi1"] = (
        409,
        views.Problem(error="refused", reason="node pi1 is alive"),
    )
    done = roheletd("orchestration", "remove-node", "--conf", str(conf), "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "changed": {"xavier": "removed", "nano": "removed"},
        "notes": ["pi1 was not removed, refused: node pi1 is alive"],
    }


def test_a_file_without_a_name_removes_nothing(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    conf.write_text("application: test\n")
    done = roheletd("orchestration", "remove-service", "--conf", str(conf))
    assert done.returncode == 1
    assert "$.data" in done.stderr
    assert not daemon.requests


@pytest.mark.parametrize("source", ["option", "environment", "data-dir"])
def test_a_change_over_tcp_carries_the_token(source: str, roheletd: Run, tmp_path: Path) -> None:
    token_file = tmp_path / ("api.token" if source == "data-dir" else "other")
    token_file.write_text("s3cret\n")
    args = ["--token-file", str(token_file)] if source == "option" else []
    env = {"ROHELETD_TOKEN": "s3cret"} if source == "environment" else {}
    with on_tcp() as daemon:
        daemon.answers["DELETE /api/v1/nodes/pi"] = views.Changes(changed={"pi": "removed"})
        url = f"{daemon.address}/management/remove-node"
        done = roheletd("orchestration", "remove-node", "pi", "--url", url, *args, **env)
        assert done.returncode == 0, done.stderr
        assert daemon.requests[0].headers["authorization"] == "Bearer s3cret"


def test_a_token_file_that_cannot_be_read_is_named(roheletd: Run) -> None:
    with on_tcp() as daemon:
        done = roheletd("leader", "--url", daemon.address, "--token-file", "/nowhere")
    assert done.returncode == 1
    assert "/nowhere: expected a readable token" in done.stderr
