"""Unpacks a captured machine into a directory that collectors take for its root."""

import re
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
HEADING = re.compile(r"(?:\A|\n)==> (.+) <==\n")  # the newline before is not the file's


def unpack(name: str, root: Path) -> Path:
    """Write the files of a capture under `root`; what another capture left there stays."""
    text = (FIXTURES / f"{name}.txt").read_text()
    _, *parts = HEADING.split(text)
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        _write(root, heading, body)
    return root


def captured(name: str, path: str) -> bytes:
    """One file of a capture."""
    _, *parts = HEADING.split((FIXTURES / f"{name}.txt").read_text())
    return dict(zip(parts[::2], parts[1::2], strict=True))[path].encode()


def _write(root: Path, heading: str, body: str) -> None:
    name, _, target = heading.partition(" -> ")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if target:
        path.symlink_to(target)
    elif name.endswith("/"):
        path.mkdir()
    else:
        path.write_text(body)
