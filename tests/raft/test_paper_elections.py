"""Elections, rule by rule: the paper, 5.1, 5.2 and 5.4.1; the thesis, 3.10, 4.2.3, 6.2 and 9.6."""

from math import inf
from random import Random

import pytest

from roheletd.raft import ChangeRefused, NotLeader, Ready
from roheletd.raft.values import (
    Append,
    AppendResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from tests.raft.harness import TIMING, Group, disk_of, led_by_a, lone, lone_b, members, trio


def asks(
    sender: str, *, term: int, last: tuple[int, int] = (1, 1), pre: bool = False, to: str = "b"
) -> VoteRequest:
    """`last` is the index and the term of the last entry."""
    index, last_term = last
    return VoteRequest(
        sender=sender, to=to, term=term, last_index=index, last_term=last_term, pre=pre
    )


def votes(sender: str, *, term: int, granted: bool = True, pre: bool = False) -> VoteResponse:
    return VoteResponse(sender=sender, to="b", term=term, granted=granted, pre=pre)


def beats(*, term: int, sender: str = "a", to: str = "b") -> Append:
    return Append(sender=sender, to=to, term=term, prev_index=1, prev_term=1, commit=1)


def answer(ready: Ready) -> VoteResponse:
    (sent,) = ready.to_send
    assert isinstance(sent, VoteResponse)
    return sent


def standing_b(*terms: int, voters: str = "abc") -> Group:
    """`b` is a candidate in term 2, all having said that they would vote for it."""
    group = lone("b", disk_of(members(*voters), *terms))
    group.tick("b")
    for voter in voters.replace("b", ""):
        if group["b"].role == "follower":
            group.step(votes(voter, term=2, pre=True))
    assert group["b"].role == "candidate"
    return group


# --- 5.2: how an election goes


def test_a_node_starts_as_a_follower_and_knows_no_leader() -> None:
    node = lone_b(term=3)["b"]
    assert (node.role, node.term, node.leader) == ("follower", 3, None)


def test_a_follower_that_hears_a_leader_stays_one() -> None:
    group = lone_b()
    for _ in range(20):
        group.step(beats(term=1))
        group.advance(TIMING.election_min_s * 0.9)
        group["b"].tick(group.now_s)
        assert group.pump("b") == Ready()


def test_a_silence_lasts_as_long_as_is_drawn_between_the_bounds() -> None:
    group = lone_b()
    silences_s = set()
    for seed in range(200):
        node = group.restart("b", rng=Random(seed))
        silences_s.add(node.deadline_s - group.now_s)
    assert len(silences_s) == 200
    assert TIMING.election_min_s < min(silences_s) < TIMING.election_min_s + 0.1
    assert TIMING.election_max_s - 0.1 < max(silences_s) < TIMING.election_max_s


def test_a_candidate_enters_the_next_term_and_votes_for_itself_before_it_asks() -> None:
    group = lone_b(term=7)
    group.tick("b")
    ready = group.step(votes("a", term=8, pre=True))
    assert ready.to_save is not None
    assert (ready.to_save.term, ready.to_save.vote) == (8, "b")
    assert [(it.to, it.term) for it in ready.to_send] == [("a", 8), ("c", 8)]


def test_a_candidate_tells_where_its_log_ends() -> None:
    group = lone("b", disk_of(members("a", "b"), 1, 4, term=5))
    (sent,) = group.tick("b").to_send
    assert isinstance(sent, VoteRequest)
    assert (sent.last_index, sent.last_term) == (3, 4)


def test_only_voters_are_asked_for_their_vote() -> None:
    group = lone("b", disk_of(members("a", "b", learners=["c"])))
    assert {sent.to for sent in group.tick("b").to_send} == {"a"}


@pytest.mark.parametrize(("voters", "needed"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 2)])
def test_a_candidate_leads_once_a_majority_voted_for_it(voters: str, needed: int) -> None:
    group = standing_b(voters=voters)
    others = voters.replace("b", "")
    for got, voter in enumerate(others, 1):
        group.step(votes(voter, term=2))
        assert group["b"].role == ("leader" if got >= needed else "candidate")


def test_a_vote_that_comes_twice_counts_once() -> None:
    group = standing_b(voters="abcde")
    group.step(votes("a", term=2))
    group.step(votes("a", term=2))
    assert group["b"].role == "candidate"


def test_a_refusal_counts_for_nothing() -> None:
    group = standing_b()
    group.step(votes("a", term=2, granted=False))
    group.step(votes("c", term=2, granted=False))
    assert group["b"].role == "candidate"


def test_votes_of_learners_and_strangers_do_not_count() -> None:
    group = lone("b", disk_of(members("a", "b", "c", learners=["d"])))
    group.tick("b")
    for voter in ("d", "x", "y"):
        group.step(votes(voter, term=2, pre=True))
    assert group.roles() == {"b": "follower"}
    group.step(votes("a", term=2, pre=True))
    for voter in ("d", "x", "y"):
        group.step(votes(voter, term=2))
    assert group["b"].role == "candidate"


def test_votes_of_an_earlier_term_do_not_count() -> None:
    group = standing_b()
    group.tick("b")
    group.step(votes("a", term=3, pre=True))
    assert group["b"].term == 3
    group.step(votes("c", term=2))
    assert group["b"].role == "candidate"


def test_a_new_leader_speaks_at_once() -> None:
    ready = standing_b().step(votes("a", term=2))
    assert [sent.to for sent in ready.to_send if isinstance(sent, Append)][:2] == ["a", "c"]


def test_a_candidate_follows_a_leader_of_its_own_term() -> None:
    group = standing_b()
    group.step(beats(term=2))
    assert (group["b"].role, group["b"].leader, group["b"].term) == ("follower", "a", 2)


def test_a_candidate_does_not_follow_a_leader_of_an_earlier_term() -> None:
    group = standing_b()
    (sent,) = group.step(beats(term=1)).to_send
    assert group["b"].role == "candidate"
    assert sent.term == 2


def test_a_candidate_that_wins_no_majority_tries_again_soon_and_asks_first() -> None:
    group = standing_b()
    wait_s = group["b"].deadline_s - group.now_s
    ready = group.tick("b")
    assert TIMING.heartbeat_s <= wait_s <= 2 * TIMING.heartbeat_s
    assert all(isinstance(sent, VoteRequest) and sent.pre for sent in ready.to_send)
    assert ready.to_save is None


# --- 5.1: terms


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_whoever_sees_a_higher_term_follows_in_it(role: str) -> None:
    group = standing_b() if role == "candidate" else lone_b()
    if role == "leader":
        group = standing_b()
        group.step(votes("a", term=2))
    assert group["b"].role == role
    ready = group.step(AppendResponse(sender="c", to="b", term=9, index=0))
    assert (group["b"].role, group["b"].term) == ("follower", 9)
    assert ready.to_save is not None
    assert (ready.to_save.term, ready.to_save.vote) == (9, None)


def test_a_request_of_an_earlier_term_is_refused_with_the_present_one() -> None:
    group = lone_b(term=5)
    refusal = answer(group.step(asks("a", term=4)))
    assert (refusal.granted, refusal.term) == (False, 5)


def test_a_message_for_somebody_else_or_of_oneself_is_ignored() -> None:
    group = lone_b()
    assert group.step(asks("a", term=9, to="c"), at="b") == Ready()
    assert group.step(asks("b", term=9)) == Ready()


# --- 5.2 and 5.4.1: who gets a vote


def test_a_node_votes_for_one_candidate_in_a_term() -> None:
    group = lone_b()
    assert answer(group.step(asks("a", term=2))).granted
    assert not answer(group.step(asks("c", term=2))).granted
    assert answer(group.step(asks("c", term=3))).granted


def test_a_vote_is_given_again_to_whom_it_was_given() -> None:
    group = lone_b()
    group.step(asks("a", term=2))
    ready = group.step(asks("a", term=2))
    assert answer(ready).granted
    assert ready.to_save is None


def test_a_vote_is_saved_before_it_is_sent() -> None:
    ready = lone_b().step(asks("a", term=2))
    assert answer(ready).granted
    assert ready.to_save is not None
    assert (ready.to_save.term, ready.to_save.vote) == (2, "a")


@pytest.mark.parametrize(
    ("last", "granted"),
    [
        ((3, 2), True),
        ((4, 2), True),
        ((2, 3), True),
        ((2, 2), False),
        ((9, 1), False),
        ((0, 0), False),
    ],
)
@pytest.mark.parametrize("pre", [True, False])
def test_only_a_log_that_is_at_least_as_new_gets_a_vote(
    last: tuple[int, int],
    granted: bool,  # noqa: FBT001
    pre: bool,  # noqa: FBT001
) -> None:
    group = lone_b(1, 2, term=3)  # its last is 3/2
    assert answer(group.step(asks("a", term=4, last=last, pre=pre))).granted is granted


def test_who_knows_the_leader_of_a_term_votes_for_nobody_in_it() -> None:
    group = lone_b()
    group.step(beats(term=2))
    group.advance(TIMING.election_min_s)
    assert not answer(group.step(asks("c", term=2))).granted


def test_a_vote_that_was_given_starts_the_silence_anew() -> None:
    group = lone_b()
    group.step(asks("a", term=2))
    assert group["b"].deadline_s == group.now_s + TIMING.election_min_s


def test_a_candidate_whose_log_lacks_what_is_committed_cannot_win() -> None:
    group = led_by_a()
    group.crash("c")
    group.propose("a", "x")
    group.deliver()
    group.crash("a")
    group.restart("c")
    group.advance(TIMING.election_max_s)
    for _ in range(5):
        group.tick("c")
        group.deliver()
        assert group["c"].role == "follower"
    group.elect("b")
    assert group.applied("c") == "x"


# --- 9.6: pre-vote


def test_a_pre_vote_changes_nothing_on_either_side() -> None:
    group = trio()
    group.advance(TIMING.election_min_s)
    asked = group.tick("a")
    assert asked.to_save is None
    assert group["a"].term == 1
    given = group.step(asks("a", term=2, pre=True))
    assert answer(given).granted
    assert given.to_save is None
    assert (group["b"].term, group["b"].deadline_s) == (1, TIMING.election_min_s)


def test_a_pre_vote_is_given_to_several_and_whatever_the_vote_was() -> None:
    group = lone_b(term=2, vote="a")
    assert answer(group.step(asks("a", term=3, pre=True))).granted
    assert answer(group.step(asks("c", term=3, pre=True))).granted


def test_a_pre_vote_for_a_term_that_is_not_a_later_one_is_refused() -> None:
    assert not answer(lone_b(term=3).step(asks("a", term=3, pre=True))).granted


def test_the_refusal_of_a_pre_vote_carries_the_term_of_the_refuser() -> None:
    refusal = answer(lone_b(1, term=7).step(asks("a", term=3, pre=True)))
    assert (refusal.granted, refusal.term) == (False, 7)


def test_a_refusal_of_a_later_term_makes_the_asker_go_on_to_it() -> None:
    group = lone_b()
    group.tick("b")
    group.step(votes("a", term=7, granted=False, pre=True))
    assert group["b"].term == 7
    assert all(sent.term == 8 for sent in group.tick("b").to_send)


def test_a_pre_vote_is_no_vote() -> None:
    group = standing_b(voters="abcde")
    group.step(votes("a", term=2, pre=True))
    group.step(votes("c", term=2, pre=True))
    assert group["b"].role == "candidate"


def test_a_vote_is_no_pre_vote() -> None:
    group = lone_b()
    group.tick("b")
    group.step(votes("a", term=2, granted=True, pre=False))
    assert (group["b"].role, group["b"].term) == ("follower", 2)


def test_a_node_that_is_cut_off_does_not_raise_its_term() -> None:
    group = lone_b()
    for _ in range(50):
        group.tick("b")
    assert group["b"].term == 1
    assert group.members["b"].disk.writes == 0


# --- 4.2.3: who hears a leader lets nobody disturb it


@pytest.mark.parametrize("pre", [True, False])
def test_who_heard_a_leader_lately_refuses_a_vote_and_does_not_take_its_term(
    pre: bool,  # noqa: FBT001
) -> None:
    group = lone_b()
    group.step(beats(term=1))
    group.advance(TIMING.election_min_s - 0.01)
    refusal = answer(group.step(asks("c", term=5, last=(9, 4), pre=pre)))
    assert (refusal.granted, refusal.term, group["b"].term) == (False, 1, 1)
    group.advance(0.02)
    assert answer(group.step(asks("c", term=5, last=(9, 4), pre=pre))).granted


def test_who_has_just_started_refuses_as_if_it_had_heard_a_leader() -> None:
    group = lone_b()
    group.restart("b")
    assert not answer(group.step(asks("c", term=5))).granted
    group.advance(TIMING.election_min_s)
    assert answer(group.step(asks("c", term=5))).granted


def test_a_leader_refuses_a_vote_and_goes_on() -> None:
    group = led_by_a()
    assert not answer(group.step(asks("c", term=9, last=(9, 8), to="a"))).granted
    assert (group["a"].role, group["a"].term) == ("leader", 2)


def test_who_stands_itself_lets_others_stand() -> None:
    group = lone_b()
    group.tick("b")
    assert answer(group.step(asks("c", term=2, pre=True))).granted


# --- 6.2: a leader that hears no majority


def test_a_leader_that_hears_no_majority_steps_down_in_its_term() -> None:
    group = led_by_a()
    group.crash("b")
    group.crash("c")
    group.run(TIMING.election_max_s)
    assert group["a"].role == "leader"
    ready = group.tick("a")
    assert (group["a"].role, group["a"].term, group["a"].leader) == ("follower", 2, None)
    assert ready.to_save is None
    with pytest.raises(NotLeader, match="there is no leader"):
        group.propose("a", "x")


def test_a_leader_that_hears_a_majority_stays() -> None:
    group = led_by_a()
    group.crash("b")
    group.run(10 * TIMING.election_max_s)
    assert group["a"].role == "leader"


def test_learners_do_not_keep_a_leader() -> None:
    group = led_by_a(learners=["d", "e"])
    group.crash("b")
    group.crash("c")
    group.run(TIMING.election_max_s + TIMING.heartbeat_s)
    assert group["a"].role == "follower"


def test_a_leader_that_was_frozen_steps_down_before_anything_else() -> None:
    group = led_by_a()
    group.advance(60)
    assert group.tick("a").to_send == ()
    assert group["a"].role == "follower"


# --- 3.10: handing leadership over


def test_an_heir_with_all_entries_is_told_to_lead_at_once() -> None:
    group = led_by_a()
    group.transfer("a", "b")
    assert [type(parcel.message) for parcel in group.on_way("a", "b")] == [TimeoutNow]
    group.deliver()
    assert group.roles() == {"a": "follower", "b": "leader", "c": "follower"}


def test_an_heir_that_lags_is_brought_up_to_date_first() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.drop("a", "b")
    group.transfer("a", "b")
    assert not group.on_way("a", "b")
    group.tick("a")
    group.deliver()
    assert group["b"].role == "leader"
    assert group.applied("b") == "x"


def test_no_proposal_is_taken_while_leadership_is_handed_over() -> None:
    group = led_by_a()
    group.transfer("a", "b")
    with pytest.raises(NotLeader):
        group.propose("a", "x")
    with pytest.raises(NotLeader):
        group.change("a", members("a", "b"))


def test_an_heir_that_does_not_come_is_given_up_after_the_shortest_silence() -> None:
    group = led_by_a()
    group.crash("b")
    group.transfer("a", "b")
    group.run(TIMING.election_min_s)
    assert group.propose("a", "x") == 3


def test_an_heir_is_told_again_with_each_heartbeat() -> None:
    group = led_by_a()
    group.transfer("a", "b")
    group.drop("a", "b")
    group.tick("a")
    group.deliver()
    assert group["b"].role == "leader"


def test_leadership_is_handed_to_another_voter_only() -> None:
    group = led_by_a(learners=["d"])
    for nobody in ("a", "d", "x"):
        with pytest.raises(ChangeRefused, match=f"{nobody} is no other voter"):
            group.transfer("a", nobody)
    with pytest.raises(NotLeader, match="ask a"):
        group.transfer("b", "c")


def test_an_heir_that_stands_lets_others_stand_although_it_has_just_heard_the_leader() -> None:
    group = lone_b()
    group.step(TimeoutNow(sender="a", to="b", term=1))
    assert group["b"].role == "candidate"
    assert answer(group.step(asks("c", term=3, pre=True))).granted


def test_who_is_no_voter_does_not_lead_when_told_to() -> None:
    group = lone_b(learner=True)
    group.step(TimeoutNow(sender="a", to="b", term=1))
    assert group["b"].role == "follower"


def test_a_handover_does_not_give_a_vote_to_a_shorter_log() -> None:
    group = lone_b(1, 1)
    request = VoteRequest(
        sender="c", to="b", term=2, last_index=1, last_term=1, pre=False, handover=True
    )
    assert not answer(group.step(request)).granted


# --- a hint that the leader died (ours)


def test_voters_that_hear_of_a_leaders_death_stand_one_after_the_other() -> None:
    group = led_by_a()
    for name in ("b", "c"):
        group.hint(name, "a")
    due_s = [group[name].deadline_s - group.now_s for name in ("b", "c")]
    assert due_s == [0, TIMING.heartbeat_s / 4]
    assert max(due_s) < TIMING.election_min_s


def test_who_hears_of_a_leaders_death_votes_at_once() -> None:
    group = led_by_a()
    group.crash("a")
    for name in ("b", "c"):
        group.hint(name, "a")
    group.tick("b")
    group.deliver()
    assert group["b"].role == "leader"


def test_a_heartbeat_takes_a_hint_back() -> None:
    group = led_by_a()
    group.hint("b", "a")
    group.tick("a")
    group.deliver()
    assert group["b"].deadline_s == group.now_s + TIMING.election_min_s
    assert not answer(group.step(asks("c", term=9, last=(9, 8)))).granted


def test_a_hint_about_anybody_but_the_leader_changes_nothing() -> None:
    group = led_by_a()
    before_s = group["b"].deadline_s
    group.hint("b", "c")
    group.hint("a", "a")
    assert (group["b"].deadline_s, group["a"].role) == (before_s, "leader")


def test_a_hint_does_not_make_a_learner_stand() -> None:
    group = led_by_a(learners=["d"])
    group.hint("d", "a")
    assert group["d"].deadline_s == inf


# --- when a tick is due


def test_a_single_voter_leads_at_its_first_tick() -> None:
    group = Group()
    node = group.add("a", disk_of(members("a", learners=["b"])))
    assert node.deadline_s == group.now_s
    group.tick("a")
    assert node.role == "leader"
    assert node.leads


@pytest.mark.parametrize("role", ["follower", "asking", "candidate", "leader"])
def test_a_tick_before_the_deadline_does_nothing_and_one_at_it_does(role: str) -> None:
    group = lone_b()
    if role == "asking":
        group.tick("b")
    elif role != "follower":
        group = standing_b()
    if role == "leader":
        group.step(votes("a", term=2))
    node = group["b"]
    node.tick(node.deadline_s - 1e-9)
    assert node.ready() == Ready()
    assert group.tick("b") != Ready()


@pytest.mark.parametrize("saved", [disk_of(members("a", "c", learners=["b"])), disk_of(members())])
def test_who_is_no_voter_has_nothing_to_do_by_itself(saved: object) -> None:
    group = lone("b", saved)  # type: ignore[arg-type]
    assert group["b"].deadline_s == inf
    group["b"].tick(1e6)
    assert group.pump("b") == Ready()
