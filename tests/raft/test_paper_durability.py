"""What survives a restart, and when something is written: the paper, figure 2 and 5.2."""

from random import Random

import pytest

from roheletd.raft import Configuration, Kind, Raft, Ready, Save, Saved, founding
from roheletd.raft.values import Append, VoteRequest, VoteResponse, decode_configuration
from tests.raft.harness import (
    TIMING,
    Group,
    Steady,
    disk_of,
    led_by_a,
    lone_b,
    members,
    trio,
)


def asks(sender: str, term: int) -> VoteRequest:
    return VoteRequest(sender=sender, to="b", term=term, last_index=9, last_term=9)


def granted(ready: Ready) -> bool:
    (sent,) = ready.to_send
    assert isinstance(sent, VoteResponse)
    return sent.granted


def started(save: Save, me: str) -> Raft:
    """A core that starts from a single `Save`."""
    saved = Saved(term=save.term, vote=save.vote, commit=save.commit, entries=save.entries)
    return Raft(me=me, saved=saved, timing=TIMING, rng=Steady(), now_s=0)


def test_a_ready_is_carried_out_in_the_order_of_its_fields() -> None:
    assert Ready.__struct_fields__ == ("to_save", "to_send", "to_restore", "to_apply")


def test_whatever_was_done_is_told_once() -> None:
    group = led_by_a()
    group["a"].propose(b"x", group.now_s)
    assert group["a"].ready() != Ready()
    assert group["a"].ready() == Ready()


def test_one_vote_per_term_holds_across_a_restart() -> None:
    group = lone_b()
    assert granted(group.step(asks("a", 2)))
    group.restart("b")
    group.advance(TIMING.election_min_s)
    assert not granted(group.step(asks("c", 2)))
    assert granted(group.step(asks("a", 2)))


def test_a_candidates_vote_for_itself_holds_across_a_restart() -> None:
    group = lone_b()
    group.tick("b")
    group.step(VoteResponse(sender="a", to="b", term=2, granted=True, pre=True))
    assert group["b"].role == "candidate"
    group.restart("b")
    group.advance(TIMING.election_min_s)
    assert group["b"].term == 2
    assert not granted(group.step(asks("c", 2)))


def test_a_term_never_goes_back() -> None:
    group = lone_b()
    group.step(asks("a", 7))
    assert group.restart("b").term == 7


def test_a_restarted_node_is_a_follower_with_its_log_and_membership() -> None:
    group = led_by_a()
    group.propose("a", "x")
    before = (group["a"].term, group["a"].last_index, group["a"].configuration)
    node = group.restart("a")
    assert (node.term, node.last_index, node.configuration) == before
    assert (node.role, node.leader) == ("follower", None)


def test_what_was_acknowledged_survives_a_power_cut_of_all() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver()
    for name in "abc":
        group.crash(name)
    group.wire.clear()
    for name in "abc":
        group.restart(name)
    group.elect("c")
    assert group.applied("a") == group.applied("b") == group.applied("c") == "x"


def test_every_answer_leaves_with_what_it_depends_on_already_in_the_same_save() -> None:
    group = lone_b()
    entry = disk_of(members("a"), 2).entries[1]
    message = Append(
        sender="a", to="b", term=2, prev_index=1, prev_term=1, commit=1, entries=(entry,)
    )
    group["b"].step(message, group.now_s)
    ready = group["b"].ready()  # nothing of it is on the disk yet
    assert ready.to_save is not None
    assert ready.to_save.entries == (entry,)
    assert group.restart("b").last_index == 1


def test_how_far_the_log_is_committed_is_no_reason_to_write() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver("a", "b"), group.deliver("b", "a")
    before = group.members["b"].disk.writes
    group.deliver("a", "b")
    assert group.applied("b") == "x"
    assert group.members["b"].disk.writes == before


def test_an_idle_group_writes_nothing() -> None:
    group = led_by_a(learners=["d"])
    before = {name: member.disk.writes for name, member in group.members.items()}
    group.run(60)
    assert {name: member.disk.writes for name, member in group.members.items()} == before


def test_a_commit_that_is_to_be_remembered_is_written_once() -> None:
    group = led_by_a()
    group["a"].remember_commit()
    save = group.pump("a").to_save
    assert save is not None
    assert (save.commit, save.entries, save.snapshot) == (2, (), None)
    group["a"].remember_commit()
    assert group.pump("a").to_save is None


def test_a_node_that_starts_alone_applies_up_to_the_saved_commit() -> None:
    group = Group()
    group.add("a", disk_of(members("a", "b", "c"), 1, 1, 1, commit=3))
    assert [it.index for it in group.members["a"].applied] == [1, 2, 3]


def test_a_node_whose_commit_was_not_saved_learns_it_from_a_leader() -> None:
    group = led_by_a()
    group.propose("a", "x")
    group.deliver()
    group.restart("b")
    assert group.applied("b") == ""
    group.run(TIMING.heartbeat_s)
    assert group.applied("b") == "x"


def test_a_restart_applies_each_entry_once() -> None:
    group = trio(1, 1)
    group.elect("a")
    group.restart("b")
    group.run(TIMING.heartbeat_s)
    assert [it.index for it in group.members["b"].applied] == [1, 2, 3, 4]


def test_the_first_node_founds_a_cluster_of_which_it_is_the_only_voter() -> None:
    save = founding("a")
    (first,) = save.entries
    assert (first.index, first.kind, save.commit) == (1, Kind.CONFIGURATION, 1)
    assert decode_configuration(first.data) == Configuration(voters=("a",))
    node = started(save, "a")
    node.ready()
    node.tick(node.deadline_s)
    assert node.leads is False
    assert node.ready().to_apply[-1].index == 2
    assert node.leads is True


def test_a_founded_cluster_does_not_vote_for_anybody_in_its_first_term() -> None:
    save = founding("a")
    assert (save.term, save.vote) == (1, "a")


@pytest.mark.parametrize("seed", range(5))
def test_equal_seeds_and_inputs_give_equal_outputs(seed: int) -> None:
    saved = disk_of(members("a", "b", "c"))
    readies = []
    for _ in range(2):
        node = Raft(me="a", saved=saved, timing=TIMING, rng=Random(seed), now_s=0)
        told = [node.ready()]
        for _ in range(5):
            node.tick(node.deadline_s)
            told.append(node.ready())
        readies.append((told, node.deadline_s))
    assert readies[0] == readies[1]
