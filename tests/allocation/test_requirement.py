"""From samples of use to a requirement: what counts, what does not, and when there is no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.allocation.requirement import (
    SAMPLES_MIN,
    Need,
    TooFew,
    Use,
    need,
    percentile,
    proposed,
    remarks,
)
from tests.builders import a_service


def uses(
    *cores: tuple[int, ...], instance: str = "web.1", memory_mib: int | None = 40
) -> list[Use]:
    return [Use(instance=instance, cores_millicores=each, memory_mib=memory_mib) for each in cores]


def needed(samples: list[Use]) -> Need:
    found = need(samples)
    assert isinstance(found, Need), found
    return found


def test_a_percentile_is_the_sample_of_the_nearest_rank() -> None:
    assert percentile(range(1, 101)) == 95
    assert percentile(range(1, 21)) == 19
    assert percentile([7]) == 7


def test_cores_are_ranked_and_the_rare_peak_is_left_out() -> None:
    found = needed(uses(*[(480, 40)] * 57, *[(1000, 900)] * 3))
    assert found.cores == (480, 40)
    assert (found.samples, found.instances) == (60, 1)


def test_what_is_used_more_often_than_that_counts_and_is_rounded_up() -> None:
    assert needed(uses(*[(100,)] * 18, (511,), (511,))).cores == (520,)


def test_a_core_that_is_hardly_used_is_none_of_its_own() -> None:
    assert needed(uses(*[(500, 300, 6, 3)] * 20)).cores == (500, 310)
    assert needed(uses(*[(9, 9, 9)] * 20)).cores == (30,)
    assert needed(uses(*[()] * 20)).cores == (10,)


def test_memory_has_room_for_the_peak_for_at_its_limit_it_is_killed() -> None:
    samples = uses(*[(10,)] * 99) + uses((10,), memory_mib=90)
    found = needed(samples)
    assert (found.memory_p95_mib, found.memory_mib) == (40, 100)


def test_of_several_instances_the_busiest_counts() -> None:
    samples = uses(*[(300, 20)] * 20, memory_mib=10) + uses(*[(200, 90)] * 20, instance="web.2")
    found = needed(samples)
    assert found.cores == (300, 90)
    assert found.memory_mib == 44
    assert (found.samples, found.instances) == (40, 2)


def test_an_instance_that_was_hardly_seen_does_not_count() -> None:
    late = uses(*[(900,)] * (SAMPLES_MIN - 1), instance="web.2")
    assert needed(uses(*[(300,)] * 20) + late).cores == (300,)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "20 samples of one instance are needed, and there is none"),
        (
            uses((1,)) + uses(*[(1,)] * 19, instance="web.2"),
            "20 samples of one instance are needed, and there are 19 of web.2",
        ),
    ],
)
def test_too_few_samples_are_an_answer_of_their_own(samples: list[Use], reason: str) -> None:
    assert need(samples) == TooFew(reason)


SERVICE = a_service(cpu_millicores=900, memory_mib=64, accelerators={"gpu": 30}, replicas=2)
USED = Need(samples=20, instances=1, cores=(500, 50), memory_mib=48)


def test_what_was_measured_replaces_what_was_declared_and_nothing_else() -> None:
    found = proposed(SERVICE, USED)
    assert (found.cpu_millicores, found.cores, found.memory_mib) == (0, (500, 50), 48)
    assert (found.image, found.replicas, found.accelerators) == ("web:1", 2, {"gpu": 30})


def test_what_was_not_measured_stays_and_is_told() -> None:
    blind = Need(samples=20, instances=1, cores=(500,))
    assert proposed(SERVICE, blind).memory_mib == 64
    assert remarks(SERVICE, blind) == (
        "its memory is not measured here and left as it is declared",
        "what it uses of its accelerators is not known and left as it is declared",
    )


def test_a_gpu_is_proposed_where_its_use_is_known() -> None:
    used = Need(samples=20, instances=1, cores=(500,), gpu_percent=44, gpu_memory_mib=700)
    found = proposed(SERVICE, used)
    assert (found.accelerators, found.gpu_memory_mib) == ({"gpu": 44}, 700)
    two = a_service(accelerators={"gpu": 30, "npu": 10})
    assert proposed(two, used).accelerators == {"gpu": 30, "npu": 10}


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (Need(samples=20, instances=1, cores=(860,), memory_mib=4), "all of the 900 m"),
        (Need(samples=20, instances=1, cores=(10,), memory_mib=68), "its limit of 64 MiB"),
    ],
)
def test_who_used_all_that_it_was_given_may_need_more(used: Need, words: str) -> None:
    assert any(words in remark for remark in remarks(SERVICE, used))
    assert not any("more" in remark for remark in remarks(SERVICE, USED))


@given(
    st.lists(
        st.lists(st.integers(0, 1000), max_size=4).map(lambda it: tuple(sorted(it, reverse=True))),
        min_size=SAMPLES_MIN,
        max_size=80,
    )
)
def test_a_need_is_a_vector_that_a_service_may_ask_for(cores: list[tuple[int, ...]]) -> None:
    found = needed(uses(*cores)).cores
    assert found
    assert all(0 < core <= 1040 for core in found)
    most = sorted((sum(each) for each in cores), reverse=True)
    assert sum(found) <= 4 * most[0] + 50
