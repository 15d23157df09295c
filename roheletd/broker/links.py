"""One or two links at once, each to another broker of a list that may change while they are held.

What must arrive is published on all links, so that a broker which dies or freezes costs nothing;
receivers drop the second copy. Which brokers, and when to leave one, is decided in `walk`; here it
is done. A broker keeps its session for as long as it is in the list, so that it is remembered how
it wants to be spoken to.

Each link leaves a will with its broker. One that is published because a single link broke is
false, as the node lives on over the other: a will is a hint, and never more.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count as count_from
from random import Random

from msgspec.structs import replace

from roheletd.broker.session import Access, Link, Session
from roheletd.broker.walk import SILENCE_S, Leave, Walk

CONNECT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_WITH_OTHERS_S = 2.0
"""Where there are other brokers to try, one that is frozen is not waited for as long."""


class _Broker:
    """One broker of the list. Its number tells its link from others, for receivers of messages."""

    def __init__(self, url: str, number: int, session: Session) -> None:
        self.url = url
        self.number = number
        self.session = session
        self.task: asyncio.Task[None] | None = None


class Links:
    """Holds the links that `want` asks for.

    `on_message` is told by which link a message came; `on_link` that there is a new link (True:
    say again what is retained), or that there is none at all, and why. Both run on the event loop,
    and what they raise ends `run`. Run once and closed once.

    The owner calls `tick` about once a second, and `heard` for each authentic message of another
    node, its own echo excluded: a link on which nobody is heard is no use, whatever TCP says of it.
    """

    name = "links"

    def __init__(
        self,
        access: Access,
        *,
        will: Callable[[], tuple[str, bytes] | None],
        on_message: Callable[[str, bytes, int], None],
        on_link: Callable[[bool, str], None],
        rng: Random,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._access = access
        self._will = will
        self._on_message = on_message
        self._on_link = on_link
        self._walk = Walk(rng=rng, silence_s=silence_s)
        self._brokers: dict[str, _Broker] = {}
        self._by_number: dict[int, _Broker] = {}
        self._changed = asyncio.Event()
        self._dropped = 0
        self._closed = False

    @property
    def links(self) -> tuple[Link, ...]:
        """What became of each broker that was tried, in the order of the list."""
        known = [self._brokers[url] for url in self._walk.urls if url in self._brokers]
        return tuple(self._link(broker) for broker in known)

    @property
    def connected(self) -> bool:
        return bool(self._up())

    @property
    def dropped(self) -> int:
        """Messages that no link took."""
        return self._dropped

    def want(self, urls: Iterable[str], count: int) -> None:
        """Hold `count` links (1 or 2), to the first brokers of the list that can be had."""
        self._walk.want(urls, count)
        self._forget()
        self._changed.set()

    def hear(self, patterns: tuple[str, ...]) -> None:
        """Subscribe to these on every link."""
        if patterns == self._access.subscriptions:
            return
        self._access = replace(self._access, subscriptions=patterns)
        for broker in self._brokers.values():
            broker.session.hear(patterns)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        once: bool = False,
    ) -> bool:
        """Hand one message over to each link, or `once` to the first that takes it.

        Never waits. False: none took it.
        """
        taken = False
        for broker in self._up():
            taken |= broker.session.publish(topic, payload, qos=qos, retain=retain)
            if taken and once:
                break
        self._dropped += not taken
        return taken

    def heard(self, link: int) -> None:
        """Another node was heard over this link."""
        broker = self._by_number.get(link)
        if broker is not None:
            self._walk.heard(broker.url, _now_s())

    def tick(self) -> None:
        for broker in self._up():
            broker.session.tick()
        self._changed.set()

    async def run(self) -> None:
        """Hold the links until `close`."""
        async with asyncio.TaskGroup() as tasks:
            while not self._closed:
                due_s = self._move(tasks)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due_s):
                        await self._changed.wait()
                self._changed.clear()
                # After this process stood still: what has come meanwhile is read before anybody
                # is called silent.
                await asyncio.sleep(0)

    async def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say a last retained word on each link, take leave (no will is published), end `run`."""
        self._closed = True
        up = self._up()
        for broker in self._brokers.values():
            if broker not in up and broker.task is not None:
                broker.task.cancel()
        await asyncio.gather(*(broker.session.close(farewell) for broker in up))
        self._changed.set()

    def _up(self) -> list[_Broker]:
        return [broker for url, broker in self._brokers.items() if self._walk.is_up(url)]

    def _link(self, broker: _Broker) -> Link:
        link = broker.session.link
        up = link.connected and self._walk.is_up(broker.url)
        return replace(link, connected=up, heard_s=self._walk.heard_s(broker.url))

    def _move(self, tasks: asyncio.TaskGroup) -> float | None:
        """Do what has to be done now; when to look again."""
        moves = self._walk.moves(_now_s())
        for leave in moves.leave:
            self._leave(tasks, leave)
        for url in moves.connect:
            broker = self._brokers.get(url) or self._enter(url)
            broker.task = tasks.create_task(self._hold(broker), name=f"link {broker.number}")
        return moves.due_s

    def _enter(self, url: str) -> _Broker:
        number = next(number for number in count_from() if number not in self._by_number)
        session = Session(
            url,
            self._access_by(number),
            will=self._will,
            on_message=lambda topic, payload: self._on_message(topic, payload, number),
            on_link=lambda connected, reason: self._changed_link(
                url, connected=connected, reason=reason
            ),
        )
        broker = self._brokers[url] = self._by_number[number] = _Broker(url, number, session)
        return broker

    def _access_by(self, number: int) -> Access:
        """Two names of one broker would else be two clients with one name, which end each other.

        To one broker it stays the same, so that a new link takes the place of a half-open one.
        """
        own = self._access.client_id
        return replace(self._access, client_id=f"{own}-{number + 1}" if number else own)

    async def _hold(self, broker: _Broker) -> None:
        others = len(self._walk.urls) > 1
        timeout_s = CONNECT_TIMEOUT_WITH_OTHERS_S if others else CONNECT_TIMEOUT_S
        refused = False
        try:
            refused = (await broker.session.attempt(timeout_s)).refused
        finally:
            self._walk.ended(broker.url, _now_s(), refused=refused)
            broker.task = None
            self._forget()
            self._changed.set()

    def _forget(self) -> None:
        for url in self._brokers.keys() - set(self._walk.urls):
            del self._by_number[self._brokers.pop(url).number]

    def _leave(self, tasks: asyncio.TaskGroup, leave: Leave) -> None:
        broker = self._brokers[leave.url]
        if broker.session.link.connected:
            tasks.create_task(broker.session.leave(leave.why), name=f"leave {broker.number}")
        elif broker.task is not None:
            broker.task.cancel()

    def _changed_link(self, url: str, *, connected: bool, reason: str) -> None:
        if connected:
            self._walk.opened(url, _now_s())
            self._changed.set()
        if connected or all(other.url == url for other in self._up()):
            self._on_link(connected, reason)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
