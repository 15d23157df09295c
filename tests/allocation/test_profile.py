"""What the configuration says of allocation is what the allocator goes by."""

import pytest

from roheletd.allocation.profile import profile_of
from roheletd.allocation.scores import WEIGHTS
from roheletd.allocation.snapshot import Profile
from roheletd.config import AllocationConfig, WeightsConfig
from roheletd.fields import StrategyName

SAID = AllocationConfig(
    strategy="best_fit",
    weights=WeightsConfig(memory=3.0),
    queue_priority=1,
    queue_balance=7,
    preemption=True,
    search_attempts=5,
    foreign_cpu_max=0.25,
    port_min=30_000,
    port_max=30_100,
)


def test_all_that_the_allocator_goes_by_can_be_configured() -> None:
    profile = profile_of(SAID)
    assert profile.weights == {**WEIGHTS, "memory": 3.0}
    for name in set(Profile.__struct_fields__) - {"weights"}:
        assert getattr(profile, name) == getattr(SAID, name) != getattr(Profile(), name), name


def test_a_configuration_that_says_nothing_is_the_default_of_the_allocator() -> None:
    profile = profile_of(AllocationConfig())
    assert profile.weights == WEIGHTS
    for name in set(Profile.__struct_fields__) - {"weights"}:
        assert getattr(profile, name) == getattr(Profile(), name), name


@pytest.mark.parametrize(("number", "name"), [(0, "first_fit"), (1, "worst_fit"), (2, "best_fit")])
def test_the_numbers_of_rohe_keep_what_rohe_did_with_them(number: int, name: StrategyName) -> None:
    section = AllocationConfig(strategy=number)  # type: ignore[arg-type]
    assert profile_of(section).strategy == name
