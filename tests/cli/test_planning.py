"""what-if, plan, apply, rebalance and cordon as processes: what is sent, and who is asked."""

import json
from pathlib import Path

import msgspec
import pytest

from roheletd.api import views
from tests.cli import samples
from tests.cli.conftest import Run, on_terminal
from tests.cli.fake_daemon import FakeDaemon

OWN = "services: [{name: web, image: 'w:1'}]\n"
ROHE = "data: {app: {one: {service_name: web, image: w}}}\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("verb", ["what-if", "plan", "apply"])
def test_our_own_file_is_sent_as_it_is_and_rohes_as_a_document(
    verb: str, daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    answers = {"what-if": samples.WHAT_IF, "plan": samples.PLAN, "apply": samples.APPLIED}
    daemon.answers[f"POST /api/v1/{verb}"] = answers[verb]
    for flag in ("-f", "--conf"):
        done = roheletd(verb, flag, str(conf))
        assert (done.returncode, done.stderr) == (0, "")
    conf.write_text(ROHE)
    assert roheletd(verb, "-f", str(conf)).returncode == 0
    own, again, rohe = (request.body for request in daemon.requests)
    assert own == again
    assert own["services"] == [{"name": "web", "image": "w:1"}]
    assert rohe["document"] == {"data": {"app": {"one": {"service_name": "web", "image": "w"}}}}


@pytest.mark.parametrize(
    ("verb", "answer"),
    [("what-if", samples.WHAT_IF), ("plan", samples.PLAN), ("apply", samples.APPLIED)],
)
def test_json_is_the_daemons_own_answer(
    verb: str, answer: msgspec.Struct, daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    daemon.answers[f"POST /api/v1/{verb}"] = answer
    done = roheletd(verb, "-f", str(conf), "-o", "json")
    assert done.stdout.encode() == msgspec.json.encode(answer) + b"\n"


def test_only_a_change_carries_an_id_of_its_own(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    daemon.answers["POST /api/v1/plan"] = samples.PLAN
    daemon.answers["POST /api/v1/apply"] = samples.APPLIED
    roheletd("plan", "-f", str(conf), "--prune")
    roheletd("apply", "-f", str(conf))
    asked, done = daemon.requests
    assert "idempotency-key" not in asked.headers
    assert len(done.headers["idempotency-key"]) == 32
    assert (asked.body["prune"], done.body["prune"]) == (True, False)


def test_a_question_that_is_not_answered_is_no_change_that_may_have_been_made(
    roheletd: Run, conf: Path
) -> None:
    asked = roheletd("plan", "-f", str(conf))
    assert asked.returncode == 3
    assert "may or may not" not in asked.stderr


def test_without_a_terminal_apply_does_it(daemon: FakeDaemon, roheletd: Run, conf: Path) -> None:
    daemon.answers["POST /api/v1/apply"] = samples.APPLIED
    done = roheletd("apply", "-f", str(conf))
    assert done.returncode == 0
    assert "Done: 3 added, 2 changed, 1 removed." in done.stdout
    (request,) = daemon.requests
    assert "fingerprint" not in request.body


def test_on_a_terminal_the_plan_is_shown_and_what_was_shown_is_done(
    daemon: FakeDaemon, conf: Path, tmp_path: Path
) -> None:
    daemon.answers["POST /api/v1/plan"] = samples.PLAN
    daemon.answers["POST /api/v1/apply"] = samples.APPLIED
    done = on_terminal("apply", "-f", str(conf), tmp_path=tmp_path, typed="y\n")
    assert done.code == 0
    assert "~ service detector: its instances are replaced" in done.seen
    assert "Do it (6 changes)? [y/N]" in done.seen
    assert done.piped.startswith("Done: 3 added"), "the plan is not told twice"
    assert daemon.requests[-1].body["fingerprint"] == samples.PLAN.fingerprint


@pytest.mark.parametrize("typed", ["n\n", "\n", "yikes\n", "\x04"])
def test_whoever_does_not_say_yes_changes_nothing(
    typed: str, daemon: FakeDaemon, conf: Path, tmp_path: Path
) -> None:
    daemon.answers["POST /api/v1/plan"] = samples.PLAN
    done = on_terminal("apply", "-f", str(conf), tmp_path=tmp_path, typed=typed)
    assert (done.code, done.piped) == (1, "")
    assert "note: nothing was changed" in done.seen
    assert [request.path for request in daemon.requests] == ["/api/v1/plan"]


def test_with_yes_nobody_is_asked(daemon: FakeDaemon, conf: Path, tmp_path: Path) -> None:
    daemon.answers["POST /api/v1/apply"] = samples.APPLIED
    done = on_terminal("apply", "-f", str(conf), "--yes", tmp_path=tmp_path, typed="")
    assert (done.code, done.seen) == (0, "")


def test_where_there_is_nothing_to_do_nobody_is_asked(
    daemon: FakeDaemon, conf: Path, tmp_path: Path
) -> None:
    nothing = msgspec.structs.asdict(samples.PLAN_NOTHING)
    daemon.answers["POST /api/v1/plan"] = samples.PLAN_NOTHING
    daemon.answers["POST /api/v1/apply"] = views.AppliedPlan(**nothing, changed={})
    done = on_terminal("apply", "-f", str(conf), tmp_path=tmp_path, typed="")
    assert done.code == 0
    assert "[y/N]" not in done.seen
    assert "There is nothing to do." in done.piped


def test_a_plan_that_was_overtaken_is_refused_in_words(
    daemon: FakeDaemon, roheletd: Run, conf: Path
) -> None:
    reason = "what would change is no longer what was shown: plan it again"
    problem = views.Problem(error="refused", reason=reason)
    daemon.answers["POST /api/v1/apply"] = (409, problem)
    done = roheletd("apply", "-f", str(conf))
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr


@pytest.mark.parametrize("verb", ["cordon", "uncordon"])
def test_cordon_names_its_node_in_the_address(verb: str, daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[f"POST /api/v1/nodes/pi1/{verb}"] = views.Changes(changed={"pi1": f"{verb}ed"})
    done = roheletd(verb, "pi1")
    assert done.stdout == f"pi1  {verb}ed\n"
    assert daemon.requests[0].body is None
    assert "content-type" not in daemon.requests[0].headers


def test_the_help_of_cordon_says_that_it_does_not_empty_the_node(roheletd: Run) -> None:
    said = " ".join(roheletd("cordon", "--help").stdout.split())
    assert "this does not empty the node" in said


def test_rebalance_says_how_many_and_whether_to_do_it(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["POST /api/v1/rebalance"] = samples.REBALANCED
    shown = roheletd("rebalance", "--moves", "3", "--dry-run")
    assert "Nothing was moved (--dry-run)." in shown.stdout
    roheletd("rebalance")
    asked, done = daemon.requests
    assert asked.body == {"moves": 3, "dry_run": True}
    assert done.body == {"moves": 1, "dry_run": False}
    assert "idempotency-key" not in asked.headers


def test_a_signed_plan_reads_rohes_files_as_well(roheletd: Run, conf: Path) -> None:
    (conf.parent / "cluster.key").write_text("00" * 32)
    conf.write_text(ROHE)
    args = ("--challenge", "abc", "--cluster", "edge", "--conf", str(conf))
    body = json.loads(roheletd("sign", "apply", *args).stdout)
    assert body["command"] == "apply"
    assert body["document"]["data"].keys() == {"app"}


@pytest.mark.parametrize(
    "argv",
    [
        ["what-if"],
        ["plan"],
        ["apply", "--prune"],
        ["cordon"],
        ["rebalance", "--moves", "0"],
        ["rebalance", "--moves", "1001"],
    ],
)
def test_wrong_usage_is_exit_2(argv: list[str], roheletd: Run) -> None:
    done = roheletd(*argv)
    assert (done.returncode, done.stdout) == (2, "")
