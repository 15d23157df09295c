"""`roheletd algorithm`: a user's own, tried without a daemon, and loaded again into one."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from roheletd.allocation.algorithm import Algorithm, HookFailed, Hooks
from roheletd.allocation.snapshot import Condition, FreeNode, Profile, idle
from roheletd.cli import DONE, REFUSED, pages
from roheletd.cli.options import Command
from roheletd.cli.tables import Cell, Column, Style, table, wrapped
from roheletd.cli.terminal import Progress, client_of, show, style_of, write_lines, write_yaml
from roheletd.errors import InvalidInput
from roheletd.model import Capacity, Gpu, Node, Service
from roheletd.plugins import load

T = TypeVar("T")

SERVICE = Service(
    name="sample", image="sample", replicas=2, cores=(500, 250), memory_mib=256, sensitivity=1
)
_COOL = Condition(celsius=48.0, power="mains", busy={0: 0.1, 1: 0.0, 2: 0.0, 3: 0.0})
NODES: Mapping[str, tuple[Node, Condition]] = {
    "jetson-hot": (
        Node(
            name="jetson-hot",
            capacity=Capacity(
                cores=dict.fromkeys(range(6), 1000),
                memory_mib=7620,
                gpus=(Gpu(id="gpu0", model="Orin", memory_mib=7620, shares_memory=True),),
            ),
            arch="aarch64",
            engine="docker",
        ),
        Condition(celsius=84.0, throttled=True, power="mains"),
    ),
    "pi-battery": (
        Node(
            name="pi-battery",
            capacity=Capacity(cores=dict.fromkeys(range(4), 1000), memory_mib=1845),
            arch="aarch64",
            engine="docker",
            labels={"zone": "field"},
        ),
        Condition(celsius=61.5, power="battery", charge=0.4),
    ),
    "pi-mains": (
        Node(
            name="pi-mains",
            capacity=Capacity(cores=dict.fromkeys(range(4), 1000), memory_mib=3792),
            arch="aarch64",
            engine="docker",
            labels={"zone": "hall", "energy": "solar"},
        ),
        _COOL,
    ),
    "unknown": (
        Node(name="unknown", capacity=Capacity(cores={0: 1000, 1: 1000}, memory_mib=2048)),
        Condition(),
    ),
}
"""Different in what an algorithm may go by; the last one has reported nothing of itself."""


def _check(args: argparse.Namespace) -> int:
    file, _, class_name = args.algorithm.rpartition(":")
    path = Path(file)
    if path.suffix != ".py":
        raise InvalidInput("FILE:CLASS", f"expected a .py file and a class, got {args.algorithm}")
    name = f"{path.stem}:{class_name}"
    algorithm = Algorithm(name, partial(load, name, path.parent))
    algorithm.reload()
    found = tried(algorithm)
    if args.output == "json":
        write_lines([json.dumps(found)])
    elif args.output == "yaml":
        write_yaml(found)
    else:
        write_lines(page(found, style_of(sys.stdout)))
    return REFUSED if found["failures"] else DONE


def tried(algorithm: Algorithm) -> dict[str, Any]:
    """What each hook says of the sample; `failures` by hook."""
    hooks = algorithm.hooks()
    assert hooks is not None, "a class without hooks is not loaded"
    nodes = [idle(node, condition, Profile()) for node, condition in NODES.values()]
    verdicts = [_verdict(hooks, free) for free in nodes]
    taking = [
        (free, verdict)
        for free, verdict in zip(nodes, verdicts, strict=True)
        if "refusal" not in verdict
    ]
    candidates = [
        (free, verdict.get("score", 0.5), {"user": verdict.get("score", 0.5)})
        for free, verdict in taking
    ]
    found: dict[str, Any] = {"algorithm": algorithm.name, "nodes": verdicts}
    if hooks.select is not None and candidates:
        found["selected"] = _unless_failed(partial(hooks.select, candidates, SERVICE))
    if hooks.allocate is not None and taking:
        found["allocated"] = _unless_failed(
            partial(hooks.allocate, [free for free, _ in taking], SERVICE)
        )
    return {**found, "failures": algorithm.troubles()}


def _verdict(hooks: Hooks, free: FreeNode) -> dict[str, Any]:
    found: dict[str, Any] = {"node": free.name}
    if hooks.filter is not None:
        refusal = _unless_failed(partial(hooks.filter, free, SERVICE))
        if refusal is not None:
            return {**found, "refusal": refusal}
    if hooks.score is not None:
        score = _unless_failed(partial(hooks.score, free, SERVICE))
        if score is not None:
            found["score"] = score
    return found


def _unless_failed(ask: Callable[[], T]) -> T | None:
    """What failed is told of at the end, once."""
    try:
        return ask()
    except HookFailed:
        return None


def page(found: Mapping[str, Any], style: Style) -> list[str]:
    """What the hooks said, and what became of those that failed."""
    columns = (Column("NODE"), Column("SCORE", right=True), Column("REFUSED", wraps=True))
    rows = [
        (
            verdict["node"],
            f"{verdict['score']:.2f}" if "score" in verdict else "-",
            Cell(verdict.get("refusal", ""), "yellow"),
        )
        for verdict in found["nodes"]
    ]
    lines = [style.paint(f"{found['algorithm']}, asked about a sample", "bold"), ""]
    lines += table(columns, rows, style)
    for key, hook in (("selected", "select"), ("allocated", "allocate")):
        if key in found and not any(name.endswith(f".{hook}") for name in found["failures"]):
            lines.append(f"{hook}: {found[key] or 'no node'}")
    for name, reason in found["failures"].items():
        lines += wrapped(f"{name} {reason}", style.width)
    return lines


def _reload(args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).post("/api/v1/algorithm/reload", {})
    show(args, answer, pages.changes)
    return DONE


COMMANDS: dict[str, Command] = {"algorithm check": _check, "algorithm reload": _reload}
