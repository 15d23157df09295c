"""Rebalancing: what would sit clearly better elsewhere, and nothing more than that."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.allocation.algorithm import Algorithm, HookFailed
from roheletd.allocation.rebalance import GAIN_MIN, Better, rebalance
from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile
from roheletd.allocation.view import View
from roheletd.cluster.commands import AddNodes, AddServices, Place, Rejected
from roheletd.model import Neighbour, Node, Service
from tests.allocation.properties import view_of as view_of_world
from tests.allocation.worlds import Cluster
from tests.builders import Driver, a_node, a_service, with_services

PROFILE = Profile()
PI, NANO = a_node("pi"), a_node("nano")
FOUR = tuple(a_service(f"s{number}", cores=(1000,), memory_mib=1024) for number in range(4))


def settle(cluster: Driver, profile: Profile = PROFILE) -> None:
    found = schedule(cluster.state, view_of(cluster), profile, Random(3))
    if not found.is_empty:
        cluster.apply(found.place)


def view_of(cluster: Driver, **conditions: Condition) -> View:
    return View(conditions={**dict.fromkeys(cluster.state.nodes, Condition()), **conditions})


def lopsided(*services: Service, nodes: tuple[Node, ...] = (NANO,)) -> Driver:
    """All services on `pi`, and then the other nodes come."""
    cluster = with_services(*services, nodes=(PI,))
    settle(cluster)
    cluster.apply(AddNodes(nodes=nodes))
    return cluster


def moves_of(
    cluster: Driver, *, moves: int = 10, profile: Profile = PROFILE, **conditions: Condition
) -> tuple[Better, ...]:
    view = view_of(cluster, **conditions)
    return rebalance(cluster.state, view, profile, Random(5), moves=moves)


def place(cluster: Driver, found: tuple[Better, ...]) -> object:
    basis = cluster.state.applied_index
    return cluster.apply(Place(placements=tuple(it.placement for it in found), basis=basis))


def test_an_instance_goes_from_the_full_node_to_the_new_empty_one() -> None:
    cluster = lopsided(a_service("web", cores=(1000, 1000, 1000)), a_service("cam", cores=(900,)))
    (found, *_) = moves_of(cluster)
    assert (found.source, found.placement.node) == ("pi", "nano")
    assert found.gain >= GAIN_MIN
    assert "cpu 0." in found.reason
    place(cluster, (found,))
    at = cluster.state.placements[found.placement.instance]
    assert (at.node, at.cores, at.revision) == (
        "nano",
        found.placement.cores,
        found.placement.revision,
    )


def test_an_instance_does_not_flee_from_its_own_load() -> None:
    cluster = with_services(a_service("web", cores=(1000,), sensitivity=1), nodes=(PI, NANO))
    settle(cluster)
    (at,) = cluster.state.placements.values()
    (core,) = at.cores
    assert moves_of(cluster, **{at.node: Condition(busy={core: 1.0})}) == ()
    foreign = ForeignLoad(cores_millicores=dict.fromkeys(range(4), 800))
    used_by_others = Condition(busy=dict.fromkeys(range(4), 1.0), foreign=foreign)
    assert len(moves_of(cluster, **{at.node: used_by_others})) == 1


def test_what_was_balanced_stays_and_a_second_call_finds_nothing() -> None:
    cluster = lopsided(*FOUR)
    found = moves_of(cluster)
    assert found
    place(cluster, found)
    assert moves_of(cluster) == ()


def test_no_more_is_moved_than_allowed_and_the_largest_gain_first() -> None:
    services = [a_service(f"s{number}", cores=(500,)) for number in range(6)]
    cluster = lopsided(a_service("big", cores=(1000,), memory_mib=3000), *services)
    every = moves_of(cluster)
    assert len(every) > 1
    assert moves_of(cluster, moves=1) == every[:1]
    assert moves_of(cluster, moves=0) == ()


def test_each_move_counts_in_what_is_weighed_after_it() -> None:
    cluster = lopsided(*FOUR)
    found = moves_of(cluster)
    assert 0 < len(found) < 4, "if each were weighed alone, all four would go"


def test_of_several_replicas_at_most_half_move_at_once() -> None:
    cluster = lopsided(
        a_service(replicas=4, cores=(1000,), memory_mib=1024),
        nodes=(NANO, a_node("third"), a_node("x")),
    )
    assert len(moves_of(cluster)) == 2
    alone = lopsided(a_service(replicas=1, cores=(1000,)), a_service("cam", cores=(1000,) * 3))
    assert len(moves_of(alone)) >= 1


def test_a_service_that_misses_a_replica_loses_no_other_one() -> None:
    cluster = lopsided(a_service(replicas=2, cores=(1000, 1000)))
    cluster.apply(AddServices(services=(a_service(replicas=4, cores=(1000, 1000)),)))
    assert moves_of(cluster) == ()


def test_nothing_goes_to_or_comes_from_a_node_that_is_not_alive() -> None:
    cluster = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))
    for liveness in ("suspect", "lost", "never seen", "unknown"):
        gone = Condition(liveness=liveness)  # type: ignore[arg-type]
        assert moves_of(cluster, nano=gone) == ()
        assert moves_of(cluster, pi=gone) == ()


def test_a_cordon_keeps_away_and_drives_nobody_out() -> None:
    cluster = with_services(a_service("web", cores=(500,)), nodes=(PI, NANO))
    settle(cluster)
    home = cluster.state.placements["web.1"].node
    assert moves_of(cluster, **{home: Condition(cordoned=True)}) == ()
    crowded = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))
    assert moves_of(crowded, nano=Condition(cordoned=True)) == ()


def test_what_its_node_would_not_take_any_more_goes_and_says_so() -> None:
    cluster = with_services(a_service("web", cores=(900,)), nodes=(a_node("pi", cores=1), NANO))
    cluster.apply(
        schedule(cluster.state, View(conditions={"pi": Condition()}), PROFILE, Random(1)).place
    )
    busy = Condition(foreign=ForeignLoad(cores_millicores={0: 800}))
    (found,) = moves_of(cluster, pi=busy)
    assert found.placement.node == "nano"
    assert found.reason.startswith("pi would not take it now: needs 900 millicores, 200 are free")


def test_a_small_gain_is_not_worth_a_restart() -> None:
    cluster = lopsided(a_service("web", cores=(100,)))
    assert moves_of(cluster) == ()


def test_what_another_service_must_be_near_to_stays() -> None:
    db = a_service("db", cores=(1000,) * 3)
    near = a_service("web", cores=(900,), affinity=(Neighbour(service="db"),))
    cluster = lopsided(db, near)
    assert moves_of(cluster) == ()


def test_first_fit_says_where_things_are_and_nothing_moves_them() -> None:
    cluster = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))
    assert moves_of(cluster, profile=replace(PROFILE, strategy="first_fit")) == ()


def test_where_the_users_algorithm_chooses_scores_move_nothing() -> None:
    cluster = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))
    algorithm = Algorithm("mine:Mine", lambda: {"select": lambda _values, _limit_s: ("pi", 0.0)})
    algorithm.reload()
    found = rebalance(
        cluster.state, view_of(cluster), PROFILE, Random(5), moves=9, hooks=algorithm.hooks()
    )
    assert found == ()


def test_a_hook_that_fails_is_left_out_and_the_rest_is_weighed_anew() -> None:
    cluster = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))

    def broken(_values: tuple[object, ...], _limit_s: float) -> tuple[object, float]:
        raise HookFailed("mine:Mine.filter", "broken")

    algorithm = Algorithm("mine:Mine", lambda: {"filter": broken})
    algorithm.reload()
    view = view_of(cluster)
    found = rebalance(cluster.state, view, PROFILE, Random(5), moves=9, hooks=algorithm.hooks())
    assert found == moves_of(cluster, moves=9) != ()
    assert "broken" in str(algorithm.troubles())


def test_if_anything_changed_since_the_look_nothing_is_moved() -> None:
    cluster = lopsided(a_service("web", cores=(1000,) * 3), a_service("cam", cores=(900,)))
    found, basis = moves_of(cluster), cluster.state.applied_index
    cluster.apply(AddServices(services=(a_service("new", cores=(1000,) * 4),)))
    settle(cluster)
    before = dict(cluster.state.placements)
    outcome = cluster.apply(Place(placements=tuple(it.placement for it in found), basis=basis))
    assert isinstance(outcome, Rejected)
    assert cluster.state.placements == before


@settings(deadline=None, max_examples=60)
@given(seed=some.integers(0, 2**32))
def test_whatever_the_cluster_moves_fit_and_every_instance_stays_one(seed: int) -> None:
    world = Cluster(Random(seed))
    for _ in range(25):
        world.step()
        view = view_of_world(world)
        found = schedule(world.driver.state, view, world.profile, Random(seed))
        if not found.is_empty:
            world.apply(found.place)
    state = world.driver.state
    view = view_of_world(world)
    chosen = rebalance(state, view, world.profile, Random(seed), moves=5)
    assert chosen == rebalance(state, view, world.profile, Random(seed), moves=5)
    before = dict(state.placements)
    assert len({it.placement.instance for it in chosen}) == len(chosen) <= 5
    place(world.driver, chosen)
    assert state.placements.keys() == before.keys()
    for it in chosen:
        assert it.gain >= GAIN_MIN
        assert view.conditions[it.source].liveness == "alive"
        assert view.conditions[it.placement.node].liveness == "alive"
    again = schedule(state, view, world.profile, Random(seed))
    moved = {it.placement.instance for it in chosen}
    assert not moved & {*again.place.released, *(at.instance for at in again.place.placements)}
