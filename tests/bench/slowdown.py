"""What sharing cores costs: response times of ROHE's published profiles, SPE 2024.

The same microservice was measured with cores of its own and with shared ones.
"""

import csv
import statistics
from pathlib import Path

from msgspec import Struct

DATA = Path(__file__).parents[3] / "shared" / "data" / "spe2024"


class Slowdown(Struct, frozen=True, kw_only=True):
    """Response times in seconds; `ratio` is that of the means."""

    service: str
    own_s: float
    shared_s: float
    own_p95_s: float
    shared_p95_s: float

    @property
    def ratio(self) -> float:
        return self.shared_s / self.own_s


def slowdowns(data: Path = DATA) -> list[Slowdown]:
    """One for each service in the folder; none where there is no folder."""
    found = []
    for folder in sorted(data.iterdir()) if data.is_dir() else ():
        own = _response_times(folder / f"{folder.name}_without_shared_resource.csv")
        shared = _response_times(folder / f"{folder.name}_shared_resource.csv")
        found.append(
            Slowdown(
                service=folder.name,
                own_s=statistics.fmean(own),
                shared_s=statistics.fmean(shared),
                own_p95_s=statistics.quantiles(own, n=20)[-1],
                shared_p95_s=statistics.quantiles(shared, n=20)[-1],
            )
        )
    return found


def _response_times(path: Path) -> list[float]:
    with path.open() as lines:
        return [float(line["response_time"]) for line in csv.DictReader(lines)]
