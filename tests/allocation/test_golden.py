"""Golden cases: small clusters and what the allocator decides for them, in a text file each.

A block is YAML, a line `----`, and what came of it: what the block says is added to the cluster,
then the leader makes one pass. `ROHELETD_GOLDEN=write pytest tests/allocation/test_golden.py`
records anew: read the diff, against the first lines of the file, which say what must be seen.

    profile     settings of the allocator
    nodes       name: {cores: 4, or a list of sizes, or {id: size}; memory_mib; gpus; labels; ...}
    conditions  name: what is measured of it (see `Condition`); what is said replaces what was
    lost        name: seconds; all others are back
    services    name: fields of `Service`
    remove      names of services
    why         a service: what every node says to one more instance of it, before the pass
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from roheletd.allocation.allocate import explain
from roheletd.allocation.judge import Verdict
from roheletd.allocation.schedule import Schedule
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.allocation.view import snapshot
from roheletd.cluster.commands import AddNodes, AddServices, RemoveService
from roheletd.model import Node, Placement, Service
from tests.allocation.passes import PROFILE, run_pass, view_of
from tests.builders import Driver

CASES = sorted((Path(__file__).parent / "golden").glob("*.txt"))
RULE = "----"
KEYS = {"profile", "nodes", "conditions", "lost", "services", "remove", "why"}


class Story:
    """One cluster, block after block."""

    def __init__(self) -> None:
        self.cluster = Driver()
        self.profile = PROFILE
        self.conditions: dict[str, Condition] = {}
        self.lost_for_s: dict[str, float] = {}

    def tell(self, block: Mapping[str, Any]) -> list[str]:
        assert block.keys() <= KEYS, block.keys() - KEYS
        settings = {**msgspec.structs.asdict(self.profile), **block.get("profile", {})}
        self.profile = msgspec.convert(settings, Profile)
        for name, said in block.get("nodes", {}).items():
            self.cluster.apply(AddNodes(nodes=(a_node(name, said),)))
        for name, said in block.get("conditions", {}).items():
            self.conditions[name] = msgspec.convert(said, Condition)
        self.lost_for_s = block.get("lost", {})
        for name in block.get("remove", []):
            self.cluster.apply(RemoveService(name=name))
        if services := block.get("services"):
            self.cluster.apply(
                AddServices(services=tuple(a_service(*each) for each in services.items()))
            )
        why = [*self._why(block["why"])] if "why" in block else []
        found = run_pass(
            self.cluster,
            conditions=self.conditions,
            lost_for_s=self.lost_for_s,
            profile=self.profile,
        )
        return [*why, *(_found(found) or ["nothing to do"])]

    def _why(self, name: str) -> Iterator[str]:
        state = self.cluster.state
        view = view_of(self.cluster, conditions=self.conditions, lost_for_s=self.lost_for_s)
        free = snapshot(state, view, self.profile)
        yield f"to {name}:"
        for verdict in explain(free, state.services[name].service, self.profile):
            yield from _verdict(verdict)


def a_node(name: str, said: Mapping[str, Any]) -> Node:
    fields = dict(said)
    capacity = {"cores": _cores(fields.pop("cores", 4)), "memory_mib": 4096}
    for key in ("memory_mib", "vms_mib", "gpus"):
        if key in fields:
            capacity[key] = fields.pop(key)
    return msgspec.convert({"name": name, "engine": "docker", "capacity": capacity, **fields}, Node)


def _cores(said: object) -> object:
    if isinstance(said, int):
        return dict.fromkeys(range(said), 1000)
    return dict(enumerate(said)) if isinstance(said, list) else said


def a_service(name: str, said: Mapping[str, Any] | None) -> Service:
    return msgspec.convert({"name": name, "image": "web:1", **(said or {})}, Service)


def _found(found: Schedule) -> list[str]:
    lines = [f"{name} is released" for name in found.place.released]
    for at in found.place.placements:
        lines.append(f"{at.instance} on {at.node}{_given(at)}")
        lines.append(f"    {at.score:.4f}: {_terms(at.terms)}")
    for name, why in found.unplaceable.items():
        lines.append(f"{name} waits: {why.reason}")
        lines += [line for verdict in why.verdicts for line in _verdict(verdict)]
    return lines


def _given(at: Placement) -> str:
    ports = {binding.container_port: binding.host_port for binding in at.ports}
    given = {"cores": dict(sorted(at.cores.items())), "gpus": at.gpus, "ports": ports}
    return "".join(f", {what} {shares}" for what, shares in given.items() if shares)


def _verdict(verdict: Verdict) -> Iterator[str]:
    for name, reason in verdict.refusals.items():
        yield f"    {verdict.node} refuses, {name}: {reason}"
    if not verdict.refusals:
        yield f"    {verdict.node} {verdict.score:.4f}: {_terms(verdict.terms)}"


def _terms(terms: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in terms.items())


def blocks(text: str) -> Iterator[str]:
    """The parts between blank lines, each without what was recorded."""
    for block in text.strip().split("\n\n"):
        given, *_ = f"{block}\n".split(f"\n{RULE}\n")
        yield given.rstrip("\n")


def played(text: str) -> str:
    """The same case with what comes of it now."""
    story = Story()
    parts = []
    for given in blocks(text):
        said = yaml.safe_load(given)
        parts.append("\n".join([given, RULE, *story.tell(said)] if said else [given]))
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_decision_is_the_one_recorded(path: Path) -> None:
    recorded = path.read_text(encoding="utf-8")
    now = played(recorded)
    if os.environ.get("ROHELETD_GOLDEN") == "write":
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")


def test_every_case_begins_with_what_must_be_seen() -> None:
    assert len(CASES) >= 12
    for path in CASES:
        said, *_ = path.read_text(encoding="utf-8").split("\n\n")
        assert all(line.startswith("# ") for line in said.splitlines()), path.stem
