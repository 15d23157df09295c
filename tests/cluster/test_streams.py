"""What travels between a reader and the node of an instance, cut into pieces."""

from roheletd.cluster.flow import Outgoing
from roheletd.cluster.streams import LINE_CHARS_MAX, LogLine, encode, pieces_of


def test_each_piece_of_the_longest_lines_fits_the_window_whatever_they_are_written_in() -> None:
    letters = "x\u00e9\u4e2d\U0001f600"
    lines = tuple(LogLine(letter * (LINE_CHARS_MAX - 20)) for letter in letters for _ in range(2))
    pieces = pieces_of(lines)
    assert [line for piece in pieces for line in piece.lines] == list(lines)
    assert all(Outgoing().fits(len(encode(piece))) for piece in pieces)
