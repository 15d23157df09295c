"""One run under its checks: verdicts, and when the next check is due."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as some

from roheletd.cluster.health import Checkup, begun, checked
from roheletd.upkeep import HealthCheck, TcpCheck

BAD = "port 80: connection refused"


def a_check(**more: object) -> HealthCheck:
    known = {"tcp": TcpCheck(port=80), "interval_s": 10.0, "start_grace_s": 30.0}
    return HealthCheck(**{**known, **more})  # type: ignore[arg-type]


def after(check: HealthCheck, *answers: str, begun_s: float = 100.0) -> list[Checkup]:
    """Each check is made when it is due, and answered at once."""
    found = [begun(check, begun_s)]
    for fault in answers:
        at_s = found[-1].due_s
        found.append(checked(found[-1], check, fault, asked_s=at_s, now_s=at_s))
    return found


def test_what_is_not_checked_is_healthy_from_its_start_on() -> None:
    run = begun(None, 100.0)
    assert run.verdict == "healthy"
    assert math.isinf(run.due_s)
    assert run.healthy_for_s(107.0) == 7.0


def test_a_start_is_looked_at_ever_more_seldom_and_at_least_each_second() -> None:
    due = [run.due_s for run in after(a_check(), *[BAD] * 8)]
    pauses = [round(b - a, 3) for a, b in zip([100.0, *due], due, strict=False)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_from_the_first_success_on_the_interval_counts() -> None:
    runs = after(a_check(), BAD, "", "")
    assert [run.verdict for run in runs] == ["starting", "starting", "healthy", "healthy"]
    assert runs[-1].due_s - runs[-2].due_s == 10.0
    assert runs[-1].since_s == runs[-2].since_s


def test_failures_do_not_count_while_the_grace_for_a_start_lasts() -> None:
    runs = after(a_check(start_grace_s=5.0), *[BAD] * 30)
    first = next(run for run in runs if run.verdict == "unhealthy")
    # The first failure after 5 s, and two more of them an interval apart.
    assert 125.0 < first.since_s < 126.0


def test_once_it_was_healthy_failures_count_also_within_the_grace() -> None:
    runs = after(a_check(), "", BAD, BAD, BAD)
    assert [run.verdict for run in runs[1:]] == ["healthy", "healthy", "healthy", "unhealthy"]
    assert runs[-1].fault == BAD


def test_only_failures_in_a_row_count() -> None:
    runs = after(a_check(), "", *[BAD, BAD, ""] * 20)
    assert {run.verdict for run in runs[1:]} == {"healthy"}


def test_several_successes_may_be_asked_for() -> None:
    check = a_check(healthy_after=3)
    assert [run.verdict for run in after(check, "", "", BAD, "", "", "")][-2:] == [
        "starting",
        "healthy",
    ]
    assert after(check, *[""] * 3)[-1].since_s < 101.0, "they follow each other as at a start"


def test_without_a_grace_the_first_check_is_an_interval_after_the_start() -> None:
    assert begun(a_check(start_grace_s=0.0), 100.0).due_s == 110.0


def test_a_slow_check_is_not_followed_by_the_next_one_at_once() -> None:
    check = a_check(interval_s=1.0)
    slow = checked(begun(check, 100.0), check, BAD, asked_s=100.1, now_s=103.1)
    assert 103.1 < slow.due_s < 103.3


@given(some.lists(some.sampled_from(["", BAD]), max_size=60))
def test_no_check_is_sooner_than_a_tenth_of_a_second_and_none_later_than_the_interval(
    answers: list[str],
) -> None:
    runs = after(a_check(), *answers)
    for before, now in itertools.pairwise(runs):
        assert 0.0999 <= now.due_s - before.due_s <= 10.0001
