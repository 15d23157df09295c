"""What a node runs by what it knows: nothing to go by, on its own, cut off, and back in step."""

import math

from roheletd.cluster.commands import Place
from roheletd.cluster.orders import CATCH_UP_S, Orders, StandingOrders
from roheletd.cluster.reconcile import Parting
from roheletd.cluster.state import ClusterState
from roheletd.model import Placement
from tests.builders import a_service, with_services

LOST_AFTER_S = 3.0
RESCHEDULE_S = 5.0
SETTLE_S = 1.0


def state() -> ClusterState:
    """`keep.1` and `stop.1` are placed on pi."""
    keep = a_service("keep")
    stop = a_service("stop", on_isolation="stop", reschedule_after_s=RESCHEDULE_S, stop_grace_s=2.5)
    driver = with_services(keep, stop)
    placements = tuple(
        Placement(
            instance=f"{name}.1",
            service=name,
            node="pi",
            revision=driver.state.services[name].revision,
        )
        for name in ("keep", "stop")
    )
    driver.apply(Place(placements=placements))
    return driver.state


class Stage:
    """One node's standing orders, asked as time passes."""

    def __init__(self, *, informed: bool = True) -> None:
        self.state = state()
        self._orders = StandingOrders(
            cluster="edge",
            node="pi",
            informed=informed,
            lost_after_s=LOST_AFTER_S,
            settle_s=SETTLE_S,
        )

    def at(self, now_s: float, *, in_step: bool, isolated_for_s: float) -> Orders | None:
        return self._orders.now(
            self.state, now_s=now_s, in_step=in_step, isolated_for_s=isolated_for_s
        )

    def run(self, now_s: float, *, in_step: bool, isolated_for_s: float) -> set[str]:
        found = self.at(now_s, in_step=in_step, isolated_for_s=isolated_for_s)
        assert found is not None
        return set(found.run)


def test_a_member_goes_by_its_log_before_it_hears_anybody() -> None:
    assert Stage().run(0.0, in_step=False, isolated_for_s=0.0) == {"keep.1", "stop.1"}


def test_a_newcomer_goes_by_nothing_until_it_has_all_that_the_leader_had() -> None:
    stage = Stage(informed=False)
    assert stage.at(0.0, in_step=False, isolated_for_s=0.0) is None
    assert stage.run(1.0, in_step=True, isolated_for_s=0.0) == {"keep.1", "stop.1"}
    assert stage.run(2.0, in_step=False, isolated_for_s=0.5) == {"keep.1", "stop.1"}


def test_nothing_applied_is_nothing_to_go_by_also_for_a_member() -> None:
    stage = Stage()
    stage.state = ClusterState()
    assert stage.at(0.0, in_step=True, isolated_for_s=0.0) is None


def test_a_node_that_is_cut_off_says_when_it_will_stop_and_then_stops() -> None:
    stage = Stage()
    before = stage.at(10.0, in_step=False, isolated_for_s=6.0)
    assert before is not None
    assert before.for_s == LOST_AFTER_S + RESCHEDULE_S - 6.0
    after = stage.at(12.0, in_step=False, isolated_for_s=8.0)
    assert after is not None
    assert set(after.run) == {"keep.1"}
    assert after.parting("stop.1") == Parting(
        grace_s=2.5, reason="no leader is heard (on_isolation)"
    )
    assert after.parting("keep.2") == Parting(grace_s=10.0, reason="no longer placed here")
    assert after.parting("gone.1") is None
    assert math.isinf(after.for_s)


def test_what_was_stopped_starts_again_only_after_being_in_step_for_a_while() -> None:
    stage = Stage()
    assert stage.run(12.0, in_step=False, isolated_for_s=8.0) == {"keep.1"}
    assert stage.run(13.0, in_step=False, isolated_for_s=0.1) == {"keep.1"}
    first = stage.at(13.5, in_step=True, isolated_for_s=0.1)
    assert first is not None
    assert (set(first.run), first.for_s) == ({"keep.1"}, CATCH_UP_S)
    assert stage.run(13.9, in_step=True, isolated_for_s=0.1) == {"keep.1"}
    assert stage.run(14.0, in_step=True, isolated_for_s=0.1) == {"keep.1", "stop.1"}
