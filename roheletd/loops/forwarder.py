"""Keeps a listener open for each service port of the cluster, and tells it who serves there.

Woken by what was agreed, by what nodes say of their instances, and by the loss of a node. A port
that cannot be had is told in `status` and tried again; the others do not wait for it.
"""

import asyncio
import errno
import math
import resource
from collections.abc import Iterable
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.membership import Membership
from roheletd.cluster.registry import Endpoint, ServicePort, registry
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.fields import Protocol
from roheletd.forwarding import Listener
from roheletd.forwarding.datagrams import FLOWS_MAX, Datagrams, UdpPort
from roheletd.forwarding.streams import Streams, TcpPort
from roheletd.loops.waiting import news_or_time

RETRY_S = 2.0
PAUSE_S = 0.02
"""From one look to the next: changes come in crowds."""

_TOLD_MAX = 5
_FILES_PER_CONNECTION = 2
_FILES_OF_OTHERS = 1024
"""Of the resolver, the links, the engine, the log and the sensors."""

_Key = tuple[Protocol, int]


class Forwarder:
    """The service ports of one node."""

    name = "forwarder"

    def __init__(
        self,
        *,
        node: str,
        listen: str,
        connections_max: int,
        wait_s: float,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        clock: Clock,
    ) -> None:
        self._node = node
        self._listen = listen
        self._state = state
        self._soft = soft
        self._membership = membership
        self._clock = clock
        self._streams = Streams(clock, open_max=connections_max, wait_s=wait_s)
        self._datagrams = Datagrams(clock)
        self._listeners: dict[_Key, Listener] = {}
        self._served: dict[_Key, tuple[Endpoint, ...]] = {}
        self._faults: dict[_Key, str] = {}
        self._seen: object = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                self._look()
                await asyncio.sleep(PAUSE_S)
                await news_or_time(self._wake, self._look_again_s(), self._clock)
        finally:
            for listener in self._listeners.values():
                listener.close()

    def _look_again_s(self) -> float:
        now_s = self._clock.now_s()
        loss_s = self._membership.next_loss_s(self._state.expected, now_s)
        retry_s = RETRY_S if self._faults else math.inf
        return now_s + min(retry_s, math.inf if loss_s is None else loss_s)

    def _look(self) -> None:
        now_s = self._clock.now_s()
        lost = frozenset(self._membership.lost_for_s(self._state.expected, now_s))
        seen = (self._state.applied_index, self._soft.instances_changed, lost)
        if seen == self._seen and not self._faults:
            return
        self._seen = seen
        found = registry(self._state, self._soft, me=self._node, is_lost=lost.__contains__)
        self._open(it for it in found if it.service_port)

    def _open(self, ports: Iterable[ServicePort]) -> None:
        wanted = {(it.protocol, it.service_port): it for it in ports}
        connections = _FILES_PER_CONNECTION * self._streams.open_max
        _allow_files(connections + FLOWS_MAX + len(wanted) + _FILES_OF_OTHERS)
        for key in self._listeners.keys() - wanted.keys():
            self._listeners.pop(key).close()
            self._served.pop(key, None)
        self._faults = {}
        for key, port in wanted.items():
            if key not in self._listeners and not self._listened(key, port):
                continue
            if self._served.get(key) != port.healthy:
                self._served[key] = port.healthy
                self._listeners[key].serve(port.healthy)
        self._tell()

    def _listened(self, key: _Key, port: ServicePort) -> bool:
        try:
            self._listeners[key] = (
                TcpPort(self._streams, self._listen, port.service_port)
                if port.protocol == "tcp"
                else UdpPort(self._datagrams, self._listen, port.service_port)
            )
        except OSError as error:
            self._faults[key] = (
                f"port {port.service_port} ({port.protocol}) of service {port.service} is not "
                f"served here: {self._holder(key) or _explained(error)}"
            )
            return False
        return True

    def _holder(self, key: _Key) -> str:
        """Whether it is an instance of ours that has the port; empty where it is not."""
        for name, at in self._state.placements_on(self._node).items():
            if key in {(bound.protocol, bound.host_port) for bound in at.ports}:
                return f"it is the host port of {name} on this node: choose another service_port"
        return ""

    def _tell(self) -> None:
        told = list(self._faults.values())
        more = [f"and {len(told) - _TOLD_MAX} more"] if len(told) > _TOLD_MAX else []
        if told:
            self._soft.notices["forwarder"] = "; ".join([*told[:_TOLD_MAX], *more])
        else:
            self._soft.notices.pop("forwarder", None)


def _explained(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has it; tried again until it is free"
    if error.errno == errno.EACCES:
        return "this daemon may not open ports below 1024: choose another service_port"
    return error.strerror or str(error)


def _allow_files(number: int) -> None:
    """As many open files as may be needed, if the limit can be raised to that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        with suppress(ValueError, OSError):
            wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
