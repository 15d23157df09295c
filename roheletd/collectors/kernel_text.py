"""What the kernel prints, as numbers; whatever else comes is a `ValueError`, not a figure."""

from collections.abc import Sequence

COUNTER_MAX = 2**64 - 1
CORE_ID_MAX = 65_535


def counts(fields: Sequence[bytes]) -> list[int]:
    """Unsigned counters of at most 64 bits."""
    numbers = list(map(int, fields))
    if numbers and not 0 <= min(numbers) <= max(numbers) <= COUNTER_MAX:
        raise ValueError(f"expected unsigned 64-bit counters, found {numbers!r:.80}")
    return numbers


def count(field: bytes) -> int:
    return counts((field,))[0]


def words(text: bytes) -> str:
    """A name; device-tree strings end with a NUL."""
    return text.strip(b"\0 \t\n").decode(errors="replace")


def core_ids(text: bytes) -> tuple[int, ...]:
    """The kernel's list of cores, such as `0-3,6`; an empty line is an empty list."""
    ids: list[int] = []
    for item in text.strip().split(b","):
        if item:
            ids.extend(_range(item))
    return tuple(sorted(set(ids)))


def _range(item: bytes) -> range:
    first, _, last = item.partition(b"-")
    low, high = counts((first, last or first))
    if not low <= high <= CORE_ID_MAX:
        raise ValueError(f"expected a range of core ids, found {item!r:.80}")
    return range(low, high + 1)
