"""Liveness from the age of the last report."""

from roheletd.cluster.membership import Membership, thresholds


def judge() -> Membership:
    return Membership(me="me", limits=thresholds(1.0))


def test_a_node_is_alive_then_suspect_then_lost_as_its_last_report_ages() -> None:
    membership = judge()
    membership.heard("pi", 10.0)
    ages = {0.0: "alive", 1.9: "alive", 2.0: "suspect", 2.9: "suspect", 3.0: "lost", 900.0: "lost"}
    assert {age: membership.liveness("pi", 10.0 + age) for age in ages} == ages


def test_a_node_that_was_never_heard_is_not_lost_but_never_seen() -> None:
    assert judge().liveness("pi", 99.0) == "never seen"


def test_a_report_makes_a_lost_node_alive_again() -> None:
    membership = judge()
    membership.heard("pi", 0.0)
    membership.heard("pi", 50.0)
    assert membership.liveness("pi", 50.5) == "alive"


def test_this_node_is_alive_however_late_its_own_reports_are() -> None:
    assert judge().liveness("me", 1e9) == "alive"


def test_a_slower_beat_allows_more_silence() -> None:
    membership = Membership(me="me", limits=thresholds(10.0))
    membership.heard("pi", 0.0)
    assert membership.liveness("pi", 19.0) == "alive"
    assert membership.liveness("pi", 30.0) == "lost"
