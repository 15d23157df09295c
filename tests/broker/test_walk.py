"""Which brokers are chosen, from what became of each link: decisions alone, no broker runs here."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.broker.walk import (
    AWAY_S,
    AWAY_SPREAD_S,
    OVERLAP_S,
    RETURN_TRIAL_S,
    ROUND_S,
    SILENCE_S,
    Walk,
)

BACK_S = AWAY_S + AWAY_SPREAD_S


class Hike:
    """A walk in virtual time. `reachable` brokers open at once; on `lively` ones peers speak."""

    def __init__(self, urls="abc", count=2, reachable=None, lively=""):
        self.walk = Walk(rng=Random(1))
        self.walk.want(urls, count)
        self.reachable = set(urls if reachable is None else reachable)
        self.lively = set(lively)
        self.now_s = 100.0
        self.connects = []
        self.leaves = {}

    @property
    def up(self):
        return "".join(url for url in self.walk.urls if self.walk.is_up(url))

    def go(self, seconds, step_s=0.25):
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += step_s
            for url in self.up:
                if url in self.lively:
                    self.walk.heard(url, self.now_s)
            self.move()
        return self.up

    def move(self):
        moves = self.walk.moves(self.now_s)
        for leave in moves.leave:
            self.leaves[leave.url] = leave.why
            self.walk.ended(leave.url, self.now_s)
        for url in moves.connect:
            self.connects.append(url)
            if url in self.reachable:
                self.walk.opened(url, self.now_s)
            else:
                self.walk.ended(url, self.now_s)
        if moves.connect:
            self.move()

    def dies(self, url):
        self.reachable.discard(url)
        if url in self.up:
            self.walk.ended(url, self.now_s)


def test_the_first_brokers_of_the_list_are_taken():
    assert Hike(count=1).go(1) == "a"
    assert Hike(count=2).go(1) == "ab"


def test_one_broker_is_held_once_however_many_links_are_wanted_and_however_often_it_is_named():
    hike = Hike("aa", count=2)
    assert hike.go(30) == "a"
    assert hike.connects == ["a"]


def test_a_broker_that_cannot_be_reached_is_passed_over_at_once():
    hike = Hike("abc", reachable="bc", lively="bc")
    assert hike.go(0.25) == "bc"


def test_a_broker_that_dies_is_replaced_at_once_by_one_that_did_not_fail_lately():
    hike = Hike("abcd", reachable="bcd", lively="bcd")
    hike.go(5)
    hike.dies("b")
    hike.connects.clear()
    assert hike.go(0.25) == "cd"
    assert hike.connects == ["d"]


def test_where_no_other_is_left_the_dead_one_is_tried_until_it_is_back():
    hike = Hike("ab", lively="ab")
    hike.go(20)
    hike.dies("b")
    hike.connects.clear()
    assert hike.go(30) == "a"
    assert 10 < len(hike.connects) < 40
    hike.reachable.add("b")
    assert hike.go(2.5) == "ab"


def test_a_refused_password_is_not_tried_every_moment():
    walk = Walk(rng=Random(1))
    walk.want("a", 1)
    walk.moves(0.0)
    walk.ended("a", 0.0, refused=True)
    assert walk.moves(0.5).connect == ()
    assert walk.moves(0.5).due_s >= 1


def test_a_link_that_falls_silent_is_left_once_the_other_hears():
    hike = Hike("abc", lively="ab")
    hike.go(5)
    hike.lively = {"b", "c"}
    assert hike.go(SILENCE_S - 0.5) == "ab"
    assert hike.go(0.75) == "bc"
    assert hike.leaves == {"a": "no other node was heard there for 3 s"}


def test_after_an_outage_of_all_each_link_has_time_to_come_back():
    hike = Hike("abc", lively="ab")
    hike.go(30)
    hike.lively = set()
    hike.go(2 * SILENCE_S)
    hike.lively = {"b"}
    hike.go(SILENCE_S - 0.5)
    hike.lively = {"a", "b"}
    assert hike.go(30) == "ab"
    assert hike.connects.count("a") == hike.connects.count("b") == 1


def test_a_single_silent_link_is_left_only_once_another_broker_is_found_to_be_lively():
    hike = Hike("abcd", count=1, lively="a")
    hike.go(5)
    hike.lively = {"c"}
    assert hike.go(SILENCE_S + 0.5) == "ab"
    assert hike.go(SILENCE_S + 0.5) == "ac"
    assert hike.go(SILENCE_S) == "c"


def test_with_one_broker_only_a_silent_link_is_kept():
    hike = Hike("a", count=2, lively="a")
    hike.go(5)
    hike.lively.clear()
    assert hike.go(600) == "a"
    assert hike.connects == ["a"]


def test_two_silent_links_to_the_only_two_brokers_are_kept():
    hike = Hike("ab", lively="ab")
    hike.go(5)
    hike.lively.clear()
    assert hike.go(600) == "ab"
    assert hike.connects == ["a", "b"]


def test_a_node_that_is_alone_walks_slowly_and_keeps_its_link():
    hike = Hike("abcd", count=1)
    hike.go(600)
    assert "a" in hike.up
    assert hike.connects.count("a") == 1
    rounds = 600 / ROUND_S
    assert all(rounds / 2 < hike.connects.count(url) <= rounds for url in "bcd")


def test_two_nodes_that_start_on_different_brokers_meet():
    hikes = Hike("abc", count=1, reachable="abc"), Hike("abc", count=1, reachable="c")
    for _ in range(200):
        for hike, other in (hikes, reversed(hikes)):
            hike.lively = set(other.up)
            hike.go(0.25)
    assert hikes[0].up == hikes[1].up == "c"


def test_a_second_link_on_which_nobody_is_heard_is_kept_where_no_other_is_better():
    hike = Hike("abc", lively="b")
    hike.go(BACK_S * 3)
    assert set(hike.up) >= {"a", "b"}
    assert hike.connects.count("a") == 1, "it does not flap"
    assert hike.connects.count("c") <= 3 * BACK_S / AWAY_S


def test_a_second_link_on_which_nobody_is_heard_is_left_for_one_where_they_are():
    hike = Hike("abc", lively="bc")
    assert hike.go(SILENCE_S + 0.5) == "bc"


def test_an_earlier_broker_that_is_back_is_taken_after_a_while_and_the_latest_left():
    hike = Hike("abc", reachable="bc", lively="abc")
    hike.go(5)
    hike.reachable.add("a")
    hike.connects.clear()
    hike.go(AWAY_S - 10)
    assert hike.connects == []
    hike.go(AWAY_SPREAD_S + 10)
    assert hike.go(OVERLAP_S) == "ab"
    assert hike.leaves == {"c": "earlier brokers of the list are up"}


def test_a_return_to_where_nobody_is_yet_breaks_nothing_and_lasts_long_enough_to_be_joined():
    hike = Hike("abc", reachable="bc", lively="bc")
    hike.go(5)
    hike.reachable.add("a")
    hike.go(BACK_S)
    assert hike.up == "abc"
    hike.go(RETURN_TRIAL_S - BACK_S)
    hike.lively.add("a")
    assert hike.go(OVERLAP_S - 1) == "abc", "who follows has time to come along"
    assert hike.go(2) == "ab"


def test_all_nodes_come_back_to_the_first_two_brokers_though_each_at_its_own_moment():
    hikes = [Hike("abc", reachable="bc") for _ in range(5)]
    for seed, hike in enumerate(hikes):
        hike.walk._rng = Random(seed)

    def together(seconds):
        for _ in range(int(seconds / 0.25)):
            ups = [set(hike.up) for hike in hikes]
            for index, hike in enumerate(hikes):
                hike.lively = set().union(*ups[:index], *ups[index + 1 :])
                hike.go(0.25)

    together(30)
    assert {hike.up for hike in hikes} == {"bc"}
    for hike in hikes:
        hike.reachable.add("a")
    together(2 * BACK_S)
    assert {hike.up for hike in hikes} == {"ab"}


def test_more_links_are_made_and_fewer_are_kept_as_the_role_changes():
    hike = Hike("abc", count=1, lively="abc")
    assert hike.go(1) == "a"
    hike.walk.want("abc", 2)
    assert hike.go(0.25) == "ab"
    hike.walk.want("abc", 1)
    assert hike.go(OVERLAP_S) == "a"


def test_a_new_list_keeps_the_links_that_are_still_right():
    hike = Hike("abc", lively="abcde")
    hike.go(1)
    hike.reachable |= set("de")
    hike.walk.want("bde", 2)
    hike.connects.clear()
    assert hike.go(0.5) == "bd"
    assert hike.connects == ["d"]
    assert hike.leaves == {"a": "it is not in the list of brokers any more"}


def test_the_only_working_link_is_kept_though_its_broker_left_the_list():
    hike = Hike("a", count=1, lively="ab")
    hike.go(1)
    hike.walk.want("b", 1)
    assert hike.go(10) == "a"
    hike.reachable.add("b")
    assert hike.go(3) == "b"


def test_with_an_empty_list_nothing_is_held():
    hike = Hike("a", count=1)
    hike.go(1)
    hike.walk.want("", 1)
    assert hike.go(1) == ""


weather = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "ab", "bc", "abcd", "dcba", "cd"]),
        st.sets(st.sampled_from("abcd")),
        st.sets(st.sampled_from("abcd")),
        st.integers(1, 2),
        st.integers(1, 200),
    ),
    max_size=12,
)


@given(weather)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_links_stay_few_and_attempts_rare_and_good_weather_gives_what_was_asked(
    changes,
):
    hike = Hike("abcd")
    for urls, reachable, lively, count, seconds in changes:
        hike.walk.want(urls, count)
        for url in set("abcd") - reachable:
            hike.dies(url)
        hike.reachable, hike.lively = reachable, lively
        hike.connects.clear()
        hike.go(seconds)
        assert len(hike.up) <= count + 2
        assert len(hike.connects) <= 4 * seconds + 20
    hike.walk.want("abcd", 2)
    hike.reachable = hike.lively = set("abcd")
    assert hike.go(2 * (BACK_S + RETURN_TRIAL_S)) == "ab"
