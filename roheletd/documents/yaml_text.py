"""YAML text to plain values, built from the parser's events.

Not from a loader: a loader recurses, makes objects of tags and expands aliases before anyone has
counted them. Here every bound is checked before the memory is spent, and every refusal has a
line and a column.
"""

import math
import re
from typing import Protocol

import yaml

from roheletd.documents import bounds
from roheletd.errors import InvalidInput

Lines = dict[int, dict[str | int, int]]
"""Line of each key and item, by the id of the mapping or list that it is in."""

_MERGE = "<<"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where libyaml is installed
_PLAIN = (True, False)  # what the parser says of a scalar with neither quotes nor tag
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f".{word}": math.nan for word in ("nan", "NaN", "NAN")},
    **{f"{sign}.{word}": math.inf for sign in ("", "-", "+") for word in ("inf", "Inf", "INF")},
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def load_yaml(text: bytes, *, name: str) -> object:
    """The values in the one document of a YAML text; None for an empty one."""
    return _built(text, _Builder(name)).root


def load_yaml_with_lines(text: bytes, *, name: str) -> tuple[object, Lines]:
    """The same for formats in which merge keys are usual, with the line of each value.

    A value that was merged or repeated has the line where it was written. The lines are good for
    as long as the values are kept.
    """
    lines: Lines = {}
    return _built(text, _Builder(name, lines)).root, lines


def _built(text: bytes, builder: "_Builder") -> "_Builder":
    name = builder.name
    decoded = bounds.decoded(text, name)
    try:
        for event in yaml.parse(decoded, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        raise InvalidInput(_place(name, mark), f"expected YAML: {reason}") from None
    except yaml.reader.ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        reason = "expected YAML: control characters have no place in it"
        raise InvalidInput(f"{name}, line {line}", reason) from None
    return builder


class _Mark(Protocol):
    """Where an event or an error is, from 0; libyaml and pure Python have a class of it each."""

    line: int
    column: int


def _place(name: str, mark: _Mark | None) -> str:
    return f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _plain(word: str) -> object:
    """The value of a scalar without quotes: a number or a word on which all versions agree."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return bounds.integer(word)
    return float(word) if _REAL.fullmatch(word) else word


class _Open:
    """A list or mapping that is still being read. `height` counts the levels below it."""

    def __init__(
        self,
        into: list[object] | dict[str, object],
        anchor: str | None,
        values_before: int,
        line: int,
    ) -> None:
        self.into = into
        self.anchor = anchor
        self.values_before = values_before
        self.height = 0
        self.key: str | None = None
        self.key_line = 0
        self.line = line


class _Anchored:
    """A finished value that an alias may repeat, with what repeating it costs."""

    def __init__(self, value: object, values: int, height: int) -> None:
        self.value = value
        self.values = values
        self.height = height


class _Builder:
    """The tree so far: the collections still open, innermost last.

    With `lines`, merge keys are carried out and the line of each value is written down.
    """

    def __init__(self, name: str, lines: Lines | None = None) -> None:
        self.root: object = None
        self.name = name
        self._lines = lines
        self._open: list[_Open] = []
        self._anchored: dict[str, _Anchored] = {}
        self._documents = 0
        self._values = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refusal(event, "expected one document, got another after `---`")

    def _refusal(self, event: yaml.Event, reason: str) -> InvalidInput:
        return InvalidInput(_place(self.name, event.start_mark), reason)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event, event.tag)
        is_key = self._wants_key()
        plain = event.implicit == _PLAIN
        if is_key and plain and event.value == _MERGE and self._lines is None:
            raise self._refusal(event, "expected the keys themselves: merge keys are not read")
        value = _plain(event.value) if plain and not is_key else event.value
        if reason := bounds.fault(value):
            raise self._refusal(event, reason)
        self._count(event, 1)
        if event.anchor is not None:
            self._anchored[event.anchor] = _Anchored(value, 1, 0)
        self._place_value(event, value, height=0)

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._refuse_tag(event, event.tag)
        if self._wants_key():
            raise self._refusal(event, "expected a key that is text, got a list or a mapping")
        if len(self._open) >= bounds.DEPTH_MAX:
            raise self._refusal(event, bounds.TOO_DEEP)
        into: list[object] | dict[str, object] = (
            {} if isinstance(event, yaml.MappingStartEvent) else []
        )
        line = _line(event)
        self._open.append(_Open(into, event.anchor, self._values, line))
        if self._lines is not None:
            self._lines[id(into)] = {}
        self._count(event, 1)

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        self._merge(done)
        height = done.height + 1
        if done.anchor is not None:
            cost = self._values - done.values_before
            self._anchored[done.anchor] = _Anchored(done.into, cost, height)
        self._place_value(event, done.into, height=height, line=done.line)

    def _alias(self, event: yaml.AliasEvent) -> None:
        anchored = self._anchored.get(event.anchor or "")
        if anchored is None:
            reason = f"expected an anchor that ends before here, got `*{event.anchor}`"
            raise self._refusal(event, reason)
        if len(self._open) + anchored.height > bounds.DEPTH_MAX:
            raise self._refusal(event, bounds.TOO_DEEP)
        self._count(event, anchored.values)
        value = anchored.value
        if self._wants_key() and not isinstance(value, str):
            raise self._refusal(event, "expected a key that is text")
        self._place_value(event, value, height=anchored.height)

    def _refuse_tag(self, event: yaml.Event, tag: str | None) -> None:
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!", 1)[: bounds.SHOWN_MAX]
            raise self._refusal(event, f"expected a value without a tag, got `{shown}`")

    def _count(self, event: yaml.Event, values: int) -> None:
        self._values += values
        if self._values > bounds.VALUES_MAX:
            raise self._refusal(event, bounds.TOO_MANY)

    def _wants_key(self) -> bool:
        top = self._open[-1] if self._open else None
        return top is not None and isinstance(top.into, dict) and top.key is None

    def _place_value(self, event: yaml.Event, value: object, *, height: int, line: int = 0) -> None:
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        top.height = max(top.height, height)
        if isinstance(top.into, list):
            top.into.append(value)
            self._mark(top, len(top.into) - 1, line or _line(event))
        elif top.key is not None:
            top.into[top.key] = value
            self._mark(top, top.key, top.key_line)
            top.key = None
        else:
            assert isinstance(value, str)
            if value in top.into:
                raise self._refusal(event, bounds.twice(value))
            top.key = value
            top.key_line = _line(event)

    def _mark(self, top: _Open, step: str | int, line: int) -> None:
        if self._lines is not None:
            self._lines[id(top.into)][step] = line

    def _merge(self, done: _Open) -> None:
        """Add what `<<` names to a mapping that is complete: what it says itself goes first."""
        if self._lines is None or not isinstance(done.into, dict) or _MERGE not in done.into:
            return
        own = self._lines[id(done.into)]
        named, line = done.into.pop(_MERGE), own.pop(_MERGE)
        for source in named if isinstance(named, list) else [named]:
            if not isinstance(source, dict):
                expected = "expected a mapping, or a list of them, after `<<`"
                raise InvalidInput(f"{self.name}, line {line}", expected)
            theirs = self._lines[id(source)]
            for key, value in source.items():
                if key not in done.into:
                    done.into[key] = value
                    own[key] = theirs[key]
