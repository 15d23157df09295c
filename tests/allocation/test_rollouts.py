"""Rollouts and drains from beginning to end, with leaders that change in the middle.

The leader's decisions and the watch over them are the real ones; what nodes would report is said
here: an instance of an image named `good` becomes healthy, one of `bad` fails.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Condition
from roheletd.allocation.view import View
from roheletd.cluster.commands import AddServices, Drain, Restart, RollBack, Scale
from roheletd.cluster.rollout import Watch, available, min_available, settled
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Service
from roheletd.upkeep import HealthCheck as Check
from roheletd.upkeep import TcpCheck, UpdatePolicy
from tests.allocation.passes import PROFILE
from tests.builders import Driver, a_node, a_service, with_services

STEPS_MAX = 400


def web(image: str, replicas: int = 3, **policy: object) -> Service:
    return a_service(
        image=image,
        replicas=replicas,
        health=Check(tcp=TcpCheck(port=80)),
        update=UpdatePolicy(**policy),  # type: ignore[arg-type]
    )


def nothing_heard() -> SoftState:
    return SoftState(broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker"))


class Story:
    """One service on four nodes, and a leader that may be another one at each step."""

    def __init__(self, service: Service, seed: int = 0) -> None:
        self.rng = Random(seed)
        self.cluster: Driver = with_services(nodes=tuple(a_node(name) for name in "abcd"))
        self.soft, self.watch, self.now_s = nothing_heard(), Watch(), 0.0
        self.least = 10_000
        self.most_under_way = 0
        self.define(service)
        self.come_to_rest()

    def define(self, service: Service) -> None:
        self.cluster.apply(AddServices(services=(service,)))

    @property
    def revisions(self) -> set[int]:
        return {at.revision for at in self.cluster.state.placements.values()}

    @property
    def state_of_rollout(self) -> str | None:
        rollout = self.cluster.state.services["web"].rollout
        return rollout.state if rollout else None

    @property
    def images(self) -> set[str]:
        state = self.cluster.state
        return {state.edition_of(at).service.image for at in state.placements.values()}

    def another_leads(self) -> None:
        self.soft, self.watch = nothing_heard(), Watch()

    def nodes_report(self) -> None:
        state = self.cluster.state
        for node in "abcd":
            self.soft.heard_instances(
                node,
                [
                    self._report(name, at.revision, state.edition_of(at).service.image)
                    for name, at in state.placements_on(node).items()
                    if self.rng.random() < 0.8 or self._is_known(node, name, at.revision)
                ],
            )

    def _is_known(self, node: str, name: str, revision: int) -> bool:
        use = self.soft.instances.get(node, {}).get(name)
        return use is not None and use.revision == revision

    def _report(self, name: str, revision: int, image: str) -> InstanceUse:
        if image == "bad":
            return InstanceUse(
                instance=name, state="waiting", revision=revision, failures=1, reason="exit code 1"
            )
        return InstanceUse(
            instance=name, state="running", revision=revision, health="healthy", healthy_for_s=9.0
        )

    def leader_acts(self) -> bool:
        """Whether there was something to do."""
        state = self.cluster.state
        ends = list(self.watch.ends(state, self.soft, {}, self.now_s))
        for end in ends:
            self.cluster.apply(end)
        healthy, proven = available(state, self.soft), settled(state, self.soft)
        view = View(
            conditions={
                name: Condition(cordoned=name in state.cordoned) for name in state.registrations
            },
            available=healthy,
            settled=proven,
        )
        found = schedule(state, view, PROFILE, Random(1))
        if not found.is_empty:
            self.cluster.apply(found.place)
        self._count()
        return bool(ends) or not found.is_empty

    def _count(self) -> None:
        state = self.cluster.state
        self.least = min(self.least, len(available(state, self.soft)))
        known, proven = state.services["web"], settled(state, self.soft)
        if known.is_changing:
            new = [at for at in state.placements_of("web") if at.revision == known.revision]
            under_way = sum(at.instance not in proven for at in new)
            self.most_under_way = max(self.most_under_way, under_way)

    def come_to_rest(self, *, other_leaders: float = 0.0) -> None:
        quiet = 0
        for _ in range(STEPS_MAX):
            self.now_s += 1.0
            if self.rng.random() < other_leaders:
                self.another_leads()
            self.nodes_report()
            quiet = 0 if self.leader_acts() else quiet + 1
            if quiet > 12:
                return
        raise AssertionError("it does not come to rest")


def test_every_instance_is_replaced_one_by_one_and_the_rollout_is_completed() -> None:
    story = Story(web("good"))
    story.least = 10_000
    story.define(web("better"))
    story.come_to_rest()
    assert story.images == {"better"}
    assert story.state_of_rollout == "completed"
    assert (story.least, story.most_under_way) == (2, 1)


def test_with_start_first_nobody_is_ever_missing() -> None:
    story = Story(web("good", order="start-first"))
    story.least = 10_000
    story.define(web("better", order="start-first"))
    story.come_to_rest()
    assert (story.images, story.state_of_rollout) == ({"better"}, "completed")
    assert story.least == 3
    assert len(story.cluster.state.placements) == 3


def test_the_first_that_fails_brings_back_what_was_before_and_the_others_never_moved() -> None:
    story = Story(web("good"))
    before = dict(story.cluster.state.placements)
    story.define(web("bad"))
    story.come_to_rest()
    assert (story.images, story.state_of_rollout) == ({"good"}, "rolled back")
    rollout = story.cluster.state.services["web"].rollout
    assert rollout is not None
    assert "exit code 1" in rollout.reason
    after = story.cluster.state.placements
    assert sum(after[name] == at for name, at in before.items()) == 2


def test_a_policy_may_stop_instead_and_a_person_goes_back() -> None:
    story = Story(web("good"))
    story.define(web("bad", on_failure="pause"))
    story.come_to_rest()
    assert (story.images, story.state_of_rollout) == ({"good", "bad"}, "paused")
    story.cluster.apply(RollBack(name="web"))
    story.come_to_rest()
    assert (story.images, story.state_of_rollout) == ({"good"}, "rolled back")


def test_a_new_one_that_says_nothing_is_given_up_at_the_deadline() -> None:
    story = Story(web("good", deadline_s=60.0))
    story.define(web("better", deadline_s=60.0))
    story.leader_acts()
    story.soft = nothing_heard()
    ends = []
    for now_s in range(200):
        ends = list(story.watch.ends(story.cluster.state, story.soft, {}, float(now_s)))
        if ends:
            break
    assert now_s == 60
    assert not ends[0].succeeded
    assert "no progress for 60 s" in ends[0].reason


def test_a_restart_replaces_all_of_them() -> None:
    story = Story(web("good"))
    before = story.revisions
    story.cluster.apply(Restart(name="web"))
    story.come_to_rest()
    assert story.revisions.isdisjoint(before)
    assert story.state_of_rollout == "completed"


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_drained_node_is_empty_in_the_end_and_enough_were_healthy_all_the_time(
    order: str,
) -> None:
    story = Story(web("good", 4, order=order))
    story.least = 10_000
    story.cluster.apply(Drain(name="a", draining=True))
    story.come_to_rest()
    assert story.cluster.state.placements_on("a") == {}
    assert len(story.cluster.state.placements) == 4
    assert story.least == (3 if order == "stop-first" else 4)
    assert story.state_of_rollout is None


changes = some.lists(
    some.one_of(
        some.builds(web, some.sampled_from(["good", "better", "bad"]), some.integers(1, 4)),
        some.builds(lambda n: Scale(name="web", replicas=n), some.integers(1, 5)),
        some.just(Restart(name="web")),
        some.just(RollBack(name="web")),
        some.builds(
            lambda node, draining: Drain(name=node, draining=draining),
            some.sampled_from("abc"),
            some.booleans(),
        ),
    ),
    max_size=5,
)


@settings(max_examples=80, deadline=None)
@given(
    changes,
    some.integers(0, 99),
    some.sampled_from(["stop-first", "start-first"]),
    some.integers(1, 3),
)
def test_whatever_changes_and_whoever_leads_it_comes_to_rest_in_one_edition(
    story_of: list[object], seed: int, order: str, parallel: int
) -> None:
    policy = UpdatePolicy(order=order, parallel=parallel)  # type: ignore[arg-type]
    story = Story(replace(web("good"), update=policy), seed)
    for change in story_of:
        if isinstance(change, Service):
            story.define(replace(change, update=policy))
        else:
            story.cluster.apply(change)  # type: ignore[arg-type]
        for _ in range(story.rng.randint(0, 6)):
            story.now_s += 1.0
            story.nodes_report()
            story.leader_acts()
    # Another leader may need its whole patience where an instance never says anything.
    story.come_to_rest(other_leaders=0.1)
    known = story.cluster.state.services["web"]
    placed = story.cluster.state.placements_of("web")
    assert not known.is_changing
    if not known.is_paused:
        assert story.revisions == {known.revision}
        assert len(placed) == known.service.replicas
        assert not {at.node for at in placed} & story.cluster.state.draining
    assert len(placed) >= min_available(known.service)
