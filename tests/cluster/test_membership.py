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


def test_an_expected_node_that_is_never_heard_is_lost_after_as_long_as_any_other() -> None:
    membership = Membership(me="me", limits=thresholds(1.0), now_s=100.0)
    membership.expect({"pi", "me"}, 100.0)
    assert membership.of_all(["pi", "declared"], 102.9) == dict.fromkeys(
        ("pi", "declared"), "never seen"
    )
    assert membership.of_all(["pi", "declared", "me"], 103.0) == {
        "pi": "lost",
        "declared": "never seen",
        "me": "alive",
    }


def test_the_silence_of_a_node_that_joins_counts_from_then() -> None:
    membership = judge()
    membership.expect(["old"], 10.0)
    membership.expect(["old", "new"], 20.0)
    assert membership.of_all(["old", "new"], 22.0) == {"old": "lost", "new": "never seen"}
    assert membership.lost_for_s(["old", "new"], 24.0) == {"old": 11.0, "new": 1.0}


def test_a_node_that_is_expected_no_more_is_never_seen_again() -> None:
    membership = judge()
    membership.expect(["pi"], 0.0)
    membership.expect([], 5.0)
    assert membership.liveness("pi", 50.0) == "never seen"


def test_who_was_cut_off_calls_nobody_lost_before_it_listened_again_for_long_enough() -> None:
    membership = judge()
    membership.expect(["unheard"], 0.0)
    membership.heard("pi", 10.0)
    membership.listen_anew(60.0)
    assert membership.of_all(["pi", "unheard"], 62.9) == {"pi": "suspect", "unheard": "never seen"}
    assert membership.lost_since_s("pi", 62.9) is None
    assert membership.of_all(["pi", "unheard"], 63.0) == {"pi": "lost", "unheard": "lost"}
    assert membership.lost_since_s("pi", 70.0) == 63.0


def test_a_doubted_node_is_suspect_at_once_until_it_is_heard_and_lost_by_age_alone() -> None:
    membership = judge()
    membership.heard("pi", 10.0)
    membership.doubted("pi")
    assert membership.liveness("pi", 10.1) == "suspect"
    assert membership.liveness("pi", 12.9) == "suspect"
    assert membership.liveness("pi", 13.0) == "lost"
    membership.heard("pi", 13.5)
    assert membership.liveness("pi", 13.6) == "alive"


def test_doubt_about_a_node_that_was_never_seen_or_about_oneself_changes_nothing() -> None:
    membership = judge()
    membership.doubted("pi")
    membership.doubted("me")
    assert membership.of_all(["pi", "me"], 5.0) == {"pi": "never seen", "me": "alive"}


def test_a_node_is_steady_since_its_last_gap() -> None:
    membership = judge()
    for at_s in (10.0, 11.0, 12.5):
        membership.heard("pi", at_s)
    assert membership.steady_since_s("pi", 13.0) == 10.0
    assert membership.steady_since_s("pi", 14.5) is None
    membership.heard("pi", 14.6)
    assert membership.steady_since_s("pi", 15.0) == 14.6
    assert membership.steady_since_s("other", 15.0) is None


def test_the_next_loss_is_that_of_the_node_that_is_silent_for_longest() -> None:
    membership = judge()
    assert membership.next_loss_s(["me", "declared"], 0.0) is None
    membership.heard("a", 10.0)
    membership.heard("b", 11.0)
    assert membership.next_loss_s(["a", "b", "me"], 12.0) == 1.0
    assert membership.next_loss_s(["a", "b", "me"], 13.0) == 1.0
    assert membership.next_loss_s(["a", "b", "me"], 14.0) is None


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


def test_who_does_not_look_for_long_stood_still_and_calls_nobody_lost_for_that() -> None:
    membership = judge()
    membership.heard("pi", 0.0)
    for at_s in (1.0, 2.0, 3.0):
        membership.look(at_s)
    assert membership.liveness("pi", 3.0) == "lost"
    membership.heard("pi", 3.0)
    membership.look(3603.0)
    assert membership.liveness("pi", 3603.0) == "suspect"
    assert membership.liveness("pi", 3606.0) == "lost"


def test_a_slower_beat_looks_less_often_and_finds_the_lost_all_the_same() -> None:
    membership = Membership(me="me", limits=thresholds(4.0))
    membership.heard("pi", 0.0)
    for at_s in (4.0, 8.0, 12.0):
        membership.look(at_s)
    assert membership.liveness("pi", 12.0) == "lost"


def test_who_does_not_hear_everybody_calls_nobody_lost() -> None:
    membership = judge()
    membership.expect(["pi"], 0.0)
    membership.hear(10.0, everybody=False)
    assert membership.liveness("pi", 99.0) == "unknown"
    assert membership.lost_since_s("pi", 99.0) is None
    assert membership.lost_for_s(["pi"], 99.0) == {}
    assert membership.next_loss_s(["pi"], 11.0) is None


def test_who_begins_to_hear_everybody_has_to_listen_before_it_calls_somebody_lost() -> None:
    membership = judge()
    membership.expect(["pi"], 0.0)
    membership.hear(10.0, everybody=False)
    membership.hear(20.0, everybody=True)
    membership.hear(22.0, everybody=True)
    assert membership.liveness("pi", 22.9) == "never seen"
    assert membership.liveness("pi", 23.0) == "lost"
