"""Who takes part, rule by rule: the paper, 6; the thesis, 4.1 as corrected in 2015, and 4.2."""

from math import inf

import pytest

from roheletd.raft import ChangeRefused, Configuration, Kind, NotLeader, Saved
from roheletd.raft.quorum import decided, fault_of_change, majority, reached
from roheletd.raft.values import Append, AppendResponse, VoteRequest, VoteResponse
from tests.raft.harness import (
    TIMING,
    Group,
    configured,
    disk_of,
    led_by_a,
    lone,
    lone_b,
    members,
)


def accepts(sender: str, index: int, *, term: int = 2) -> AppendResponse:
    return AppendResponse(sender=sender, to="a", term=term, index=index)


def asks(sender: str, term: int) -> VoteRequest:
    return VoteRequest(sender=sender, to="b", term=term, last_index=9, last_term=9)


# --- majorities


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_two_majorities_of_one_membership_meet(voters: int, needed: int) -> None:
    names = [str(at) for at in range(voters)]
    assert majority(names) == needed
    assert 2 * needed > voters
    assert decided(names, names[:needed])
    assert not decided(names, names[: needed - 1])


def test_nobody_decides_where_nobody_votes() -> None:
    assert not decided((), ("a",))
    assert reached((), {"a": 5}) == 0


def test_what_a_majority_reached_counts_voters_alone() -> None:
    assert reached(("a", "b", "c"), {"a": 9, "b": 4, "c": 2, "d": 9, "e": 9}) == 4
    assert reached(("a", "b", "c"), {"a": 9}) == 0
    assert reached(("a", "b"), {"a": 9, "b": 4}) == 4


# --- 4.1: one voter at a time


@pytest.mark.parametrize("wanted", ["abcd", "ab", "abc", "bc"])
def test_majorities_before_and_after_a_change_of_one_voter_meet(wanted: str) -> None:
    assert fault_of_change(members("a", "b", "c"), members(*wanted)) is None


@pytest.mark.parametrize("wanted", ["abd", "a", "abcde", "d"])
def test_a_change_of_more_than_one_voter_is_refused(wanted: str) -> None:
    group = led_by_a()
    with pytest.raises(ChangeRefused, match="more than one voter would change at once"):
        group.change("a", members(*wanted))


def test_the_last_voter_stays() -> None:
    group = Group()
    group.add("a", disk_of(members("a")))
    group.elect("a")
    with pytest.raises(ChangeRefused, match="no voter would be left"):
        group.change("a", members(learners=["a"]))


def test_a_node_is_not_both_voter_and_learner() -> None:
    group = led_by_a()
    with pytest.raises(ChangeRefused, match="a voter or a learner"):
        group.change("a", Configuration(("a", "b", "c"), ("c",)))


def test_any_number_of_learners_changes_at_once() -> None:
    group = led_by_a(learners=["d"])
    group.change("a", members("a", "b", "c", learners=["e", "f", "g"]))
    group.deliver()
    assert group["b"].configuration.learners == ("e", "f", "g")


def test_only_a_leader_changes_who_takes_part() -> None:
    with pytest.raises(NotLeader, match="ask a"):
        led_by_a().change("b", members("a", "b"))


def test_a_change_is_refused_while_the_one_before_is_not_committed() -> None:
    group = led_by_a(learners=["d", "e"])
    group.change("a", members("a", "b", "c", "d", learners=["e"]))
    with pytest.raises(ChangeRefused, match="the change before is not committed yet"):
        group.change("a", members("a", "b", "c", learners=["d", "e"]))
    group.deliver()
    group.change("a", members("a", "b", "c", "d", "e"))


def test_a_change_is_refused_until_an_entry_of_the_leaders_own_term_is_committed() -> None:
    group = lone("a", disk_of(members("a", "b", "c")))
    group.tick("a")
    for pre in (True, False):
        group.step(VoteResponse(sender="b", to="a", term=2, granted=True, pre=pre))
    assert group["a"].role == "leader"
    with pytest.raises(ChangeRefused, match="nothing of this term is committed yet"):
        group.change("a", members("a", "b"))
    group.step(accepts("b", 2))
    group.change("a", members("a", "b"))


def test_a_membership_is_in_force_as_soon_as_it_is_in_the_log() -> None:
    group = led_by_a(learners=["d"])
    group.change("a", members("a", "b", "c", "d"))
    group.step(accepts("b", 3))
    assert group["a"].commit == 2  # two of four
    group.step(accepts("d", 3))
    assert group["a"].commit == 3


def test_a_membership_that_is_overwritten_gives_way_to_the_one_before() -> None:
    group = lone_b()
    group.step(
        Append(
            sender="a",
            to="b",
            term=2,
            prev_index=1,
            prev_term=1,
            commit=1,
            entries=(configured(members("a", "b"), index=2, term=2),),
        )
    )
    assert group["b"].configuration == members("a", "b")
    other = disk_of(members("a"), 3).entries[1]
    group.step(
        Append(sender="c", to="b", term=3, prev_index=1, prev_term=1, commit=1, entries=(other,))
    )
    assert group["b"].configuration == members("a", "b", "c")


def test_a_membership_is_known_again_after_a_restart_committed_or_not() -> None:
    group = led_by_a(learners=["d"])
    group.change("a", members("a", "b", "c", "d"))
    assert group.restart("a").configuration == members("a", "b", "c", "d")


def test_a_change_of_an_earlier_term_cannot_undo_a_committed_one() -> None:
    """The case that the correction of 2015 is about, with the entry that it asks for."""
    group = Group()
    for name in "abcd":
        group.add(name, disk_of(members("a", "b", "c", "d")))
    group.add("e")
    group.elect("a")
    group.cut("ae", "bcd")
    group.change("a", members("a", "b", "c", "d", "e"))  # gets no further than `a` and `e`
    group.run(TIMING.heartbeat_s)
    group.elect("b")  # an entry of term 3 is on `b`, `c` and `d`
    group.cut("bc", "d")
    group.change("b", members("b", "c", "d"))
    group.deliver()
    assert group["b"].commit == group["c"].commit == 4
    group.heal()
    group.cut("ade", "bc")
    group.advance(2 * TIMING.election_max_s)
    for _ in range(6):
        group["a"].tick(max(group.now_s, group["a"].deadline_s))
        group.pump("a")
        group.deliver()
        assert group["a"].commit == 2
    assert group["a"].role == "follower"


# --- 4.2.1: learners


def test_a_learner_receives_all_and_counts_for_nothing() -> None:
    group = led_by_a(learners=["d"])
    group.crash("b")
    group.crash("c")
    group.propose("a", "x")
    group.deliver()
    assert group["a"].progress()["d"][0] == 3
    assert group.applied("a") == ""


def test_a_learner_does_not_stand_however_long_nobody_speaks() -> None:
    group = lone_b(learner=True)
    assert group["b"].deadline_s == inf
    group["b"].tick(group.now_s + 1000)
    assert group.pump("b").to_send == ()


def test_a_learner_that_is_asked_votes() -> None:
    group = lone_b(learner=True)
    (sent,) = group.step(asks("a", 2)).to_send
    assert sent.granted  # type: ignore[attr-defined]


def test_a_node_that_was_never_a_member_votes_when_asked_and_is_not_needed() -> None:
    group = lone("b", disk_of(members("a", "c")))
    (sent,) = group.step(asks("a", 2)).to_send
    assert sent.granted  # type: ignore[attr-defined]


def test_a_learner_is_brought_up_to_date_before_it_is_made_a_voter() -> None:
    group = led_by_a()
    for at in range(10):
        group.propose("a", str(at))
    group.deliver()
    group.add("d")
    group.change("a", members("a", "b", "c", learners=["d"]))
    group.run(2 * TIMING.heartbeat_s)
    assert group["a"].progress()["d"][0] == group["a"].last_index
    group.change("a", members("a", "b", "c", "d"))
    group.deliver()
    group.crash("a")
    group.elect("d")


def test_a_voter_may_become_a_learner_and_does_not_stand_any_more() -> None:
    group = led_by_a()
    group.change("a", members("a", "b", learners=["c"]))
    group.deliver()
    assert group["c"].deadline_s == inf
    group.propose("a", "x")
    group.deliver()
    assert group.applied("c") == "x"


# --- 4.2.2: who is removed


def test_a_leader_that_removes_itself_leads_until_that_is_committed() -> None:
    group = led_by_a()
    group.change("a", members("b", "c"))
    assert group.roles()["a"] == "leader"
    group.deliver()
    assert group.roles()["a"] == "follower"
    assert group["a"].leader is None
    assert group["a"].deadline_s == inf
    assert group["b"].commit == group["c"].commit == 3


def test_a_leader_that_removes_itself_does_not_count_itself() -> None:
    group = led_by_a()
    group.change("a", members("b", "c"))
    group.step(accepts("b", 3))
    assert group["a"].commit == 2
    group.step(accepts("c", 3))
    assert group["a"].commit == 3


def test_the_others_hear_that_it_is_committed_before_their_leader_goes() -> None:
    group = led_by_a()
    group.change("a", members("b", "c"))
    group.step(accepts("b", 3))
    ready = group.step(accepts("c", 3))
    assert group["a"].role == "follower"
    told = [sent.to for sent in ready.to_send if isinstance(sent, Append) and sent.commit == 3]
    assert told[:2] == ["b", "c"]


def test_a_removed_node_gets_no_more_entries_from_the_leader() -> None:
    group = led_by_a()
    group.change("a", members("a", "b"))
    group.run(2)
    assert not group.on_way("a", "c")
    assert group["c"].last_index == 2


def test_a_node_stands_while_its_removal_is_not_known_to_be_committed() -> None:
    group = Group()
    two, removal = members("a", "b"), configured(members("b"), index=2, term=1)
    group.add("a", Saved(term=1, commit=1, entries=(configured(two), removal)))
    group.add("b", disk_of(two))
    group.advance(TIMING.election_min_s)
    group.tick("a")
    group.deliver()
    assert group["b"].configuration == members("b")
    assert group["b"].commit == group["a"].commit == 3
    assert (group["a"].role, group["a"].deadline_s) == ("follower", inf)


def test_a_removed_node_that_does_not_know_it_disturbs_nobody() -> None:
    group = led_by_a()
    group.cut("ab", "c")
    group.change("a", members("a", "b"))
    group.run(TIMING.election_max_s)
    group.heal()
    for _ in range(20):
        group.tick("c")
        group["a"].tick(group.now_s)
        group.pump("a")
        group["b"].tick(group.now_s)
        group.pump("b")
        group.deliver()
    assert (group["a"].role, group["a"].term, group["c"].term) == ("leader", 2, 2)


def test_a_membership_entry_is_of_a_kind_of_its_own() -> None:
    group = led_by_a()
    group.change("a", members("a", "b"))
    assert group.members["a"].disk.saved().entries[-1].kind is Kind.CONFIGURATION
