"""What a measurement of failover answers with: one row of the table."""

import statistics

from msgspec import Struct


class Row(Struct, frozen=True, kw_only=True):
    """One event, measured several times. `notes` is what else was seen, worth a word."""

    event: str
    unit: str
    reach: float
    values: tuple[float, ...]
    beside: str = ""
    notes: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        return round(statistics.median(self.values), 3)

    @property
    def worst(self) -> float:
        return round(max(self.values), 3)

    @property
    def is_reached(self) -> bool:
        return self.median <= self.reach
