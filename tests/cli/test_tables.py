"""Columns that fit, and text that cannot harm."""

from hypothesis import given
from hypothesis import strategies as st

from roheletd.cli.tables import Cell, Column, Style, bar, clean, cut, level, pairs, table

COLUMNS = (Column("NAME"), Column("COUNT", right=True), Column("REASON", wraps=True))


def test_without_a_terminal_nothing_is_cut() -> None:
    lines = table(COLUMNS, [("a" * 90, "1", "word " * 40)], Style())
    assert len(lines) == 2
    assert "a" * 90 in lines[1]


def test_long_reasons_go_on_below_themselves() -> None:
    lines = table(COLUMNS, [("web", "1", "one two three four five six seven")], Style(width=36))
    assert lines == [
        "NAME  COUNT  REASON",
        "web       1  one two three four five",
        "             six seven",
    ]


def test_colour_does_not_shift_columns() -> None:
    row = (Cell("web", "red"), "1", "fine")
    plain = table(COLUMNS, [row], Style())
    coloured = table(COLUMNS, [row], Style(colour=True))
    assert "\x1b[31m" in coloured[1]
    assert [_bare(line) for line in coloured] == plain


@given(
    st.lists(st.tuples(st.text(), st.text(max_size=9), st.text(max_size=300)), max_size=5),
    st.integers(40, 200),
)
def test_a_table_fits_whatever_is_in_it(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = table(COLUMNS, rows, Style(width=width))
    assert all(len(line) <= width for line in lines)
    assert all(char.isprintable() for line in lines for char in line)


def test_what_an_engine_said_cannot_drive_the_terminal() -> None:
    assert clean("a\x1b[2Jb\nc\x07") == "a [2Jb c "
    assert pairs([("reason", "a\x1b[2Jb")], Style()) == ["reason  a [2Jb"]


@given(st.floats(-1, 2), st.integers(0, 50), st.sampled_from([Style(), Style(blocks=False)]))
def test_a_bar_has_exactly_its_width(share: float, width: int, style: Style) -> None:
    assert len(bar(share, width, style)) == width


def test_bars_grow_with_the_share() -> None:
    style = Style()
    assert bar(0, 4, style) == "····"
    assert bar(0.5, 4, style) == "██··"
    assert bar(0.625, 4, style) == "██▌·"
    assert bar(1, 4, Style(blocks=False)) == "####"
    assert [level(share, style) for share in (0, 0.3, 0.5, 0.8, 1)] == ["·", "░", "▒", "▓", "█"]


def test_cut_text_shows_that_something_is_missing() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"


def _bare(line: str) -> str:
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[31m"):
        line = line.replace(code, "")
    return line
