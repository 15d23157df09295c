"""The shape of the tree, enforced: what is pure, who may import whom, and how long things get.

The parts of the package stand in `LAYERS`, lowest first. A part may import itself and the layers
below its own. A part that is not there fails the suite: whoever adds one says where it belongs.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "roheletd"

LAYERS = (
    {"architecture", "decoding", "errors", "fields", "image", "raft", "wording"},
    {"instance_use", "upkeep"},
    {"model"},
    {"documents", "reference", "telemetry"},
    {"messages", "repetition"},
    {"cluster", "config", "observation"},
    {"allocation", "compose", "frames", "kubernetes", "rohe", "token"},
    {"absent", "clock", "durable"},  # the edges that other edges are built on
    {
        "api",
        "broker",
        "collectors",
        "engines",
        "forwarding",
        "keys",
        "plugins",
        "probe",
        "resolver",
        "sample",
        "store",
    }
    | {"systemd", "vault"},
    {"identity"},
    {"loops"},
    {"control", "startup", "testing"},
    {"parts"},
    {"daemon"},
    {"cli"},
    {"__main__"},
)
PURE = set().union(*LAYERS[:7])

# Without clock, global randomness, file, socket or waiting.
PURE_STDLIB = {
    *("__future__", "base64", "bisect", "collections", "dataclasses", "enum", "functools"),
    *(
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "math",
        "operator",
        "re",
        "shlex",
        "struct",
    ),
    *("types", "typing", "random.Random"),
}
# A library that costs something is spoken to in one place, given as a prefix of the path.
OWNERS = {
    "aiodocker": ("engines/",),
    "aiohttp": ("api/", "engines/", "loops/prober"),
    "aiohttp.web": ("api/",),
    "aiosqlite": ("store",),
    "amqtt": ("broker/",),
    "dns": ("resolver/wire",),
    "json": ("documents/", "messages"),
    "msgspec": ("",),
    "nacl": ("vault",),
    "paho": ("broker/", "probe"),
    "prometheus_client": ("api/",),
    "psutil": ("collectors/",),
    "pynvml": ("collectors/",),
    "shtab": ("cli/",),
    "sqlite3": ("store",),
    "uvloop": ("daemon",),
    "yaml": ("cli/", "documents/"),
}
BUILTINS_THAT_DO = {"__import__", "compile", "eval", "exec", "input", "open", "print"}

FUNCTION_LINES_MAX = 70
PURE_FILE_LINES_MAX = 400
LOOP_FILE_LINES_MAX = 180


class Module(NamedTuple):
    """One source file of the package; `path` is within it, without the ending."""

    path: str
    tree: ast.Module
    lines: int

    @property
    def part(self) -> str:
        return self.path.split("/", maxsplit=1)[0]

    @property
    def name(self) -> str:
        return f"{PACKAGE}/{self.path}.py"


def module(path: str, source: str) -> Module:
    return Module(path, ast.parse(source), source.count("\n"))


def modules() -> list[Module]:
    package = ROOT / PACKAGE
    return [
        module(str(file.relative_to(package).with_suffix("")), file.read_text(encoding="utf-8"))
        for file in sorted(package.rglob("*.py"))
        if file != package / "__init__.py"
    ]


def imports(found: Module) -> Iterator[str]:
    """Dotted names: `from a import b` is `a.b`."""
    for statement in ast.walk(found.tree):
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = "." * statement.level + (statement.module or "")
            yield from (f"{above}.{name.name}" for name in statement.names)


def layer(part: str) -> int | None:
    return next((height for height, parts in enumerate(LAYERS) if part in parts), None)


def wrong_directions(found: Module) -> Iterator[str]:
    own = layer(found.part)
    if own is None:
        yield f"{found.name} has no place in the layers"
        return
    for dotted in imports(found):
        _, _, rest = dotted.partition(f"{PACKAGE}.")
        part = rest.split(".", maxsplit=1)[0]
        other = layer(part)
        if dotted.startswith("."):
            yield f"{found.name} imports {dotted}: imports are absolute"
        elif not dotted.startswith(f"{PACKAGE}.") or part in {found.part, "__version__"}:
            continue
        elif other is None or other >= own:
            yield f"{found.name} imports {dotted}, which is not below it"


def impurities(found: Module) -> Iterator[str]:
    for dotted in imports(found):
        root = dotted.split(".", maxsplit=1)[0]
        known = {root, dotted} & (PURE_STDLIB | OWNERS.keys())
        if root != PACKAGE and not known:
            yield f"{found.name} imports {dotted if root == 'random' else root}"
    for node in ast.walk(found.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{found.name} waits in line {node.lineno}"
        elif isinstance(node, ast.Global):
            yield f"{found.name} has a global in line {node.lineno}"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in BUILTINS_THAT_DO
        ):
            yield f"{found.name} calls {node.func.id} in line {node.lineno}"


def trespasses(found: Module) -> Iterator[str]:
    """Libraries imported elsewhere than where they are spoken to."""
    for dotted in imports(found):
        root = dotted.split(".", maxsplit=1)[0]
        two = ".".join(dotted.split(".")[:2])
        pure_json = root == "json" and found.part not in PURE
        if root == PACKAGE or pure_json or not (root in OWNERS or is_foreign(root)):
            continue
        owners = OWNERS.get(two, OWNERS.get(root))
        if owners is None:
            yield f"{found.name} imports {root}, which has no owner"
        elif not found.path.startswith(owners):
            yield f"{found.name} imports {two}, which only {' and '.join(owners)} may"


def is_foreign(root: str) -> bool:
    return root not in sys.stdlib_module_names and not root.startswith(".")


def too_long(found: Module) -> Iterator[str]:
    for node in ast.walk(found.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{found.name}: {node.name} has {lines} lines, more than {FUNCTION_LINES_MAX}"
    most = PURE_FILE_LINES_MAX if found.part in PURE else None
    most = LOOP_FILE_LINES_MAX if found.part == "loops" else most
    if most is not None and found.lines > most:
        yield f"{found.name} has {found.lines} lines, more than {most}"


def sentences(faults: Iterable[str]) -> str:
    return "\n".join(sorted(set(faults)))


def expect_none(faults: Iterable[str]) -> None:
    assert not (found := sentences(faults)), f"\n{found}"


def test_imports_go_downwards_only() -> None:
    expect_none(fault for found in modules() for fault in wrong_directions(found))


def test_pure_modules_neither_wait_nor_touch_the_machine() -> None:
    pure = [found for found in modules() if found.part in PURE]
    expect_none(fault for found in pure for fault in impurities(found))


def test_each_library_is_spoken_to_in_one_place() -> None:
    expect_none(fault for found in modules() for fault in trespasses(found))


def test_functions_and_files_stay_short() -> None:
    expect_none(fault for found in modules() for fault in too_long(found))


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("raft/core", "import asyncio", "roheletd/raft/core.py imports asyncio"),
        ("raft/core", "import random", "roheletd/raft/core.py imports random"),
        ("raft/core", "from random import choice", "imports random.choice"),
        ("model", "def f():\n    import time", "roheletd/model.py imports time"),
        ("model", "async def f(): pass", "roheletd/model.py waits in line 1"),
        ("model", "open('x')", "roheletd/model.py calls open in line 1"),
        ("model", "def f():\n    global x", "roheletd/model.py has a global in line 2"),
        ("config", "import json", "imports json, which only documents/ and messages may"),
        ("errors", "from roheletd import model", "imports roheletd.model, which is not below it"),
        ("raft/core", "from roheletd.errors import Refused", "which is not below it"),
        ("broker/a", "from roheletd.engines import b", "which is not below it"),
        ("loops/a", "import roheletd.daemon", "imports roheletd.daemon, which is not below it"),
        ("loops/a", "from . import b", "imports ..b: imports are absolute"),
        ("novel/a", "", "roheletd/novel/a.py has no place in the layers"),
        ("loops/a", "import sqlite3", "imports sqlite3, which only store may"),
        ("loops/a", "import paho.mqtt.client", "imports paho.mqtt, which only broker/ and probe"),
        ("loops/prober", "from aiohttp import web", "imports aiohttp.web, which only api/ may"),
        ("engines/a", "import numpy", "roheletd/engines/a.py imports numpy, which has no owner"),
        ("cli/a", "def f():\n" + "    x = 1\n" * 70, "a.py: f has 71 lines, more than 70"),
        ("model", "\n" * 401, "roheletd/model.py has 401 lines, more than 400"),
        ("loops/a", "\n" * 181, "roheletd/loops/a.py has 181 lines, more than 180"),
    ],
)
def test_each_rule_fails_with_a_sentence(path: str, source: str, fault: str) -> None:
    planted = module(path, source)
    rules = [wrong_directions, trespasses, too_long]
    rules += [impurities] if planted.part in PURE else []
    assert fault in sentences(found for rule in rules for found in rule(planted))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("raft/core", "from random import Random\nfrom roheletd.raft import log"),
        ("config", "from roheletd import reference\nimport msgspec.json"),
        ("cli/a", "import json\nfrom roheletd import __version__\nfrom roheletd.daemon import run"),
        ("loops/prober", "from aiohttp import ClientSession"),
        ("api/a", "from aiohttp import web\nasync def f(): await g()"),
    ],
)
def test_what_is_right_passes_every_rule(path: str, source: str) -> None:
    planted = module(path, source)
    rules = [wrong_directions, trespasses, too_long]
    rules += [impurities] if planted.part in PURE else []
    expect_none(fault for rule in rules for fault in rule(planted))


# --- the whole tree

NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}
# Written so that this very line is none of them.
PLACES_NO_ONE_ELSE_HAS = re.compile(r"(?<![\w.])/wor[k]/|/tmp/ven[v]\b|\bshare[d]/(?!data/)")


def files() -> Iterator[Path]:
    left = [ROOT]
    while left:
        for path in left.pop().iterdir():
            hidden = path.name.startswith(".") and path.name != ".ci"
            made = path.name in NOT_OURS or path.suffix == ".egg-info"
            if hidden or made or path.is_symlink() or (path / "pyvenv.cfg").exists():
                continue
            if path.is_dir():
                left.append(path)
            else:
                yield path


def test_no_file_is_a_grab_bag() -> None:
    assert [path for path in files() if "utils" in path.stem] == []


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    expect_none(
        f"{path.relative_to(ROOT)} names {match[0]}"
        for path in files()
        if (match := PLACES_NO_ONE_ELSE_HAS.search(path.read_bytes().decode("utf-8", "replace")))
    )


@pytest.mark.parametrize("name", ["/wor" + "k/main", "see /tmp/ven" + "v", "../share" + "d/facts"])
def test_a_place_that_only_one_machine_has_is_found(name: str) -> None:
    assert PLACES_NO_ONE_ELSE_HAS.search(name)


@pytest.mark.parametrize("name", ["/workers", "framework/", "../shared/data/rohe", "/tmp/venvs"])
def test_other_places_may_be_named(name: str) -> None:
    assert not PLACES_NO_ONE_ELSE_HAS.search(name)
