"""What is remembered of what nodes said."""

from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.telemetry import Telemetry


def soft() -> SoftState:
    return SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))


def report(images: tuple[str, ...] | None) -> Telemetry:
    return Telemetry(node="pi", at_s=0.0, interval_s=1.0, images=images)


def test_images_hold_until_the_node_says_otherwise() -> None:
    known = soft()
    seen = []
    for images in (None, ("web:1",), None, None, (), None):
        known.heard_telemetry(report(images))
        seen.append(known.telemetry["pi"].images)
    assert seen == [None, ("web:1",), ("web:1",), ("web:1",), (), ()]


def test_a_lost_node_has_no_images_until_it_says_so_again() -> None:
    known = soft()
    known.heard_telemetry(report(("web:1",)))
    known.refused_images["pi"] = {"web:2": (5.0, "not found")}
    known.forget("pi")
    known.heard_telemetry(report(None))
    assert known.telemetry["pi"].images is None
    assert known.refused_images == {}
