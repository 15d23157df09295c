"""The log, rule by rule: the paper, figure 2, 5.3, 5.4 and 5.5; and what is never said twice."""

import pytest

from roheletd.raft import Entry, Kind, NotLeader, Ready
from roheletd.raft.leadership import AHEAD_MAX, BYTES_MAX, ENTRIES_MAX
from roheletd.raft.values import Append, AppendResponse
from tests.raft import telling
from tests.raft.harness import TIMING, Group, disk_of, led_by_a, lone_b, members, trio


def command(index: int, term: int) -> Entry:
    return Entry(index, term, f"{index}.{term}".encode())


def append(*entries: Entry, after: tuple[int, int], commit: int = 1, term: int = 9) -> Append:
    """From `a`, which leads in `term`, to `b`; `after` is an index and its term."""
    prev_index, prev_term = after
    return Append(
        sender="a",
        to="b",
        term=term,
        prev_index=prev_index,
        prev_term=prev_term,
        commit=commit,
        entries=entries,
    )


def accepts(sender: str, index: int, *, term: int = 2) -> AppendResponse:
    return AppendResponse(sender=sender, to="a", term=term, index=index)


def misses(sender: str, refused: int, index: int, *, term: int = 2) -> AppendResponse:
    return AppendResponse(sender=sender, to="a", term=term, index=index, refused=refused)


def answer(ready: Ready) -> AppendResponse:
    (sent,) = ready.to_send
    assert isinstance(sent, AppendResponse)
    return sent


def held(group: Group, name: str = "b") -> list[tuple[int, int]]:
    """Index and term of all that `name` has on its disk."""
    return [(it.index, it.term) for it in group.members[name].disk.saved().entries]


def sent_to(group: Group, name: str) -> list[Append]:
    return [it.message for it in group.on_way("a", name) if isinstance(it.message, Append)]


# --- 5.3: a follower


def test_a_follower_appends_what_follows_from_its_log_and_saves_before_it_answers() -> None:
    group = lone_b(1)
    ready = group.step(append(command(3, 9), command(4, 9), after=(2, 1)))
    assert ready.to_save is not None
    assert ready.to_save.entries == (command(3, 9), command(4, 9))
    assert (answer(ready).index, answer(ready).refused) == (4, None)


def test_a_follower_refuses_entries_that_do_not_follow_from_its_log() -> None:
    group = lone_b(1)
    refusal = answer(group.step(append(command(5, 9), after=(4, 9))))
    assert (refusal.refused, refusal.index) == (4, 2)
    assert held(group) == [(1, 1), (2, 1)]


def test_a_follower_refuses_entries_after_one_of_another_term() -> None:
    group = lone_b(1, 2)
    refusal = answer(group.step(append(command(4, 9), after=(3, 1))))
    assert refusal.refused == 3
    assert held(group)[-1] == (3, 2)


def test_a_refusal_skips_all_entries_of_later_terms() -> None:
    group = lone_b(1, 4, 4, 4)
    assert answer(group.step(append(after=(5, 1)))).index == 2


def test_a_refusal_never_goes_below_what_is_committed() -> None:
    group = lone_b(2, 2, 2, term=2, commit=3)
    assert answer(group.step(append(after=(9, 1)))).index == 3


def test_a_conflicting_entry_is_deleted_with_all_that_follow_it() -> None:
    group = lone_b(1, 2, 2, 2)
    group.step(append(command(4, 3), after=(3, 2)))
    assert held(group) == [(1, 1), (2, 1), (3, 2), (4, 3)]


def test_entries_that_are_there_already_delete_nothing() -> None:
    group = lone_b(1, 1, 1)
    ready = group.step(append(command(2, 1), after=(1, 1), term=1))
    assert ready == Ready()
    assert len(held(group)) == 4


def test_entries_before_and_after_what_is_there_add_only_the_new_ones() -> None:
    group = lone_b(1, 1)
    news = (command(2, 1), command(3, 1), command(4, 1))
    ready = group.step(append(*news, after=(1, 1), term=1))
    assert ready.to_save is not None
    assert ready.to_save.entries == (command(4, 1),)


def test_entries_below_what_is_committed_need_no_match() -> None:
    group = lone_b(1, 1, commit=3)
    group.compact("b", 3)
    news = (command(2, 1), command(3, 1), command(4, 1))
    assert answer(group.step(append(*news, after=(1, 1), term=1))).index == 4


def test_a_heartbeat_is_answered_and_saves_nothing() -> None:
    group = lone_b()
    ready = group.step(append(after=(1, 1), term=1))
    assert ready.to_save is None
    assert answer(ready).index == 1


def test_a_leader_of_an_earlier_term_is_told_the_present_one_and_changes_nothing() -> None:
    group = lone_b(1, term=5)
    ready = group.step(append(command(2, 4), after=(1, 1), term=4))
    assert (answer(ready).term, ready.to_save) == (5, None)
    assert group["b"].leader is None


def test_what_is_committed_is_never_replaced() -> None:
    group = lone_b(1, commit=2)
    group.step(append(command(2, 3), command(3, 3), after=(1, 1)))
    assert held(group) == [(1, 1), (2, 1), (3, 3)]


# --- 5.3: what a follower takes for committed


def test_a_follower_commits_what_the_leader_did_as_far_as_their_logs_are_known_to_match() -> None:
    group = lone_b(1, 1, 1)
    assert group.step(append(after=(2, 1), commit=4, term=1)).to_apply[-1].index == 2
    assert group["b"].commit == 2


def test_a_follower_commits_no_further_than_the_leader_did() -> None:
    group = lone_b()
    group.step(append(command(2, 1), command(3, 1), after=(1, 1), commit=2))
    assert group["b"].commit == 2


def test_a_late_message_does_not_take_a_commit_back() -> None:
    group = lone_b(1, 1, commit=3)
    group.step(append(after=(1, 1), commit=1))
    assert group["b"].commit == 3


def test_a_refused_message_commits_nothing() -> None:
    group = lone_b(1)
    group.step(append(after=(7, 7), commit=7))
    assert group["b"].commit == 1


def test_committed_entries_are_applied_in_order_and_once() -> None:
    group = led_by_a()
    for at in range(20):
        group.propose("a", str(at))
        group.deliver()
    group.run(5)
    for name in "abc":
        assert [it.index for it in group.members[name].applied] == list(range(1, 23))
        assert group.applied(name) == " ".join(map(str, range(20)))


# --- 5.3: a leader


def test_a_leader_begins_its_term_with_an_entry_of_its_own() -> None:
    group = led_by_a()
    found = group.members["a"].disk.saved().entries[-1]
    assert (found.index, found.term, found.kind) == (2, 2, Kind.NOOP)


def test_a_leader_puts_a_command_into_its_log_before_it_sends_it() -> None:
    group = led_by_a()
    group["a"].propose(b"x", group.now_s)
    ready = group.pump("a")
    assert ready.to_save is not None
    assert ready.to_save.entries == (Entry(3, 2, b"x"),)
    assert [sent.to for sent in ready.to_send] == ["b", "c"]
    assert ready.to_apply == ()


def test_a_command_is_committed_and_applied_once_a_majority_has_it() -> None:
    group = led_by_a()
    index = group.propose("a", "x")
    group.step(accepts("b", index))
    assert group["a"].commit == index
    assert group.applied("a") == "x"


@pytest.mark.parametrize("voters", ["ab", "abc", "abcd", "abcde"])
def test_fewer_than_a_majority_commit_nothing(voters: str) -> None:
    group = Group()
    for name in voters:
        group.add(name, disk_of(members(*voters)))
    group.elect("a")
    group.propose("a", "x")
    group.wire.clear()
    for have, voter in enumerate(voters[1:], 2):
        assert group.applied("a") == ""
        group.step(accepts(voter, 3))
        if have > len(voters) // 2:
            break
    assert group.applied("a") == "x"


def test_only_a_leader_takes_commands_and_others_name_it() -> None:
    group = led_by_a()
    with pytest.raises(NotLeader, match="ask a") as refusal:
        group.propose("b", "x")
    assert refusal.value.leader == "a"
    with pytest.raises(NotLeader, match="there is no leader"):
        group.restart("b").propose(b"x", group.now_s)


def test_a_leader_finds_where_a_followers_log_departs_and_overwrites_the_rest() -> None:
    group = Group()
    logs = {"a": (1, 1, 4, 4), "b": (1, 1, 2, 2, 2, 3, 3), "c": (1, 1, 4, 4)}
    for name, terms in logs.items():
        group.add(name, disk_of(members("a", "b", "c"), *terms, term=max(terms)))
    group.elect("a")
    assert held(group, "b") == held(group, "a") == held(group, "c")


def test_a_follower_that_was_away_gets_all_it_missed() -> None:
    group = led_by_a()
    group.crash("c")
    for at in range(3 * ENTRIES_MAX):
        group.propose("a", str(at))
    group.deliver()
    group.restart("c")
    group.run(TIMING.heartbeat_s)
    assert held(group, "c") == held(group, "a")


def test_a_leader_goes_on_asking_one_that_does_not_answer_with_each_heartbeat() -> None:
    group = led_by_a()
    group.crash("c")
    group.propose("a", "x")
    group.deliver()
    for _ in range(6):
        group.tick("a")
        assert len(sent_to(group, "c")) == 1
        group.deliver()


# --- 5.4.2: entries of earlier terms


def test_an_entry_of_an_earlier_term_is_not_committed_by_being_on_a_majority() -> None:
    group = trio(1, 1)
    group.advance(TIMING.election_min_s)
    group.tick("a")
    group.deliver("a", "b"), group.deliver("b", "a")  # the pre-votes
    group.deliver("a", "b"), group.deliver("b", "a")  # the votes
    group.step(accepts("b", 3))
    group.step(accepts("c", 3))
    assert (group["a"].role, group["a"].commit) == ("leader", 1)
    group.step(accepts("b", 4))
    assert group["a"].commit == 4


def test_a_new_leader_has_all_that_was_committed_and_commits_it_with_its_own_entry() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver("a", "b"), group.deliver("b", "a")
    assert group.applied("a") == "x"
    group.crash("a")
    group.wire.clear()
    group.elect("b")
    assert group.applied("b") == group.applied("c") == "x"


def test_a_leader_leads_for_others_only_past_an_entry_of_its_own_term() -> None:
    group = trio()
    group.advance(TIMING.election_min_s)
    group.tick("a")
    group.deliver("a", "b"), group.deliver("b", "a")
    group.deliver("a", "b"), group.deliver("b", "a")
    assert (group["a"].role, group["a"].leads) == ("leader", False)
    group.deliver()
    assert group["a"].leads


# --- 5.5: messages lost, late or twice


def test_a_lost_entry_is_found_by_the_next_heartbeat() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.drop("a", "c")
    group.tick("a")
    group.deliver()
    assert group.applied("c") == "x"


def test_a_lost_acknowledgement_is_found_by_the_next_heartbeat() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver("a", "b"), group.deliver("a", "c")
    group.drop()
    assert group.applied("a") == ""
    group.tick("a")
    group.deliver()
    assert group.applied("a") == "x"


def test_a_second_copy_of_entries_is_not_answered() -> None:
    group = lone_b()
    message = append(command(2, 9), after=(1, 1))
    assert answer(group.step(message)).index == 2
    assert group.step(message) == Ready()


def test_a_second_or_older_acknowledgement_leads_to_nothing() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.propose("a", "y")
    group.step(accepts("b", 4))
    for late in (accepts("b", 4), accepts("b", 3), accepts("b", 4)):
        assert group.step(late) == Ready()
        assert group["a"].progress()["b"][0] == 4


def test_an_acknowledgement_of_an_earlier_term_leads_to_nothing() -> None:
    group = led_by_a()
    group.propose("a", "x")
    assert group.step(accepts("b", 3, term=1)) == Ready()
    assert group.applied("a") == ""


def test_a_second_or_older_refusal_leads_to_nothing() -> None:
    group = led_by_a()
    for at in range(3):
        group.propose("a", str(at))
    (asked,) = group.step(misses("b", 4, 2)).to_send
    assert telling.content(asked) == "append after 2/2, commit 2, term 2"
    for late in (misses("b", 4, 2), misses("b", 3, 2), misses("b", 5, 2)):
        assert group.step(late) == Ready()


def test_a_refusal_older_than_an_acknowledgement_does_not_undo_it() -> None:
    group = led_by_a()
    for at in range(4):
        group.propose("a", str(at))
    group.step(accepts("b", 4))
    (asked,) = group.step(misses("b", 6, 2)).to_send
    assert isinstance(asked, Append)
    assert asked.prev_index == 4
    assert group["a"].progress()["b"][0] == 4


def test_an_acknowledgement_of_more_than_the_leader_has_counts_as_all_it_has() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.step(accepts("b", 99))
    assert group["a"].progress()["b"][0] == 3


# --- how much is sent, and when


def test_while_a_followers_log_is_unknown_it_gets_one_empty_question_per_heartbeat() -> None:
    group = led_by_a()
    group.crash("c")
    group.propose("a", "lost")
    group.step(misses("c", 3, 2))
    group.wire.clear()
    for at in range(5):
        group.propose("a", str(at))
    assert sent_to(group, "c") == []
    group.tick("a")
    (asked,) = sent_to(group, "c")
    assert asked.entries == ()


def test_entries_stream_ahead_of_the_answers_up_to_a_limit() -> None:
    group = led_by_a()
    for at in range(AHEAD_MAX + 10):
        group.propose("a", str(at))
    assert sent_to(group, "b")[-1].entries[-1].index == 2 + AHEAD_MAX
    group.step(accepts("b", 12))
    assert sent_to(group, "b")[-1].entries[-1].index == 2 + AHEAD_MAX + 10


def test_one_message_carries_so_many_entries_or_bytes_and_at_least_one() -> None:
    group = led_by_a()
    group.crash("c")
    for size in (1, BYTES_MAX - 1, 1, 2 * BYTES_MAX, *[1] * ENTRIES_MAX):
        group["a"].propose(b"x" * size, group.now_s)
    group.pump("a")
    sizes = [len(it.entries) for it in sent_to(group, "b")]
    assert sizes == [2, 1, 1, ENTRIES_MAX]


def test_followers_are_told_at_once_what_is_committed() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver("a", "b"), group.deliver("b", "a")
    group.deliver("a", "b")
    assert group.applied("b") == "x"


def test_an_idle_group_exchanges_heartbeats_and_nothing_else() -> None:
    group = led_by_a()
    writes = [group.members[name].disk.writes for name in "abc"]
    for _ in range(20):
        group.tick("a")
        arrived = group.deliver()
        assert len(arrived) == 4
        assert not any(isinstance(it, Append) and it.entries for it in arrived)
    assert [group.members[name].disk.writes for name in "abc"] == writes
