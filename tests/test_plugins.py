"""A user's algorithm: what it is given, what becomes of each way to fail, and how it is loaded."""

import asyncio
import json
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from roheletd import plugins
from roheletd.allocation import algorithm as algorithm_module
from roheletd.allocation.algorithm import (
    CALL_LIMIT_S,
    NOTICE,
    PASS_LIMIT_S,
    Algorithm,
    HookFailed,
    Hooks,
    NotLoaded,
)
from roheletd.allocation.allocate import Allocator, explain
from roheletd.allocation.books import Books
from roheletd.allocation.facts import NodeFacts, ServiceFacts, node_facts
from roheletd.allocation.snapshot import Condition, FreeNode, Profile, idle, take
from roheletd.api.views import Changes, Nothing
from roheletd.cluster.events import Event, Events
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.model import Capacity, Gpu, Node
from tests.builders import a_node, a_service
from tests.cli.conftest import Run, daemon, roheletd
from tests.cli.fake_daemon import FakeDaemon
from tests.loops.test_parts import parts_of

__all__ = ["daemon", "roheletd"]  # the fixtures

SERVICE = a_service(cores=(500,), memory_mib=64, env={"PASSWORD": "secret"}, labels={"tier": "1"})
USER_MODULE = Path(__file__).parents[1] / "userModule"


class Stage:
    """A folder with one file, the algorithm in it, and what the leader would tell of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.algorithm = Algorithm("mine:Mine", partial(plugins.load, "mine:Mine", folder))
        self.soft = SoftState(broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker"))
        self.events = Events(node="pi", wall_s=time.time)
        self.told: list[Event] = []
        self.events.listeners.add(self.told.append)

    def write(self, text: str, name: str = "mine") -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")

    def define(self, hook: str, body: str, head: str = "") -> None:
        """A class of one hook, loaded."""
        lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
        given = {"select": "candidates", "allocate": "nodes"}.get(hook, "node")
        self.write(f"{head}\nclass Mine:\n    def {hook}(self, {given}, service):\n{lines}\n")
        self.algorithm.reload()

    def hooks(self) -> Hooks:
        found = self.algorithm.hooks()
        assert found is not None
        return found

    def tell(self) -> list[tuple[str, str, str]]:
        """What is new, and nothing of what was told before."""
        self.told.clear()
        self.algorithm.tell(self.soft, self.events)
        return [(event.kind, event.subject, event.reason) for event in self.told]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield Stage(tmp_path)
    for name in [name for name, it in sys.modules.items() if _is_below(it, tmp_path)]:
        del sys.modules[name]


def _is_below(module: object, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


def free(name: str = "pi", **condition: Any) -> FreeNode:
    return idle(a_node(name), Condition(**condition), Profile())


def asked(hooks: Hooks, hook: str) -> object:
    """The answer of one hook about one node, or two."""
    nodes = [free("pi"), free("nano")]
    given: dict[str, object] = {
        "filter": nodes[0],
        "score": nodes[0],
        "select": [(node, 0.5, {"cpu": 0.5}) for node in nodes],
        "allocate": nodes,
    }
    ask: Callable[..., object] | None = getattr(hooks, hook)
    assert ask is not None
    return ask(given[hook], SERVICE)


# --- what it is given, and what it may answer


@pytest.mark.parametrize(
    ("hook", "body", "answer"),
    [
        ("filter", "return None", None),
        ("filter", "return f'not {node.name}\\n and  {service.name}'", "not pi and web"),
        ("score", "return 0.25", 0.25),
        ("score", "return 1", 1.0),
        ("select", "return candidates[1].node.name", "nano"),
        ("allocate", "return max(node.name for node in nodes)", "pi"),
        ("allocate", "return None", None),
    ],
)
def test_each_hook_is_asked_and_answers(hook: str, body: str, answer: object, stage: Stage) -> None:
    stage.define(hook, body)
    assert asked(stage.hooks(), hook) == answer
    assert stage.algorithm.troubles() == {}


def test_a_hook_that_is_not_defined_is_none(stage: Stage) -> None:
    stage.define("score", "return 0.5")
    hooks = stage.hooks()
    assert (hooks.filter, hooks.select, hooks.allocate) == (None, None, None)


def test_where_no_algorithm_is_configured_there_are_no_hooks() -> None:
    algorithm = Algorithm()
    assert algorithm.hooks() is None
    assert algorithm.troubles() == {}


def test_the_whole_algorithm_is_not_asked_where_no_node_can_take_it(stage: Stage) -> None:
    stage.define("allocate", "return min(nodes, key=lambda node: node.celsius).name")
    ask = stage.hooks().allocate
    assert ask is not None
    assert ask([], SERVICE) is None


def test_a_node_is_given_as_it_is_measured_and_promised() -> None:
    shared = Gpu(id="gpu0", memory_mib=4096, shares_memory=True)
    node = Node(
        name="nano",
        capacity=Capacity(cores={0: 1000, 2: 1500}, memory_mib=2048, gpus=(shared,)),
        arch="aarch64",
        labels={"zone": "hall"},
    )
    facts = node_facts(
        idle(node, Condition(celsius=61.0, busy={0: 0.5}, power="battery", charge=0.4), Profile())
    )
    assert (facts.name, facts.arch, facts.labels["zone"]) == ("nano", "aarch64", "hall")
    assert (facts.cpu_millicores, facts.free_cores[2], facts.busy[0]) == (2500, 1500, 0.5)
    assert (facts.celsius, facts.power, facts.charge) == (61.0, "battery", 0.4)
    # What a board shares with its GPU cannot be more than what is left of it.
    assert facts.gpus[0].free_memory_mib == 2048


@pytest.mark.parametrize(
    "change",
    [
        "node.free_cores[0] = 9000",
        "node.labels.clear()",
        "node.memory_mib = 1",
        "service.labels['tier'] = 'none'",
        "service.accelerators.update(gpu=100)",
        "service.env",
    ],
)
def test_nothing_of_what_is_given_can_be_changed_and_secrets_are_not_given(
    change: str, stage: Stage
) -> None:
    stage.define("filter", change)
    with pytest.raises(HookFailed, match=r"mine\.py, line 4: raised"):
        asked(stage.hooks(), "filter")
    assert SERVICE.labels == {"tier": "1"}


def test_a_users_tests_name_only_what_they_are_about() -> None:
    assert NodeFacts(name="pi").power == "unknown"
    assert ServiceFacts(name="web").cores == ()


# --- each way to fail


@pytest.mark.parametrize(
    ("hook", "body", "reason"),
    [
        ("score", "return service.zone", "mine.py, line 4: raised AttributeError: "),
        ("score", "raise KeyError('zone')", "mine.py, line 4: raised KeyError: 'zone'"),
        ("score", "return 1 / 0", "raised ZeroDivisionError"),
        ("score", "return self.score(node, service)", "raised RecursionError"),
        ("score", "raise SystemExit(3)", "raised SystemExit: 3"),
        ("score", "import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("score", "raise TimeoutError('mine')", "raised TimeoutError: mine"),
        ("score", "raise ValueError('a\\x1b[31m\\ud800\\nb')", "raised ValueError: a?[31m? b"),
        ("score", "return None", "answered nothing: expected a number from 0 to 1"),
        ("score", "return True", "answered true"),
        ("score", "return 'high'", 'answered "high"'),
        ("score", "return float('nan')", "answered nan"),
        ("score", "return 1.01", "answered 1.01"),
        ("score", "return -0.01", "answered -0.01"),
        ("score", "return 10 ** 400", "answered a huge number"),
        ("score", "yield 0.5", "answered a generator"),
        ("score", "return node", "answered a NodeFacts"),
        ("filter", "return False", "answered false: expected a reason, or None"),
        ("filter", "return ''", 'answered "": expected a reason, or None'),
        ("filter", "return ['hot']", "answered a list"),
        ("select", "return 'pi3'", 'answered "pi3": expected the name of one of the candidates'),
        ("select", "return None", "answered nothing"),
        ("select", "return candidates[0]", "answered a Candidate"),
        ("allocate", "return 'pi3'", 'answered "pi3": expected a node that takes it, or None'),
        ("allocate", "return 7", "answered 7"),
    ],
)
def test_what_goes_wrong_is_told_with_its_place_and_its_reason(
    hook: str, body: str, reason: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not what this is about: a thousand frames take a busy machine longer than a call may take.
    monkeypatch.setattr(algorithm_module, "CALL_LIMIT_S", PASS_LIMIT_S)
    stage.define(hook, body)
    hooks = stage.hooks()
    with pytest.raises(HookFailed) as failed:
        asked(hooks, hook)
    assert failed.value.name == f"mine:Mine.{hook}"
    assert reason in failed.value.reason
    assert getattr(hooks, hook) is None
    told = stage.algorithm.troubles()[f"mine:Mine.{hook}"]
    assert told.endswith("; the built-in decides instead")
    told.encode()  # whatever it was made of, it can be sent


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import time; time.sleep(10)",
        "return sum(1 for _ in iter(int, 1))",
        """
        while True:
            try:
                while True: pass
            except Exception: pass
        """,
        """
        import time
        while True:
            try:
                time.sleep(10)
            except: pass
        """,
        """
        import time
        try:
            time.sleep(10)
        finally:
            return 0.5
        """,
        """
        class Slow(Exception):
            def __str__(self):
                while True: pass
        raise Slow
        """,
    ],
)
def test_one_that_hangs_is_ended_and_set_aside_until_it_is_loaded_again(
    body: str, stage: Stage
) -> None:
    stage.define("score", body)
    began_s = time.monotonic()
    with pytest.raises(HookFailed, match="took longer than 100 ms"):
        asked(stage.hooks(), "score")
    assert time.monotonic() - began_s < 10 * CALL_LIMIT_S
    assert sys.gettrace() is None
    assert stage.algorithm.hooks() is None
    stage.define("score", "return 0.5")
    assert asked(stage.hooks(), "score") == 0.5


def test_one_that_hangs_does_not_take_the_others_with_it(stage: Stage) -> None:
    stage.write("""
        class Mine:
            def filter(self, node, service):
                while True: pass
            def score(self, node, service):
                return 0.5
    """)
    stage.algorithm.reload()
    with pytest.raises(HookFailed):
        asked(stage.hooks(), "filter")
    hooks = stage.hooks()
    assert hooks.filter is None
    assert asked(hooks, "score") == 0.5


def test_one_that_raises_is_out_for_the_pass_and_asked_again_in_the_next(stage: Stage) -> None:
    stage.define("score", "raise KeyError('zone')")
    hooks = stage.hooks()
    ask = hooks.score
    assert ask is not None
    for _ in range(2):  # whoever kept it hears the same
        with pytest.raises(HookFailed, match="KeyError"):
            ask(free(), SERVICE)
    assert hooks.score is None
    assert stage.hooks().score is not None


def test_one_that_is_slow_in_each_call_is_ended_when_the_pass_has_waited_long_enough(
    stage: Stage,
) -> None:
    stage.define("score", "time.sleep(0.06)\nreturn 0.5", head="import time")
    hooks, began_s = stage.hooks(), time.monotonic()
    while not (troubles := stage.algorithm.troubles()):
        with suppress(HookFailed):
            asked(hooks, "score")
    assert "took more than 1 s of one pass" in troubles["mine:Mine.score"]
    assert time.monotonic() - began_s < 2 * PASS_LIMIT_S
    assert stage.hooks().score is not None


# --- the limit


def test_whoever_used_the_timer_before_finds_it_again() -> None:
    rang: list[int] = []

    def ring(number: int, _frame: FrameType | None) -> None:
        rang.append(number)

    handler = signal.signal(signal.SIGALRM, ring)
    others_s, _ = signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                plugins.limited(lambda: time.sleep(5), 0.06)
        assert signal.getsignal(signal.SIGALRM) is ring
        assert rang == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, others_s)


def test_what_is_in_time_is_not_disturbed_later() -> None:
    answer, took_s = plugins.limited(lambda: 7, 0.02)
    assert (answer, took_s < 0.02) == (7, True)
    time.sleep(0.04)


async def test_the_event_loop_goes_on_after_a_hang(stage: Stage) -> None:
    stage.define("score", "while True: pass")
    with pytest.raises(HookFailed):
        asked(stage.hooks(), "score")
    await asyncio.sleep(0.01)
    assert await asyncio.to_thread(lambda: 1) == 1


def test_in_another_thread_it_is_not_loaded_for_there_it_could_hang_for_ever(stage: Stage) -> None:
    stage.define("score", "return 0.5")
    caught: list[str] = []

    def elsewhere() -> None:
        try:
            plugins.load("mine:Mine", stage.folder)
        except NotLoaded as error:
            caught.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread only" in caught[0]


# --- loading


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Mine:\n    def score(self, node, service)\n", "mine.py, line 2: expected ':'"),
        ("class Mine\n\x00", "null bytes"),
        ("import nowhere_to_be_found\n", "mine.py, line 1: raised ModuleNotFoundError: "),
        ("class Other: ...\n", "mine.py defines no class Mine"),
        ("Mine = 7\n", "mine.py defines no class Mine"),
        ("class Mine: ...\n", "Mine defines none of filter, score, select, allocate"),
        (
            "class Mine:\n    def __init__(self, weight): ...\n",
            "Mine is made without arguments, and it asks for some",
        ),
        (
            "class Mine:\n    def __init__(self):\n        raise OSError('no file')\n",
            "mine.py, line 3: raised OSError: no file",
        ),
        ("class Mine:\n    score = 0.5\n", "score is not a method"),
        (
            "class Mine:\n    async def score(self, node, service): ...\n",
            "score is `async def`, and nobody waits for it: use `def`",
        ),
        (
            "class Mine:\n    def score(self, node): ...\n",
            "score is called with (node, service), and takes others",
        ),
        ("import sys\nsys.exit(1)\n", "mine.py, line 2: raised SystemExit: 1"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_has_to_change(
    text: str, reason: str, stage: Stage
) -> None:
    stage.write(text)
    with pytest.raises(NotLoaded) as refused:
        stage.algorithm.reload()
    assert reason in str(refused.value)
    assert "mine" not in sys.modules
    assert stage.algorithm.hooks() is None
    assert stage.tell() == [
        (
            "algorithm failed",
            "mine:Mine",
            f"cannot be loaded: {refused.value}; the built-in decides instead",
        )
    ]


def test_a_file_that_is_not_read_in_time_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "LOAD_LIMIT_S", 0.1)
    stage.write("while True: pass\n")
    with pytest.raises(NotLoaded, match="not read within"):
        stage.algorithm.reload()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent:Mine", "there is no file"),
        ("json:Mine", "json is a module of Python or of this program: rename the file"),
        ("pytest:Mine", "rename the file"),
        ("mine", "expected module:Class"),
        ("../mine:Mine", "expected module:Class"),
        ("mine:Mine.score", "expected module:Class"),
    ],
)
def test_a_name_that_leads_nowhere_says_so(name: str, reason: str, stage: Stage) -> None:
    with pytest.raises(NotLoaded, match=reason):
        plugins.load(name, stage.folder)


def test_a_module_beside_it_can_be_imported_and_is_read_again_with_it(stage: Stage) -> None:
    stage.write("LOW = 0.25\n", "limits")
    stage.define("score", "return limits.LOW", head="import limits")
    assert asked(stage.hooks(), "score") == 0.25
    stage.write("LOW = 0.75\n", "limits")
    stage.algorithm.reload()
    assert asked(stage.hooks(), "score") == 0.75
    assert str(stage.folder) not in sys.path
    assert {path.suffix for path in stage.folder.iterdir()} == {".py"}


def test_a_module_of_python_is_not_replaced_by_one_beside_it(stage: Stage) -> None:
    stage.write("raise AssertionError\n", "colorsys")
    stage.define("score", "return colorsys.rgb_to_hsv(1, 1, 1)[2]", head="import colorsys")
    assert asked(stage.hooks(), "score") == 1.0


def test_dataclasses_and_enums_work_in_it(stage: Stage) -> None:
    stage.write("""
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Mine:
            weight: float = 0.5
            def score(self, node, service):
                return self.weight
    """)
    stage.algorithm.reload()
    assert asked(stage.hooks(), "score") == 0.5


# --- reloading, and what is told


def test_a_change_is_used_once_it_is_loaded(stage: Stage) -> None:
    loaded: list[str] = []
    stage.algorithm.on_loaded.append(lambda: loaded.append("again"))
    stage.define("score", "return 0.25")
    assert stage.tell() == [("algorithm loaded", "mine:Mine", "score")]
    stage.write("class Mine:\n    def score(self, node, service): return 0.75\n")
    assert asked(stage.hooks(), "score") == 0.25
    assert stage.algorithm.reload() == ("score",)
    assert asked(stage.hooks(), "score") == 0.75
    assert loaded == ["again", "again"]


def test_a_file_that_was_broken_leaves_the_one_before_in_use_and_says_so(stage: Stage) -> None:
    stage.write("LOW = 0.25\n", "limits")
    stage.define("score", "return limits.LOW", head="import limits")
    stage.tell()
    before = sys.modules["limits"]
    stage.write("class Mine\n")
    with pytest.raises(NotLoaded):
        stage.algorithm.reload()
    assert asked(stage.hooks(), "score") == 0.25
    assert sys.modules["limits"] is before
    ((kind, subject, reason),) = stage.tell()
    assert (kind, subject) == ("algorithm failed", "mine:Mine")
    assert reason.endswith("mine.py, line 1: expected ':'; the one loaded before decides instead")
    assert "expected ':'" in stage.soft.notices[NOTICE]
    stage.define("score", "return 0.5")
    assert [kind for kind, *_ in stage.tell()] == ["algorithm loaded"]
    assert stage.soft.notices == {}


def test_the_same_trouble_is_told_once_and_its_end_as_well(stage: Stage) -> None:
    stage.define("score", "if node.labels.get('zone') != 'hall': raise KeyError('zone')\nreturn 1")
    stage.tell()
    hall = idle(a_node("hall", labels={"zone": "hall"}), Condition(), Profile())

    def a_pass(*nodes: FreeNode) -> list[str]:
        ask = stage.hooks().score
        assert ask is not None
        with suppress(HookFailed):
            for node in nodes:
                ask(node, SERVICE)
        return [kind for kind, *_ in stage.tell()]

    assert a_pass(hall, free()) == ["algorithm failed"]
    assert stage.soft.notices[NOTICE].startswith("mine:Mine.score mine.py, line 4: raised KeyError")
    assert a_pass(hall, free()) == []
    assert a_pass(hall) == ["algorithm works again"]
    assert stage.soft.notices == {}
    assert a_pass(free()) == ["algorithm failed"]


# --- in the allocator


def placed(stage: Stage, *nodes: Node, conditions: dict[str, Condition] | None = None) -> str:
    """The node that the allocator takes for one instance of the service."""
    known = {node.name: node for node in nodes}
    found = {name: Condition() for name in known} | (conditions or {})
    snapshot = take(nodes=known, conditions=found, placements=(), profile=Profile())
    allocator = Allocator(Books(snapshot, Profile()), 1, stage.algorithm.hooks())
    (at,) = allocator.fill(SERVICE, ["web.1"], 1)
    return at.node


SMALL, LARGE = a_node("small", cores=1), a_node("large", cores=8)


@pytest.mark.parametrize(
    ("hook", "body"),
    [
        ("filter", "return 'too large' if len(node.cores) > 1 else None"),
        ("score", "return 1.0 if node.name == 'small' else 0.0"),
        ("select", "return min(candidates, key=lambda it: it.score).name"),
        ("allocate", "return next(node.name for node in nodes if node.name == 'small')"),
    ],
)
def test_each_hook_changes_where_an_instance_goes(hook: str, body: str, stage: Stage) -> None:
    assert placed(stage, SMALL, LARGE) == "large"
    stage.define(hook, body)
    conditions = {"large": Condition(images=frozenset({SERVICE.image}))}
    assert placed(stage, SMALL, LARGE, conditions=conditions) == "small"


@pytest.mark.parametrize("hook", ["filter", "score", "select", "allocate"])
@pytest.mark.parametrize("body", ["raise KeyError('zone')", "return object()", "while True: pass"])
def test_where_a_hook_fails_the_instance_goes_where_the_built_in_says(
    hook: str, body: str, stage: Stage
) -> None:
    stage.define(hook, body)
    assert placed(stage, SMALL, LARGE) == "large"
    assert list(stage.algorithm.troubles()) == [f"mine:Mine.{hook}"]


def test_a_node_that_a_filter_of_ours_refuses_is_no_answer(stage: Stage) -> None:
    stage.define("allocate", "return 'small'")
    assert placed(stage, SMALL, LARGE, conditions={"small": Condition(cordoned=True)}) == "large"
    assert 'answered "small"' in stage.algorithm.troubles()["mine:Mine.allocate"]


def test_why_shows_the_refusal_and_the_term_of_the_user(stage: Stage) -> None:
    stage.write("""
        class Mine:
            def filter(self, node, service):
                return "it is large" if node.name == "large" else None
            def score(self, node, service):
                return 0.75
    """)
    stage.algorithm.reload()
    nodes = {"small": SMALL, "large": LARGE}
    snapshot = take(
        nodes=nodes, conditions=dict.fromkeys(nodes, Condition()), placements=(), profile=Profile()
    )
    verdicts = {
        it.node: it for it in explain(snapshot, SERVICE, Profile(), stage.algorithm.hooks())
    }
    assert verdicts["large"].refusals == {"user": "it is large"}
    assert verdicts["small"].terms["user"] == 0.75


# --- in the daemon


async def test_a_daemon_loads_what_its_configuration_names_and_again_on_request(
    stage: Stage, tmp_path: Path
) -> None:
    folder = tmp_path / "userModule"
    folder.mkdir()
    stage.folder = folder
    stage.write("class Mine:\n    def score(self, node, service): return 0.5\n")
    async with parts_of(tmp_path, allocation={"algorithm": "mine:Mine"}) as parts:
        assert parts.soft.notices == {}
        assert parts._basis.algorithm.hooks() is not None
        stage.write("class Mine\n")
        with pytest.raises(Exception, match="cannot be loaded"):
            await parts._operations.reload_algorithm(Nothing(), "1")
        assert "the one loaded before decides instead" in parts.soft.notices[NOTICE]
        stage.write("class Mine:\n    def filter(self, node, service): return None\n")
        changes = await parts._operations.reload_algorithm(Nothing(), "2")
        assert changes.changed == {"mine:Mine": "loaded (filter)"}
        assert parts.soft.notices == {}


async def test_a_daemon_whose_algorithm_cannot_be_loaded_starts_all_the_same(
    tmp_path: Path,
) -> None:
    section = {"algorithm": "mine:Mine", "algorithm_dir": str(tmp_path / "nowhere")}
    async with parts_of(tmp_path, allocation=section) as parts:
        assert parts.soft.notices[NOTICE].startswith("mine:Mine cannot be loaded: there is no file")
        (event,) = parts._basis.events.after(0)
        assert (event.kind, event.subject) == ("algorithm failed", "mine:Mine")


async def test_where_none_is_configured_there_is_nothing_to_reload(tmp_path: Path) -> None:
    async with parts_of(tmp_path) as parts:
        with pytest.raises(Exception, match=r"`allocation.algorithm` names one"):
            await parts._operations.reload_algorithm(Nothing(), "1")


# --- on the command line


def test_the_example_is_tried_without_a_daemon(roheletd: Run) -> None:
    done = roheletd("algorithm", "check", f"{USER_MODULE / 'greenest.py'}:Greenest", "-o", "json")
    assert done.returncode == 0, done.stderr
    found = {it["node"]: it for it in json.loads(done.stdout)["nodes"]}
    assert found["jetson-hot"]["refusal"] == "it is throttled"
    assert found["pi-mains"]["score"] > found["pi-battery"]["score"]


def test_a_check_tells_what_failed_and_ends_with_1(roheletd: Run, stage: Stage) -> None:
    stage.write("""
        class Mine:
            def score(self, node, service):
                return node.celsius / 100
            def select(self, candidates, service):
                return candidates[0].name
    """)
    done = roheletd("algorithm", "check", f"{stage.folder / 'mine.py'}:Mine")
    assert done.returncode == 1
    assert "mine:Mine.score mine.py, line 4: raised TypeError" in done.stdout
    assert "select: jetson-hot" in done.stdout


def test_a_check_of_what_cannot_be_loaded_says_why(roheletd: Run, tmp_path: Path) -> None:
    done = roheletd("algorithm", "check", f"{tmp_path / 'mine.py'}:Mine")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no file" in done.stderr
    done = roheletd("algorithm", "check", "mine")
    assert "expected a .py file and a class" in done.stderr


def test_a_daemon_is_made_to_load_it_again(roheletd: Run, daemon: FakeDaemon) -> None:
    daemon.answers["POST /api/v1/algorithm/reload"] = Changes(changed={"mine:Mine": "loaded"})
    done = roheletd("algorithm", "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["mine:Mine", "loaded"]
