"""The benchmark of packing in small, and whether its yardsticks are right."""

import statistics

import pytest
from msgspec.structs import replace

pytest.importorskip("ortools", reason="the exact solver is not there: pip install ortools")

from roheletd.allocation.snapshot import Profile
from roheletd.model import Service
from tests.bench import packing
from tests.bench.books_check import overcommitted
from tests.bench.filling import cluster, fill
from tests.bench.optimum import Model, can_keep_apart, most_in, most_placed
from tests.bench.packing_cases import Case, drawn, drawn_sensitive, rohe_test_bed
from tests.bench.rohe_model import STRATEGIES, rohe_places
from tests.bench.rohe_process import Rohe, default_venv
from tests.bench.rohe_workload import node, one_set
from tests.bench.slowdown import DATA, slowdowns

SEEDS = range(8)
LIMIT_S = 5.0


def test_best_fit_places_nearly_what_can_be_placed_and_no_less_than_rohe():
    packed = [packing.pack(drawn(seed), LIMIT_S) for seed in SEEDS]
    assert statistics.fmean(it.gap for it in packed) <= packing.REACH_GAP
    assert [it.case for it in packed if it.best_fit < it.rohe] == []


def test_sensitive_services_have_cores_of_their_own_wherever_that_is_possible():
    found = [packing.keep_apart(drawn_sensitive(seed), LIMIT_S) for seed in SEEDS]
    assert [it.case for it in found if it.possible and not it.done] == []
    assert any(it.possible for it in found)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_places_more_than_the_solver_says_is_possible(seed):
    case = drawn(seed)
    at_most = most_placed(case.nodes, case.services, limit_s=LIMIT_S).bound
    for strategy in ("best_fit", "worst_fit", "first_fit"):
        placements = fill(cluster(case.nodes, case.services), Profile(strategy=strategy)).placements
        assert overcommitted(case.nodes, placements) == []
        assert len(placements) <= at_most
    assert packing.rohe_best(case, heeds_vms=True) <= at_most


@pytest.mark.parametrize("seed", [3, 4, 7, 8])
def test_both_forms_of_the_exact_model_agree(seed):
    case = drawn(seed)
    model = Model(case.nodes, case.services)
    plain = most_in(model, [model.placed(it) for it in case.services], limit_s=20)
    assert plain == most_placed(case.nodes, case.services, limit_s=20)


def test_an_instance_uses_a_core_once_for_the_solver_too():
    service = Service(name="a", image="a:1", cores=(100, 100, 100, 100, 100), replicas=1)
    assert most_placed([node("a", "pi")], [service], limit_s=LIMIT_S).placed == 0
    assert most_placed([node("a", "xavier")], [service], limit_s=LIMIT_S).placed == 1


def test_the_solver_knows_when_a_sensitive_service_has_to_share():
    ordinary = Service(name="b", image="b:1", cores=(300, 300), replicas=1)
    sensitive = Service(name="a", image="a:1", cores=(300, 300), sensitivity=1, replicas=1)
    one = [node("pi", "pi")]
    assert can_keep_apart(one, [sensitive, ordinary], limit_s=LIMIT_S)
    assert not can_keep_apart(one, [replace(sensitive, replicas=2), ordinary], limit_s=LIMIT_S)
    assert can_keep_apart(one, [sensitive, replace(ordinary, replicas=3)], limit_s=LIMIT_S)


def test_sensitive_instances_on_shared_cores_are_counted():
    services = tuple(replace(it, sensitivity=3) for it in one_set(2))
    case = Case(name="tight", nodes=tuple(node(f"n{n}", "pi") for n in range(4)), services=services)
    placements = packing.place(case, Profile())
    assert packing.sensitive_on_shared(placements) > 0
    assert packing.sensitive_on_shared(placements[:1]) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_rohe_said_again_decides_as_rohe_does(seed):
    venv = default_venv()
    if not venv.is_dir():
        pytest.skip(f"rohe is not installed in {venv}: python -m tests.bench.allocate does that")
    case = drawn(seed)
    # Where needs are equal, ROHE's order depends on its heap: only different ones have one order.
    services = {it.cpu_millicores: it for it in case.services}.values()
    with Rohe(venv) as rohe:
        for strategy in STRATEGIES.values():
            found = rohe.fill(case.nodes, services, strategy=strategy)
            assert list(found.placements) == rohe_places(case.nodes, services, strategy)


def test_rohe_s_own_test_bed_overflows():
    cases = rohe_test_bed()
    if not cases:
        pytest.skip("ROHE's node file is not there: ../shared/data/rohe/add_node.json")
    for case in cases:
        assert len(case.nodes) == 9
        assert packing.rohe_best(case, heeds_vms=False) < case.wanted


def test_shared_cores_are_slower_in_rohe_s_published_profiles():
    if not DATA.is_dir():
        pytest.skip("the profiles are not there: ../shared/data/spe2024")
    assert {it.service: round(it.ratio, 2) for it in slowdowns()} == {
        "lstm_based_prediction": 1.49,
        "network_measurement_forcasting": 1.69,
    }
