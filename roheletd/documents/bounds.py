"""What JSON and YAML have in common here: the limits, and what makes a scalar unfit."""

import math
import re

from roheletd.errors import InvalidInput

SIZE_MAX_BYTES = 1 << 20
DEPTH_MAX = 64
VALUES_MAX = 100_000
INTEGER_MAX = 2**63 - 1
SHOWN_MAX = 64  # letters of the input that a message repeats

TOO_DEEP = f"expected at most {DEPTH_MAX} levels of nesting"
TOO_MANY = f"expected at most {VALUES_MAX} values, aliases counted as often as they are used"

_SURROGATE = re.compile("[\ud800-\udfff]")


def decoded(text: bytes, name: str) -> str:
    if len(text) > SIZE_MAX_BYTES:
        raise InvalidInput(name, f"expected at most {SIZE_MAX_BYTES} bytes, got {len(text)}")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{name}, line {line}", f"expected UTF-8: {error.reason}") from None


def integer(digits: str) -> int:
    """The number, or any one that is too large: int() is slow on, and then refuses, long ones."""
    return int(digits) if len(digits) <= len(str(-INTEGER_MAX)) else INTEGER_MAX + 1


def fault(value: object) -> str | None:
    """What is wrong with one scalar, whichever language it was written in."""
    if isinstance(value, str):
        if "\0" in value:
            return "expected text without the character U+0000"
        if not value.isascii() and _SURROGATE.search(value):
            return "expected whole characters, got half of a surrogate pair"
    elif isinstance(value, float):
        return None if math.isfinite(value) else "expected a finite number"
    elif isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "expected an integer of at most 64 bits"
    return None


def twice(key: str) -> str:
    return f'expected each key once, got "{key[:SHOWN_MAX]}" again'
