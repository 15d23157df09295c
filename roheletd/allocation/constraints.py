"""Constraints: what a node must be, as in `node.labels.zone == hall` or `node.memory_mib >= 2048`.

The form is that of Swarm's placement constraints, with comparisons of numbers added.
"""

import operator
import re
from collections.abc import Callable

from msgspec import Struct

from roheletd.architecture import architecture
from roheletd.model import Node

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"node\.(?P<fact>\S+?) *(?P<sign>==|!=|>=|<=|>|<) *(?P<value>.+)")
_NUMBERS: dict[str, Callable[[Node], float]] = {
    "gpus": lambda node: len(node.capacity.gpus),
    "cores": lambda node: len(node.capacity.cores),
    "memory_mib": lambda node: node.capacity.memory_mib,
    "frequency_ghz": lambda node: node.frequency_ghz,
}
_WORDS: dict[str, Callable[[Node], str]] = {
    "name": lambda node: node.name,
    "arch": lambda node: architecture(node.arch),
    "engine": lambda node: node.engine,
}


class Wanted(Struct, frozen=True):
    """A constraint taken apart; `fact` is without its `node.`."""

    fact: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"node.{self.fact} {self.sign} {self.value}"


def parse(text: str) -> Wanted:
    """`text` has the form that the model's pattern demands."""
    found = _FORM.fullmatch(text)
    assert found is not None, text
    fact, sign, value = found.group("fact", "sign", "value")
    return Wanted(fact, sign, architecture(value) if fact == "arch" else value)


def refusal(wanted: Wanted, node: Node) -> str | None:
    """Why `node` is not as it was wanted, or None where it is."""
    if wanted.fact in _NUMBERS:
        return _compared(wanted, f"{_NUMBERS[wanted.fact](node):g}")
    if wanted.fact in _WORDS:
        return _compared(wanted, _WORDS[wanted.fact](node))
    label = wanted.fact.removeprefix("labels.")
    have = node.labels.get(label)
    if have is None:
        return None if wanted.sign == "!=" else f"must have {wanted}, and has no label {label}"
    return _compared(wanted, have)


def _compared(wanted: Wanted, have: str) -> str | None:
    """Labels and names are equal as texts: version 1.10 is not version 1.1."""
    mine, theirs = _number(have), _number(wanted.value)
    if wanted.sign in ("==", "!="):
        is_number = wanted.fact in _NUMBERS and theirs is not None
        same = mine == theirs if is_number else have == wanted.value
        return None if same == (wanted.sign == "==") else f"must have {wanted}, and has {have}"
    if mine is None or theirs is None:
        return f"must have {wanted}, and {have if mine is None else wanted.value} is no number"
    if _OPERATORS[wanted.sign](mine, theirs):
        return None
    return f"must have {wanted}, and has {have}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
