"""How many instances the allocator places in a second, beside ROHE 0.2.1.

Both fill the same nodes with the same services, in turn in the same run, so that the ratio holds on
a noisy machine, and seconds are those of CPU time. Ours is the leader's pass, from the agreed state
to the log entry. All replicas have to be placed, by both, and nothing may be given out twice by
ours; else there is no figure.

    python -m tests.bench.allocate [--nodes 10,100,1000,5000] [--repetitions 5] [--output json]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from roheletd.allocation.snapshot import Profile
from roheletd.cluster.commands import JoinNode
from roheletd.cluster.state import encode
from roheletd.model import Member, Node, Service
from tests.bench.books_check import overcommitted
from tests.bench.filling import agree, cluster, fill
from tests.bench.rohe_process import NoRoheError, Rohe, default_venv
from tests.bench.rohe_workload import instances, light_sets, many_sets, nodes, one_set

REACH_PER_S = {100: 20_000, 1000: 10_000, 5000: 5_000}
REACH_MEMORY_MIB = 150.0
NODES_PER_SET = 8
"""One set of the nine services for as many nodes: more, and ROHE does not place all of it."""

ROHE_STRATEGY = 1
"""The emptiest node, as our default strategy; it is also the one that ROHE is shipped with."""

_ROHE_LIMIT_S = 5.0


class Row(Struct, frozen=True, kw_only=True):
    """One size. `spread_per_s` has as many instances, but in applications of 15 each."""

    nodes: int
    instances: int
    placements_per_s: float
    spread_per_s: float
    reach_per_s: int | None
    rohe_per_s: float | None = None
    ratio: float | None = None
    rohe_is_sample: bool = False


def row(count: int, repetitions: int, rohe: Rohe | None) -> Row:
    machines = nodes(count)
    sets = max(1, count // NODES_PER_SET)
    few, many = one_set(sets), many_sets(sets)
    rounds = max(repetitions, min(40, 2000 // count))
    ours, spread, theirs = [], [], []
    complete = True
    for number in range(rounds):
        ours.append(our_rate(machines, few))
        if number < repetitions:
            spread.append(our_rate(machines, many))
        if rohe and (complete or number < 2):
            rate, complete = rohe_rate(rohe, machines, few)
            theirs.append(rate)
    rohe_per_s = round(statistics.median(theirs), 1) if theirs else None
    per_s = statistics.median(ours)
    return Row(
        nodes=count,
        instances=instances(few),
        placements_per_s=round(per_s),
        spread_per_s=round(statistics.median(spread)),
        reach_per_s=REACH_PER_S.get(count),
        rohe_per_s=rohe_per_s,
        ratio=round(per_s / rohe_per_s, 1) if rohe_per_s else None,
        rohe_is_sample=not complete,
    )


def our_rate(machines: tuple[Node, ...], services: tuple[Service, ...]) -> float:
    found = fill(cluster(machines, services), Profile())
    wanted = instances(services)
    assert len(found.placements) == wanted, f"{len(found.placements)} of {wanted} were placed"
    assert not (wrong := overcommitted(machines, found.placements)), wrong
    return wanted / found.elapsed_s


def rohe_rate(
    rohe: Rohe, machines: tuple[Node, ...], services: tuple[Service, ...]
) -> tuple[float, bool]:
    """Also whether it came to the end: at large sizes it is measured for some seconds only."""
    found = rohe.fill(machines, services, strategy=ROHE_STRATEGY, limit_s=_ROHE_LIMIT_S)
    placed, wanted = len(found.placements), instances(services)
    assert placed == wanted or not found.is_complete, f"ROHE placed {placed} of {wanted}"
    return placed / found.elapsed_s, found.is_complete


def leader_memory(count: int, placed: int) -> dict[str, Any]:
    """In a fresh process, since memory that was used once is not given back."""
    state = cluster(nodes(count), light_sets(placed))
    for name in state.registrations:
        agree(state, JoinNode(member=Member(name=name, id=f"{name}.00000000")))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.leader_memory"],
        check=True,
        input=encode(state.saved()),
        stdout=subprocess.PIPE,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["memory_instances"] == placed, f"not all of {placed} were placed: {found}"
    return found


def measure(
    counts: list[int], repetitions: int, venv: Path | None, memory: tuple[int, int]
) -> dict[str, Any]:
    rows, without = [], ""
    try:
        with Rohe(venv or default_venv()) as rohe:
            rows = [row(count, repetitions, rohe) for count in counts]
    except NoRoheError as error:
        without = str(error)
        rows = [row(count, repetitions, None) for count in counts]
    return {
        "placements_per_s": {str(it.nodes): it.placements_per_s for it in rows},
        "ratio_to_rohe": {str(it.nodes): it.ratio for it in rows},
        "without_rohe": without,
        "rows": [asdict(it) for it in rows],
        **leader_memory(*memory),
        "reach_memory_mib": REACH_MEMORY_MIB,
    }


def table(found: dict[str, Any]) -> str:
    """Rates are per second; `spread` is the one with the instances in many services."""
    head = f"{'nodes':>6}{'instances':>11}{'placements/s':>14}{'reach':>8}{'spread':>9}"
    lines = [f"{head}{'ROHE 0.2.1':>12}{'ratio':>8}"]
    for it in (Row(**row) for row in found["rows"]):
        rohe = f"{it.rohe_per_s:.0f}{'*' if it.rohe_is_sample else ''}" if it.rohe_per_s else "-"
        ratio = f"{it.ratio:.1f}" if it.ratio else "-"
        lines.append(
            f"{it.nodes:>6}{it.instances:>11}{it.placements_per_s:>14.0f}{it.reach_per_s or '-':>8}"
            f"{it.spread_per_s:>9.0f}{rohe:>12}{ratio:>8}"
        )
    if any(it["rohe_is_sample"] for it in found["rows"]):
        lines.append(f"* of its first {_ROHE_LIMIT_S:.0f} s")
    if found["without_rohe"]:
        lines.append(f"no ratio: {found['without_rohe']}")
    lines.append(
        f"memory of a leader of {found['memory_nodes']} nodes and {found['memory_instances']} "
        f"instances: {found['leader_memory_mib']} MiB, reach {found['reach_memory_mib']:g}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=_counts, default=[10, 100, 1000, 5000])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rohe-venv", type=Path, help="made there where it is not; see the cache")
    parser.add_argument("--memory-nodes", type=int, default=5000)
    parser.add_argument("--memory-instances", type=int, default=20_000)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    memory = (options.memory_nodes, options.memory_instances)
    found = measure(options.nodes, options.repetitions, options.rohe_venv, memory)
    if options.output == "json":
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        print(table(found))


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
