"""Run the simulator: `python -m tests.raft.simulate --seeds 10000 [--start N] [--jobs 2]`."""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.raft.simulation.seed import Result, run
from tests.raft.simulation.world import TRACE_LINES

CHUNK = 25


def results(start: int, seeds: int, *, voters: int, jobs: int) -> Iterator[Result]:
    """In the order of the seeds, whichever process ran them."""
    one = partial(run, voters=voters)
    if jobs == 1:
        yield from map(one, range(start, start + seeds))
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, range(start, start + seeds), chunksize=CHUNK)


def story(result: Result, *, voters: int) -> str:
    """What a person needs to see it again."""
    replay = (
        f"python -m tests.raft.simulate --start {result.seed} --seeds 1 --voters {voters} --trace"
    )
    lines = [
        *result.trace[-TRACE_LINES:],
        f"seed {result.seed}: {result.detail}",
        f"replay: {replay}",
    ]
    return "\n".join(lines)


def summary(found: list[Result], took_s: float) -> str:
    broken = sum(bool(result.rule) for result in found)
    return (
        f"{len(found)} seeds, {sum(result.elections for result in found)} elections, "
        f"{sum(result.acknowledged for result in found)} acknowledged commands, "
        f"{sum(result.changes for result in found)} membership changes, "
        f"{sum(result.snapshots for result in found)} snapshots installed, "
        f"{sum(result.events for result in found)} events, "
        f"{len(found) / took_s:.1f} seeds/s, {broken} violations"
    )


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.raft.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--voters", type=int, default=3, help="voters at the start (default 3)")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many (default 3)")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    if options.trace:
        result = run(options.start, voters=options.voters, chatty=True)
        print(*result.trace, result.detail, sep="\n")
        return 1 if result.rule else 0
    began, found, broken = time.monotonic(), [], 0
    for result in results(options.start, options.seeds, voters=options.voters, jobs=options.jobs):
        found.append(result)
        if result.rule:
            print(story(result, voters=options.voters), end="\n\n")
            broken += 1
            if broken >= options.failures:
                break
    print(summary(found, time.monotonic() - began))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
