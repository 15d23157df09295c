"""The benchmark of the allocator in small: what it claims holds, and its parts say what is so."""

import pytest
from msgspec.structs import replace

from roheletd.allocation.snapshot import Profile
from roheletd.cluster.state import encode
from tests.bench import allocate
from tests.bench.books_check import overcommitted
from tests.bench.filling import cluster, fill
from tests.bench.rohe_process import NoRoheError, Rohe, default_venv
from tests.bench.rohe_workload import instances, many_sets, nodes, one_set

FLOOR_PER_S = 500
"""A machine that does many other things at the same time still gets this far."""


@pytest.mark.parametrize("services", [one_set(6), many_sets(6)], ids=["few", "many"])
def test_all_replicas_of_rohe_s_services_are_placed_and_nothing_is_given_out_twice(services):
    machines = nodes(50)
    found = fill(cluster(machines, services), Profile())
    assert len(found.placements) == instances(services)
    assert overcommitted(machines, found.placements) == []


def test_as_many_instances_in_more_services_are_as_many_instances():
    assert instances(one_set(7)) == instances(many_sets(7)) == 7 * 15


def test_what_is_given_out_twice_is_named():
    machines = nodes(1)
    placements = fill(cluster(machines, one_set(1)), Profile()).placements
    twice = (*placements, *(replace(at, instance=f"{at.instance}0") for at in placements))
    wrong = overcommitted(machines, twice)
    assert any("core" in words for words in wrong)
    assert any("port" in words for words in wrong)


def test_placements_stay_fast_in_a_cluster_of_many_nodes():
    assert allocate.our_rate(nodes(300), one_set(37)) > FLOOR_PER_S


def test_a_benchmark_without_rohe_says_why_and_still_has_our_figures(tmp_path, monkeypatch):
    def refuse(_venv):
        raise NoRoheError("rohe cannot be had here")

    monkeypatch.setattr(allocate, "Rohe", refuse)
    found = allocate.measure([10], 1, tmp_path, (10, 40))
    assert found["placements_per_s"]["10"] > 0
    assert found["ratio_to_rohe"] == {"10": None}
    assert "no ratio: rohe cannot be had here" in allocate.table(found)


def test_the_memory_of_a_leader_holds_what_the_pass_placed():
    found = allocate.leader_memory(20, 80)
    assert (found["memory_nodes"], found["memory_instances"]) == (20, 80)
    assert 10 < found["leader_memory_mib"] < allocate.REACH_MEMORY_MIB


def test_a_state_for_the_memory_benchmark_can_be_sent():
    assert encode(cluster(nodes(3), one_set(1)).saved())


def test_rohe_places_all_of_what_it_is_compared_by():
    venv = default_venv()
    if not venv.is_dir():
        pytest.skip(f"rohe is not installed in {venv}: python -m tests.bench.allocate does that")
    with Rohe(venv) as rohe:
        _, is_complete = allocate.rohe_rate(rohe, nodes(20), one_set(2))
    assert is_complete
