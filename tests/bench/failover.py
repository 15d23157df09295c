"""How long a cluster of real daemons is without what died, and what it costs while nothing does.

    python -m tests.bench.failover [--repetitions 10] [--output json] [--only NAME ...]

Median and worst of the repetitions, beside the reach of each and what other systems were measured
at. All hosts share the processors of one machine, so say what else it did: the load is printed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable

from msgspec.structs import asdict

from tests.bench import crowd, failover_idle, failover_replicas, failover_writes
from tests.bench.failover_rows import Row

GROUPS: tuple[tuple[tuple[str, ...], Callable[[list[str], argparse.Namespace], list[Row]]], ...] = (
    (
        tuple(failover_writes.BLOWS),
        lambda names, options: failover_writes.measure(names, options.repetitions),
    ),
    (
        tuple(failover_replicas.EVENTS),
        lambda names, options: failover_replicas.measure(names, options.repetitions),
    ),
    (
        ("idle",),
        lambda _, options: failover_idle.measure(options.repetitions, options.idle_s),
    ),
    (
        ("crowd",),
        lambda _, options: [crowd.measure(options.nodes, options.repetitions).row],
    ),
)
NAMES = tuple(name for names, _ in GROUPS for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--only", choices=NAMES, action="append", help="again for more than one")
    parser.add_argument("--idle-s", type=float, default=60, help="how long idleness is watched")
    parser.add_argument("--nodes", type=int, default=500, help="of the crowd")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    before = os.getloadavg()
    rows = []
    for names, measure in GROUPS:
        chosen = [name for name in names if name in (options.only or NAMES)]
        if chosen:
            rows += measure(chosen, options)
    machine = {"cores": os.cpu_count(), "load_before": before, "load_after": os.getloadavg()}
    if options.output == "json":
        json.dump({**machine, "rows": [_told(row) for row in rows]}, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(f"{name} {value}" for name, value in machine.items()))
        _print(rows)


def _told(row: Row) -> dict[str, object]:
    computed = {"median": row.median, "worst": row.worst, "is_reached": row.is_reached}
    return {**asdict(row), **computed}


def _print(rows: list[Row]) -> None:
    width = max(len(row.event) for row in rows)
    heads = ("median", "worst", "reach")
    print(f"{'':{width}}" + "".join(f"{head:>10}" for head in heads) + f"{'runs':>6}")
    for row in rows:
        figures = "".join(f"{figure:>10g}" for figure in (row.median, row.worst, row.reach))
        remarks = "; ".join((*((f"beside: {row.beside}",) if row.beside else ()), *row.notes))
        print(f"{row.event:{width}}{figures}{len(row.values):>6}  {row.unit}; {remarks}")


if __name__ == "__main__":
    main()
