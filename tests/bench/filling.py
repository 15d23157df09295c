"""The leader's own pass over a cluster that lives in memory, with nothing around it."""

import time
from random import Random

from msgspec import Struct

from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.allocation.view import View
from roheletd.cluster.commands import AddNodes, AddServices, AnyCommand, Proposal
from roheletd.cluster.state import ClusterState
from roheletd.model import Node, Placement, Service


class Filled(Struct, frozen=True, kw_only=True):
    """What was placed, and the time that deciding took; `waiting` are services without a place."""

    elapsed_s: float
    placements: tuple[Placement, ...]
    waiting: tuple[str, ...]


def cluster(nodes: tuple[Node, ...], services: tuple[Service, ...]) -> ClusterState:
    """A state in which the services came with one command."""
    state = ClusterState()
    agree(state, AddNodes(nodes=nodes))
    agree(state, AddServices(services=services))
    return state


def agree(state: ClusterState, command: AnyCommand) -> None:
    """Commit and apply at once."""
    index = state.applied_index + 1
    state.apply(index, 1, Proposal(id=f"id-{index}", command=command))


def all_alive(state: ClusterState) -> View:
    return View(conditions={name: Condition(liveness="alive") for name in state.registrations})


def fill(state: ClusterState, profile: Profile, *, seed: int = 1) -> Filled:
    """Pass after pass until nothing more is placed, as the leader does; only passes are timed."""
    view = all_alive(state)
    placed: list[Placement] = []
    elapsed_s = 0.0
    wanted = sum(known.service.replicas for known in state.services.values())
    while True:
        begun_s = time.process_time()
        found = schedule(state, view, profile, Random(seed))
        elapsed_s += time.process_time() - begun_s
        placed += found.place.placements
        if not found.place.placements or len(placed) >= wanted:
            return Filled(
                elapsed_s=elapsed_s, placements=tuple(placed), waiting=tuple(found.unplaceable)
            )
        agree(state, found.place)
