"""Engines shared by the whole run. Each test works in a cluster of its own on them."""

from collections.abc import Iterator

import pytest

from tests.testbed import engines


@pytest.fixture(scope="session")
def dockerd() -> Iterator[engines.RealEngine]:
    """A private dockerd; its published ports answer on this machine's 127.0.0.1."""
    with engines.dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def podman() -> Iterator[engines.RealEngine]:
    """A private Podman service in a network namespace of its own."""
    with engines.podman() as engine:
        yield engine
