"""The only place that asks what time it is."""

import time


class Clock:
    """Monotonic time for every decision, wall-clock time for people's eyes only."""

    def now_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()
