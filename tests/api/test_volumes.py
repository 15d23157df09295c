"""`volumes` and `remove-volume` through the HTTP door, with nodes whose engines are in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from roheletd.api import storing
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Place,
    Proposal,
    RemoveService,
    Scale,
)
from roheletd.engines.process import ProcessEngine
from roheletd.model import Placement
from roheletd.upkeep import Volume
from tests.api.conftest import World
from tests.builders import a_node, a_service

DATA, LOGS = "edge.db.1.data", "edge.db.1.logs"


def agree(world: World, *commands: AnyCommand) -> None:
    for command in commands:
        index = world.state.applied_index + 1
        world.state.apply(index, 1, Proposal(id=f"test{index}", command=command))


def release(world: World) -> None:
    agree(world, Scale(name="db", replicas=0), Place(released=("db.1",)))


@pytest.fixture
def db(world: World) -> World:
    """`db.1` is placed on `nano`, with two volumes; `old` does not answer."""
    volumes = tuple(Volume(path=f"/{name}", name=name) for name in ("data", "logs"))
    agree(
        world,
        AddNodes(nodes=(a_node("nano"),)),
        AddServices(services=(a_service("db", volumes=volumes),)),
    )
    revision = world.state.services["db"].revision
    at = Placement(instance="db.1", service="db", node="nano", revision=revision)
    agree(world, Place(placements=(at,)))
    world.engines.memory("nano", DATA, LOGS)
    world.engines.silent["old"] = "node old is lost"
    return world


@pytest.fixture
async def ask(db: World, local: aiohttp.ClientSession) -> AsyncIterator[Any]:
    """Method and path to status and JSON."""

    async def asked(method: str, path: str) -> tuple[int, Any]:
        async with local.request(method, f"/api/v1/volumes{path}") as answer:
            return answer.status, await answer.json()

    yield asked
    db.state.check()


async def test_all_nodes_are_asked_and_one_that_does_not_answer_hides_nothing(ask: Any) -> None:
    status, found = await ask("GET", "")
    assert status == 200
    claims = [(it["volume"], it["node"], it["instance"], it["claim"]) for it in found["volumes"]]
    assert claims == [
        (DATA, "nano", "db.1", "in use"),
        (LOGS, "nano", "db.1", "in use"),
        ("edge.gone.1.data", "pi", "gone.1", "orphaned"),
    ]
    assert found["volumes"][2]["reason"] == "there is no service gone any more"
    assert found["unanswered"] == {"old": "node old is lost"}
    assert found["without"] == {}


async def test_asked_for_one_node_its_silence_is_the_answer(ask: Any) -> None:
    status, found = await ask("GET", "?node=pi")
    assert (status, [it["node"] for it in found["volumes"]]) == (200, ["pi"])
    status, problem = await ask("GET", "?node=old")
    assert (status, problem["reason"]) == (503, "node old is lost")
    status, problem = await ask("GET", "?node=nanoo")
    assert (status, problem["reason"]) == (404, "there is no node nanoo; did you mean nano?")


async def test_a_node_that_does_not_come_to_an_end_is_not_waited_for(
    ask: Any, db: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "ANSWER_S", 0.05)
    engine = db.engines.memory("nano")

    monkeypatch.setattr(engine, "volumes", asyncio.Event().wait)
    _, found = await ask("GET", "")
    reason = "nano has not said which volumes it has within 0.05 s"
    assert found["unanswered"] == {"nano": reason, "old": "node old is lost"}
    assert [it["node"] for it in found["volumes"]] == ["pi"]


async def test_more_than_one_piece_holds_come_whole(ask: Any, db: World) -> None:
    names = [f"edge.many.{slot:03}.data" for slot in range(300)]
    db.engines.memory("nano", *names)
    _, found = await ask("GET", "?node=nano")
    assert [it["volume"] for it in found["volumes"]] == names


async def test_nodes_that_can_have_none_say_why(ask: Any, db: World, tmp_path: Any) -> None:
    db.engines.by_node |= {"nano": ProcessEngine(tmp_path, cluster="edge", node="nano"), "pi": None}
    _, found = await ask("GET", "")
    assert found["volumes"] == []
    assert found["without"] == {
        "nano": "nano runs local processes, which have no volumes",
        "pi": "pi runs no instances",
    }
    status, problem = await ask("DELETE", f"/{DATA}?node=nano")
    assert status == 409
    assert problem["reason"] == (
        f"there is no {DATA}: nano runs local processes, which have no volumes"
    )


async def test_one_that_is_in_use_is_refused_with_what_to_do(ask: Any, db: World) -> None:
    status, problem = await ask("DELETE", f"/{DATA}?node=nano")
    assert status == 409
    assert problem["reason"] == (
        f"{DATA} is in use on nano: db.1 is placed there; scale db down, or remove it, before its "
        "data"
    )
    assert set(db.engines.by_node["nano"].stored) == {DATA, LOGS}


async def test_an_orphan_is_removed_and_told_of_on_its_node(ask: Any, db: World) -> None:
    agree(db, RemoveService(name="db"))
    before = db.picture()
    assert await ask("DELETE", f"/{DATA}?node=nano") == (
        200,
        {"changed": {DATA: "removed"}, "notes": []},
    )
    assert set(db.engines.by_node["nano"].stored) == {LOGS}
    assert db.picture() == before, "nobody had to agree to that"
    (event,) = db.engines.events["nano"].after(0)
    assert (event.kind, event.subject) == ("volume removed", DATA)
    assert event.reason == "there is no service db any more"


async def test_with_the_last_of_its_volumes_an_instance_may_go_elsewhere(
    ask: Any, db: World
) -> None:
    release(db)
    _, first = await ask("DELETE", f"/{DATA}?node=nano")
    assert first["changed"] == {DATA: "removed"}
    assert first["notes"] == [f"db.1 stays bound to nano, for {LOGS}"]
    assert db.state.homes() == {"db.1": "nano"}
    _, last = await ask("DELETE", f"/{LOGS}?node=nano")
    assert last["changed"] == {LOGS: "removed", "db.1": "may go elsewhere"}
    assert db.state.homes() == {}


async def test_what_was_left_unfinished_is_finished_by_asking_again(ask: Any, db: World) -> None:
    release(db)
    await ask("DELETE", f"/{DATA}?node=nano")
    db.log.failure = "there is no leader"
    status, problem = await ask("DELETE", f"/{LOGS}?node=nano")
    assert status == 503
    assert problem["reason"] == (
        f"{LOGS} is removed, but db.1 is still bound to nano: there is no leader; remove it again "
        "to let it go elsewhere"
    )
    db.log.failure = ""
    status, found = await ask("DELETE", f"/{LOGS}?node=nano")
    assert (status, found["changed"]) == (200, {"db.1": "may go elsewhere"})
    status, problem = await ask("DELETE", f"/{LOGS}?node=nano")
    assert (status, problem["reason"]) == (404, f"there is no volume {LOGS} on nano")


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/edge.no.1.data?node=nano", 404, "there is no volume edge.no.1.data on nano"),
        ("/web?node=pi", 404, "there is no volume web on pi"),
        (f"/{DATA}?node=nan", 404, "there is no node nan; did you mean nano?"),
        (f"/{DATA}", 400, "this field is required"),
        (
            "/a%20b?node=pi",
            400,
            "expected a volume's name as its engine has it, such as edge.web.1.data",
        ),
    ],
)
async def test_what_is_not_there_is_refused(ask: Any, path: str, status: int, reason: str) -> None:
    found, problem = await ask("DELETE", path)
    assert (found, problem["reason"]) == (status, reason)


async def test_a_misspelt_one_frees_nobody(ask: Any, db: World) -> None:
    release(db)
    status, problem = await ask("DELETE", "/edge.db.1.dat?node=nano")
    assert (status, problem["reason"]) == (404, "there is no volume edge.db.1.dat on nano")
    assert db.state.homes() == {"db.1": "nano"}


async def test_what_the_engine_says_against_it_is_the_reason(ask: Any, db: World) -> None:
    release(db)
    db.engines.by_node["nano"].refuse(DATA, "a container has it (backup)")
    status, problem = await ask("DELETE", f"/{DATA}?node=nano")
    assert (status, problem["reason"]) == (409, "a container has it (backup)")
    assert db.state.homes() == {"db.1": "nano"}
    assert db.engines.events["nano"].after(0) == ()


async def test_over_tcp_a_removal_needs_the_token(db: World, remote: aiohttp.ClientSession) -> None:
    async with remote.delete("/api/v1/volumes/edge.gone.1.data?node=pi") as answer:
        assert answer.status == 401
    assert set(db.engines.by_node["pi"].stored) == {"edge.gone.1.data"}
