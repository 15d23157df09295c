"""Constraints: what they compare, and how a node that is not so is refused."""

import pytest

from roheletd.allocation.constraints import architecture, parse, refusal
from roheletd.model import Capacity, Gpu, Node

NODE = Node(
    name="pi-3",
    arch="aarch64",
    engine="docker",
    frequency_ghz=1.5,
    labels={"zone": "hall", "floor": "2", "example.com/rack": "a b"},
    capacity=Capacity(cores=dict.fromkeys(range(4), 1000), memory_mib=4096, gpus=(Gpu(id="g"),)),
)


@pytest.mark.parametrize(
    "met",
    [
        "node.labels.zone == hall",
        "node.labels.zone==hall",
        "node.labels.zone != cellar",
        "node.labels.none != x",
        "node.labels.floor >= 2",
        "node.labels.floor != 2.0",
        "node.cores == 4.0",
        "node.labels.example.com/rack == a b",
        "node.name == pi-3",
        "node.arch == arm64",
        "node.arch == aarch64",
        "node.engine != process",
        "node.gpus >= 1",
        "node.gpus == 1",
        "node.cores > 3",
        "node.memory_mib <= 4096",
        "node.frequency_ghz < 1.6",
    ],
)
def test_a_constraint_that_is_met_refuses_nothing(met: str) -> None:
    assert refusal(parse(met), NODE) is None


@pytest.mark.parametrize(
    ("unmet", "reason"),
    [
        (
            "node.labels.zone==cellar",
            "must have node.labels.zone == cellar, and has hall",
        ),
        ("node.labels.none == x", "must have node.labels.none == x, and has no label none"),
        ("node.labels.none >= 1", "must have node.labels.none >= 1, and has no label none"),
        ("node.labels.zone > 3", "must have node.labels.zone > 3, and hall is no number"),
        ("node.cores >= many", "must have node.cores >= many, and many is no number"),
        ("node.arch == x86_64", "must have node.arch == amd64, and has arm64"),
        ("node.gpus == 0", "must have node.gpus == 0, and has 1"),
        ("node.memory_mib > 4096", "must have node.memory_mib > 4096, and has 4096"),
        ("node.name != pi-3", "must have node.name != pi-3, and has pi-3"),
    ],
)
def test_a_constraint_that_is_not_met_says_what_it_wants_and_what_is(
    unmet: str, reason: str
) -> None:
    assert refusal(parse(unmet), NODE) == reason


def test_not_a_number_satisfies_no_comparison() -> None:
    assert refusal(parse("node.cores >= nan"), NODE) is not None
    assert refusal(parse("node.cores <= nan"), NODE) is not None


def test_an_architecture_has_one_name() -> None:
    assert {architecture(name) for name in ("aarch64", "arm64", "ARM64")} == {"arm64"}
    assert {architecture(name) for name in ("x86_64", "amd64")} == {"amd64"}
    assert architecture("riscv64") == "riscv64"
