"""Golden scenarios: scripts and what they show, in one text file each (scenarios/*.txt).

A block is commands, a line `----`, and what they show; script.py has the commands and telling.py
the words. `pytest tests/raft/test_scenarios.py --rewrite` records anew: read the diff, against the
first lines of the file, which say what must be seen.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raft.script import Script

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
RULE = "----"


def blocks(text: str) -> Iterator[list[str]]:
    """The parts between blank lines, each without what was recorded."""
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        yield lines[: lines.index(RULE)] if RULE in lines else lines


def played(text: str) -> str:
    """The same scenario with what it shows now."""
    script = Script()
    parts = []
    for lines in blocks(text):
        commands = [line for line in lines if not line.startswith("#")]
        shown = [told for line in commands for told in script.run(line)]
        parts.append("\n".join([*lines, RULE, *shown] if commands else lines))
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_shows_what_is_recorded(path: Path, request: pytest.FixtureRequest) -> None:
    recorded = path.read_text(encoding="utf-8")
    now = played(recorded)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(now, encoding="utf-8")
    else:
        assert now == recorded


def test_every_scenario_begins_with_what_must_be_seen() -> None:
    assert len(SCENARIOS) >= 25
    for path in SCENARIOS:
        said, *_ = path.read_text(encoding="utf-8").split("\n\n")
        lines = said.splitlines()
        assert 1 <= len(lines) <= 3, path.stem
        assert all(line.startswith("# ") for line in lines), path.stem


def test_commands_are_kept_and_what_was_recorded_is_not() -> None:
    text = "# Alone.\n\nstart voters=a\ntick a\n----\nnonsense\n\nshow\n"
    shown = "a leader in term 2 (); log 1/1:{a} 2/2:-; commit 2; nothing"
    assert played(text).endswith(f"show\n----\n{shown}\n")
    assert "nonsense" not in played(text)
    assert played(played(text)) == played(text)
