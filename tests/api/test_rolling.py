"""Rollouts and drains as they are shown: what each waits for, also on a node that does not lead."""

import pytest
from msgspec.structs import replace

from roheletd.api import views
from roheletd.cluster.commands import AddNodes, AddServices, AnyCommand, Drain, Proposal
from roheletd.model import Service
from roheletd.upkeep import UpdatePolicy, Volume
from tests.api.conftest import World
from tests.builders import a_node, a_service

LARGE = a_service("large", memory_mib=700, update=UpdatePolicy(order="start-first"))


def apply(world: World, command: AnyCommand) -> None:
    index = world.state.applied_index + 1
    world.state.apply(index, 1, Proposal(id=f"more{index}", command=command))
    world.state.check()


@pytest.fixture
def small(world: World) -> World:
    """One more node, `n1`, that runs containers and has little room."""
    apply(world, AddNodes(nodes=(a_node("n1", memory_mib=1024),)))
    world.membership.heard("n1", world.clock.now_s())
    return world


def placed(world: World, service: Service) -> None:
    apply(world, AddServices(services=(service,)))
    world.settle()
    assert f"{service.name}.1" in world.state.placements_on("n1")


def follows(world: World) -> None:
    world.log.leader, world.log.leads = "old", False


async def draining(world: World, instance: str) -> str:
    apply(world, Drain(name="n1", draining=True))
    found = await world.operations.draining(views.ByName(name="n1"), "")
    return next(it.waiting for it in found.left if it.instance == instance)


async def test_that_there_is_no_room_beside_the_old_one_is_said_on_every_node(small: World) -> None:
    placed(small, LARGE)
    apply(small, AddServices(services=(replace(LARGE, image="web:2"),)))
    follows(small)
    found = await small.operations.rollout(views.ByName(name="large"), "")
    assert found.state == "running"
    assert found.waiting.startswith("no place for a new one beside the old ones: no node of 3 fits")


async def test_what_has_its_data_on_a_drained_node_says_so_on_every_node(small: World) -> None:
    data = (Volume(path="/data", name="data"),)
    placed(small, replace(LARGE, volumes=data, update=UpdatePolicy()))
    follows(small)
    waiting = await draining(small, "large.1")
    assert waiting.startswith("its volume data is on n1: it stays and comes back with it")


async def test_where_nothing_is_in_the_way_its_turn_comes(small: World) -> None:
    placed(small, replace(LARGE, memory_mib=0, replicas=2, update=UpdatePolicy()))
    assert await draining(small, "large.2") == "its turn comes"
