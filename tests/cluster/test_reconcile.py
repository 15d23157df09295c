"""Desired against actual: which actions follow, and when to look again."""

import itertools
import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.cluster.container import Container
from roheletd.cluster.history import CLEAN_AFTER_S, History, backoff_s, failed, observed, state_of
from roheletd.cluster.reconcile import (
    Action,
    InstanceSpec,
    Remove,
    Run,
    Start,
    reconcile,
    specification,
)
from roheletd.model import Gpu, Placement, Port, PortBinding
from roheletd.upkeep import HealthCheck, HttpCheck, Volume
from tests.builders import a_node, a_service


def spec(instance: str = "web.1", *, digest: str = "") -> InstanceSpec:
    made = specification(
        cluster="edge",
        service=a_service(stop_grace_s=3.0),
        placement=Placement(
            instance=instance, service="web", node="pi", revision=1, cores={2: 500}
        ),
        node=a_node(),
    )
    return made if not digest else InstanceSpec(**{**_members(made), "digest": digest})


def _members(made: InstanceSpec) -> dict[str, object]:
    return {name: getattr(made, name) for name in made.__struct_fields__}


def copy(instance: str = "web.1", *, state: str = "running", **more: object) -> Container:
    known = {"id": f"id-{instance}", "instance": instance, "digest": spec(instance).digest}
    return Container(**{**known, "state": state, **more})  # type: ignore[arg-type]


def actions(
    desired: Iterable[InstanceSpec],
    actual: Iterable[Container],
    *,
    history: dict[str, History] | None = None,
    busy: frozenset[str] = frozenset(),
    now_s: float = 100.0,
) -> tuple[Action, ...]:
    wanted = {item.instance: item for item in desired}
    known = {name: History(digest=item.digest) for name, item in wanted.items()} | (history or {})
    return reconcile(wanted, actual, history=known, busy=busy, now_s=now_s).actions


def digest_of(**changes: object) -> str:
    at = Placement(
        instance="web.1",
        service="web",
        node="pi",
        revision=7,
        cores={2: 500},
        ports=(PortBinding(container_port=80, host_port=20001),),
    )
    usual = {
        "command": ("run", "x"),
        "env": {"A": "b"},
        "memory_mib": 64,
        "ports": (Port(container_port=80),),
        "volumes": (Volume(path="/data", name="data"),),
        "health": HealthCheck(http=HttpCheck(port=80)),
    }
    service = a_service(**usual | changes)
    return specification(cluster="edge", service=service, placement=at, node=a_node()).digest


def test_a_service_that_asks_for_nothing_new_keeps_its_digest_and_its_containers() -> None:
    assert digest_of() == "06a062546e0fc7a9"
    assert digest_of(pull="always", replicas=3) == "06a062546e0fc7a9"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entrypoint", ()),
        ("entrypoint", ("run",)),
        ("user", "1000"),
        ("working_dir", "/"),
        ("hostname", "cam-1"),
        ("init", False),
        ("read_only", True),
        ("stop_signal", "SIGTERM"),
    ],
)
def test_whatever_is_said_of_the_program_makes_another_container(field: str, value: object) -> None:
    assert digest_of(**{field: value}) != digest_of()


def test_what_is_missing_is_run() -> None:
    assert actions([spec()], []) == (Run(spec=spec()),)


def test_what_runs_as_wanted_is_left_alone() -> None:
    assert actions([spec()], [copy()]) == ()


def test_what_has_ended_or_was_never_started_is_started() -> None:
    for state in ("exited", "created"):
        assert actions([spec()], [copy(state=state)]) == (
            Start(instance="web.1", container_id="id-web.1"),
        )


def test_what_is_placed_here_no_longer_is_removed() -> None:
    (action,) = actions([], [copy()])
    assert isinstance(action, Remove)
    assert action.reason == "no longer placed here"


def test_a_copy_of_another_definition_is_removed_before_the_new_one_runs() -> None:
    (action,) = actions([spec()], [copy(digest="old")])
    assert isinstance(action, Remove)
    assert action.grace_s == 3.0
    assert action.reason == "its definition changed"


def test_a_copy_does_not_run_before_the_one_that_leaves_has_given_up_its_port() -> None:
    binding = PortBinding(container_port=80, host_port=20_000)
    new = replace(spec("web.2"), ports=(binding,))
    for state in ("running", "created"):  # one that was only created may be on its way to run
        leaving = copy("web.1", state=state, host_ports=(20_000,))
        (only,) = actions([new], [leaving])
        assert isinstance(only, Remove)
        assert actions([new], [leaving], busy=frozenset({"web.1"})) == ()
    assert actions([new], []) == (Run(spec=new),)
    ended = copy("web.1", state="exited", host_ports=(20_000,))
    assert Run(spec=new) in actions([new], [ended])


def test_of_two_copies_the_older_running_one_stays() -> None:
    twins = [copy(id="young", created_s=2.0), copy(id="old", created_s=1.0)]
    (action,) = actions([spec()], twins)
    assert isinstance(action, Remove)
    assert action.container_id == "young"


def test_whatever_the_clock_said_when_copies_were_made_one_of_those_that_run_as_wanted_stays() -> (
    None
):
    """The engine dates them by the wall clock, which jumps; a Pi has none while it is off."""
    for dates in itertools.permutations((0.0, 1e6, 1.7e9, 4e9)):
        copies = [
            copy(id="runs", created_s=dates[0]),
            copy(id="runs too", created_s=dates[1]),
            copy(id="ended", state="exited", created_s=dates[2]),
            copy(id="outdated", digest="old", created_s=dates[3]),
        ]
        removed = {action.container_id for action in actions([spec()], copies)}
        assert {"ended", "outdated"} <= removed
        assert len(removed) == 3


def test_of_a_running_and_an_ended_copy_the_running_one_stays() -> None:
    twins = [copy(id="ended", state="exited", created_s=1.0), copy(id="runs", created_s=2.0)]
    (action,) = actions([spec()], twins)
    assert isinstance(action, Remove)
    assert action.container_id == "ended"


def test_an_instance_that_an_action_still_works_on_is_left_alone() -> None:
    busy = frozenset({"web.1"})
    assert actions([spec()], [], busy=busy) == ()
    assert actions([], [copy()], busy=busy) == ()


def test_a_failed_instance_waits_for_its_time_and_says_when() -> None:
    history = {"web.1": History(digest="d", failures=2, retry_at_s=107.0)}
    plan = reconcile({"web.1": spec()}, [], history=history, busy=(), now_s=100.0)
    assert plan.actions == ()
    assert plan.look_again_s == 107.0
    assert actions([spec()], [], history=history, now_s=107.0) == (Run(spec=spec()),)


def test_a_removal_that_failed_is_tried_again_later_and_blocks_the_new_copy() -> None:
    history = {"id-web.1": History(digest="", failures=2, retry_at_s=107.0)}
    old = copy(digest="old")
    assert actions([spec()], [old], history=history) == ()
    (action,) = actions([spec()], [old], history=history, now_s=107.0)
    assert isinstance(action, Remove)


def test_the_first_failure_is_repaired_at_once_and_the_wait_doubles_to_a_minute() -> None:
    assert [backoff_s(n) for n in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_an_instance_may_fail_for_months() -> None:
    assert backoff_s(100_000) == 60


def test_an_end_is_counted_once_however_often_it_is_seen() -> None:
    history = observed(History(digest="d"), copy(), None, 0.0)
    ended = copy(state="exited", reason="exit code 3")
    once = observed(history, ended, None, 1.0)
    assert (once.failures, once.restarts, once.reason) == (1, 1, "exit code 3")
    assert observed(once, ended, None, 2.0) == once


def test_an_end_that_happened_while_the_daemon_was_away_is_counted() -> None:
    assert observed(History(digest="d"), copy(state="exited"), None, 1.0).failures == 1


def test_running_long_enough_clears_the_record() -> None:
    history = observed(failed(History(digest="d"), "boom", now_s=0.0), copy(), None, 10.0)
    assert observed(history, copy(), None, 10.0 + CLEAN_AFTER_S - 1).failures == 1
    assert observed(history, copy(), None, 10.0 + CLEAN_AFTER_S).failures == 0


def test_a_refusal_that_cannot_change_by_itself_is_not_tried_again() -> None:
    history = failed(History(digest="d"), "no command", now_s=0.0, retry=False)
    assert math.isinf(history.retry_at_s)
    assert state_of(None, history, busy=False) == "failed"


def test_the_state_word_follows_container_and_history() -> None:
    fresh = History(digest="d")
    bad = failed(failed(fresh, "x", now_s=0.0), "x", now_s=0.0)
    assert state_of(copy(), fresh, busy=False) == "running"
    assert state_of(None, fresh, busy=False) == "starting"
    assert state_of(None, bad, busy=False) == "waiting"
    assert state_of(None, bad, busy=True) == "starting"


def test_a_specification_names_cores_quota_devices_ports_and_identity() -> None:
    gpu = Gpu(id="GPU-1", model="Orin")
    node = a_node()
    node = a_node(capacity=type(node.capacity)(cores={0: 1000}, memory_mib=1, gpus=(gpu,)))
    placement = Placement(
        instance="web.2",
        service="web",
        node="pi",
        revision=7,
        cores={3: 50, 1: 500},
        gpus={"GPU-1": 30},
        ports=(PortBinding(container_port=80, host_port=20000),),
    )
    made = specification(
        cluster="edge",
        service=a_service(env={"A": "1", "ROHE_NODE": "lie"}, memory_mib=64),
        placement=placement,
        node=node,
    )
    assert made.cores == (1, 3)
    assert made.quota_millicores == 550
    assert made.gpus == (gpu,)
    assert made.memory_mib == 64
    assert made.env["A"] == "1"
    assert made.env["ROHE_NODE"] == "pi"
    assert made.env["ROHE_INSTANCE"] == "web.2"


def test_the_digest_depends_on_all_that_an_engine_is_told_and_on_nothing_else() -> None:
    def digest(cores: dict[int, int], *, placed_at: int = 0, score: float = 0.0) -> str:
        return specification(
            cluster="edge",
            service=a_service(),
            placement=Placement(
                instance="web.1",
                service="web",
                node="pi",
                revision=1,
                cores=cores,
                placed_at=placed_at,
                score=score,
            ),
            node=a_node(),
        ).digest

    assert digest({0: 500}) == digest({0: 500}, placed_at=9, score=0.5)
    assert digest({0: 500}) != digest({1: 500})
    assert digest({0: 500}) != digest({0: 501})


states = some.sampled_from(["created", "running", "exited"])
some_copies = some.lists(
    some.builds(
        lambda number, instance, state, digest: copy(
            instance, id=f"c{number}", state=state, **({"digest": digest} if digest else {})
        ),
        some.integers(0, 99),
        some.sampled_from(["web.1", "web.2", "web.3"]),
        states,
        some.sampled_from(["", "other"]),
    ),
    max_size=8,
    unique_by=lambda item: item.id,
)


@given(some.sets(some.sampled_from(["web.1", "web.2"])), some_copies)
def test_passes_lead_to_exactly_one_running_copy_of_each_wanted_instance(
    wanted: set[str], copies: list[Container]
) -> None:
    desired = [spec(name) for name in sorted(wanted)]
    world = {item.id: item for item in copies}
    for _ in range(4):
        for action in actions(desired, world.values()):
            match action:
                case Run(spec=made):
                    world[f"new-{made.instance}"] = copy(made.instance, id=f"new-{made.instance}")
                case Start(container_id=found, instance=name):
                    world[found] = copy(name, id=found, digest=world[found].digest)
                case Remove(container_id=found):
                    del world[found]
    assert sorted(item.instance for item in world.values()) == sorted(wanted)
    assert all(item.state == "running" for item in world.values())
    assert all(item.digest == spec(item.instance).digest for item in world.values())
