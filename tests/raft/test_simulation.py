"""Seeds of the simulator, as many as fit into a test run; `simulate` runs as many as one likes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.raft.simulate import results, story
from tests.raft.simulation.seed import run

ROOT = Path(__file__).parents[2]
DIGESTS = """
from tests.raft.simulation.seed import run
print(*[run(seed, voters=3, chatty=True).digest for seed in range(12)])
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("voters", "seeds"), [(3, 1200), (5, 800)])
def test_no_seed_breaks_an_invariant(voters: int, seeds: int) -> None:
    jobs = min(os.cpu_count() or 1, 8)
    found = list(results(0, seeds, voters=voters, jobs=jobs))
    broken = [story(result, voters=voters) for result in found if result.rule]
    assert not broken, "\n\n".join(["", *broken[:3]])
    assert len(found) == seeds
    assert sum(result.snapshots for result in found) > seeds / 4, "hardly a snapshot was installed"
    assert sum(result.changes for result in found) > seeds / 4, "hardly a membership was changed"
    assert sum(result.elections for result in found) > 2 * seeds


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_a_seed_is_the_same_story_each_time(seed: int) -> None:
    first, second = (run(seed, voters=3, chatty=True) for _ in range(2))
    assert len(first.trace) > 100
    assert first == second


def test_a_seed_is_the_same_story_whatever_strings_hash_to() -> None:
    told = {_digests(hash_seed) for hash_seed in ("1", "2")}
    assert len(told) == 1, told


def _digests(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", DIGESTS],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
