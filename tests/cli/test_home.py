"""A quickstart's directory: private, claimed by one at a time, gone at the end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from roheletd.cli.home import Record, claim, place
from roheletd.cli.processes import end_all_with, running_with
from roheletd.errors import Refused, Unavailable

RECORD = Record(client_pid=42, cluster="c", node="n", engine="process")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_it_is_private_and_leaves_nothing(path: Path) -> None:
    home = claim(path)
    assert path.stat().st_mode & 0o777 == 0o700
    home.write(RECORD)
    home.data_dir.mkdir()
    (home.data_dir / "file").touch()
    assert home.record() == RECORD
    home.remove()
    assert not path.exists()


def test_a_second_claim_is_refused_and_names_the_first(path: Path) -> None:
    home = claim(path)
    home.write(RECORD)
    with pytest.raises(Refused, match=r"running already \(process 42\)"):
        claim(path)
    home.release()
    claim(path).remove()


def test_a_claim_ends_with_its_process(path: Path) -> None:
    script = f"from roheletd.cli.home import *; claim(Path({str(path)!r})); print(1, flush=True)"
    subprocess.run([sys.executable, "-c", script], check=True)
    claim(path).remove()


def test_a_directory_that_others_may_enter_is_not_used(path: Path) -> None:
    path.mkdir(mode=0o755)
    with pytest.raises(Refused, match="not a private directory"):
        claim(path)
    assert path.exists()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="cannot be used"):
        claim(path)


def test_a_broken_record_is_none(path: Path) -> None:
    home = claim(path)
    (path / "record.json").write_bytes(b'{"client_pid":')
    assert home.record() is None
    home.remove()


def test_each_place_is_a_cluster_of_its_own(tmp_path: Path) -> None:
    one, other = claim(tmp_path / "a"), claim(tmp_path / "b")
    assert one.cluster != other.cluster
    one.remove()
    other.remove()


def test_without_a_runtime_directory_it_is_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert place().parent == Path("/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert place().parent == Path("/tmp")


@pytest.mark.parametrize(
    ("preparation", "ended_by"),
    [("", signal.SIGTERM), ("signal.signal(15, signal.SIG_IGN); ", signal.SIGKILL)],
)
def test_processes_are_ended_by_their_arguments_however_stubborn(
    preparation: str, ended_by: signal.Signals, tmp_path: Path
) -> None:
    mark = str(tmp_path / "unique")
    script = f"import signal, time; {preparation}print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script, mark], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert running_with(["-c", mark]) == [child.pid]
    assert running_with(["-x", mark]) == []
    end_all_with(["-c", mark], grace_s=0.3)
    assert child.wait(timeout=5) == -ended_by
    child.stdout.close()
    assert running_with(["-c", mark]) == []
