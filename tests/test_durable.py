"""Small files: private from the first moment, whole or as before, and the daemon's to read."""

import os
import stat
from pathlib import Path

import pytest

from roheletd import durable
from tests.testbed.requirements import need


def test_a_file_is_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    durable.write(tmp_path / "key", "one\n")
    durable.write(tmp_path / "key", "two\n")
    assert (tmp_path / "key").read_text() == "two\n"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    durable.write(tmp_path / "key", "ü\n")
    before = (tmp_path / "key").stat().st_ino
    durable.write(tmp_path / "key", "ü\n")
    assert (tmp_path / "key").stat().st_ino == before


def test_what_was_cut_off_before_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_text("half of something longer than the whole")
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    durable.write(tmp_path / "key", "whole\n")
    assert (tmp_path / "key").read_text() == "whole\n"


@pytest.mark.root
def test_what_root_writes_belongs_to_whom_the_directory_belongs(tmp_path: Path) -> None:
    need(root=True)
    os.chown(tmp_path, 65_534, 65_534)
    durable.write(tmp_path / "key", "x\n")
    assert (tmp_path / "key").stat().st_uid == 65_534
