"""One node's instances over time, without an engine: the runner's decisions."""

from itertools import permutations

from msgspec.structs import replace

from roheletd.cluster.container import Usage
from roheletd.cluster.instances import Happening, Instances
from roheletd.cluster.reconcile import Action, Remove, Run, Start
from roheletd.model import Gpu
from roheletd.telemetry import GpuProcess
from tests.cluster.test_reconcile import copy, spec


class World:
    """An engine that does at once what it is told, and what befalls its containers."""

    def __init__(self) -> None:
        self.instances = Instances()
        self.containers = {}
        self.now_s = 100.0
        self.told: list[Happening] = []
        self.dies_at_once = False

    def step(self, *wanted: str) -> list[str]:
        """One pass; the kinds of the actions that followed."""
        self.instances.about_to_list()
        listed = list(self.containers.values())
        plan, happenings = self.instances.next_plan(
            {name: spec(name) for name in wanted}, listed, self.now_s
        )
        self.told += happenings
        for action in plan.actions:
            self.do(action)
        return [type(action).__name__ for action in plan.actions]

    def do(self, action: Action) -> None:
        state = "exited" if self.dies_at_once else "running"
        match action:
            case Run(spec=made):
                name = made.instance
                self.containers[name] = copy(name, state=state, reason="exit code 7")
            case Start(instance=name):
                self.containers[name] = copy(name, state=state, reason="exit code 7")
            case Remove(instance=name):
                del self.containers[name]
        self.told += self.instances.done(action, self.now_s)
        self.instances.finished(action)

    def kinds(self) -> list[str]:
        return [happening.kind for happening in self.told]


def test_a_run_that_ends_before_anybody_saw_it_is_counted_and_backed_off() -> None:
    world = World()
    world.dies_at_once = True
    actions = []
    for _ in range(40):
        actions += world.step("web.1")
        world.now_s += 0.25
    assert actions.count("Run") == 1
    assert actions.count("Start") == 4  # at once, after 1 s, 2 s, 4 s: 10 s have passed
    assert world.kinds().count("ended") == 5


def test_an_instance_runs_ends_and_runs_again_and_each_is_told_once() -> None:
    world = World()
    world.step("web.1")
    world.step("web.1")
    world.containers["web.1"] = copy("web.1", state="exited", reason="exit code 3")
    world.step("web.1")
    world.step("web.1")
    assert world.kinds() == ["running", "ended", "running"]
    assert world.told[1].reason == "exit code 3"


def test_a_list_from_before_an_action_ended_says_nothing_of_its_instance() -> None:
    world = World()
    world.step("web.1")
    world.containers["web.1"] = copy("web.1", state="exited")
    desired = {"web.1": spec("web.1")}
    plan, _ = world.instances.next_plan(desired, world.containers.values(), 101.0)
    (action,) = plan.actions
    world.instances.about_to_list()
    stale = list(world.containers.values())
    world.do(action)
    plan, happenings = world.instances.next_plan(desired, stale, 101.1)
    assert plan.actions == ()
    assert happenings == ()
    assert world.step("web.1") == []


def test_of_two_copies_the_one_that_stays_is_the_one_that_is_told_of() -> None:
    runs, ended = copy(id="a"), copy(id="b", state="exited", reason="exit code 3")
    old = copy(id="c", digest="of an older definition")
    for copies in permutations((runs, ended, old)):
        instances = Instances()
        plan, told = instances.next_plan({"web.1": spec("web.1")}, copies, 100.0)
        assert told == (Happening("running", "web.1"),)
        removed = {action.container_id for action in plan.actions if isinstance(action, Remove)}
        assert removed == {"b", "c"}
        assert len(plan.actions) == 2
        (use,) = instances.now(["web.1"], 100.0)
        assert (use.state, use.failures) == ("running", 0)


def test_what_is_placed_here_no_longer_is_removed_and_forgotten() -> None:
    world = World()
    world.step("web.1", "web.2")
    assert world.step("web.1") == ["Remove"]
    assert world.step("web.1") == []


def test_a_removal_that_fails_is_not_tried_in_a_storm() -> None:
    world = World()
    world.step("web.1")
    tries = 0
    for _ in range(40):
        plan, _ = world.instances.next_plan({}, world.containers.values(), world.now_s)
        for action in plan.actions:
            tries += 1
            world.instances.refused(action, "busy", now_s=world.now_s, retry=True)
            world.instances.finished(action)
        world.now_s += 0.25
    assert 4 <= tries <= 6


def test_use_is_the_difference_of_two_readings_and_unknown_at_first() -> None:
    world = World()
    world.step("web.1")
    world.step("web.1")
    first = {"id-web.1": Usage(cpu_s=5.0, memory_mib=40)}
    later = {"id-web.1": Usage(cpu_s=5.5, memory_mib=41)}
    restarted = {"id-web.1": Usage(cpu_s=0.1, memory_mib=9)}
    seen = []
    for usage, at_s in ((first, 0.0), (later, 2.0), (restarted, 3.0), ({}, 4.0)):
        world.instances.measure(usage, at_s)
        seen += world.instances.now(["web.1"], world.now_s)
    assert [use.cpu_millicores for use in seen] == [None, 250, None, None]
    assert [use.memory_mib for use in seen] == [40, 41, 9, None]
    assert {use.state for use in seen} == {"running"}


def test_a_copy_of_an_older_definition_is_not_shown_as_the_new_one_running() -> None:
    world = World()
    world.step("web.1")
    world.containers["web.1"] = copy("web.1", digest="old")
    desired = {"web.1": spec("web.1")}
    world.instances.next_plan(desired, world.containers.values(), 101.0)
    (use,) = world.instances.now(["web.1"], world.now_s)
    assert use.state == "starting"


class Threads:
    """Two threads of one container, and how often somebody looked at them."""

    def __init__(self) -> None:
        self.used_s = {7: 0.0, 8: 0.0}
        self.looks = 0

    def run(self, large_s: float, small_s: float) -> dict[str, Usage]:
        self.used_s = {7: self.used_s[7] + large_s, 8: self.used_s[8] + small_s}
        return {"id-web.1": Usage(cpu_s=sum(self.used_s.values()), memory_mib=1)}

    def look(self, container_id: str) -> dict[int, float]:
        assert container_id == "id-web.1"
        self.looks += 1
        return self.used_s


def spreads(cores: tuple[int, ...], *seconds: tuple[float, float]) -> tuple[list[object], int]:
    """What is said per core after each second, and how often the threads were read for it."""
    world, threads = World(), Threads()
    desired = {"web.1": replace(spec("web.1"), cores=cores)}
    for _ in range(2):
        containers = world.containers.values()
        for action in world.instances.next_plan(desired, containers, 100.0)[0].actions:
            world.do(action)
    said = []
    for at_s, used in enumerate(((0.0, 0.0), *seconds)):
        world.instances.measure(threads.run(*used), float(at_s), threads=threads.look)
        said += [use.cores_millicores for use in world.instances.now(["web.1"], world.now_s)]
    return said, threads.looks


def test_use_is_spread_over_the_cores_from_the_second_look_at_the_threads_on() -> None:
    said, _ = spreads((0, 1), (0.5, 0.05), (0.5, 0.05), (0.4, 0.3))
    assert said == [None, None, (500, 50), (400, 300)]


def test_on_one_core_nobody_has_to_look_at_threads() -> None:
    said, looks = spreads((2,), (0.5, 0.05), (0.1, 0.0))
    assert said == [None, (550,), (100,)]
    assert looks == 0


def test_the_threads_of_what_idles_are_left_alone() -> None:
    said, looks = spreads((0, 1), (0.5, 0.05), *[(0.0, 0.0)] * 50, (0.5, 0.05))
    assert said[2:] == [(0,)] * 50 + [(500, 50)]
    assert looks == 2


def test_the_share_of_a_gpu_is_that_of_the_threads_of_who_was_given_one() -> None:
    world = World()
    gpus = ({7: GpuProcess(40.0, 300), 9: GpuProcess(20.0, 100)},)
    desired = {
        "web.1": replace(spec("web.1"), cores=(0,), gpus=(Gpu(id="GPU-0"),)),
        "web.2": replace(spec("web.2"), cores=(1,)),
    }
    for _ in range(2):
        containers = world.containers.values()
        for action in world.instances.next_plan(desired, containers, 100.0)[0].actions:
            world.do(action)
    usage = {f"id-{name}": Usage(cpu_s=0.0, memory_mib=1) for name in desired}
    asked: list[str] = []

    def threads(container_id: str) -> dict[int, float]:
        asked.append(container_id)
        return {7: 0.0, 8: 0.0}

    world.instances.measure(usage, 1.0, threads=threads, gpus=gpus)
    first, second = world.instances.now(desired, 0.0)
    assert (first.gpu_percent, first.gpu_memory_mib) == (40.0, 300)
    assert (second.gpu_percent, second.gpu_memory_mib) == (None, None)
    assert asked == ["id-web.1"]
