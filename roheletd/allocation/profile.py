"""From the configuration section `allocation` to what the allocator goes by."""

from msgspec.structs import asdict

from roheletd.allocation.snapshot import Profile
from roheletd.config import AllocationConfig
from roheletd.fields import StrategyName

STRATEGY_NUMBERS: tuple[StrategyName, ...] = ("first_fit", "worst_fit", "best_fit")
"""By ROHE's number, what ROHE did with it: it called the emptiest node the best fit."""


def profile_of(section: AllocationConfig) -> Profile:
    said = section.strategy
    return Profile(
        strategy=STRATEGY_NUMBERS[said] if isinstance(said, int) else said,
        weights=asdict(section.weights),
        queue_priority=section.queue_priority,
        queue_balance=section.queue_balance,
        preemption=section.preemption,
        search_attempts=section.search_attempts,
        foreign_cpu_max=section.foreign_cpu_max,
        port_min=section.port_min,
        port_max=section.port_max,
    )
