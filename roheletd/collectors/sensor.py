"""What every sensor offers, and the watch over one: when it is read, and what if it cannot be.

A sensor that fails is named with its reason and asked again at its next turn; nothing it raises
for the world's sake goes further than its watch. Mistakes of ours do.
"""

import math
from typing import Generic, NamedTuple, TypeVar

from roheletd.errors import RoheletError

REASON_LENGTH_MAX = 200  # a reason travels in every report: it stays short whatever a driver says

T = TypeVar("T")


class SensorError(RoheletError):
    """A driver answered with an error of its own; the message is its reason."""


class Reading(NamedTuple, Generic[T]):
    """What was read, and the trouble with the part that was not ("" if none)."""

    value: T
    trouble: str = ""


class Sensor(Generic[T]):
    """One source of figures. It may raise `OSError`, `ValueError` or `SensorError`."""

    def look(self) -> None:
        """Find what there is to read. Called seldom, so that what appears late is found late."""

    def read(self) -> Reading[T]:
        """Read what was found; called at each sample, or as seldom as `look` if watched so."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of descriptors and drivers; `look` and `read` may be called again."""


class Watch(Generic[T]):
    """Reads one sensor at its pace and keeps its last answer and its last trouble.

    `slow` is for what changes slowly or costs much: it is read only when it is looked for.
    """

    def __init__(self, name: str, sensor: Sensor[T], *, nothing: T, slow: bool = False) -> None:
        self.name = name
        self.known = nothing  # the last good answer
        self._sensor = sensor
        self._nothing = nothing
        self._slow = slow
        self._look_due_s = -math.inf
        self._blind = False  # the last look failed: there is nothing to read until the next
        self._value = nothing
        self._trouble = ""

    def value(self, now_s: float, look_interval_s: float, sick: dict[str, str]) -> T:
        """The sensor's figures now; where there is trouble it is written into `sick`."""
        looking = now_s >= self._look_due_s
        if looking:
            self._look_due_s = now_s + look_interval_s
        if looking or not (self._slow or self._blind):
            self._value, self._trouble = self._ask(looking=looking)
        if self._trouble:
            sick[self.name] = self._trouble[:REASON_LENGTH_MAX]
        return self._value

    def close(self) -> None:
        self._sensor.close()
        self._look_due_s = -math.inf

    def _ask(self, *, looking: bool) -> Reading[T]:
        try:
            if looking:
                self._blind = True
                self._sensor.look()
                self._blind = False
            reading = self._sensor.read()
        except OSError as error:
            return Reading(self._nothing, reason(error))
        except (ValueError, SensorError) as error:
            return Reading(self._nothing, str(error))
        self.known = reading.value
        return reading


def reason(error: OSError) -> str:
    """Which file, and what the kernel said of it."""
    return f"{error.filename or 'read'}: {error.strerror or error}"
