"""A client that never stops asking: so many requests a second, and what became of each.

    python -m tests.bench.steady_requests FILE RATE

FILE holds a JSON list of addresses (host, port), and is read anew for each request, which goes to
one of them. A process of its own, to be started in the network of a host. It asks until its
standard input is closed, and then says as JSON how many it sent and which failed, and when.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

PATIENCE_S = 2.0


async def ask(host: str, port: int) -> str:
    """Empty where all is well; else what went wrong."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return repr(error)
    return "" if b" 200 OK" in answer[:20] and answer.endswith(b"ok\n") else repr(answer[:60])


def one_of(addresses: Path) -> tuple[str, int]:
    host, port = random.choice(json.loads(addresses.read_text()))
    return host, port


async def steadily(addresses: Path, rate: float) -> dict[str, object]:
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, closed.set)
    asking: set[asyncio.Task[None]] = set()
    faults: list[tuple[float, str]] = []
    begun_s = time.monotonic()
    sent = 0

    async def once() -> None:
        at_s = time.monotonic() - begun_s
        host, port = one_of(addresses)
        if fault := await ask(host, port):
            faults.append((round(at_s, 3), f"{host}:{port} {fault}"))

    while not closed.is_set():
        sent += 1
        asking.add(task := asyncio.create_task(once()))
        task.add_done_callback(asking.discard)
        # The beat goes on as it should, however long an answer takes.
        await asyncio.sleep(max(0.0, begun_s + sent / rate - time.monotonic()))
    await asyncio.gather(*asking)
    return {"sent": sent, "failed": len(faults), "faults": faults[:20]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(steadily(Path(sys.argv[1]), float(sys.argv[2])))))
