"""What the way through a stable port costs beside a direct connection, in one run on loopback.

    python -m tests.bench.forwarder [--repetitions 5] [--output json]

Server, forwarder and client are a process each. Direct and forwarded runs take turns, so that what
else the machine does falls on both; the load is printed. Failover: one of two servers is killed
while a client asks again and again.
"""

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from roheletd.clock import Clock
from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.streams import Streams, TcpPort

CHUNK_BYTES = 256 << 10
BULK_BYTES = 1 << 30
ROUND_TRIPS = 2000
CONNECTIONS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--bulk-mib", type=int, default=BULK_BYTES >> 20)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    found = {"cores": os.cpu_count(), "load_before": os.getloadavg()}
    found |= measure(options.repetitions, options.bulk_mib << 20)
    found["load_after"] = os.getloadavg()
    if options.output == "json":
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(f"{name:28} {value}" for name, value in found.items()))


def measure(repetitions: int, bulk_bytes: int = BULK_BYTES) -> dict[str, object]:
    bulk: dict[str, list[float]] = {"direct": [], "forwarded": []}
    trip: dict[str, list[float]] = {"direct": [], "forwarded": []}
    opening: dict[str, list[float]] = {"direct": [], "forwarded": []}
    with child(serve) as (_, server), child(forward, [server]) as (_, stable):
        ways = {"direct": server, "forwarded": stable}
        for _ in range(repetitions):
            for way, port in ways.items():
                bulk[way].append(throughput_mb_s(port, bulk_bytes))
                trip[way] += round_trips_ms(port)
                opening[way] += openings_ms(port)
    rates = {way: statistics.median(found) for way, found in bulk.items()}
    return {
        "throughput_mb_s": rates,
        "throughput_ratio": round(rates["forwarded"] / rates["direct"], 3),
        "round_trip_ms": {way: percentiles(found) for way, found in trip.items()},
        "added_p50_ms": added(trip),
        "connection_ms": {way: percentiles(found) for way, found in opening.items()},
        "connection_added_p50_ms": added(opening),
        "failover": failover(),
    }


def added(found: dict[str, list[float]]) -> float:
    direct, forwarded = (statistics.median(found[way]) for way in ("direct", "forwarded"))
    return round(forwarded - direct, 4)


def percentiles(found: list[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {f"p{it}": round(ordered[len(ordered) * it // 100], 4) for it in (50, 99)}


def throughput_mb_s(port: int, size: int) -> float:
    """Until the server says that it has all."""
    data = bytes(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as client:
        begun_s = time.monotonic()
        for _ in range(size // CHUNK_BYTES):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
        return round(size / (time.monotonic() - begun_s) / 1e6, 1)


def round_trips_ms(port: int) -> list[float]:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [timed_ms(lambda: echoed(client)) for _ in range(ROUND_TRIPS)]


def openings_ms(port: int) -> list[float]:
    return [timed_ms(lambda: ask(port)) for _ in range(CONNECTIONS)]


def ask(port: int) -> None:
    """A connection, a question, its answer, and the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        echoed(client)


def echoed(client: socket.socket) -> None:
    client.sendall(b"x" * 100)
    if len(client.recv(100)) != 100:
        raise ConnectionError("no answer")


def timed_ms(act: Callable[[], None]) -> float:
    begun_s = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun_s)


def failover(kills: int = 3) -> dict[str, object]:
    """Worst time without an answer, and requests that failed, around each kill -9."""
    gaps, failed, asked = [], 0, 0
    for _ in range(kills):
        with (
            child(serve) as (first, one),
            child(serve) as (_, other),
            child(forward, [one, other]) as (_, stable),
        ):
            ask(stable)
            last_s, worst_s, deadline_s = time.monotonic(), 0.0, time.monotonic() + 1.0
            killed = False
            while (now_s := time.monotonic()) < deadline_s:
                if not killed and now_s > deadline_s - 0.7:
                    os.kill(first.pid or 0, signal.SIGKILL)
                    killed = True
                asked += 1
                try:
                    ask(stable)
                    worst_s = max(worst_s, time.monotonic() - last_s)
                    last_s = time.monotonic()
                except OSError:
                    failed += 1
            gaps.append(worst_s)
    return {"asked": asked, "failed_requests": failed, "worst_gap_ms": round(1000 * max(gaps), 1)}


@contextmanager
def child(
    run: Callable[..., None], *arguments: object
) -> Iterator[tuple[mp.process.BaseProcess, int]]:
    """A process of its own, and the port that it says it serves."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield process, ours.recv()
    finally:
        process.kill()
        process.join()


def serve(told: Connection) -> None:
    """What is short it echoes; what is long it takes in, and says so at the end. One by one."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    told.send(listening.getsockname()[1])
    buffer = bytearray(CHUNK_BYTES)
    while True:
        client, _ = listening.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            short = True
            while count := client.recv_into(buffer):
                short = short and count <= 100
                if short:
                    client.sendall(buffer[:count])
            if not short:
                client.sendall(b"k")


def forward(told: Connection, ports: list[int]) -> None:
    async def run() -> None:
        streams = Streams(Clock(), open_max=1000, wait_s=1.0)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        made = TcpPort(streams, "127.0.0.1", port)
        made.serve(
            [
                Endpoint(
                    instance=f"s.{it}",
                    node="n",
                    host="127.0.0.1",
                    port=it,
                    local=True,
                    healthy=True,
                )
                for it in ports
            ]
        )
        told.send(port)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    main()
