"""How many of the replicas that could be placed the allocator does place.

Small clusters are asked for more than they hold. The exact solver says how many replicas fit at
most, `best_fit` says how many it places, and so do ROHE's three strategies, of which the best
counts. ROHE does not look at virtual memory: `ROHE` below heeds it, as a cluster that works must,
`as is` does not, and may promise more than there is.

Then the default profile is to keep sensitive services on cores of their own, wherever the solver
shows that all replicas can be placed so.

    python -m tests.bench.packing [--seeds 30] [--limit-s 20] [--output json]
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from roheletd.allocation.snapshot import Profile
from roheletd.fields import StrategyName
from roheletd.model import Placement, is_cpu_sensitive
from tests.bench.books_check import overcommitted
from tests.bench.filling import cluster, fill
from tests.bench.optimum import can_keep_apart, most_placed
from tests.bench.packing_cases import TEST_BED_FILE, Case, drawn, drawn_sensitive, rohe_test_bed
from tests.bench.rohe_model import STRATEGIES, rohe_places
from tests.bench.slowdown import DATA, slowdowns

REACH_GAP = 0.03
OTHERS: tuple[StrategyName, ...] = ("worst_fit", "first_fit")


class Packed(Struct, frozen=True, kw_only=True):
    """One case. `at_most` is the proved bound; `optimum` was found, and mostly is the same."""

    case: str
    nodes: int
    wanted: int
    optimum: int
    at_most: int
    best_fit: int
    others: dict[str, int]
    rohe: int
    rohe_as_is: int

    @property
    def gap(self) -> float:
        return 1 - self.best_fit / self.at_most


class KeptApart(Struct, frozen=True, kw_only=True):
    """One case with sensitive services. `possible` is null where the solver's time was up."""

    case: str
    possible: bool | None
    all_placed: bool
    shared: int

    @property
    def done(self) -> bool:
        return self.all_placed and not self.shared


def pack(case: Case, limit_s: float) -> Packed:
    found = most_placed(case.nodes, case.services, limit_s=limit_s)
    return Packed(
        case=case.name,
        nodes=len(case.nodes),
        wanted=case.wanted,
        optimum=found.placed,
        at_most=found.bound,
        best_fit=len(place(case, Profile(strategy="best_fit"))),
        others={name: len(place(case, Profile(strategy=name))) for name in OTHERS},
        rohe=rohe_best(case, heeds_vms=True),
        rohe_as_is=rohe_best(case, heeds_vms=False),
    )


def place(case: Case, profile: Profile) -> tuple[Placement, ...]:
    placements = fill(cluster(case.nodes, case.services), profile).placements
    assert not (wrong := overcommitted(case.nodes, placements)), wrong
    return placements


def rohe_best(case: Case, *, heeds_vms: bool) -> int:
    return max(
        len(rohe_places(case.nodes, case.services, strategy, heeds_vms=heeds_vms))
        for strategy in STRATEGIES.values()
    )


def keep_apart(case: Case, limit_s: float) -> KeptApart:
    placements = place(case, Profile())
    return KeptApart(
        case=case.name,
        possible=can_keep_apart(case.nodes, case.services, limit_s=limit_s),
        all_placed=len(placements) == case.wanted,
        shared=sensitive_on_shared(placements),
    )


def sensitive_on_shared(placements: Iterable[Placement]) -> int:
    """How many sensitive instances hold a core that another instance holds, too."""
    placements = tuple(placements)
    holders = Counter((at.node, core) for at in placements for core in at.cores)
    return sum(
        any(holders[at.node, core] > 1 for core in at.cores)
        for at in placements
        if is_cpu_sensitive(at.sensitivity)
    )


def measure(seeds: int, limit_s: float) -> dict[str, Any]:
    packed = [pack(case, limit_s) for case in (*rohe_test_bed(), *map(drawn, range(seeds)))]
    apart = [keep_apart(drawn_sensitive(seed), limit_s) for seed in range(seeds)]
    possible = [it for it in apart if it.possible]
    return {
        "packed": [{**asdict(it), "gap": round(it.gap, 4)} for it in packed],
        "mean_gap": round(statistics.fmean(it.gap for it in packed), 4),
        "reach_gap": REACH_GAP,
        "proved": sum(it.optimum == it.at_most for it in packed),
        "fewer_than_rohe": [it.case for it in packed if it.best_fit < it.rohe],
        "fewer_than_rohe_as_is": [it.case for it in packed if it.best_fit < it.rohe_as_is],
        "kept_apart": [asdict(it) for it in apart],
        "apart_possible": len(possible),
        "apart_done": sum(it.done for it in possible),
        "apart_unknown": sum(it.possible is None for it in apart),
        "slowdown": {it.service: round(it.ratio, 2) for it in slowdowns()},
    }


def table(found: dict[str, Any]) -> str:
    head = f"{'case':24}{'nodes':>6}{'wanted':>8}{'optimum':>9}{'best_fit':>10}{'gap':>8}"
    lines = [f"{head}{'worst_fit':>11}{'first_fit':>11}{'ROHE':>6}{'as is':>7}"]
    for it in found["packed"]:
        optimum = it["optimum"] if it["optimum"] == it["at_most"] else f"<={it['at_most']}"
        others = "".join(f"{it['others'][name]:>11}" for name in OTHERS)
        lines.append(
            f"{it['case']:24}{it['nodes']:>6}{it['wanted']:>8}{optimum:>9}{it['best_fit']:>10}"
            f"{it['gap']:>8.1%}{others}{it['rohe']:>6}{it['rohe_as_is']:>7}"
        )
    proved = f"optimum proved in {found['proved']} of {len(found['packed'])}"
    possible = f"possible in {found['apart_possible']} of {len(found['kept_apart'])}"
    unknown = f"not known in {found['apart_unknown']}"
    lines += [
        f"mean gap {found['mean_gap']:.1%}, reach {found['reach_gap']:.0%}; {proved}",
        f"fewer than ROHE's best: {', '.join(found['fewer_than_rohe']) or 'never'}",
        f"fewer than ROHE as is: {', '.join(found['fewer_than_rohe_as_is']) or 'never'}",
        f"all sensitive on cores of their own: {possible} ({unknown}), done {found['apart_done']}",
    ]
    lines += [
        f"{service}: {ratio} times slower on shared cores"
        for service, ratio in found["slowdown"].items()
    ]
    absent = (path for path in (TEST_BED_FILE, DATA) if not path.exists())
    lines += [f"not there, and so left out: {path}" for path in absent]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--limit-s", type=float, default=20.0, help="for each proof")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    found = measure(options.seeds, options.limit_s)
    if options.output == "json":
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        print(table(found))


if __name__ == "__main__":
    main()
