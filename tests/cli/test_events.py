"""`events` as a process: what is asked, what is seen where, and how it ends."""

import json
import time

import pytest
import yaml

from roheletd.cli.events_page import EventLines
from roheletd.cli.tables import Style
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon

PATH = "GET /api/v1/cluster/events"
ENDED = {
    "seq": 7,
    "at_s": 1.7e9,
    "node": "pi3",
    "kind": "ended",
    "subject": "web.2",
    "reason": "exit code 3",
}
RUNS = {"seq": 4, "at_s": 1.7e9 + 1, "node": "n1", "kind": "running", "subject": "web.2"}
AWAY = {"node": "pi4", "note": "its events are not all shown: node pi4 is lost"}
END = {"end": ""}


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_table_names_the_node_and_what_is_missing_is_noted_beside_it(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[PATH] = lines(ENDED, RUNS, AWAY, END)
    done = roheletd("events")
    assert done.stdout == (
        "TIME                 NODE  EVENT\n"
        "2023-11-14 22:13:20  pi3   ended web.2: exit code 3\n"
        "2023-11-14 22:13:21  n1    running web.2\n"
    )
    assert done.stderr == "note: pi4: its events are not all shown: node pi4 is lost\n"
    assert done.returncode == 0


def test_json_is_one_event_per_line_as_the_daemon_gave_it(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[PATH] = lines(ENDED, RUNS, AWAY, END)
    done = roheletd("events", "-o", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [ENDED, RUNS]
    assert "pi4" in done.stderr


def test_yaml_is_a_list_of_the_same_events(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = lines(ENDED, RUNS, END)
    assert yaml.safe_load(roheletd("events", "-o", "yaml").stdout) == [ENDED, RUNS]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["web"], "?subject=web"),
        (["web.2", "--since", "1h"], "?subject=web.2&since_s=3600"),
        (["--node", "pi3", "--after", "7"], "?node=pi3&after=7"),
        (["-f", "pi3"], "?subject=pi3&follow=true"),
    ],
)
def test_what_is_asked_is_what_the_daemon_is_asked(
    arguments: list[str], query: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[PATH + query] = lines(ENDED, END)
    done = roheletd("events", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit code 3" in done.stdout


def test_where_nothing_has_happened_it_says_so(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = daemon.answers[f"{PATH}?subject=web"] = lines(END)
    assert roheletd("events").stdout == "no event is kept\n"
    assert roheletd("events", "web").stdout == "no event about web is kept\n"
    assert roheletd("events", "-o", "json").stdout == ""


def test_an_answer_that_is_not_whole_ends_with_the_reason_below_what_came(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[f"{PATH}?node=pi3"] = lines(ENDED, {"end": "pi3 was silent for 10 s"})
    done = roheletd("events", "--node", "pi3")
    assert "exit code 3" in done.stdout
    assert done.stderr == "roheletd: pi3 was silent for 10 s\n"
    assert done.returncode == 1


def test_an_answer_that_is_broken_off_is_told(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[f"{PATH}?follow=true"] = lines(ENDED)
    done = roheletd("events", "-f")
    assert "exit code 3" in done.stdout
    assert "broke off" in done.stderr
    assert done.returncode == 3


def test_a_daemon_of_another_version_is_told_by_what_it_said(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[PATH] = lines({"seq": 1, "node": "n1", "kind": "running"}, END)
    done = roheletd("events")
    assert (done.returncode, done.stdout) == (3, "")
    assert "--output json shows it as it is" in done.stderr


def test_later_events_stand_below_earlier_ones_and_a_longer_name_makes_room() -> None:
    shown = EventLines(Style())
    first = shown.lines([RUNS])
    second = shown.lines([{**RUNS, "node": "jetson-hall-7"}])
    third = shown.lines([RUNS])
    assert len(first) == 2, "the head, once"
    assert [line.partition("running")[0] for line in (*first[1:], *second, *third)] == [
        f"{clock()}  n1    ",
        f"{clock()}  jetson-hall-7  ",
        f"{clock()}  n1             ",
    ]


def clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.7e9 + 1))
