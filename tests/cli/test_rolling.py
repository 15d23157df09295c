"""scale, restart, rollback, rollout, drain and node as processes: what is sent and what is seen."""

import json

import pytest

from roheletd.api import views
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon

DONE = views.Changes(changed={"web": "done"})


def rollout(state: str | None, **more: object) -> views.RolloutView:
    base = {"service": "web", "source": 4, "target": 9, "wanted": 3, "new": 1, "settled": 0}
    return views.RolloutView(state=state, **{**base, "old": 2, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "asked", "body"),
    [
        (("scale", "web", "5"), "/api/v1/scale", {"name": "web", "replicas": 5}),
        (("restart", "web"), "/api/v1/services/web/restart", None),
        (("rollback", "web"), "/api/v1/services/web/rollback", None),
        (("drain", "pi3", "--no-wait"), "/api/v1/nodes/pi3/drain", None),
        (("undrain", "pi3"), "/api/v1/nodes/pi3/undrain", None),
        (
            ("node", "label", "pi3", "zone=hall", "a=b=c", "rack-"),
            "/api/v1/labels",
            {"name": "pi3", "labels": {"zone": "hall", "a": "b=c"}, "removed": ["rack"]},
        ),
    ],
)
def test_a_verb_asks_for_what_it_says(
    arguments: tuple[str, ...], asked: str, body: object, daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[f"POST {asked}"] = DONE
    done = roheletd(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    (request,) = daemon.requests
    assert request.body == body


def test_a_node_is_removed_by_its_name(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["DELETE /api/v1/nodes/pi3"] = DONE
    assert roheletd("node", "remove", "pi3").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scale", "web", "-1"), "expected a number from 0 to 10000"),
        (("scale", "web", "many"), "expected a number from 0 to 10000"),
        (("scale", "web", "10001"), "expected a number from 0 to 10000"),
        (("node", "label", "pi3", "zone"), "expected KEY=VALUE or KEY-"),
        (("node", "label", "pi3", "=x"), "expected KEY=VALUE or KEY-"),
        (("node", "label", "pi3"), "KEY=VALUE|KEY-"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    arguments: tuple[str, ...], words: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    done = roheletd(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert daemon.requests == []


def test_the_state_of_a_rollout_fits_a_few_lines(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /api/v1/services/web/rollout"] = rollout(
        "paused",
        failed=("web.1",),
        reason="web.1 on pi: ended with exit code 3",
        rollback_to=4,
    )
    assert roheletd("rollout", "status", "web").stdout.splitlines() == [
        "service    web",
        "rollout    paused",
        "revisions  4 -> 9",
        "instances  0 of 3 new and healthy, 1 failed, 2 old",
        "because: web.1 on pi: ended with exit code 3",
        "`roheletd rollback web` goes to 4",
    ]


def test_one_that_was_never_changed_has_none(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /api/v1/services/web/rollout"] = rollout(None, source=None)
    assert roheletd("rollout", "status", "web").stdout == ("web was never changed: revision 9\n")


def test_one_of_which_nothing_ran_says_so_and_where_the_way_back_goes(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    answer = rollout(None, source=None, rollback_to=4)
    daemon.answers["GET /api/v1/services/web/rollout"] = answer
    assert roheletd("rollout", "status", "web").stdout.splitlines() == [
        "web had no instance to replace when it was changed: revision 9",
        "`roheletd rollback web` goes to 4",
    ]


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("rolled back", 1), ("paused", 1)])
def test_whoever_follows_sees_each_step_once_and_how_it_ended(
    end: str, code: int, daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["GET /api/v1/services/web/rollout"] = [
        rollout("running"),
        rollout("running"),
        rollout("running", settled=1, waiting="pi: has 10 MiB free"),
        rollout(end, new=3, settled=3, old=0, reason="" if end == "completed" else "it failed"),
    ]
    done = roheletd("rollout", "status", "web", "--follow")
    assert done.returncode == code
    first, second, last = done.stdout.splitlines()
    assert first == "running: 0 of 3 new and healthy, 1 starting, 2 old"
    assert second == "running: 1 of 3 new and healthy, 2 old (pi: has 10 MiB free)"
    assert last.startswith(f"{end}: 3 of 3 new and healthy")


@pytest.mark.parametrize(("end", "code"), [("rolled back", 0), ("paused", 1)])
def test_a_way_back_that_somebody_asked_for_is_done_once_it_is_gone(
    end: str, code: int, daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["POST /api/v1/services/web/rollback"] = DONE
    daemon.answers["GET /api/v1/services/web/rollout"] = [
        rollout("rolling back", reason="asked for"),
        rollout(end, new=3, settled=3, old=0, reason="asked for"),
    ]
    assert roheletd("rollback", "web", "--follow").returncode == code


def test_followed_as_json_it_is_one_answer_a_line(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /api/v1/services/web/rollout"] = [
        rollout("running"),
        rollout("completed", new=3, settled=3, old=0),
    ]
    done = roheletd("rollout", "status", "web", "--follow", "-o", "json")
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == [
        "running",
        "completed",
    ]


def test_a_drain_is_looked_on_until_the_node_is_empty(daemon: FakeDaemon, roheletd: Run) -> None:
    left = tuple(
        views.Leaving(instance=f"web.{slot}", state="running", waiting="its turn comes")
        for slot in (1, 2)
    )
    daemon.answers["POST /api/v1/nodes/pi3/drain"] = DONE
    daemon.answers["GET /api/v1/nodes/pi3/drain"] = [
        views.DrainView(node="pi3", draining=True, left=left),
        views.DrainView(node="pi3", draining=True, left=left[1:]),
        views.DrainView(node="pi3", draining=True, left=()),
    ]
    done = roheletd("drain", "pi3")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "2 instances are left; web.1: its turn comes",
        "1 instance is left; web.2: its turn comes",
        "pi3 is empty, and takes nothing new",
    ]


def test_a_drain_that_somebody_ended_was_refused(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["POST /api/v1/nodes/pi3/drain"] = DONE
    daemon.answers["GET /api/v1/nodes/pi3/drain"] = views.DrainView(
        node="pi3", draining=False, left=()
    )
    done = roheletd("drain", "pi3")
    assert done.returncode == 1
    assert done.stdout == "pi3 is not drained any more\n"
