"""What happened on another node: two real daemons and a real mosquitto."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.streams.conftest import add, ask, both_are_well, script
from tests.testbed.daemon import RealDaemon

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]

Pair = tuple[RealDaemon, RealDaemon]
FAILING = "sleep 1; echo no camera; exit 3"


def events(node: RealDaemon, *arguments: str) -> list[dict[str, Any]]:
    done = ask(node, "events", *arguments, "-o", "json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(event: dict[str, Any]) -> str:
    return f"{event['node']}: {event['kind']} {event['subject']}: {event['reason']}"


def test_why_an_instance_was_restarted_is_told_on_another_node(pair: Pair) -> None:
    first, _ = pair
    add(first, script("faint", FAILING, constraints=["node.name == n2"]))
    ended = "n2: ended faint.1: ended with exit code 3"
    for node in pair:
        node.until(lambda at=node: ended in " ".join(map(told, events(at, "faint.1"))))
    shown = ask(first, "events", "faint").stdout
    head, *rows = shown.splitlines()
    assert head.split() == ["TIME", "NODE", "EVENT"]
    assert any("  n2    ended faint.1: ended with exit code 3" in row for row in rows), shown
    leader = first.get("/api/v1/cluster")["leader"]
    assert any(f"  {leader}    placed faint.1: on n2" in row for row in rows), shown
    first.delete("/api/v1/services/faint")


def test_events_of_all_are_in_order_of_time_and_the_same_on_each_node(pair: Pair) -> None:
    first, second = pair
    found = events(first)
    assert {event["node"] for event in found} == {"n1", "n2"}
    times = [event["at_s"] for event in found]
    assert times == sorted(times)
    assert events(second)[: len(found)] == found


def test_one_node_or_one_name_is_told_of_alone(pair: Pair) -> None:
    first, _ = pair
    assert {event["node"] for event in events(first, "--node", "n2")} == {"n2"}
    about = {event["subject"] for event in events(first, "two")}
    assert about <= {"two", "two.1"}
    assert "two.1" in about
    seen = events(first, "--node", "n2")
    assert [event for event in events(first, "n2") if event in seen] == seen
    assert events(first, "--since", "0s") == []


def test_a_name_or_a_node_that_is_not_there_is_refused(pair: Pair) -> None:
    for arguments, reason in (
        (("twp",), "there is no service, instance or node twp now; did you mean two?"),
        (("--node", "n3"), "there is no node n3 in the cluster"),
        (("--after", "3"), "expected with `node`"),
    ):
        done = ask(pair[0], "events", *arguments)
        assert done.returncode == 1
        assert reason in done.stderr


def test_what_happens_on_another_node_is_followed_and_so_is_the_next_start_of_it(
    pair: Pair,
) -> None:
    first, second = pair
    path = first.folder / "followed-events"
    with path.open("wb") as into:
        program = [sys.executable, "-m", "roheletd", "--data-dir", str(first.data_dir)]
        following = subprocess.Popen([*program, "events", "-f"], stdout=into, stderr=into)
    try:
        first.until(lambda: "two.1" in path.read_text())
        add(first, script("later", "sleep 1000", constraints=["node.name == n2"]))
        first.until(lambda: "  n2    running later.1" in path.read_text())
        second.kill()
        first.until(lambda: "note: n2: its events are not all shown: node n2 is lost" in text(path))
        assert "  n1    node lost n2" in text(path)
        before = text(path).count("  n2    engine answers")
        second.start()
        first.until(lambda: text(path).count("  n2    engine answers") == before + 1)
        assert text(path).count("running later.1") >= 1
    finally:
        following.kill()
        following.wait()
        first.until(lambda: both_are_well(first))
        first.delete("/api/v1/services/later")


def text(path: Any) -> str:
    return str(path.read_text(errors="replace"))


def test_a_node_that_does_not_answer_is_named_and_the_others_are_told_of(pair: Pair) -> None:
    first, second = pair
    second.freeze()
    try:
        done = ask(first, "events")
        assert done.returncode == 0
        assert "note: n2: its events are not all shown: " in done.stderr
        assert "  n1    " in done.stdout
        alone = ask(first, "events", "--node", "n2")
        assert alone.returncode == 1
        assert "n2 is lost" in alone.stderr or "n2 does not answer" in alone.stderr
    finally:
        second.thaw()
        first.until(lambda: both_are_well(first))


def test_over_mqtt_each_node_is_asked_only_when_somebody_asks(pair: Pair) -> None:
    first, second = pair
    login = ["-p", str(first.broker_port), "-u", "rohe", "-P"]
    password = (first.data_dir / "broker.password").read_text().strip()
    topic = f"rohe/{first.cluster}/stream/#"
    hearing = ["mosquitto_sub", "-h", "127.0.0.1", *login, password, "-t", topic, "-F", "%t %l"]
    heard = subprocess.Popen([*hearing, "-W", "4"], stdout=subprocess.PIPE, text=True)
    quiet = subprocess.run([*hearing, "-W", "2"], capture_output=True, text=True, check=False)
    assert quiet.stdout == "", "at rest nobody asks"
    assert events(second, "--node", "n1")
    said, _ = heard.communicate(timeout=20)
    assert said
