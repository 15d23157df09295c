"""Columns that fit a terminal, and bars. Pure: values in, lines out.

Bars are made of characters that the fonts of the Linux console have, too: a Pi with a monitor
shows them.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

_COLOURS = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_GAP = "  "
_MARK = "  ! "
_NARROWEST = 8
_WRAPPED_NARROWEST = 20


class Style(NamedTuple):
    """What the terminal can show. `width` 0: as wide as it takes (a file or a pipe)."""

    width: int = 0
    colour: bool = False
    blocks: bool = True

    def paint(self, text: str, colour: str) -> str:
        code = _COLOURS[colour]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text


class Cell(NamedTuple):
    """A text with a colour."""

    text: str
    colour: str = ""


class Column(NamedTuple):
    """Where room is short, `spare` columns go first, `wraps` breaks into lines, the rest is cut."""

    title: str
    right: bool = False
    wraps: bool = False
    spare: bool = False


def clean(text: str) -> str:
    """`text` without control characters: what an engine said must not drive the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    style: Style,
    remarks: Sequence[str] = (),
) -> list[str]:
    """Lines of a table with a head; a remark stands below its row."""
    cells = [[_cell(value) for value in row] for row in rows]
    natural = [
        max([len(column.title), *(len(row[at].text) for row in cells)])
        for at, column in enumerate(columns)
    ]
    shown = _shown(columns, natural, style.width)
    kept = [columns[at] for at in shown]
    widths = _fitted(kept, [natural[at] for at in shown], style.width)
    lines = _lines(kept, [Cell(column.title, "bold") for column in kept], widths, style)
    for row, remark in zip(cells, remarks or [""] * len(cells), strict=True):
        lines += _lines(kept, [row[at] for at in shown], widths, style)
        lines += remarked(remark, style) if remark else ()
    return lines


def remarked(text: str, style: Style) -> list[str]:
    """A remark: indented, marked, and going on under itself."""
    first, *more = wrapped(clean(text), style.width - len(_MARK) if style.width else 0)
    return [style.paint(_MARK, "yellow") + first, *(" " * len(_MARK) + part for part in more)]


def pairs(rows: Sequence[tuple[str, str | Cell]], style: Style) -> list[str]:
    """Names and values, one below the other; a long value goes on under itself."""
    indent = max((len(name) for name, _ in rows), default=0) + len(_GAP)
    lines = []
    for name, value in rows:
        cell = _cell(value)
        first, *more = wrapped(cell.text, style.width - indent if style.width else 0)
        lines.append(f"{name:<{indent}}{style.paint(first, cell.colour)}".rstrip())
        lines += [" " * indent + style.paint(part, cell.colour) for part in more]
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`; 0: in one line."""
    if width <= 0 or len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, _NARROWEST)) or [""]


def cut(text: str, width: int) -> str:
    """`text` in at most `width` characters, with a mark where something is missing."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[: max(0, width)]


def plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def bar(share: float, width: int, style: Style) -> str:
    """A horizontal bar, in half characters."""
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    full, half = divmod(halves, 2)
    if not style.blocks:
        return ("#" * full + "+" * half).ljust(width, ".")
    return ("█" * full + "▌" * half).ljust(width, "·")


def level(share: float, style: Style) -> str:
    """A bar of one character, in five steps; the lowest is less than an eighth."""
    steps = "·░▒▓█" if style.blocks else ".-+*#"
    return steps[round(min(1.0, max(0.0, share)) * (len(steps) - 1))]


def heat(share: float) -> str:
    """The colour of a load: green below 60 %, yellow below 85 %, then red."""
    if share < 0.6:  # noqa: PLR2004
        return "green"
    return "yellow" if share < 0.85 else "red"  # noqa: PLR2004


def _cell(value: str | Cell) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    return cell._replace(text=clean(cell.text))


def _shown(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Which columns to show: spare ones with room for them, the last of them given up first."""
    shown = list(range(len(columns)))
    for at in reversed(range(len(columns))):
        needed = sum(widths[index] for index in shown) + len(_GAP) * (len(shown) - 1)
        if columns[at].spare and 0 < width < needed:
            shown.remove(at)
    return shown


def _fitted(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """`widths` that fit: wrapping columns give way first, then whichever is widest."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    if width <= 0 or excess <= 0:
        return widths
    wrapping = [index for index, column in enumerate(columns) if column.wraps]
    fitted, excess = _shrunk(widths, wrapping, _WRAPPED_NARROWEST, excess)
    fitted, excess = _shrunk(fitted, range(len(fitted)), _NARROWEST, excess)
    return fitted


def _shrunk(
    widths: list[int], which: Sequence[int], narrowest: int, excess: int
) -> tuple[list[int], int]:
    """Take `excess` from the widest of `which`, one by one, down to `narrowest`."""
    fitted = list(widths)
    while excess > 0:
        index = max(which, key=lambda at: fitted[at], default=-1)
        if index < 0 or fitted[index] <= narrowest:
            break
        fitted[index] -= 1
        excess -= 1
    return fitted, excess


def _lines(
    columns: Sequence[Column], row: Sequence[Cell], widths: list[int], style: Style
) -> list[str]:
    parts = [
        wrapped(cell.text, width) if column.wraps else [cut(cell.text, width)]
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]
    height = max(len(part) for part in parts)
    lines = []
    for at in range(height):
        fields = [
            _padded(part[at] if at < len(part) else "", width, column, cell.colour, style)
            for column, cell, width, part in zip(columns, row, widths, parts, strict=True)
        ]
        lines.append(_GAP.join(fields).rstrip())
    return lines


def _padded(text: str, width: int, column: Column, colour: str, style: Style) -> str:
    padding = " " * (width - len(text))
    painted = style.paint(text, colour)
    return padding + painted if column.right else painted + padding
