"""The frozen binaries, as packaging/build.sh leaves them."""

from pathlib import Path

import pytest

from tests.testbed.requirements import absent

ROOT = Path(__file__).parents[2]


def built(name: str) -> Path:
    path = ROOT / "dist" / name
    if not path.is_file():
        absent(f"needs dist/{name}: sh packaging/build.sh")
    return path


@pytest.fixture(scope="session")
def onedir() -> Path:
    return built("roheletd/roheletd")


@pytest.fixture(params=["roheletd/roheletd", "roheletd-onefile"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Each shape of the binary in turn."""
    return built(request.param)
