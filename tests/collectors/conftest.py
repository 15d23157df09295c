"""Collectors that are closed when the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from roheletd.collectors import Collectors

Opener = Callable[[Path], Collectors]


@pytest.fixture
def collectors_of() -> Iterator[Opener]:
    """Makes the collectors of a machine, real or captured; they look around every 10 s."""
    with ExitStack() as stack:

        def opener(root: Path) -> Collectors:
            collectors = Collectors(str(root), look_interval_s=10.0)
            stack.callback(collectors.close)
            return collectors

        yield opener
