"""What arrives over two links: acted on once, and a replay on either is none the less one."""

import pytest

from roheletd.loops.openers import LINKS_MAX, Copy, Openers
from roheletd.messages import Dropped, NodeStatus, Opened, Sealer

KEY = bytes(32)
TOPIC = "rohe/edge/node/n1/status"
STATUS = NodeStatus(node="n1", state="online")


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(KEY, "n1", "0123456789abcdef")


@pytest.fixture
def openers() -> Openers:
    return Openers(KEY)


def test_what_a_second_link_brings_is_a_copy(sealer: Sealer, openers: Openers) -> None:
    sealed = sealer.seal(TOPIC, STATUS)
    first = openers.open(TOPIC, sealed, 0)
    assert isinstance(first, Opened)
    assert not isinstance(first, Copy)
    second = openers.open(TOPIC, sealed, 1)
    assert isinstance(second, Copy)
    assert second.stamp == first.stamp


@pytest.mark.parametrize("link", [0, 1])
def test_a_replay_is_dropped_on_each_link(sealer: Sealer, openers: Openers, link: int) -> None:
    earlier, later = sealer.seal(TOPIC, STATUS), sealer.seal(TOPIC, STATUS)
    for sealed in (earlier, later):
        openers.open(TOPIC, sealed, 0)
        openers.open(TOPIC, sealed, 1)
    assert openers.open(TOPIC, later, link) == Dropped("replayed")
    assert openers.open(TOPIC, earlier, link) == Dropped("replayed")
    assert openers.dropped["replayed"] == 2


def test_the_same_bytes_on_another_topic_are_no_copy(sealer: Sealer, openers: Openers) -> None:
    sealed = sealer.seal(TOPIC, STATUS)
    openers.open(TOPIC, sealed, 0)
    assert openers.open("rohe/edge/node/n2/status", sealed, 1) == Dropped("wrong MAC")


def test_a_copy_that_was_altered_is_dropped(sealer: Sealer, openers: Openers) -> None:
    sealed = sealer.seal(TOPIC, STATUS)
    openers.open(TOPIC, sealed, 0)
    altered = sealed.replace(b"online", b"offline")
    assert openers.open(TOPIC, altered, 1) == Dropped("wrong MAC")


def test_of_many_links_the_oldest_is_forgotten(sealer: Sealer, openers: Openers) -> None:
    sealed = sealer.seal(TOPIC, STATUS)
    for link in range(LINKS_MAX + 1):
        assert isinstance(openers.open(TOPIC, sealed, link), Opened)
    assert openers.open(TOPIC, sealed, LINKS_MAX) == Dropped("replayed")
