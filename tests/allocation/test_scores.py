"""The scores, figure by figure, as README.md of the allocator has them."""

import pytest

from roheletd.allocation.allocate import explain
from roheletd.allocation.scores import WEIGHTS
from roheletd.allocation.snapshot import Condition, Profile, Snapshot
from roheletd.model import Capacity, Gpu, Node, Placement, Service
from tests.allocation.passes import held, seen
from tests.builders import a_node, a_service


def snapshot(node: Node, *placements: Placement, **condition: object) -> Snapshot:
    known = {node.name: Condition(**condition)}  # type: ignore[arg-type]
    return seen(node, placements=placements, conditions=known)


def terms(
    service: Service,
    node: Node,
    *placements: Placement,
    profile: Profile | None = None,
    **more: object,
) -> dict[str, float]:
    (verdict,) = explain(snapshot(node, *placements, **more), service, profile or Profile())
    assert not verdict.refusals, verdict.refusals
    return verdict.terms


def test_best_fit_takes_cpu_and_memory_the_other_way_round() -> None:
    service = a_service(cpu_millicores=1000, memory_mib=3072)
    worst = terms(service, a_node())
    best = terms(a_service(cpu_millicores=1000, memory_mib=3072, strategy="best_fit"), a_node())
    assert (worst["cpu"], worst["memory"]) == (0.75, 0.25)
    assert (best["cpu"], best["memory"]) == (0.25, 0.75)
    assert {name: best[name] for name in best if name not in ("cpu", "memory")} == {
        name: worst[name] for name in worst if name not in ("cpu", "memory", "spread")
    }


def test_a_service_without_a_cpu_need_has_no_say_about_cores() -> None:
    assert terms(a_service(), a_node()).keys() == {
        "cpu",
        "memory",
        "gpu",
        "image",
        "spread",
        "temperature",
        "power",
    }
    assert "image" not in terms(a_service(image="", command=("/bin/x",)), a_node(engine="process"))


def test_balance_is_one_where_all_cores_would_be_used_alike() -> None:
    busy = held(cores={0: 500}, cpu_millicores=500)
    assert terms(a_service(cores=(500,)), a_node(cores=2), busy)["balance"] == 1.0
    # Shares of 0 and 0.5: a deviation of 0.25.
    assert terms(a_service(cores=(500,)), a_node(cores=2))["balance"] == 0.5
    # Shares of 0 and 1: the worst there is.
    assert terms(a_service(cores=(1000,)), a_node(cores=2))["balance"] == 0.0


def test_balance_goes_by_shares_where_cores_are_unequal() -> None:
    node = a_node(capacity=Capacity(cores={0: 2000, 1: 500}, memory_mib=100))
    assert terms(a_service(cores=(1000, 250)), node)["balance"] == 1.0


def test_contention_is_how_crowded_the_chosen_cores_are_and_counts_in_full_for_the_sensitive() -> (
    None
):
    node = a_node(cores=1)
    busy = held(cores={0: 400}, cpu_millicores=400)
    assert terms(a_service(cores=(100,)), node)["contention"] == 1.0
    assert terms(a_service(cores=(100,)), node, busy)["contention"] == 0.95
    assert terms(a_service(cores=(100,)), node, busy, busy={0: 0.8})["contention"] == 0.9
    assert terms(a_service(cores=(100,), sensitivity=1), node, busy={0: 0.8})["contention"] == 0.2


def test_sharing_with_a_sensitive_service_leaves_an_eighth_for_whoever_comes() -> None:
    node = a_node(cores=1)
    calm = held(cores={0: 200}, cpu_millicores=200)
    sensitive = held(cores={0: 200}, cpu_millicores=200, sensitivity=1)
    assert terms(a_service(cores=(100,), sensitivity=1), node, calm)["contention"] == 0.1
    assert terms(a_service(cores=(100,)), node, sensitive)["contention"] == 0.1219
    assert terms(a_service(cores=(100,), sensitivity=2), node, calm)["contention"] == 0.975


def test_the_score_is_the_weighted_mean_of_the_terms() -> None:
    busy = held(cores={0: 100}, cpu_millicores=100)
    service = a_service(cores=(100,), sensitivity=3)
    (verdict,) = explain(snapshot(a_node(cores=1), busy), service, Profile())
    whole = sum(WEIGHTS[name] for name in verdict.terms)
    expected = sum(WEIGHTS[name] * value for name, value in verdict.terms.items()) / whole
    assert verdict.score == pytest.approx(expected, abs=1e-4)


def test_best_fit_spreads_only_where_a_service_says_over_what() -> None:
    assert "spread" not in terms(a_service(strategy="best_fit"), a_node())
    assert "spread" in terms(a_service(strategy="best_fit", spread_over="zone"), a_node())


def test_gpu_prefers_the_fuller_device_and_nodes_without_any_for_who_needs_none() -> None:
    def node(*gpus: Gpu) -> Node:
        return a_node(capacity=Capacity(cores={0: 1000}, memory_mib=4096, gpus=gpus))

    asks = a_service(accelerators={"gpu": 30})
    assert terms(asks, node(Gpu(id="g0")))["gpu"] == 0.3
    assert terms(asks, node(Gpu(id="g0")), held(gpus={"g0": 70}))["gpu"] == 1.0
    assert terms(a_service(), node())["gpu"] == 1.0
    assert terms(a_service(), node(Gpu(id="g0"), Gpu(id="g1")))["gpu"] == 0.0
    assert terms(a_service(), node(Gpu(id="g0"), Gpu(id="g1")), held(gpus={"g0": 50}))["gpu"] == (
        0.25
    )


def test_spread_falls_with_each_instance_of_the_service_and_no_other() -> None:
    mine = held(instance="web.1", service="web")
    assert terms(a_service(), a_node())["spread"] == 1.0
    assert terms(a_service(), a_node(), mine)["spread"] == 0.5
    assert terms(a_service(), a_node(), held())["spread"] == 1.0


@pytest.mark.parametrize(
    ("celsius", "throttled", "term"),
    [
        (None, False, 1.0),
        (20.0, False, 1.0),
        (60.0, False, 1.0),
        (72.5, False, 0.5),
        (85.0, False, 0.0),
        (100.0, False, 0.0),
        (20.0, True, 0.0),
    ],
)
def test_heat_counts_from_60_to_85_degrees(
    celsius: float | None, *, throttled: bool, term: float
) -> None:
    found = terms(a_service(), a_node(), celsius=celsius, throttled=throttled)
    assert found["temperature"] == term


@pytest.mark.parametrize(
    ("power", "charge", "term"),
    [("unknown", 1.0, 1.0), ("mains", 0.1, 1.0), ("battery", 1.0, 0.5), ("battery", 0.2, 0.1)],
)
def test_a_battery_is_worth_half_its_charge(power: str, charge: float, term: float) -> None:
    assert terms(a_service(), a_node(), power=power, charge=charge)["power"] == term


def test_weights_that_cancel_everything_an_ask_is_asked_about_leave_no_opinion() -> None:
    silent = Profile(weights={**dict.fromkeys(WEIGHTS, 0.0), "image": 1.0})
    service = a_service(image="", command=("/bin/x",))
    (verdict,) = explain(snapshot(a_node(engine="process")), service, silent)
    assert verdict.score == 0.0
    assert not verdict.refusals
