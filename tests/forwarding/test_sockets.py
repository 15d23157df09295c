"""How somebody is reached whose node gave a name in place of an address."""

import asyncio
import socket

import pytest

from roheletd.forwarding.sockets import connected
from tests.forwarding.servers import answering


async def test_each_address_of_a_name_is_tried_until_one_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with answering("a") as port:

        async def found(*_: object, **__: object) -> list[tuple[object, ...]]:
            places = (socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))
            return [(family, socket.SOCK_STREAM, 0, "", place) for family, place in places]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        made = await connected("both.lan", port, socket.SOCK_STREAM, timeout_s=1.0)
    assert made is not None
    assert made.getpeername() == ("127.0.0.1", port)
    made.close()


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".lan", ""])
async def test_what_is_no_name_leads_nowhere(host: str) -> None:
    assert await connected(host, 9, socket.SOCK_STREAM, timeout_s=1.0) is None
