"""Libraries that others load where they find them, and that we do without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """What is imported meanwhile finds no module `name`."""
    there = sys.modules.get(name)
    # None makes its import raise ImportError.
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if there is None:
            del sys.modules[name]
        else:
            sys.modules[name] = there
