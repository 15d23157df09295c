"""Every page against its golden text; `ROHELETD_GOLDEN=write pytest` writes them anew."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from roheletd.cli import cluster_page, pages, planning_page, why_page
from roheletd.cli.events_page import EventLines
from roheletd.cli.tables import Style
from tests.cli import samples

GOLDEN = Path(__file__).parent / "golden"
NARROW = Style(width=60, colour=True)
WIDE = Style()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def events(answer: Any, style: Style) -> list[str]:
    return EventLines(style).lines(answer["events"])


def golden(name: str, lines: list[str]) -> None:
    path = GOLDEN / f"{name}.txt"
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("ROHELETD_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("name", "page", "answer"),
    [
        ("status", pages.status, samples.STATUS),
        ("status-unwell", pages.status, samples.UNWELL),
        ("nodes", pages.nodes, samples.NODES),
        ("services", pages.services, samples.SERVICES),
        ("instances", pages.instances, samples.INSTANCES),
        ("leader", pages.leader, samples.LEADER),
        ("events", events, samples.EVENTS),
        ("why-waits", why_page.why, samples.WHY),
        ("why-fits", why_page.why, samples.WHY_FITS),
        ("why-instance", why_page.why, samples.WHY_INSTANCE),
        ("why-nowhere", why_page.why, samples.WHY_NOWHERE),
        ("why-large", why_page.why, samples.WHY_LARGE),
        ("what-if", planning_page.what_if, samples.WHAT_IF),
        ("plan", planning_page.plan, samples.PLAN),
        ("plan-nothing", planning_page.plan, samples.PLAN_NOTHING),
        ("applied", planning_page.applied, samples.APPLIED),
        ("rebalance", planning_page.rebalanced, samples.REBALANCED),
        ("changes", pages.changes, samples.CHANGES),
        ("cluster", cluster_page.cluster, samples.CLUSTER),
        ("cluster-unwell", cluster_page.cluster, samples.CLUSTER_UNWELL),
        ("cluster-alone", cluster_page.cluster, samples.CLUSTER_ALONE),
        ("cluster-refused", cluster_page.cluster, samples.CLUSTER_REFUSED),
    ],
)
@pytest.mark.parametrize(("form", "style"), [("wide", WIDE), ("narrow", NARROW)])
def test_a_page_reads_as_its_golden_text(
    name: str,
    page: Callable[[Any, Style], list[str]],
    answer: msgspec.Struct,
    form: str,
    style: Style,
) -> None:
    value = json.loads(msgspec.json.encode(answer))
    lines = page(value, style)
    golden(f"{name}-{form}", lines)
    if style.width:
        plain = page(value, style._replace(colour=False))
        assert max(map(len, plain)) <= style.width


def test_a_status_fits_one_screen() -> None:
    lines = pages.status(json.loads(msgspec.json.encode(samples.UNWELL)), Style(width=80))
    assert len(lines) < 24


@pytest.mark.parametrize(
    ("instance", "said"), [("", True), ("detector.1", True), ("detector.0", False)]
)
def test_why_tells_what_waits_where_it_is_for_want_of_another_place(
    instance: str, *, said: bool
) -> None:
    told = "the volume data of detector.1 is on nano: is lost"
    placed = (samples.instance(0), samples.instance(1))
    answer = structs.replace(
        samples.WHY_FITS, replicas=2, waiting=told, instance=instance, instances=placed
    )
    plain = msgspec.to_builtins(answer, str_keys=True)
    text = " ".join(why_page.why(plain, Style(width=200)))
    assert (f"Not all of it is where it should be: {told}." in text) == said


def test_a_change_that_finds_no_place_leaves_what_runs_and_says_so() -> None:
    stuck = structs.replace(samples.FORECAST.refused[0], missing=0, reason="no node has an engine")
    forecast = structs.replace(samples.FORECAST, refused=(stuck,))
    plain = msgspec.to_builtins(structs.replace(samples.WHAT_IF, forecast=forecast), str_keys=True)
    told = (
        "detector would run on as it is, for a new instance finds no place: no node has an engine."
    )
    assert told in planning_page.what_if(plain, Style(width=0))


def test_an_empty_cluster_says_so_in_words() -> None:
    assert pages.nodes({"nodes": []}, WIDE)[-1] == "no node is registered yet"
    assert pages.instances({"instances": []}, WIDE)[-1] == "no instance is placed"
    assert "add-service" in pages.services({"services": []}, WIDE)[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (93_784, "1 d 2 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert pages.duration(seconds) == text


def test_cores_are_in_the_order_of_their_numbers_not_of_their_text() -> None:
    assert pages.cores({"10": 50, "2": 500}) == "2: 500 m, 10: 50 m"


@pytest.mark.parametrize(
    ("view", "word"),
    [
        ({"state": "running", "health": "healthy", "checked": False}, "running"),
        ({"state": "running", "health": "healthy", "checked": True}, "healthy"),
        ({"state": "running", "health": "starting", "checked": True}, "starting"),
        ({"state": "running", "health": "unhealthy", "checked": True}, "unhealthy"),
        ({"state": "running", "health": None}, "running"),
        ({"state": "waiting", "health": "unhealthy"}, "waiting"),
    ],
)
def test_the_state_of_what_is_checked_is_that_of_its_health(view: Any, word: str) -> None:
    assert pages.instance_state(view).text == word


def test_what_failed_lately_is_told_also_once_it_runs_again() -> None:
    view = {"reason": "", "failures": 1, "last_failure": "out of memory (limit 64 MiB)"}
    assert pages.trouble(view) == "failed once lately: out of memory (limit 64 MiB)"
    assert pages.trouble({**view, "failures": 3}).startswith("failed 3 times in a row lately: out")
    assert pages.trouble({**view, "reason": "unhealthy: port 80: no answer"}).startswith(
        "unhealthy"
    )
    assert pages.trouble({"reason": ""}) == ""


@pytest.mark.parametrize(
    ("view", "remark"),
    [
        ({"restarts": 0}, ""),
        ({"restarts": 1}, "one restart so far: `roheletd events detector.0` tells why"),
        (
            {"failures": 2, "last_failure": "killed by SIGKILL (137)", "restarts": 5},
            "failed 2 times in a row lately: killed by SIGKILL (137); 5 restarts so far: ",
        ),
        (
            {"reason": "exit code 3", "failures": 2, "last_failure": "exit code 3", "restarts": 2},
            "exit code 3; failed 2 times in a row; `roheletd events detector.0` tells why",
        ),
        (
            {"reason": "pulling 40 % of 90 MB", "failures": 1, "last_failure": "no such image"},
            "pulling 40 % of 90 MB; failed once, last: no such image",
        ),
    ],
)
def test_why_tells_how_often_it_failed_and_where_each_time_is_told(
    view: dict[str, Any], remark: str
) -> None:
    answer = structs.replace(samples.WHY_FITS, instances=(samples.instance(0, **view),))
    lines = why_page.why(msgspec.to_builtins(answer, str_keys=True), WIDE)
    marked = [line for line in lines if line.startswith("  ! ")]
    assert marked == [] if not remark else marked[0].startswith(f"  ! {remark}")
