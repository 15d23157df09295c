"""ROHE's numbers in our units: millicores, whole MiB, whole percent.

What is needed is rounded up and what is there is rounded down, so that no rounding promises more
than a machine has.
"""

import math

from roheletd.model import MILLICORES_PER_CORE

PERCENT = 100  # per core, in ROHE's templates
MILLI = 1000  # per core, in ROHE's README
UNIT_NAMES = {PERCENT: "percent", MILLI: "millicores"}


def core_unit(cores: list[float], cpu_millicores: float | None) -> tuple[int, str]:
    """How many of the file's units one core has, and the reason.

    The two units cannot be told apart from the cores alone: `[100]` is a whole core or a tenth.
    """
    if not cpu_millicores:
        unit = PERCENT if max(cores, default=0.0) <= PERCENT else MILLI
        return unit, "there is no CPU figure beside them, and no core can give more than its all"
    total = sum(cores)
    unit = min(
        (PERCENT, MILLI),
        key=lambda unit: abs(total * MILLICORES_PER_CORE / unit - cpu_millicores),
    )
    return unit, "their sum is then nearest to the CPU figure beside them"


def need(value: float) -> int:
    return math.ceil(round(value, 6))


def have(value: float) -> int:
    return math.floor(round(value, 6))
