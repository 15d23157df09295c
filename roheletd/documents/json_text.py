"""JSON text to plain values.

The standard parser gives its hooks no positions: they leave a mark in the tree, and the walk over
the result, which is needed for the bounds anyway, finds it with the path that leads there.
"""

import json
from collections import Counter
from collections.abc import Iterable

from roheletd.documents import bounds
from roheletd.errors import InvalidInput


class _TwiceGiven:
    """Stands for an object that has one key twice."""

    def __init__(self, key: str) -> None:
        self.key = key


def load_json(text: bytes, *, name: str) -> object:
    """The values in a JSON document, for doors that speak nothing else; None for an empty one."""
    decoded = bounds.decoded(text, name)
    if not decoded.strip():
        return None
    try:
        value: object = json.loads(
            decoded, object_pairs_hook=_closed_object, parse_int=bounds.integer
        )
    except json.JSONDecodeError as error:
        place = f"{name}, line {error.lineno}, column {error.colno}"
        raise InvalidInput(place, f"expected JSON: {error.msg}") from None
    except RecursionError:
        raise InvalidInput(name, bounds.TOO_DEEP) from None
    _check(value, name)
    return value


def _closed_object(pairs: list[tuple[str, object]]) -> object:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    ((key, _times),) = Counter(key for key, _ in pairs).most_common(1)
    return _TwiceGiven(key)


def _check(root: object, name: str) -> None:
    """Refuse what JSON's grammar allows and we do not; a loop, since the depth is not known."""
    left: list[tuple[str, int, object]] = [("$", 0, root)]
    values = 0
    while left:
        path, depth, value = left.pop()
        values += 1
        if values > bounds.VALUES_MAX:
            raise InvalidInput(name, bounds.TOO_MANY)
        if depth >= bounds.DEPTH_MAX and isinstance(value, dict | list):
            raise InvalidInput(name, bounds.TOO_DEEP)
        if reason := _fault(value):
            raise InvalidInput(f"{name}, at {path}", reason)
        left.extend((f"{path}{step}", depth + 1, child) for step, child in _children(value))


def _fault(value: object) -> str | None:
    if isinstance(value, _TwiceGiven):
        return bounds.fault(value.key) or bounds.twice(value.key)
    if isinstance(value, dict):
        return next((reason for key in value if (reason := bounds.fault(key))), None)
    return bounds.fault(value)


def _children(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f".{key[: bounds.SHOWN_MAX]}", child) for key, child in value.items())
    if isinstance(value, list):
        return ((f"[{index}]", child) for index, child in enumerate(value))
    return ()
