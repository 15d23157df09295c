"""`roheletd volume` as a process: what it shows, what it asks, and what it never does unasked."""

import pytest

from roheletd.api import views
from roheletd.api.volumes import VolumeList
from tests.cli import samples
from tests.cli.conftest import Run, Session, on_terminal
from tests.cli.fake_daemon import FakeDaemon

REMOVED = views.Changes(
    changed={"edge.db.2.data": "removed", "db.2": "may go elsewhere"}, notes=("said",)
)
NO_ONE_TO_ASK = "roheletd: --yes: expected where nobody can be asked: it deletes data\n"


@pytest.fixture
def answering(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answers["GET /api/v1/volumes?node=pi1"] = samples.VOLUMES
    for name in ("db.1", "db.2", "no.1"):
        daemon.answers[f"DELETE /api/v1/volumes/edge.{name}.data?node=pi1"] = REMOVED
    return daemon


def asked(daemon: FakeDaemon) -> list[str]:
    return [request.method for request in daemon.requests]


def test_each_volume_has_a_line_and_below_them_is_what_is_not_known(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers["GET /api/v1/volumes"] = samples.VOLUMES
    done = roheletd("volume", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "VOLUME           NODE  INSTANCE  CLAIM     WHY",
        "edge.db.1.data   pi1   db.1      in use    db.1 is placed there",
        "edge.db.2.data   pi1   db.2      kept      db.2 has no place now",
        "edge.old.1.data  pi1   old.1     orphaned  there is no service old any more",
        "  ! what nano has is not known: node nano is lost",
        "  ! hub runs no instances",
    ]


def test_none_is_said_in_words(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers["GET /api/v1/volumes"] = VolumeList(volumes=(), unanswered={}, without={})
    assert roheletd("volume", "list").stdout.splitlines()[1:] == [
        "no instance has left a named volume"
    ]


def test_with_yes_it_is_removed_without_a_question(answering: FakeDaemon, roheletd: Run) -> None:
    done = roheletd("volume", "remove", "edge.db.2.data", "--node", "pi1", "--yes")
    assert done.returncode == 0
    assert "may go elsewhere" in done.stdout
    assert asked(answering) == ["DELETE"]
    assert "idempotency-key" in answering.requests[0].headers


def test_where_nobody_can_be_asked_nothing_is_deleted(answering: FakeDaemon, roheletd: Run) -> None:
    done = roheletd("volume", "remove", "edge.db.2.data", "--node", "pi1", text="y\n")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", NO_ONE_TO_ASK)
    assert asked(answering) == []


def removed(volume: str, typed: str, directory: object) -> Session:
    arguments = ("volume", "remove", volume, "--node", "pi1")
    return on_terminal(*arguments, tmp_path=directory, typed=typed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "methods", "code"),
    [("y\n", ["GET", "DELETE"], 0), ("n\n", ["GET"], 1), ("\n", ["GET"], 1), ("\x04", ["GET"], 1)],
)
def test_on_a_terminal_it_says_whose_data_it_is_and_asks(
    typed: str, methods: list[str], code: int, answering: FakeDaemon, tmp_path: object
) -> None:
    done = removed("edge.db.2.data", typed, tmp_path)
    assert "edge.db.2.data on pi1 is kept (db.2 has no place now). Delete its data?" in done.seen
    assert (asked(answering), done.code) == (methods, code)
    assert ("nothing was deleted" in done.seen) == (code == 1)


def test_one_that_is_in_use_is_refused_before_anybody_is_asked(
    answering: FakeDaemon, tmp_path: object
) -> None:
    done = removed("edge.db.1.data", "y\n", tmp_path)
    assert "roheletd: edge.db.1.data is in use on pi1: db.1 is placed there" in done.seen
    assert (asked(answering), done.code) == (["GET"], 1)


def test_of_one_that_is_not_there_the_daemon_says_so(
    answering: FakeDaemon, tmp_path: object
) -> None:
    removed("edge.no.1.data", "", tmp_path)
    assert asked(answering) == ["GET", "DELETE"]


def test_the_node_has_to_be_named(answering: FakeDaemon, roheletd: Run) -> None:
    done = roheletd("volume", "remove", "edge.db.2.data", "--yes")
    assert done.returncode == 2
    assert "--node" in done.stderr
    assert asked(answering) == []
