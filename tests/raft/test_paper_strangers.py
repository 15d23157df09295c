"""Nodes outside the configuration hear what is committed, and ask for what they miss (ours)."""

from math import inf

import pytest

from roheletd.raft import EVERYBODY, Ready
from roheletd.raft.leadership import BEACON_EVERY
from roheletd.raft.values import Append, AppendResponse, SnapshotChunk, SnapshotRequest
from tests.raft.harness import TIMING, Group, disk_of, led_by_a, lone, lone_b, members


def led_with_a_stranger(*, chunk_bytes: int = 32_768) -> Group:
    """`a` leads `b` and `c`; `e` hears what it tells all, and has all that is committed."""
    group = led_by_a(chunk_bytes=chunk_bytes)
    group.hears_all = ("b", "c", "e")
    group.add("e")
    group.run(2 * BEACON_EVERY * TIMING.heartbeat_s)
    assert group["e"].commit == 2
    return group


def told_to_all(group: Group) -> list[Append]:
    """Each message to all once, as `e` would hear it."""
    found = [it.message for it in group.on_way("a", "e") if it.message.to == EVERYBODY]
    return [it for it in found if isinstance(it, Append)]


def publishes(*, after: tuple[int, int], commit: int, term: int = 2) -> Append:
    prev_index, prev_term = after
    return Append(
        sender="a",
        to=EVERYBODY,
        term=term,
        prev_index=prev_index,
        prev_term=prev_term,
        commit=commit,
    )


def test_all_are_told_an_entry_when_it_is_committed_and_once() -> None:
    group = led_with_a_stranger()
    group.propose("a", "x")
    assert told_to_all(group) == []
    group.deliver("a", "b"), group.deliver("b", "a")
    (told,) = told_to_all(group)
    assert [entry.data for entry in told.entries] == [b"x"]
    group.deliver()
    assert group.applied("e") == "x"


def test_nothing_that_is_not_committed_is_told_to_all() -> None:
    group = led_with_a_stranger()
    heard = []
    for at in range(30):
        group.propose("a", str(at))
        heard += told_to_all(group)
        group.deliver("a", "b")
        if at % 3:
            group.deliver("b", "a")
        heard += told_to_all(group)
        group.deliver("a", "e"), group.deliver("e", "a")
        assert group["e"].last_index <= group["a"].commit
    assert all(it.prev_index + len(it.entries) <= it.commit for it in heard)


def test_all_are_told_now_and_then_how_far_the_log_is() -> None:
    group = led_with_a_stranger()
    told = 0
    for _ in range(4 * BEACON_EVERY):
        group.tick("a")
        told += len(told_to_all(group))
        group.deliver()
    assert told == 4


def test_who_misses_nothing_says_nothing() -> None:
    group = led_with_a_stranger()
    for at in range(5):
        group.propose("a", str(at))
        arrived = group.deliver()
        assert not [it for it in arrived if it.sender == "e"]
    assert group.applied("e") == "0 1 2 3 4"


def test_who_misses_something_asks_and_gets_it() -> None:
    group = led_with_a_stranger()
    group.cut("abc", "e")
    group.propose("a", "x")
    group.deliver()
    group.heal()
    group.propose("a", "y")
    group.run(BEACON_EVERY * TIMING.heartbeat_s)
    assert group.applied("e") == "x y"


def test_a_member_does_not_answer_what_is_told_to_all() -> None:
    group = lone_b()
    group.step(Append(sender="a", to="b", term=2, prev_index=1, prev_term=1, commit=1))
    assert group.step(publishes(after=(9, 2), commit=9), at="b").to_send == ()
    assert group.step(publishes(after=(1, 1), commit=1), at="b") == Ready()


def test_a_member_takes_what_it_is_told_with_all() -> None:
    group = lone_b(1)
    assert group.step(publishes(after=(2, 1), commit=2), at="b").to_apply[-1].index == 2


def test_who_is_removed_is_served_as_a_stranger_from_then_on() -> None:
    group = led_by_a()
    group.hears_all = ("b", "c")
    group.change("a", members("a", "b"))
    group.propose("a", "x")
    group.run(2 * BEACON_EVERY * TIMING.heartbeat_s)
    assert group.applied("c") == "x"
    assert group["c"].deadline_s == inf


def test_the_leader_keeps_no_account_of_strangers() -> None:
    group = led_with_a_stranger()
    group.propose("a", "x")
    group.deliver()
    assert set(group["a"].progress()) == {"b", "c"}


def test_an_acknowledgement_of_a_stranger_commits_nothing() -> None:
    group = led_with_a_stranger()
    group.propose("a", "x")
    for stranger in ("e", "f", "g"):
        group.step(AppendResponse(sender=stranger, to="a", term=2, index=3))
    assert group["a"].commit == 2


def test_a_stranger_is_answered_by_what_it_says_alone() -> None:
    group = led_with_a_stranger()
    for data in "xyz":
        group.propose("a", data)
    group.deliver()
    asked = AppendResponse(sender="e", to="a", term=2, index=3, refused=4)
    first, again = group.step(asked), group.step(asked)
    assert first == again
    (sent,) = first.to_send
    assert isinstance(sent, Append)
    assert (sent.to, sent.prev_index) == ("e", 3)
    assert [entry.index for entry in sent.entries] == [4, 5]


def test_a_stranger_that_has_all_that_is_committed_is_sent_nothing() -> None:
    group = led_with_a_stranger()
    group.propose("a", "x")
    for index in (2, 3, 99):
        answer = AppendResponse(sender="e", to="a", term=2, index=index)
        assert group.step(answer) == Ready()


@pytest.mark.parametrize("chunk_bytes", [1, 4, 1000])
def test_a_new_node_catches_up_through_the_snapshot_and_the_entries_after_it(
    chunk_bytes: int,
) -> None:
    group = led_by_a(chunk_bytes=chunk_bytes)
    for data in "uvwxyz":
        group.propose("a", data)
    group.deliver()
    group.compact("a", 6)
    group.hears_all = ("e",)
    group.add("e")
    group.run(BEACON_EVERY * TIMING.heartbeat_s)
    assert group.applied("e") == "u v w x y z"
    assert group.members["e"].state.restored is not None


def test_a_stranger_gets_the_snapshot_where_the_entries_are_gone() -> None:
    group = led_by_a()
    group.compact("a", 2)
    (sent,) = group.step(AppendResponse(sender="e", to="a", term=2, index=0)).to_send
    assert isinstance(sent, SnapshotChunk)
    request = SnapshotRequest(sender="e", to="a", term=2, index=2, offset=0)
    assert group.step(request).to_send == (sent,)


def test_entries_that_a_removed_node_never_had_committed_are_replaced() -> None:
    saved = disk_of(members("a", "b", "c"), 1, 1, 1, 1, 1)
    group = led_by_a()
    group.hears_all = ("e",)
    group.add("e", saved)  # 2/1 to 6/1 are nobody else's
    for at in range(8):
        group.propose("a", str(at))
    group.run(2 * BEACON_EVERY * TIMING.heartbeat_s)
    assert group.applied("e") == group.applied("a")


def test_many_strangers_cost_the_leader_one_message_per_commit() -> None:
    group = led_with_a_stranger()
    group["a"].propose(b"x", group.now_s)
    group.pump("a")
    group.wire.clear()
    ready = group.step(AppendResponse(sender="b", to="a", term=2, index=3))
    assert [sent.to for sent in ready.to_send] == ["b", "c", EVERYBODY]


def test_a_stranger_of_a_higher_term_tells_it_once_and_then_follows() -> None:
    group = led_by_a()
    group.hears_all = ("e",)
    group.add("e", disk_of(members("a", "b", "c"), term=9))
    group.run(3 * TIMING.election_max_s)
    (leader,) = [name for name, role in group.roles().items() if role == "leader"]
    assert group[leader].term == 10
    group.run(10 * TIMING.election_max_s)
    assert group[leader].term == 10
    assert group["e"].leader == leader


def test_a_stranger_without_a_log_never_stands() -> None:
    group = lone("e", disk_of(members("a", "b")))
    assert group["e"].deadline_s == inf
