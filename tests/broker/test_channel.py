"""What is written to a connection, and in how many pieces it leaves."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from roheletd.broker.channel import WRITE_BYTES, Channel


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Of datagrams, so that each piece can be told from the next."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(0)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_what_is_said_in_one_turn_leaves_in_one_piece(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends

    async def act() -> None:
        channel = Channel(ours, lambda: None, read_bytes_max=1)
        for number in range(4):
            channel.send(b"%d" % number)
        assert channel.unsent_bytes == 4
        await asyncio.sleep(0)
        channel.send(b"later")
        await asyncio.sleep(0)
        channel.close()

    asyncio.run(act())
    assert [theirs.recv(100), theirs.recv(100)] == [b"0123", b"later"]


def test_much_to_say_does_not_wait_for_the_end_of_the_turn(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends

    async def act() -> None:
        channel = Channel(ours, lambda: None, read_bytes_max=1)
        channel.send(bytes(WRITE_BYTES))
        assert channel.unsent_bytes == 0
        channel.close()

    asyncio.run(act())
    assert len(theirs.recv(2 * WRITE_BYTES)) == WRITE_BYTES


def test_what_is_said_before_a_close_in_the_same_turn_is_lost_without_a_fault(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends

    async def act() -> None:
        channel = Channel(ours, lambda: None, read_bytes_max=1)
        channel.send(b"unheard")
        channel.close()
        await asyncio.sleep(0)

    asyncio.run(act())
    assert theirs.recv(100) == b""
