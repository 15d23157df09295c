"""Logs and commands of instances on another node: two real daemons and a real mosquitto."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.streams.conftest import Followed, add, ask, script
from tests.testbed.daemon import RealDaemon

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]

Pair = tuple[RealDaemon, RealDaemon]


def test_the_log_of_another_node_is_shown(pair: Pair) -> None:
    for node in pair:
        for service, at in (("one", "n1"), ("two", "n2")):
            done = ask(node, "logs", f"{service}.1")
            assert (done.returncode, done.stdout) == (0, f"hello from {at}\noops\n"), done.stderr


def test_json_names_instance_and_node_of_each_line(pair: Pair) -> None:
    done = ask(pair[0], "logs", "two", "--tail", "1", "-o", "json")
    assert json.loads(done.stdout) == {
        "instance": "two.1",
        "node": "n2",
        "source": "stdout",
        "at": "",
        "line": "oops",
    }


def test_a_command_runs_there_and_its_exit_code_comes_back(pair: Pair) -> None:
    tell = "echo $ROHE_NODE; echo bad >&2; cat; exit 7"
    done = ask(pair[0], "exec", "two.1", "--", "sh", "-c", tell, given=b"given\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "n2\ngiven\n", "bad\n")


def test_of_a_service_one_is_asked_that_is_well_and_here_if_there_is(
    pair: Pair, tmp_path: Path
) -> None:
    health = {
        "exec": {"command": ["/bin/sh", "-c", f"test ! -e {tmp_path}/$ROHE_NODE"]},
        "interval_s": 0.2,
        "start_grace_s": 0,
        "unhealthy_after": 1,
    }
    apart = [{"service": "both"}]
    add(
        pair[0],
        script("both", "sleep 1000", replicas=2, health=health, anti_affinity=apart),
    )

    def asked(node: RealDaemon) -> str:
        return ask(node, "exec", "both", "--", "sh", "-c", "echo $ROHE_NODE").stdout

    for node in pair:
        node.until(
            lambda at=node: (
                [it["health"] for it in at.instances() if it["service"] == "both"]
                == ["healthy"] * 2
            )
        )
    assert [asked(node) for node in pair] == ["n1\n", "n2\n"]
    (tmp_path / "n1").touch()
    pair[0].until(lambda: asked(pair[0]) == "n2\n")
    pair[0].delete("/api/v1/services/both")


def test_a_megabyte_goes_in_and_comes_out_whole(pair: Pair) -> None:
    given = b"".join(b"%08d\n" % number for number in range(40_000))
    done = ask(pair[0], "exec", "two.1", "--", "cat", given=given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == given


def test_a_command_that_is_not_there_ends_with_127_and_the_reason(pair: Pair) -> None:
    done = ask(pair[0], "exec", "two.1", "--", "nothing-of-that-name")
    assert done.returncode == 127
    assert "nothing-of-that-name: no such file" in done.stderr


def test_over_http_a_command_is_one_question_and_one_answer(pair: Pair) -> None:
    asked = {"instance": "two", "command": ["sh", "-c", "cat; echo no >&2"], "input": "yes"}
    assert pair[0].post("/api/v1/exec", asked) == {
        "exit_code": 0,
        "stdout": "yes",
        "stderr": "no\n",
        "cut": False,
        "reason": "",
    }


def test_a_command_that_does_not_end_is_ended(pair: Pair) -> None:
    asked = {"instance": "two.1", "command": ["sleep", "999"], "timeout_s": 0.5}
    with pytest.raises(RuntimeError, match=r"409.*has not ended within 0\.5 s"):
        pair[0].post("/api/v1/exec", asked)
    done = ask(pair[1], "exec", "two.1", "--", "sh", "-c", "pgrep -f 'sleep 99[9]' || echo none")
    assert done.stdout == "none\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("logs", "twp"), "no service or instance twp; did you mean two?"),
        (("logs", "two.4"), "no instance two.4: two has two.1"),
        (("logs", "two", "--node", "n3"), "there is no node n3"),
        (("exec", "twp", "--", "ls"), "no service or instance twp; did you mean two?"),
    ],
)
def test_a_name_that_nothing_has_is_refused(
    pair: Pair, arguments: tuple[str, ...], reason: str
) -> None:
    done = ask(pair[0], *arguments)
    assert done.returncode == 1
    assert reason in done.stderr


def test_a_log_is_followed_over_a_restart_of_its_instance(pair: Pair) -> None:
    text = "echo up $$; while [ ! -e /proc/$$/nothing ]; do sleep 0.2; done"
    add(pair[0], script("again", text, constraints=["node.name == n2"]))
    followed = Followed(pair[0], "again")
    try:
        pair[0].until(lambda: followed.text.count("up ") == 1)
        ask(pair[0], "exec", "again.1", "--", "sh", "-c", "kill -9 $(pgrep -f 'up [$][$]')")
        pair[0].until(lambda: followed.text.count("up ") == 2)
        pair[0].delete("/api/v1/services/again")
        pair[0].until(lambda: followed.process.poll() is not None)
        assert followed.process.returncode == 1
        assert "again was removed" in followed.text
        assert followed.text.count("up ") == 2
    finally:
        followed.end()


def test_a_flood_is_held_to_the_ceiling_and_what_is_left_out_is_counted(pair: Pair) -> None:
    flood = "i=0; while true; do i=$((i+1)); echo $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    add(pair[0], script("flood", flood, cores=[900], constraints=["node.name == n2"]))
    followed = Followed(pair[0], "flood")
    try:
        pair[0].until(lambda: "lines left out" in followed.text)
        begun_s, before = time.monotonic(), followed.path.stat().st_size
        pair[0].until(lambda: len(re.findall("lines left out", followed.text)) > 4)
        each_s = (followed.path.stat().st_size - before) / (time.monotonic() - begun_s)
        assert each_s < 3 * 262_144
    finally:
        followed.end()
        pair[0].delete("/api/v1/services/flood")


def newest_tick(followed: Followed) -> int:
    return max(map(int, re.findall(r"tick (\d+)\n", followed.text)))


def test_when_a_node_is_lost_an_instances_follow_ends_and_a_services_waits_for_it(
    pair: Pair,
) -> None:
    """Last of this file: the other node is killed and started again."""
    first, second = pair
    ticks = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.2; done"
    there = {"constraints": ["node.name == n2"], "reschedule_after_s": 60}
    add(first, script("ticks", ticks, **there))
    instance, service = Followed(first, "two.1"), Followed(first, "ticks")
    try:
        first.until(lambda: "hello" in instance.text and "tick 2" in service.text)
        second.kill()
        first.until(lambda: instance.process.poll() is not None)
        assert instance.process.returncode == 1
        assert "n2 is lost" in instance.text
        last = newest_tick(service)
        second.start()
        first.until(lambda: newest_tick(service) > last + 8)
    finally:
        instance.end()
        service.end()
        first.delete("/api/v1/services/ticks")
