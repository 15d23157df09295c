"""The ring of events of one node, and what several nodes have told, merged."""

import pytest

from roheletd.cluster.events import (
    KEPT_EVENTS,
    MERGED_EVENTS_MAX,
    TEXT_CHARS_MAX,
    Bookmark,
    Event,
    Events,
    Merged,
    concerns,
    merged,
)
from roheletd.cluster.streams import PIECE_BYTES_MAX, decode, encode, pieces_of_events


class Wall:
    """A clock that a test sets."""

    def __init__(self, at_s: float = 1000.0) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        self.at_s += 1
        return self.at_s


def ring(count: int, *, begin_s: float = 1000.0) -> Events:
    """Events 1 to `count` of a node, a second apart."""
    made = Events(node="n1", wall_s=Wall(begin_s))
    for number in range(1, count + 1):
        made.add("running", f"web.{number}")
    return made


def event(at_s: float, node: str = "n1", seq: int = 1, subject: str = "web.1") -> Event:
    return Event(seq=seq, at_s=at_s, node=node, kind="running", subject=subject)


def numbers(events: tuple[Event, ...]) -> list[int]:
    return [event.seq for event in events]


def test_a_bookmark_is_followed_by_what_came_after_it() -> None:
    events = ring(5)
    last = events.after(2)[0]
    missing, found = events.beyond(Bookmark(last.seq, last.at_s))
    assert (missing, numbers(found)) == (0, [4, 5])
    assert events.beyond(Bookmark(5, events.after(4)[0].at_s)) == (0, ())


def test_a_bookmark_without_a_time_counts_by_its_number_alone() -> None:
    assert numbers(ring(5).beyond(Bookmark(3))[1]) == [4, 5]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_bookmark_of_an_earlier_start_is_before_all_events(count: int) -> None:
    earlier = ring(3).after(2)[0]
    missing, found = ring(count, begin_s=5000.0).beyond(Bookmark(earlier.seq, earlier.at_s))
    assert (missing, numbers(found)) == (0, list(range(1, count + 1)))


def test_events_that_are_gone_since_a_bookmark_are_counted() -> None:
    events = ring(10)
    mark = Bookmark(10, events.after(9)[0].at_s)
    for _ in range(KEPT_EVENTS + 7):
        events.add("running", "web.1")
    missing, found = events.beyond(mark)
    assert (missing, len(found)) == (7, KEPT_EVENTS)
    assert events.beyond(Bookmark())[0] == 0, "who reads for the first time has missed nothing"


def test_what_one_event_may_take_of_the_memory_has_a_bound() -> None:
    events = Events(node="n1", wall_s=Wall())
    events.add("failed", "x" * 100_000, "y" * 100_000)
    (kept,) = events.after(0)
    assert len(kept.subject) == len(kept.reason) == TEXT_CHARS_MAX
    assert kept.reason.endswith("y…")


@pytest.mark.parametrize(
    ("subject", "name", "does"),
    [
        ("web", "web", True),
        ("web.2", "web", True),
        ("web.2", "web.2", True),
        ("web.22", "web.2", False),
        ("web.2", "we", False),
        ("web", "web.2", False),
        ("web.local/nginx", "web", False),
        ("a.1, web.3", "web", True),
        ("a.1, web.3", "web.3", True),
        ("pi3", "pi3", True),
        ("docker", "n1", True),  # which saw it
        ("docker", "n2", False),
        ("webcam.1", "web", False),
    ],
)
def test_an_event_concerns_what_it_is_about_and_the_service_of_that(
    subject: str, name: str, *, does: bool
) -> None:
    assert concerns(event(1.0, subject=subject), name) is does


def test_several_nodes_are_merged_in_order_of_time() -> None:
    one = [event(1.0, seq=1), event(4.0, seq=2)]
    two = [event(2.0, "n2", 1), event(3.0, "n2", 2), event(5.0, "n2", 3)]
    found = merged(one, two)
    assert [(it.at_s, it.node) for it in found] == [
        (1.0, "n1"),
        (2.0, "n2"),
        (3.0, "n2"),
        (4.0, "n1"),
        (5.0, "n2"),
    ]


def test_a_node_whose_clock_was_set_back_keeps_its_own_order() -> None:
    one = [event(100.0, seq=1), event(50.0, seq=2), event(51.0, seq=3)]
    two = [event(60.0, "n2", 1), event(120.0, "n2", 2)]
    found = merged(one, two)
    assert [it.seq for it in found if it.node == "n1"] == [1, 2, 3]
    assert [it.seq for it in found if it.node == "n2"] == [1, 2]


def test_of_many_nodes_only_the_newest_are_held_and_the_rest_is_counted() -> None:
    held = Merged()
    nodes = MERGED_EVENTS_MAX // KEPT_EVENTS + 3
    for node in range(nodes):
        held.add([event(float(at), f"n{node}", at + 1) for at in range(KEPT_EVENTS)])
        assert len(held.events) <= MERGED_EVENTS_MAX
    assert held.left_out == 3 * KEPT_EVENTS
    assert min(it.at_s for it in held.events) == KEPT_EVENTS - -(-MERGED_EVENTS_MAX // nodes)


def test_a_full_ring_goes_in_pieces_that_are_marked_as_far_as_they_go() -> None:
    events = Events(node="n1", wall_s=Wall())
    for _ in range(KEPT_EVENTS):
        events.add("failed", "web.1", "why " * 100)
    found = events.after(0)
    last = Bookmark(KEPT_EVENTS + 5, 9999.0)  # what followed was not wanted
    pieces = pieces_of_events(found, last)
    assert tuple(it for piece in pieces for it in piece.events) == found
    assert [piece.last.seq for piece in pieces[:-1]] == [it.events[-1].seq for it in pieces[:-1]]
    assert pieces[-1].last == last
    assert all(len(encode(piece)) < 2 * PIECE_BYTES_MAX for piece in pieces)
    assert [decode(encode(piece)) for piece in pieces] == pieces


def test_even_where_nothing_is_wanted_it_is_said_as_far_as_what() -> None:
    (piece,) = pieces_of_events((), Bookmark(7, 1.0))
    assert (piece.events, piece.last.seq) == ((), 7)
