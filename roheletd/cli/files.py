"""Files that a user names: read within bounds, and refused in words."""

import sys
from typing import BinaryIO

from roheletd.documents import load
from roheletd.errors import InvalidInput

_READ_MAX_BYTES = (1 << 20) + 1
"""One more than a document may have: enough to tell that it has too many."""


def document(path: str) -> object:
    """The plain values in a YAML or JSON file; `-` is standard input."""
    return load(content(path), name="standard input" if path == "-" else path)


def content(path: str) -> bytes:
    if path == "-":
        return _read(sys.stdin.buffer)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is 8 ms
            return _read(file)
    except OSError as error:
        raise InvalidInput(path, f"expected a readable file: {error.strerror}") from None


def content_if_there(path: str) -> bytes | None:
    """The same for a file that another one names; None where there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is 8 ms
            found = _read(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(path, f"expected a readable file: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        return None
    if len(found) == _READ_MAX_BYTES:
        raise InvalidInput(path, f"expected at most {_READ_MAX_BYTES - 1} bytes")
    return found


def _read(file: BinaryIO) -> bytes:
    return file.read(_READ_MAX_BYTES)
