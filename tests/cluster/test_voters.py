"""Who votes: one safe step at a time, from any cluster to the number of voters it should have."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from roheletd.cluster.voters import (
    HandOver,
    Limits,
    Peer,
    next_configuration,
    outlook,
    spares,
    wanted,
)
from roheletd.raft.values import Configuration

NOW_S = 1000.0
LIMITS = Limits()
STEPS_MAX = 60

healthy = Peer(silent_s=0.2, healthy_since_s=0.0, lag_entries=0)
away = Peer(silent_s=10.0)
dead = Peer(silent_s=500.0)
gone = Peer(known=False, silent_s=500.0)
removed_but_running = Peer(known=False, silent_s=0.2)
never = Peer(voter="never", silent_s=0.2, healthy_since_s=0.0, lag_entries=0)
witness = Peer(witness=True, silent_s=0.2, healthy_since_s=0.0, lag_entries=0)


def step(
    voters: str, learners: str = "", *, me: str = "a", **peers: Peer
) -> Configuration | HandOver | None:
    """Ids are single letters; who is not named in `peers` is healthy."""
    known = dict.fromkeys(voters + learners, healthy) | peers
    current = Configuration.of(set(voters), set(learners))
    return next_configuration(current, known, me=me, now_s=NOW_S, limits=LIMITS)


def members(voters: str, learners: str = "") -> Configuration:
    return Configuration.of(set(voters), set(learners))


@pytest.mark.parametrize(
    ("eligible", "voters"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (500, 5)]
)
def test_there_are_one_two_three_or_five_voters(eligible: int, voters: int) -> None:
    assert wanted(eligible) == voters


def test_a_node_alone_has_nothing_to_change() -> None:
    assert step("a") is None


def test_a_new_node_learns_first_and_votes_when_it_was_healthy_for_long_enough() -> None:
    young = Peer(silent_s=0.2, healthy_since_s=NOW_S - 29.0, lag_entries=0)
    grown = Peer(silent_s=0.2, healthy_since_s=NOW_S - 30.0, lag_entries=0)
    assert step("a", b=young) == members("a", "b")
    assert step("a", "b", b=young) is None
    assert step("a", "b", b=grown) == members("ab")


@pytest.mark.parametrize("lag_entries", [None, 51])
def test_a_node_that_is_behind_does_not_vote(lag_entries: int | None) -> None:
    behind = Peer(silent_s=0.2, healthy_since_s=0.0, lag_entries=lag_entries)
    assert step("a", "b", b=behind) is None


def test_a_silent_node_is_not_even_tracked() -> None:
    assert step("a", b=dead) is None


def test_of_four_nodes_three_vote_and_one_is_a_spare() -> None:
    assert step("abc", d=healthy) == members("abc", "d")
    assert step("abc", "d") is None


def test_three_voters_become_five_only_when_two_are_ready() -> None:
    young = Peer(silent_s=0.2, healthy_since_s=NOW_S, lag_entries=0)
    assert step("abc", "de", e=young) is None
    assert step("abc", "de") == members("abcd", "e")
    assert step("abcd", "e") == members("abcde")


def test_a_fourth_voter_whose_fifth_died_on_the_way_is_one_too_many() -> None:
    assert step("abcd", "e", e=away) is None
    assert step("abcd", "e", e=dead) == members("abc", "e")


def test_a_node_that_is_to_vote_never_is_left_out() -> None:
    assert step("a", b=never) is None


def test_a_witness_votes_before_others() -> None:
    assert step("a", "bz", b=healthy, z=witness) == members("az", "b")
    assert step("abcz", b=healthy, c=healthy, z=witness) == members("abz")


def test_a_voter_that_was_removed_goes_as_soon_as_the_rest_is_a_healthy_majority() -> None:
    assert step("abc", c=gone) == members("ab")
    assert step("ab", b=gone) == members("a")
    assert step("abc", b=away, c=removed_but_running) is None


def test_a_voter_under_an_id_that_nobody_knows_is_gone() -> None:
    current = members("abc")
    known = {"a": healthy, "b": healthy}
    found = next_configuration(current, known, me="a", now_s=NOW_S, limits=LIMITS)
    assert found == members("ab")


def test_a_silent_voter_is_replaced_after_a_while_the_spare_first() -> None:
    assert step("abc", "d", c=away) is None
    assert step("abc", "d", c=dead) == members("abcd")
    assert step("abcd", c=dead) == members("abd")
    assert step("abd", c=dead) is None


def test_a_silent_voter_without_a_spare_stays() -> None:
    assert step("abc", c=dead) is None
    assert step("abc", c=dead, d=dead) is None


def test_the_longest_silent_of_too_many_voters_goes_first() -> None:
    assert step("abcdef", b=dead, f=away) == members("acdef")


def test_the_leader_is_never_the_one_too_many() -> None:
    assert step("abcd", me="d") == members("abd")


def test_two_voters_become_one_when_one_leaves_for_good() -> None:
    assert step("ab", b=removed_but_running) == members("a")


def test_a_leader_that_was_removed_hands_over_to_the_voter_that_is_least_behind() -> None:
    behind = Peer(silent_s=0.2, healthy_since_s=0.0, lag_entries=3)
    assert step("abc", a=removed_but_running, b=behind) == HandOver(to="c")
    assert step("abc", a=removed_but_running, c=away) == HandOver(to="b")


def test_a_leader_that_is_to_vote_never_finds_a_successor_first() -> None:
    assert step("a", a=never) is None
    assert step("a", a=never, b=healthy) == members("a", "b")
    assert step("a", "b", a=never) == members("ab")
    assert step("ab", a=never) == HandOver(to="b")
    assert step("ab", a=never, me="b") == members("b")


def test_a_voter_that_is_to_vote_never_votes_until_another_can() -> None:
    assert step("abc", c=never, d=healthy) == members("abc", "d")
    assert step("abc", "d", c=never) == members("abcd")
    assert step("abcd", c=never) == members("abd")
    assert step("abc", c=never) == members("ab")


def test_learners_that_left_or_died_are_not_tracked_any_more() -> None:
    assert step("abc", "defg", d=gone, e=never, f=dead) == members("abc", "g")


def test_a_spare_that_is_tracked_is_not_exchanged_for_another() -> None:
    known = dict.fromkeys("abcdefgh", healthy)
    current = members("abcde", "h")
    assert next_configuration(current, known, me="a", now_s=NOW_S, limits=LIMITS) is None


# --- whatever the cluster is like

some_peers = some.builds(
    Peer,
    known=some.sampled_from([True, True, True, False]),
    voter=some.sampled_from(["auto", "auto", "auto", "never"]),
    witness=some.booleans(),
    silent_s=some.sampled_from([0.1, 2.0, 10.0, 119.0, 120.0, math.inf]),
    healthy_since_s=some.sampled_from([None, 0.0, NOW_S - 30.0, NOW_S - 1.0]),
    lag_entries=some.sampled_from([None, 0, 50, 51]),
)


@some.composite
def clusters(draw: some.DrawFn) -> tuple[Configuration, dict[str, Peer]]:
    ids = draw(some.sets(some.sampled_from("abcdefghijklmn"), min_size=1))
    roles = {id_: draw(some.sampled_from(["voter", "learner", "none"])) for id_ in sorted(ids)}
    voters = {id_ for id_, role in roles.items() if role == "voter"} | {"a"}
    learners = {id_ for id_, role in roles.items() if role == "learner"} - voters
    peers = {id_: draw(some_peers) for id_ in sorted(ids | {"a"})}
    return Configuration.of(voters, learners), peers


def alive(voters: Iterable[str], peers: dict[str, Peer]) -> int:
    return sum(id_ == "a" or peers[id_].silent_s < LIMITS.healthy_within_s for id_ in voters)


@given(clusters())
def test_every_step_is_safe_and_small(cluster: tuple[Configuration, dict[str, Peer]]) -> None:
    current, peers = cluster
    after = next_configuration(current, peers, me="a", now_s=NOW_S, limits=LIMITS)
    if not isinstance(after, Configuration):
        return
    changed = set(after.voters) ^ set(current.voters)
    assert after != current
    assert len(changed) <= 1
    assert "a" in after.voters
    assert changed - set(current.voters) <= set(current.learners)
    if changed:
        assert alive(after.voters, peers) * 2 > len(after.voters)


@given(clusters())
def test_a_cluster_left_as_it_is_comes_to_rest(
    cluster: tuple[Configuration, dict[str, Peer]],
) -> None:
    current, peers = cluster
    for _ in range(STEPS_MAX):
        after = next_configuration(current, peers, me="a", now_s=NOW_S, limits=LIMITS)
        if not isinstance(after, Configuration):
            return
        current = after
    raise AssertionError(f"still moving: {current}")


@given(clusters())
def test_a_healthy_cluster_ends_with_the_voters_it_should_have(
    cluster: tuple[Configuration, dict[str, Peer]],
) -> None:
    current, drawn = cluster
    peers = {
        id_: Peer(
            known=peer.known or id_ == "a",
            voter="auto" if id_ == "a" else peer.voter,
            witness=peer.witness,
            silent_s=0.1,
            healthy_since_s=0.0,
            lag_entries=0,
        )
        for id_, peer in drawn.items()
    }
    for _ in range(STEPS_MAX):
        after = next_configuration(current, peers, me="a", now_s=NOW_S, limits=LIMITS)
        if after is None:
            break
        assert isinstance(after, Configuration)
        assert "a" in after.voters
        current = after
    eligible = sum(peer.eligible for peer in peers.values())
    assert len(current.voters) == wanted(eligible)
    assert len(current.learners) == min(spares(eligible), eligible - wanted(eligible))
    assert all(peers[id_].eligible for id_ in current.members)


# --- in words

IDS = tuple(f"pi{number}.0000000{number}" for number in range(1, 6))


STUCK = "nothing can be changed until it is back (containers keep running)"
ALONE = STUCK.replace("containers", "containers elsewhere")


@pytest.mark.parametrize(
    ("voters", "living", "words"),
    [
        (1, 1, f"1 of 1 voter is alive: if this machine dies {ALONE}; add two more machines"),
        (
            2,
            2,
            (
                "2 of 2 voters are alive: both are needed, so if one more machine dies "
                f"{STUCK}; add a third machine, or a witness"
            ),
        ),
        (3, 3, "3 of 3 voters are alive: one may die and the cluster goes on"),
        (
            3,
            2,
            (
                "2 of 3 voters are alive, pi3 is away: all that are left are needed, so if one "
                f"more machine dies {STUCK}; bring pi3 back, or add a machine to take its place"
            ),
        ),
        (
            3,
            1,
            (
                "1 of 3 voters is alive: no majority, so nothing can be changed (containers keep "
                "running); missing: pi2, pi3; bring one of them back, or, if they are lost for "
                "good, run `roheletd cluster recover --force` on a node that is left"
            ),
        ),
        (5, 5, "5 of 5 voters are alive: 2 may die and the cluster goes on"),
        (5, 4, "4 of 5 voters are alive, pi5 is away: one more may die and the cluster goes on"),
    ],
)
def test_the_outlook_says_what_one_more_death_would_do_and_what_helps(
    voters: int, living: int, words: str
) -> None:
    assert outlook(Configuration.of(set(IDS[:voters])), set(IDS[:living])) == words


def test_the_outlook_of_a_lost_majority_of_two_names_one_machine() -> None:
    assert "bring it back, or, if it is lost" in outlook(Configuration.of(set(IDS[:2])), {IDS[0]})


def test_the_outlook_names_all_that_are_away() -> None:
    words = outlook(Configuration.of(set(IDS)), set(IDS[:3]))
    assert words.startswith("3 of 5 voters are alive, pi4 and pi5 are away: all that are left")
    assert words.endswith("bring pi4 back, or add a machine to take its place")
