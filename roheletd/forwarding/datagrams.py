"""UDP: what one client sends goes to one endpoint, and answers go back, until both are silent.

A flow is a client's address and a socket of its own to the endpoint. Where there is no more room, a
new one takes the place of the one that was silent for longest, of the port that has most of them:
none of them can be told to wait.
"""

import asyncio
import socket
import struct
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.balance import Balancer
from roheletd.forwarding.sockets import bound, connected

IDLE_S = 60.0
FLOWS_MAX = 1024
"""Of all UDP ports of a node: each takes a file descriptor."""

_WAITING_MAX = 16
_DATAGRAM_MAX = 65_535
_AT_ONCE = 64
_PATIENCE_S = 0.3
_TOLD_BYTES = 64

_IP_PKTINFO = 8
_PKTINFO = struct.Struct("=I4s4s")
"""Interface, own address, and where it was sent to."""

_Client = tuple[tuple[str, int], bytes]
"""Its address, and ours that it wrote to: an answer comes from there, or is not taken for one."""


class Datagrams:
    """What all UDP ports of this node share: the clock, and how many flows there may be."""

    def __init__(self, clock: Clock, *, flows_max: int = FLOWS_MAX) -> None:
        self.clock = clock
        self.ports: set[UdpPort] = set()
        self.count = 0
        self._flows_max = flows_max

    def make_room(self) -> None:
        while self.count >= self._flows_max:
            max(self.ports, key=UdpPort.count_flows).end_oldest()


class _Flow:
    """`waiting` holds the first datagrams until there is a socket to send them by."""

    def __init__(self, now_s: float) -> None:
        self.endpoint: Endpoint | None = None
        self.server: socket.socket | None = None
        self.waiting: list[bytes] = []
        self.used_s = now_s


class UdpPort:
    """One stable UDP port."""

    def __init__(self, datagrams: Datagrams, host: str, port: int) -> None:
        """Raises OSError where the port cannot be had."""
        self._shared = datagrams
        self._clock = datagrams.clock
        self._loop = asyncio.get_running_loop()
        self._socket = bound(socket.SOCK_DGRAM, host, port)
        if self._socket.family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._balancer = Balancer()
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._flows: OrderedDict[_Client, _Flow] = OrderedDict()
        self._dialling: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._from_clients)
        self._shared.ports.add(self)

    def count_flows(self) -> int:
        return len(self._flows)

    def end_oldest(self) -> None:
        self._end(next(iter(self._flows)))

    def serve(self, endpoints: Sequence[Endpoint]) -> None:
        """Flows of an endpoint that is gone start anew: nothing else would ever end them."""
        self._balancer.serve(endpoints)
        self._endpoints = frozenset(endpoints)
        gone = [
            client
            for client, flow in self._flows.items()
            if flow.endpoint is not None and flow.endpoint not in self._endpoints
        ]
        for client in gone:
            self._end(client)

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for task in self._dialling:
            task.cancel()
        for client in tuple(self._flows):
            self._end(client)
        self._shared.ports.discard(self)
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _from_clients(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, told, _, sender = self._socket.recvmsg(_DATAGRAM_MAX, _TOLD_BYTES)
            except BlockingIOError:
                return
            except OSError:  # what became of an answer: its client is gone
                continue
            client = sender, _own_address(told)
            flow = self._flows.get(client) or self._begin(client)
            flow.used_s = self._clock.now_s()
            self._flows.move_to_end(client)
            if flow.server is not None:
                self._send(client, flow, data)
            elif len(flow.waiting) < _WAITING_MAX:
                flow.waiting.append(data)

    def _begin(self, client: _Client) -> _Flow:
        self._shared.make_room()
        self._shared.count += 1
        flow = self._flows[client] = _Flow(self._clock.now_s())
        task = self._loop.create_task(self._lead(client, flow))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(IDLE_S, self._sweep)
        return flow

    async def _lead(self, client: _Client, flow: _Flow) -> None:
        for endpoint in self._balancer.order(self._clock.now_s()):
            made = await connected(
                endpoint.host, endpoint.port, socket.SOCK_DGRAM, timeout_s=_PATIENCE_S
            )
            if made is None:
                continue
            if self._flows.get(client) is not flow:  # its place was needed meanwhile
                made.close()
                return
            if endpoint not in self._endpoints:
                made.close()
                continue
            flow.endpoint, flow.server = endpoint, made
            self._balancer.opened(endpoint)
            self._loop.add_reader(made, self._from_server, client, flow)
            waiting, flow.waiting = flow.waiting, []
            for data in waiting:
                self._send(client, flow, data)
            return
        if self._flows.get(client) is flow:
            self._end(client)

    def _send(self, client: _Client, flow: _Flow, data: bytes) -> None:
        if flow.server is None:
            return
        try:
            flow.server.send(data)
        except BlockingIOError:
            return  # a datagram may be lost
        except OSError:
            self._refused(client, flow)

    def _from_server(self, client: _Client, flow: _Flow) -> None:
        assert flow.server is not None, "it is read from while it is there"
        for _ in range(_AT_ONCE):
            try:
                data = flow.server.recv(_DATAGRAM_MAX)
            except BlockingIOError:
                return
            except OSError:
                self._refused(client, flow)
                return
            flow.used_s = self._clock.now_s()
            self._flows.move_to_end(client)
            with suppress(OSError):  # lost, as a datagram may be
                self._answer(client, data)

    def _answer(self, client: _Client, data: bytes) -> None:
        address, own = client
        told = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, own, b""))] if own else []
        self._socket.sendmsg([data], told, 0, address)

    def _refused(self, client: _Client, flow: _Flow) -> None:
        """The kernel heard that nobody is there: the next datagram goes elsewhere."""
        if flow.endpoint is not None:
            self._balancer.failed(flow.endpoint, self._clock.now_s())
        if self._flows.get(client) is flow:
            self._end(client)

    def _end(self, client: _Client) -> None:
        flow = self._flows.pop(client)
        self._shared.count -= 1
        if flow.server is not None and flow.endpoint is not None:
            self._loop.remove_reader(flow.server)
            flow.server.close()
            self._balancer.closed(flow.endpoint)

    def _sweep(self) -> None:
        """Those that used to be silent for longest come first."""
        now_s = self._clock.now_s()
        for client, flow in tuple(self._flows.items()):
            if now_s - flow.used_s < IDLE_S:
                break
            self._end(client)
        self._sweeping = self._loop.call_later(IDLE_S, self._sweep) if self._flows else None


def _own_address(told: list[tuple[int, int, bytes]]) -> bytes:
    for level, kind, data in told:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return bytes(_PKTINFO.unpack(data[: _PKTINFO.size])[1])
    return b""
