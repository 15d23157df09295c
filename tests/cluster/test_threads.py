"""From what threads used to how many cores they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.cluster.threads import per_core


def spread(*threads_s: float, cpu_s: float | None = None, cores: int = 0) -> tuple[int, ...]:
    """One second of these threads, which all began with it."""
    total_s = sum(threads_s) if cpu_s is None else cpu_s
    return per_core(
        {},
        dict(enumerate(threads_s)),
        cpu_s=total_s,
        millicores=round(1000 * total_s),
        cores=cores,
    )


@pytest.mark.parametrize(
    ("threads_s", "cores", "expected"),
    [
        ((0.5, 0.05), 2, (500, 50)),
        ((0.5, 0.05), 4, (500, 50)),
        ((0.5, 0.3, 0.2, 0.1), 2, (600, 500)),
        ((0.1,) * 8, 2, (400, 400)),
        ((0.0, 0.7), 3, (700,)),
        # Not pinned: a core for each busy thread, and what is hardly there beside them.
        ((0.5, 0.05), 0, (550,)),
        ((0.5, 0.4, 0.05), 0, (500, 450)),
        ((0.02,) * 50, 0, (1000,)),
        ((0.09,) * 20, 0, (900, 900)),
    ],
)
def test_the_emptiest_core_takes_the_largest_thread_next(
    threads_s: tuple[float, ...], cores: int, expected: tuple[int, ...]
) -> None:
    assert spread(*threads_s, cores=cores) == expected


def test_only_what_was_used_since_the_last_look_counts() -> None:
    found = per_core({1: 70.0, 2: 9.0}, {1: 70.4, 2: 9.0}, cpu_s=0.4, millicores=400, cores=2)
    assert found == (400,)


def test_a_number_that_went_to_another_thread_counts_from_its_beginning() -> None:
    found = per_core({1: 70.0, 2: 9.0}, {1: 0.3, 2: 9.1}, cpu_s=0.4, millicores=400, cores=2)
    assert found == (300, 100)


def test_what_ended_between_two_looks_counts_as_one_more_thread() -> None:
    assert spread(0.2, cpu_s=0.8, cores=2) == (600, 200)
    assert spread(cpu_s=0.7, cores=2) == (700,)
    assert spread(cpu_s=2.5, cores=4) == (1000, 1000, 500)


def test_the_rounding_of_many_threads_is_no_thread_that_ended() -> None:
    assert spread(0.3, 0.3, cpu_s=0.62, cores=3) == (310, 310)


def test_what_used_nothing_is_on_one_core() -> None:
    assert spread(0.0, cpu_s=0.0, cores=2) == (0,)


@given(
    st.lists(st.floats(0, 1), max_size=40),
    st.floats(0, 4),
    st.integers(0, 8),
)
def test_nothing_is_lost_or_made_up(threads_s: list[float], gone_s: float, cores: int) -> None:
    total_s = sum(threads_s) + gone_s
    found = spread(*threads_s, cpu_s=total_s, cores=cores)
    assert sum(found) == pytest.approx(1000 * total_s, abs=max(len(found), 1) + 1)
    assert list(found) == sorted(found, reverse=True)
    assert len(found) <= (cores or 64)
