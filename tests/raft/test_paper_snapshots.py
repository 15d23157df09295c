"""Snapshots, rule by rule: the paper, 7; in pieces that the receiver asks for (ours)."""

import pytest

from roheletd.raft import ChangeRefused, Entry, Ready, Saved
from roheletd.raft.leadership import AHEAD_MAX
from roheletd.raft.values import Append, AppendResponse, SnapshotChunk, SnapshotRequest
from tests.raft.harness import TIMING, Group, led_by_a, lone_b, members

ABC = members("a", "b", "c")


def piece(
    data: bytes,
    *,
    offset: int = 0,
    size: int | None = None,
    of: tuple[int, int] = (5, 3),
    term: int = 9,
) -> SnapshotChunk:
    """From `a`, which leads in `term`, to `b`; `of` is the snapshot's index and term."""
    return SnapshotChunk(
        sender="a",
        to="b",
        term=term,
        index=of[0],
        snapshot_term=of[1],
        configuration=ABC,
        size=len(data) if size is None else size,
        offset=offset,
        data=data,
    )


def beats(*, after: tuple[int, int], term: int = 9) -> Append:
    return Append(
        sender="a", to="b", term=term, prev_index=after[0], prev_term=after[1], commit=after[0]
    )


def misses(sender: str, refused: int, index: int) -> AppendResponse:
    return AppendResponse(sender=sender, to="a", term=2, index=index, refused=refused)


def wanted(ready: Ready) -> tuple[int, int]:
    """Index and offset of the piece that is asked for."""
    (sent,) = ready.to_send
    assert isinstance(sent, SnapshotRequest)
    return sent.index, sent.offset


def acknowledged(ready: Ready) -> int:
    (sent,) = ready.to_send
    assert isinstance(sent, AppendResponse)
    assert sent.refused is None
    return sent.index


def led_past_a_snapshot(*, chunk_bytes: int = 4) -> Group:
    """`a` leads, `c` was away and lacks what `a` has compacted away, up to 7/2."""
    group = led_by_a(chunk_bytes=chunk_bytes)
    group.crash("c")
    for data in "uvwxy":
        group.propose("a", data)
    group.deliver()
    group.compact("a", 7)
    group.restart("c")
    return group


# --- compaction


def test_a_snapshot_stands_for_the_entries_up_to_the_last_it_includes() -> None:
    group = led_by_a()
    for data in "xyz":
        group.propose("a", data)
    group.deliver()
    snapshot = group.compact("a", 4)
    assert (snapshot.index, snapshot.term, snapshot.data) == (4, 2, b"x y")
    assert [it.index for it in group.members["a"].disk.saved().entries if it.index > 4] == [5]


def test_a_snapshot_holds_the_membership_as_of_its_last_entry() -> None:
    group = led_by_a(learners=["d"])
    group.propose("a", "x")
    group.deliver()
    group.change("a", members("a", "b", "c", "d"))
    group.deliver()
    assert group.compact("a", 3).configuration == members("a", "b", "c", learners=["d"])
    assert group["a"].configuration == members("a", "b", "c", "d")
    assert group.restart("a").configuration == members("a", "b", "c", "d")


def test_compaction_does_not_make_a_membership_committed() -> None:
    group = led_by_a(learners=["d"])
    group.change("a", members("a", "b", "c", "d"))
    group.compact("a", 2)
    assert group["a"].changing
    with pytest.raises(ChangeRefused, match="the change before is not committed yet"):
        group.change("a", ABC)


def test_a_few_entries_below_a_snapshot_stay_for_those_a_little_behind() -> None:
    group = led_by_a()
    group.cut("ab", "c")
    for data in "uvwxyz":
        group.propose("a", data)
    group.deliver()
    group.compact("a", 8, keep=6)
    group.heal()
    group.tick("a")
    arrived = group.deliver()
    assert not any(isinstance(it, SnapshotChunk) for it in arrived)
    assert group.applied("c") == "u v w x y z"


@pytest.mark.parametrize("keep", [0, 2])
def test_a_node_restarts_from_its_snapshot_and_the_entries_after_it(keep: int) -> None:
    group = led_by_a()
    for data in "xyz":
        group.propose("a", data)
    group.deliver()
    group.compact("a", 4, keep=keep)
    node = group.restart("a")
    assert (node.last_index, node.configuration, node.commit) == (5, ABC, 5)
    assert group.applied("a") == "x y z"
    assert [it.index for it in group.members["a"].applied] == [5]


def test_every_node_compacts_by_itself_and_a_leader_may_do_so_at_any_moment() -> None:
    group = led_by_a()
    for at in range(20):
        group.propose("a", str(at))
        group.deliver()
        group.compact("a")
        group.compact("b", keep=1)
    group.run(2)
    assert group.applied("a") == group.applied("b") == group.applied("c")


def test_a_restart_after_compaction_keeps_voting_by_the_whole_log() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver()
    group.compact("b", 3)
    group.restart("b")
    group.elect("b")
    assert group["b"].last_index == 4


# --- the leader's side


def test_a_follower_that_lacks_what_is_gone_gets_the_snapshot_and_what_follows() -> None:
    group = led_past_a_snapshot()
    group.propose("a", "z")
    group.run(TIMING.heartbeat_s)
    assert group.applied("c") == "u v w x y z"
    assert group.members["c"].state.restored is not None
    assert [it.index for it in group.members["c"].applied] == [1, 8]


def test_a_leader_sends_one_piece_and_the_next_when_it_is_asked() -> None:
    group = led_past_a_snapshot()
    (first,) = group.step(misses("c", 7, 2)).to_send
    assert isinstance(first, SnapshotChunk)
    assert (first.offset, first.data, first.size) == (0, b"u v ", 9)
    assert (first.index, first.snapshot_term, first.configuration) == (7, 2, ABC)
    (rest,) = group.step(SnapshotRequest(sender="c", to="a", term=2, index=7, offset=4)).to_send
    assert isinstance(rest, SnapshotChunk)
    assert (rest.offset, rest.data) == (4, b"w x ")


def test_who_asks_for_an_older_snapshot_gets_the_newest_from_its_beginning() -> None:
    group = led_past_a_snapshot()
    (sent,) = group.step(SnapshotRequest(sender="c", to="a", term=2, index=5, offset=4)).to_send
    assert isinstance(sent, SnapshotChunk)
    assert (sent.index, sent.offset) == (7, 0)


def test_a_leader_without_a_snapshot_sends_none() -> None:
    group = led_by_a()
    request = SnapshotRequest(sender="c", to="a", term=2, index=5, offset=0)
    assert group.step(request) == Ready()


def test_a_request_beyond_the_end_is_not_answered() -> None:
    group = led_past_a_snapshot()
    request = SnapshotRequest(sender="c", to="a", term=2, index=7, offset=99)
    assert group.step(request) == Ready()


def test_who_asks_for_pieces_is_heard() -> None:
    group = led_past_a_snapshot()
    group.advance(1)
    group.step(SnapshotRequest(sender="c", to="a", term=2, index=7, offset=0))
    assert group["a"].progress()["c"][1] == group.now_s


def test_a_late_answer_from_below_what_was_compacted_is_no_reason_to_send_what_is_gone() -> None:
    group = led_by_a()
    for at in range(3 * AHEAD_MAX):
        group.propose("a", str(at))
    group.step(AppendResponse(sender="b", to="a", term=2, index=group["a"].last_index))
    group.compact("a")
    group.wire.clear()
    group.step(AppendResponse(sender="c", to="a", term=2, index=100))
    assert not group.on_way("a", "c")
    group.tick("a")
    group.deliver()
    assert group.applied("c") == group.applied("a")


# --- the follower's side


def test_a_snapshot_replaces_a_log_that_it_goes_beyond() -> None:
    group = lone_b(1)
    ready = group.step(piece(b"state"))
    assert ready.to_save is not None
    assert ready.to_save.reset
    assert ready.to_save.snapshot == ready.to_restore
    assert ready.to_restore is not None
    assert (ready.to_restore.index, ready.to_restore.data) == (5, b"state")
    assert acknowledged(ready) == 5
    assert (group["b"].last_index, group["b"].commit) == (5, 5)


def test_a_snapshot_replaces_a_log_that_conflicts_with_it() -> None:
    group = lone_b(1, 2, 2, 2, 2)
    group.step(piece(b"state", of=(5, 3)))
    assert group["b"].last_index == 5
    assert group.restart("b").last_index == 5


def test_a_snapshot_of_a_part_of_the_log_keeps_the_entries_after_it() -> None:
    group = lone_b(1, 3, 3, 3, 3)
    ready = group.step(piece(b"state", of=(5, 3)))
    assert ready.to_restore is None
    assert ready.to_save is None or not ready.to_save.reset
    assert (group["b"].last_index, group["b"].commit) == (6, 5)
    assert [it.index for it in ready.to_apply] == [2, 3, 4, 5]


def test_a_snapshot_below_what_is_committed_changes_nothing() -> None:
    group = lone_b(1, 3, 3, 3, 3, commit=6)
    ready = group.step(piece(b"state", of=(5, 3)))
    assert (ready.to_restore, ready.to_apply, acknowledged(ready)) == (None, (), 6)


def test_the_membership_comes_with_the_snapshot() -> None:
    group = Group()
    group.add("b")
    group.step(piece(b"state"))
    assert group["b"].configuration == ABC
    assert group.restart("b").configuration == ABC


def test_a_restored_state_survives_a_restart_and_what_it_replaced_does_not() -> None:
    group = lone_b(1, 2)
    group.step(piece(b"p q"))
    group.restart("b")
    assert group.applied("b") == "p q"
    assert group["b"].commit == 5


def test_pieces_are_put_together_in_order() -> None:
    group = lone_b()
    assert wanted(group.step(piece(b"abcd", size=10))) == (5, 4)
    assert wanted(group.step(piece(b"efgh", offset=4, size=10))) == (5, 8)
    ready = group.step(piece(b"ij", offset=8, size=10))
    assert ready.to_restore is not None
    assert ready.to_restore.data == b"abcdefghij"


def test_nothing_is_saved_before_a_snapshot_is_complete() -> None:
    group = lone_b(term=9)
    assert group.step(piece(b"abcd", size=10)).to_save is None
    assert group["b"].last_index == 1


def test_a_piece_that_comes_twice_or_too_early_is_not_answered() -> None:
    group = lone_b()
    group.step(piece(b"abcd", size=12))
    assert group.step(piece(b"abcd", size=12)) == Ready()
    assert group.step(piece(b"ijkl", offset=8, size=12)) == Ready()
    assert wanted(group.step(piece(b"efgh", offset=4, size=12))) == (5, 8)


def test_a_lost_piece_is_asked_for_at_the_next_heartbeat() -> None:
    group = lone_b()
    group.step(piece(b"abcd", size=12))
    assert wanted(group.step(beats(after=(8, 9)))) == (5, 4)


def test_who_hears_of_a_snapshot_in_its_middle_asks_for_its_beginning() -> None:
    assert wanted(lone_b().step(piece(b"efgh", offset=4, size=12))) == (5, 0)


def test_a_newer_snapshot_takes_the_place_of_one_that_is_arriving() -> None:
    group = lone_b()
    group.step(piece(b"abcd", size=12))
    assert wanted(group.step(piece(b"ABCD", size=8, of=(7, 3)))) == (7, 4)
    assert group.step(piece(b"efgh", offset=4, size=12)) == Ready()
    ready = group.step(piece(b"EFGH", offset=4, size=8, of=(7, 3)))
    assert ready.to_restore is not None
    assert ready.to_restore.data == b"ABCDEFGH"


def test_pieces_of_two_leaders_are_never_put_together() -> None:
    group = lone_b()
    group.step(piece(b"abcd", size=8))
    assert wanted(group.step(piece(b"EFGH", offset=4, size=8, term=10))) == (5, 0)
    group.step(piece(b"ABCD", size=8, term=10))
    ready = group.step(piece(b"EFGH", offset=4, size=8, term=10))
    assert ready.to_restore is not None
    assert ready.to_restore.data == b"ABCDEFGH"


def test_the_next_leader_may_have_an_older_snapshot_or_none() -> None:
    group = lone_b()
    group.step(piece(b"abcd", size=8))
    (sent,) = group.step(beats(after=(8, 9), term=10)).to_send
    assert isinstance(sent, AppendResponse)
    assert sent.refused == 8
    assert acknowledged(group.step(piece(b"xy", of=(3, 3), term=10))) == 3


def test_an_empty_state_is_a_snapshot_too() -> None:
    ready = lone_b().step(piece(b""))
    assert ready.to_restore is not None
    assert ready.to_restore.data == b""


def test_entries_go_on_after_a_snapshot() -> None:
    group = lone_b()
    group.step(piece(b"state"))
    entry = Entry(6, 9, b"x")
    message = Append(
        sender="a", to="b", term=9, prev_index=5, prev_term=3, commit=6, entries=(entry,)
    )
    assert group.step(message).to_apply == (entry,)
    assert group.restart("b").last_index == 6


def test_a_snapshot_of_a_leader_of_the_past_is_refused() -> None:
    group = lone_b(term=12)
    ready = group.step(piece(b"state"))
    assert ready.to_restore is None
    assert ready.to_send[0].term == 12


def test_who_lost_its_log_gets_it_back_as_a_snapshot() -> None:
    group = led_past_a_snapshot()
    group.add("c", Saved(term=2))
    group.run(2 * TIMING.heartbeat_s)
    assert group.applied("c") == "u v w x y"
