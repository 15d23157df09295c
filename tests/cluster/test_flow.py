"""Streams over links that lose, double and reorder: everything once, in order, and bounded."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.cluster import flow, streams
from roheletd.cluster.flow import WINDOW_BYTES, Allowance, Incoming, Outgoing
from roheletd.cluster.streams import Batch, LogLine, Mark


class Line:
    """Two ends and a wire between them that does with each word as the dice say."""

    def __init__(self, seed: int, loss: float) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.out, self.into = Outgoing(), Incoming()
        self.now_s = 0.0
        self.read: list[bytes] = []
        self.wire: list[tuple[int, bytes]] = []

    def carry(self) -> None:
        self.rng.shuffle(self.wire)
        for number, body in self.wire:
            for _ in range(self.rng.choice((1, 1, 2))):
                if self.rng.random() >= self.loss:
                    self.into.take(number, body)
        self.wire = []

    def turn(self, *, reads: bool = True) -> None:
        self.now_s += 0.5
        self.wire += self.out.again(self.now_s)
        self.carry()
        while reads and (body := self.into.read()) is not None:
            self.read.append(body)
        if self.rng.random() >= self.loss:
            self.out.granted(*self.into.say(), self.now_s)


@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.5]),
    sizes=st.lists(st.integers(0, 20_000), max_size=20),
)
def test_all_comes_once_and_in_order(seed: int, loss: float, sizes: list[int]) -> None:
    line = Line(seed, loss)
    bodies = [bytes((at,)) * size for at, size in enumerate(sizes)]
    left = list(bodies)
    for _ in range(4000):
        while left and line.out.fits(len(left[0])):
            body = left.pop(0)
            line.wire.append((line.out.add(body, line.now_s), body))
        line.turn()
        if not left and line.out.settled:
            break
    assert line.read == bodies


def test_a_reader_that_stops_holds_up_the_sender_at_a_window() -> None:
    line = Line(1, 0.0)
    sent = 0
    for _ in range(100):
        while line.out.fits(1000):
            line.wire.append((line.out.add(bytes(1000), line.now_s), bytes(1000)))
            sent += 1
        line.turn(reads=False)
    assert sent * 1000 < WINDOW_BYTES
    assert line.out.settled
    line.turn()
    assert line.out.fits(1000)


def test_more_than_was_granted_is_not_kept() -> None:
    into = Incoming()
    for number in range(1, 1000):
        into.take(number, bytes(10_000))
    kept = 0
    while into.read() is not None:
        kept += 1
    assert kept * 10_000 <= WINDOW_BYTES


def test_a_grant_of_what_was_never_sent_is_not_believed() -> None:
    out = Outgoing()
    out.granted(50, 1 << 40, 0.0)
    assert not out.fits(WINDOW_BYTES)


def test_an_old_grant_takes_nothing_back() -> None:
    out = Outgoing()
    out.add(b"a", 0.0)
    out.granted(2, 2 * WINDOW_BYTES, 0.0)
    out.granted(1, WINDOW_BYTES, 0.0)
    assert out.fits(WINDOW_BYTES)


def test_what_is_not_heard_of_is_said_again_ever_more_rarely() -> None:
    out = Outgoing()
    out.add(b"a", 0.0)
    times = [at for at in range(60) if out.again(float(at))]
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 1
    assert gaps == sorted(gaps)
    assert max(gaps) == 8


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\xa4open", bytes(100)])
def test_what_is_no_word_is_refused(data: bytes) -> None:
    for decode in (flow.decode, streams.decode):
        with pytest.raises(Exception, match=r".") as caught:
            decode(data)
        assert type(caught.value).__module__.startswith("msgspec")


def test_an_allowance_fills_with_time_and_not_beyond_its_burst() -> None:
    allowance = Allowance(1000, 0.0)
    assert allowance.take(2000, 0.0)
    assert not allowance.take(1, 0.0)
    assert allowance.wait_s(500, 0.0) == pytest.approx(0.5)
    assert allowance.take(500, 0.5)
    assert allowance.take(2000, 1000.0)
    assert not allowance.take(1, 1000.0)


def stamped(*lines: str) -> Batch:
    return [LogLine(line, at=line[:2]) for line in lines]


def test_a_log_is_taken_up_again_where_it_was_left_also_within_a_second() -> None:
    mark = Mark()
    assert mark.fresh(stamped("01a", "02b", "02c")) == stamped("01a", "02b", "02c")
    assert mark.resume() == "02"
    assert mark.fresh(stamped("02b", "02c", "02d")) == stamped("02d")
    assert mark.fresh(stamped("03e")) == stamped("03e")
    assert mark.resume() == "03"
    assert mark.fresh(stamped("03e")) == []
    assert mark.fresh(stamped("04f")) == stamped("04f")


def test_lines_without_stamps_are_never_taken_for_old_ones() -> None:
    mark = Mark()
    lines = [LogLine("a"), LogLine("b")]
    assert mark.fresh(lines) == lines
    mark.resume()
    assert mark.fresh(lines) == lines
