"""Test the tester: `python -m tests.raft.mutants`. Each planted defect of the core must be found.

A mutant is a small textual patch. The patched source is loaded in a process of its own, where the
simulator runs seeds against it until an invariant breaks; the paper's tests come after that.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAPER = sorted(str(path) for path in Path(__file__).parent.glob("test_paper*.py"))
SEEDS = 1500
QUICK_SEEDS = 300
KILLED = 3
"""What the process of a mutant exits with when something found it; 0 says that it survived."""


class Mutant(NamedTuple):
    """`seed` and `voters` are where it was found before, and are tried first.

    `paper`: not by a seed, since two lines of the core guard against it, but by a paper test.
    """

    name: str
    module: str
    old: str
    new: str
    seed: int = 0
    voters: int = 3
    paper: bool = False


MUTANTS = (
    Mutant(
        "a vote is not persisted",
        "journal",
        "            vote=self.vote,\n",
        "            vote=None,\n",
    ),
    Mutant(
        "a term without a vote is not persisted",
        "journal",
        "voted = self._vote_on_disk != (self.term, self.vote)",
        "voted = self._vote_on_disk[1] != self.vote",
    ),
    Mutant(
        "entries are acknowledged before they are saved",
        "journal",
        "if not (unsaved or voted or asked or self._snapshot_to_save):",
        "if not (voted or asked or self._snapshot_to_save):",
    ),
    Mutant(
        "a node votes twice in a term",
        "ballot",
        "free = journal.vote in (None, request.sender) and not led",
        "free = True",
        voters=5,
    ),
    Mutant(
        "a candidate's log need not be complete",
        "ballot",
        "complete = (request.last_term, request.last_index) >= (log.last_term, log.last_index)",
        "complete = True",
        seed=3,
        voters=5,
    ),
    Mutant(
        "the longer log wins, whatever its last term",
        "ballot",
        "complete = (request.last_term, request.last_index) >= (log.last_term, log.last_index)",
        "complete = request.last_index >= log.last_index",
        seed=7,
    ),
    Mutant(
        "half of an even number of voters is a majority",
        "quorum",
        "return len(voters) // 2 + 1",
        "return (len(voters) + 1) // 2",
        voters=5,
    ),
    Mutant(
        "what was sent counts as acknowledged",
        "leadership",
        "{node: progress.match for node",
        "{node: progress.next - 1 for node",
    ),
    Mutant(
        "a learner counts in the quorum",
        "leadership",
        "index = int(reached(self._log.configuration.voters, positions))",
        "index = int(reached(self._log.configuration.members, positions))",
        seed=4,
    ),
    Mutant(
        "an entry of an earlier term is committed by counting",
        "leadership",
        "return index if index >= self.first_index else 0",
        "return index",
    ),
    Mutant(
        "answers to an earlier term are counted",
        "core",
        "if self._leadership is not None and message.term == self.term:",
        "if self._leadership is not None:",
        seed=19,
    ),
    Mutant(
        "a leader of an earlier term is obeyed",
        "core",
        "case _ if message.term < self.term:",
        "case _ if message.term < self.term - 1:",
        seed=43,
        voters=5,
    ),
    Mutant(
        "entries are taken without looking at what stands before",
        "following",
        "if not known and journal.log.term_at(message.prev_index) != message.prev_term:",
        "if not known and journal.log.term_at(message.prev_index) is None:",
    ),
    Mutant(
        "an old message truncates a log that agrees",
        "following",
        "entry.index > journal.commit and journal.log.term_at(entry.index) != entry.term",
        "entry.index > journal.commit",
        voters=5,
    ),
    Mutant(
        "commit goes beyond what matched",
        "following",
        "journal.commit_to(min(message.commit, last))",
        "journal.commit_to(min(message.commit, journal.log.last_index))",
    ),
    Mutant(
        "commit goes back",
        "journal",
        "self.commit = max(self.commit, index)",
        "self.commit = index",
    ),
    Mutant(
        "commit is forgotten by a restart",
        "journal",
        "self.commit = max(saved.commit, start)",
        "self.commit = start",
    ),
    Mutant(
        "a snapshot wipes a suffix that was acknowledged",
        "following",
        "known = journal.log.term_at(chunk.index) == chunk.snapshot_term",
        "known = False",
        seed=51,
    ),
    Mutant(
        "a snapshot leaves old entries on the disk",
        "journal",
        "            reset=self._reset,\n",
        "",
        seed=3,
    ),
    Mutant(
        "a snapshot takes a later membership",
        "journal",
        "Snapshot(index, term, self.log.configuration_at(index), data)",
        "Snapshot(index, term, self.log.configuration, data)",
        seed=76,
    ),
    Mutant(
        "pieces of a snapshot are taken in any order",
        "intake",
        "chunk.offset != self.offset or (not chunk.data and self.size)",
        "not chunk.data and self.size",
        seed=1,
    ),
    Mutant(
        "everybody hears entries that are not committed",
        "leadership",
        "entries = self._batch(self._published + 1, commit)",
        "entries = self._batch(self._published + 1, self._log.last_index)",
    ),
    Mutant(
        "a restart forgets that there may be a leader",
        "core",
        "self._heard_s = now_s  # one may",
        "self._heard_s = -math.inf  # one may",
    ),
    Mutant(
        "votes are given although a leader is heard",
        "core",
        "return self._leadership is not None or (heard_lately and self._canvass is None)",
        "return self._leadership is not None",
    ),
    Mutant(
        "no pre-vote",
        "core",
        "            self._campaign(pre=True)\n",
        "            self._campaign(pre=False)\n",
        voters=5,
    ),
    Mutant(
        "no check of the quorum",
        "core",
        "if now_s - self._leadership.quorum_heard_s(now_s) > self._timing.election_max_s:",
        "if now_s < 0:",
        seed=39,
        voters=5,
    ),
    Mutant(
        "two membership changes at once",
        "core",
        "        if self.changing:\n",
        "        if self.commit < 0:\n",
    ),
    Mutant(
        "a membership change before an entry of the term is committed",
        "core",
        "        if not self.leads:\n",
        "        if self.commit < 0:\n",
        voters=5,
    ),
    Mutant(
        "more than one voter changes in one step",
        "quorum",
        "if len(set(current.voters) ^ set(wanted.voters)) > 1:",
        "if len(set(current.voters) ^ set(wanted.voters)) > 2:",
        seed=10,
        voters=5,
    ),
    Mutant(
        "a membership is in force only when the next one comes",
        "log",
        "return self._configurations[-1][1]",
        "return self._configurations[-2:][0][1]",
    ),
    Mutant(
        "a membership that was overwritten stays in force",
        "log",
        "while self._configurations[-1][0] >= start:",
        "while self._configurations[-1][0] > self.last_index + 1:",
        seed=77,
        voters=5,
    ),
    Mutant(
        "a removed voter may not campaign",
        "core",
        "(*log.configuration.voters, *log.configuration_at(self.commit).voters)",
        "log.configuration.voters",
        seed=105,
    ),
    Mutant(
        "a leader that was removed stays",
        "core",
        "            self._leave_if_removed()\n",
        "",
        seed=2,
    ),
    Mutant(
        "a refused pre-vote does not tell the higher term",
        "core",
        "term=request.term if granted else self.term,",
        "term=request.term if granted or request.pre else self.term,",
        seed=8,
    ),
    Mutant(
        "a handover is refused by those who hear a leader",
        "ballot",
        "if not complete or (sticky and not request.handover):",
        "if not complete or sticky:",
        seed=43,
        voters=5,
    ),
    Mutant(
        "a node that believes to be a member never asks for what it misses",
        "following",
        "if not published or not self._addressed:",
        "if not published or self._me not in journal.log.configuration.members:",
        seed=7,
        voters=5,
    ),
    Mutant(
        "a snapshot that was begun blocks that of the next leader",
        "following",
        "if begun is None or (begun.leader_term, begun.index) < (chunk.term, chunk.index):",
        "if begun is None or begun.index < chunk.index:",
        paper=True,
    ),
    Mutant(
        "entries that the leader let go of are sent",
        "leadership",
        "if progress.next <= self._log.base_index:\n                progress.probing = True",
        "if progress.next < 0:\n                progress.probing = True",
        seed=3,
        voters=5,
    ),
    Mutant(
        "a leader of the past is told so only by those it speaks to",
        "core",
        "if message.to == self.me or not self._is_sticky():  # of all",
        "if message.to == self.me:  # of all",
        seed=27,
        voters=5,
    ),
    Mutant(
        "a hint about somebody else is believed",
        "core",
        "if self.leader != leader or self._leadership is not None or not self._may_campaign():",
        "if self._leadership is not None or not self._may_campaign():",
        seed=4,
    ),
)

CONTROL = Mutant("nothing is planted", "core", "class Raft:", "class Raft:")


class Patched(SourceFileLoader):
    """Loads a module from a source that is not the file's."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec")


class Planted:
    """Finds the one module that is patched, before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self.fullname = f"roheletd.raft.{mutant.module}"
        self.path = str(source_file(mutant))
        self.source = patched(mutant)

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self.fullname:
            return None
        loader = Patched(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


def source_file(mutant: Mutant) -> Path:
    return ROOT / "roheletd" / "raft" / f"{mutant.module}.py"


def patched(mutant: Mutant) -> str:
    """Raises where the old text is not there exactly once: the core has changed, so must this."""
    source = source_file(mutant).read_text(encoding="utf-8")
    if (times := source.count(mutant.old)) != 1:
        raise LookupError(f"{mutant.name}: {mutant.module}.py has its old text {times} times")
    return source.replace(mutant.old, mutant.new)


def order(mutant: Mutant, seeds: int) -> Iterator[tuple[int, int]]:
    """Seed and voters: where it was found before, then all others."""
    yield mutant.seed, mutant.voters
    for seed in range(seeds):
        yield seed // 2, 3 if seed % 2 else 5


def attack(mutant: Mutant, seeds: int) -> int:
    """In the process of the mutant. What is imported here is imported with the defect."""
    sys.meta_path.insert(0, Planted(mutant))
    from tests.raft.simulation.seed import run  # noqa: PLC0415

    for tried, (seed, voters) in enumerate(order(mutant, 0 if mutant.paper else seeds)):
        result = run(seed, voters=voters)
        if result.rule:
            print(f"{result.rule} (seed {seed}, {voters} voters, {tried + 1} tried)")
            return KILLED
    return KILLED if PAPER and _paper_fails() else 0


def _paper_fails() -> bool:
    import pytest  # noqa: PLC0415

    failed = pytest.main(["-qx", "--no-header", "-p", "no:cacheprovider", *PAPER]) == 1
    print("the paper's tests")
    return failed


def killer(mutant: Mutant, *, seeds: int) -> str | None:
    """What found the mutant, or None where it survived. Raises where its process failed itself."""
    command = [sys.executable, "-m", "tests.raft.mutants", "--attack", mutant.name]
    done = subprocess.run(
        [*command, "--seeds", str(seeds)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, KILLED):
        raise RuntimeError(f"{mutant.name}: {done.stderr}")
    return done.stdout.strip().splitlines()[-1] if done.returncode else None


def is_clean(*, seeds: int) -> bool:
    """Nothing is planted, and nothing may be found: else every mutant would seem to be killed."""
    found = killer(CONTROL, seeds=seeds)
    print(f"{CONTROL.name:75} {found or 'clean'}", flush=True)
    return found is None


def hunt(mutants: Sequence[Mutant], *, seeds: int, jobs: int) -> list[Mutant]:
    """Print what found each; return those that nothing found."""
    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(partial(killer, seeds=seeds), mutants)
        for mutant, by in zip(mutants, found, strict=True):
            print(f"{mutant.name:75} {by or 'SURVIVED'}", flush=True)
            if by is None:
                survivors.append(mutant)
    print(f"killed {len(mutants) - len(survivors)}/{len(mutants)}")
    return survivors


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.raft.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"per mutant (default {SEEDS})")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.attack:
        mutant = next(each for each in (CONTROL, *MUTANTS) if each.name == options.attack)
        return attack(mutant, options.seeds)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    for mutant in chosen:
        patched(mutant)
    began = time.monotonic()
    if not is_clean(seeds=QUICK_SEEDS):
        return 1
    survivors = hunt(chosen, seeds=options.seeds, jobs=options.jobs)
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
