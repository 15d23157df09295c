"""Small files that must not be lost: whole or as before after a power cut, private from the first.

A file that is written by root is given to whom its directory belongs to, for the daemon that reads
it later has a user of its own.
"""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Durable when it returns; the same content is not written again."""
    if path.exists() and path.read_bytes() == text.encode():
        return
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        give_to_owner(new)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
    sync(path.parent)


def sync(directory: Path) -> None:
    """What was renamed or removed in `directory` stays so."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_owner(path: Path) -> None:
    """To whom its directory belongs, where root has made it."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)
