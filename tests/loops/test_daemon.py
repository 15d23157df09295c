"""A loop that dies ends the daemon, in order and with a word why: systemd starts it anew."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.testbed.network import free_port
from tests.testbed.requirements import need

_DYING = """
import asyncio, sys
from pathlib import Path
from roheletd import config, daemon
from roheletd.documents import load
from roheletd.errors import Unavailable
from roheletd.loops.{module} import {name}

async def run(self):
    await asyncio.sleep(0.3)
    {deed}

{name}.run = run
folder = Path(sys.argv[1])
document = load((folder / "roheletd.yaml").read_bytes(), name="roheletd.yaml")
sys.exit(daemon.main(config.parse(document), folder / "data"))
"""


def die(folder: Path, *, loop: str, deed: str, mode: str = "external") -> tuple[int, str]:
    """Exit code and words of a daemon one of whose loops does `deed` soon after the start."""
    port = free_port()
    broker = {"mode": mode, "port": port, "urls": [f"mqtt://127.0.0.1:{port}"]}
    document = {
        "node": {"name": "n1"},
        "cluster": {"name": "test"},
        "broker": broker,
        "engine": {"kind": "none"},
        "api": {"enabled": False},
    }
    (folder / "roheletd.yaml").write_text(yaml.safe_dump(document))
    script = _DYING.format(module=loop, name=loop.capitalize(), deed=deed)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("loop", ["leader", "announcer", "inbox", "reporter", "elector"])
def test_what_the_world_did_to_a_loop_is_one_sentence_and_exit_code_1(
    tmp_path: Path, loop: str
) -> None:
    code, said = die(tmp_path, loop=loop, deed='raise Unavailable("the attic is on fire")')
    assert code == 1
    assert "ERROR roheletd: the attic is on fire" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data" / "roheletd.sock").exists()


def test_a_fault_of_ours_is_told_with_the_place_where_it_is(tmp_path: Path) -> None:
    code, said = die(tmp_path, loop="leader", deed='raise ZeroDivisionError("seven apples")')
    assert code == 1
    assert "Traceback" in said
    assert "ZeroDivisionError: seven apples" in said
    assert not (tmp_path / "data" / "roheletd.sock").exists()


@pytest.mark.mosquitto
def test_the_other_loops_are_closed_first_and_no_broker_is_left_behind(tmp_path: Path) -> None:
    need("mosquitto")
    code, _ = die(tmp_path, loop="leader", deed="raise OSError(28, 'no space')", mode="managed")
    assert code == 1
    assert not is_on_a_command_line(str(tmp_path / "data" / "mosquitto"))


def is_on_a_command_line(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if word.encode() in path.read_bytes():
                return True
    return False
