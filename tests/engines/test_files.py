"""Folders of values: their modes, what may not reach a disk, and what is left behind: nothing."""

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from roheletd.engines import EngineError
from roheletd.engines.files import ValueFile, ValueFolders, file_system

PLAIN = ValueFile(content=b"a", secret=False, any_user=False)
SECRET = ValueFile(content=b"b", secret=True, any_user=False)
SHARED = ValueFile(content=b"c", secret=True, any_user=True)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a tmpfs."""
    folder = Path(mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("files", "modes", "folder_mode"),
    [
        ({"k": SECRET}, {"k": 0o400}, 0o500),
        ({"k": PLAIN}, {"k": 0o444}, 0o555),
        ({"k": SHARED}, {"k": 0o444}, 0o555),
        ({"k": SECRET, "l": PLAIN}, {"k": 0o400, "l": 0o444}, 0o555),
    ],
)
def test_files_can_be_read_by_whom_they_are_for(
    files: dict[str, ValueFile], modes: dict[str, int], folder_mode: int, memory: Path
) -> None:
    folder = ValueFolders(memory / "files").write("web.1.d", 0, files)
    assert {path.name: mode(path) for path in folder.iterdir()} == modes
    assert mode(folder) == folder_mode
    assert mode(memory / "files") == 0o700, "on this machine nobody else comes near them"
    assert (folder / "k").read_bytes() == files["k"].content


@pytest.mark.root
def test_what_is_for_one_user_alone_is_that_users_and_no_other_s(memory: Path) -> None:
    folders = ValueFolders(memory / "files")
    folder = folders.write("web.1.d", 0, {"k": SECRET, "l": PLAIN, "m": SHARED}, reader=1000)
    owners = {path.name: path.stat().st_uid for path in (folder, *folder.iterdir())}
    assert owners == {"0": 1000, "k": 1000, "l": 0, "m": 0}
    assert mode(folder / "k") == 0o400
    assert (memory / "files").stat().st_uid == 0
    again = folders.write("web.1.d", 0, {"l": PLAIN}, reader=1000)
    assert again.stat().st_uid == 0


# As somebody who is not root, whose files cannot be given away.
_UNPRIVILEGED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from roheletd.engines import EngineError
from roheletd.engines.files import ValueFile, ValueFolders
b"x".decode("unicode_escape")  # found while the interpreter's own folder can be read
os.setgid(1); os.setuid(1)
folders = ValueFolders(Path(sys.argv[2]))
secret = ValueFile(content=b"b", secret=True, any_user=False)
folders.write("web.1.d", 0, {"k": secret})
folders.write("web.1.d", 1, {"k": ValueFile(content=b"", secret=True, any_user=True)}, reader=7)
try:
    folders.write("web.2.d", 0, {"k": secret}, reader=7)
except EngineError as refusal:
    print(refusal)
"""


@pytest.mark.root
def test_a_daemon_that_cannot_give_files_away_says_what_would_do(memory: Path) -> None:
    memory.chmod(0o777)
    repository = str(Path(__file__).parents[2])
    argv = [sys.executable, "-B", "-c", _UNPRIVILEGED, repository, str(memory / "files")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == (
        "files of secrets cannot be given to user 7, for this node's daemon is not root's: "
        "with `any_user: true` every user within the instance reads them"
    ), done.stderr


def test_written_again_a_folder_has_exactly_the_new_files(memory: Path) -> None:
    folders = ValueFolders(memory)
    folders.write("web.1.d", 0, {"old": SECRET, "both": SECRET})
    folder = folders.write("web.1.d", 0, {"both": PLAIN})
    assert [path.name for path in folder.iterdir()] == ["both"]
    assert (folder / "both").read_bytes() == b"a"


def test_what_is_kept_stays_and_all_else_goes_also_what_an_earlier_daemon_left(
    memory: Path,
) -> None:
    for run in ("a.1.d", "b.1.d"):
        ValueFolders(memory).write(run, 0, {"k": SECRET})
    folders = ValueFolders(memory)
    folders.write("c.1.d", 1, {"k": SECRET})
    folders.keep({"a.1.d", "never.1.d"})
    assert [path.name for path in memory.iterdir()] == ["a.1.d"]
    folders.keep(())
    assert list(memory.iterdir()) == []


def test_without_anything_to_write_nothing_is_made(tmp_path: Path) -> None:
    ValueFolders(tmp_path / "files").keep(())
    assert not (tmp_path / "files").exists()


def test_a_secret_is_never_written_to_a_disk(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    folders = ValueFolders(tmp_path / "files", mounts=mounts)
    with pytest.raises(EngineError, match="is on ext4: run roheletd with systemd") as refused:
        folders.write("web.1.d", 0, {"open": PLAIN, "k": SECRET})
    assert refused.value.retry, "somebody may mount a tmpfs there"
    assert not (tmp_path / "files").exists()
    folders.write("web.1.d", 0, {"open": PLAIN})


def test_what_cannot_be_written_is_the_engine_s_refusal(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("")
    with pytest.raises(EngineError, match=r"cannot be written: (File exists|Not a directory)"):
        ValueFolders(tmp_path / "files").write("web.1.d", 0, {"open": PLAIN})


MOUNTINFO = """\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,size=1G
24 23 0:30 / /run/user/1000 rw - tmpfs tmpfs rw
25 22 8:1 / /media/my\\040disk rw - vfat /dev/sda1 rw
26 22 8:2 / /var rw - ext4 /dev/sda2 rw
27 26 0:40 / /var rw master:1 propagate_from:2 - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/run/roheletd", "tmpfs"),
        ("/runner", "ext4"),
        ("/media/my disk/x", "vfat"),
        ("/var/x", "tmpfs"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert file_system(MOUNTINFO, Path(path)) == kind


def test_where_nothing_is_known_nothing_is_said_to_be_memory() -> None:
    assert file_system("", Path("/run")) == "an unknown file system"
