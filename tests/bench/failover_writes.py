"""How long no write is accepted: the leader is killed, frozen or cut off, or a broker is.

A client writes without pause through a node that survives. The figure is the longest time between
two of its acknowledgements, so it contains whatever the client had to wait for.
"""

import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from tests.bench.failover_cluster import (
    Writer,
    brokers_in_use,
    cluster,
    followers,
    leader,
    until_settled,
    view,
)
from tests.bench.failover_rows import Row
from tests.testbed.hosts import Host, Site

VOTERS = 3
_BASELINE_S = 1.0


class Blow(Struct, frozen=True, kw_only=True):
    """What is done to a host, how it is undone, and how long the writes are watched between."""

    event: str
    strike: Callable[[Host], None]
    heal: Callable[[Host], None]
    watch_s: float
    reach: float
    beside: str = ""
    is_broker: bool = False


def _start(host: Host) -> None:
    host.daemon.start()


def _nothing(_host: Host) -> None:
    """Its daemon starts the broker again by itself."""


BLOWS = {
    "leader-killed": Blow(
        event="leader process killed -> next write accepted",
        strike=Host.kill,
        heal=_start,
        watch_s=5.0,
        reach=1.5,
        beside="etcd 1.3 s, Docker Swarm 13.6 s",
    ),
    "leader-frozen": Blow(
        event="leader frozen -> next write accepted",
        strike=Host.freeze,
        heal=Host.thaw,
        watch_s=8.0,
        reach=4.0,
    ),
    "leader-cut": Blow(
        event="leader cut off -> next write accepted",
        strike=Host.cut,
        heal=Host.heal,
        watch_s=8.0,
        reach=4.0,
    ),
    "broker-killed": Blow(
        event="broker killed, two links",
        strike=Host.kill_broker,
        heal=_nothing,
        watch_s=6.0,
        reach=0.5,
        beside="single link measured 7-13 s",
        is_broker=True,
    ),
    "broker-frozen": Blow(
        event="broker frozen, two links",
        strike=Host.freeze_broker,
        heal=Host.thaw_broker,
        watch_s=10.0,
        reach=0.5,
        beside="single link measured 7-13 s",
        is_broker=True,
    ),
}


class _Seen(Struct, frozen=True):
    """Of one repetition: the gap after the blow, the one until all was well again, the terms."""

    gap_s: float
    healing_gap_s: float
    terms: tuple[int, int]
    faults: tuple[str, ...]


def measure(names: Iterable[str], repetitions: int) -> list[Row]:
    """The rows of these blows, all on one cluster."""
    wanted = [BLOWS[name] for name in names]
    if not wanted:
        return []
    with cluster(VOTERS) as site:
        return [_row(site, blow, repetitions) for blow in wanted]


def _row(site: Site, blow: Blow, repetitions: int) -> Row:
    seen = [_once(site, blow, number) for number in range(repetitions)]
    elections = sum(before != after for before, after in (it.terms for it in seen))
    healing_s = max(it.healing_gap_s for it in seen)
    notes = [f"longest gap while it came back {healing_s:.2f} s"]
    if blow.is_broker:
        notes.append(f"{elections} elections" if elections else "no election")
    notes += sorted({fault for it in seen for fault in it.faults})
    return Row(
        event=blow.event,
        unit="s",
        reach=blow.reach,
        values=tuple(round(it.gap_s, 3) for it in seen),
        beside=blow.beside,
        notes=tuple(notes),
    )


def _once(site: Site, blow: Blow, number: int) -> _Seen:
    until_settled(site)
    witnesses = followers(site)
    through = witnesses[number % len(witnesses)]
    struck = _struck(site, blow, number)
    with Writer(through) as writer:
        time.sleep(_BASELINE_S)
        before = view(through)["term"]
        struck_s = time.monotonic()
        blow.strike(struck)
        time.sleep(blow.watch_s)
        writer.until_writing(time.monotonic())
        gap_s = writer.gap_s(struck_s)
        after = view(through)["term"]
        healed_s = time.monotonic()
        blow.heal(struck)
        time.sleep(blow.watch_s / 2)
        writer.until_writing(time.monotonic())
        healing_gap_s = writer.gap_s(healed_s)
    return _Seen(gap_s, healing_gap_s, (before, after), tuple(writer.faults))


def _struck(site: Site, blow: Blow, number: int) -> Host:
    """The leader; or, in turn, each of the hosts whose broker all voters use."""
    if not blow.is_broker:
        return leader(site)
    used = brokers_in_use(site)
    return used[number % len(used)]
