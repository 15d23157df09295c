"""What an import did, in sentences for a person: one per decision, not one per service."""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

_NAMED_MAX = 5
_SENTENCES_MAX = 50


class Imported(Struct, Generic[T], frozen=True):
    """What a file holds, in its order, and what was decided in reading it."""

    items: tuple[T, ...]
    notes: tuple[str, ...]


class Notes:
    """Collects remarks; the same remark about many is one sentence."""

    def __init__(self) -> None:
        self._about: dict[str, list[str]] = {}

    def add(self, remark: str, name: str) -> None:
        self._about.setdefault(remark, []).append(name)

    def sentences(self, total: int) -> tuple[str, ...]:
        sentences = [f"{remark} ({_whom(names, total)})" for remark, names in self._about.items()]
        rest = len(sentences) - _SENTENCES_MAX
        return (*sentences[:_SENTENCES_MAX], *([f"and {rest} more remarks"] if rest > 0 else []))


def _whom(names: list[str], total: int) -> str:
    if len(names) == total > 1:
        return f"all {total}"
    rest = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")
