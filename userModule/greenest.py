"""Puts work where the energy is green, and keeps it away from nodes that are hot or nearly empty.

A node says what it lives on with a label: `energy: solar` or `energy: wind` in `node.labels` of its
configuration. One without the label lives on the grid.
"""

from roheletd.allocation.facts import NodeFacts, ServiceFacts

GREEN = {"solar", "wind", "water"}
HOT_CELSIUS = 80.0
CHARGE_MIN = 0.2
"""What a battery keeps for the work that is on the node already."""


class Greenest:
    """Refuses what is hot or nearly empty; of the rest, the greener the better."""

    def filter(self, node: NodeFacts, service: ServiceFacts) -> str | None:
        if node.throttled:
            return "it is throttled"
        if node.celsius is not None and node.celsius >= HOT_CELSIUS:
            return f"{node.celsius:.0f} °C, and {HOT_CELSIUS:.0f} is hot"
        if node.power == "battery" and node.charge < CHARGE_MIN:
            return f"its battery is at {node.charge:.0%}, and it keeps {CHARGE_MIN:.0%}"
        return None

    def score(self, node: NodeFacts, service: ServiceFacts) -> float:
        if node.labels.get("energy") in GREEN:
            return 1.0
        if node.power == "battery":
            return 0.5 * node.charge
        return 0.5
