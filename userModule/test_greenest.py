"""How an algorithm is tested: plain values in, plain values out, no daemon."""

import pytest
from greenest import Greenest

from roheletd.allocation.facts import NodeFacts, ServiceFacts

SERVICE = ServiceFacts(name="detector", cpu_millicores=500)
PI = NodeFacts(name="pi", celsius=55.0, power="mains")


def test_a_node_that_is_cool_and_on_mains_is_taken() -> None:
    assert Greenest().filter(PI, SERVICE) is None


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (NodeFacts(name="jetson", celsius=84.4), "84 °C, and 80 is hot"),
        (NodeFacts(name="jetson", throttled=True), "it is throttled"),
        (
            NodeFacts(name="field", power="battery", charge=0.15),
            "its battery is at 15%, and it keeps 20%",
        ),
    ],
)
def test_a_node_that_is_hot_or_nearly_empty_is_refused(node: NodeFacts, reason: str) -> None:
    assert Greenest().filter(node, SERVICE) == reason


def test_a_node_without_a_thermometer_is_not_hot() -> None:
    assert Greenest().filter(NodeFacts(name="vm"), SERVICE) is None


def test_sun_and_wind_come_before_the_grid_and_the_grid_before_a_battery() -> None:
    sun = NodeFacts(name="roof", labels={"energy": "solar"}, power="battery", charge=0.5)
    battery = NodeFacts(name="field", power="battery", charge=0.9)
    scores = [Greenest().score(node, SERVICE) for node in (sun, PI, battery)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
