"""What happened on all nodes, through the HTTP door."""

import json
from typing import Any

import aiohttp
import pytest

from roheletd.cluster.events import EventQuery
from tests.api.conftest import World

PATH = "/api/v1/cluster/events"


async def told(remote: aiohttp.ClientSession, query: str = "") -> list[dict[str, Any]]:
    async with remote.get(PATH + query) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await answer.text()).splitlines()]


async def test_each_event_is_an_object_with_its_node_and_what_is_missing_is_noted(
    remote: aiohttp.ClientSession,
) -> None:
    first, *_, note, end = await told(remote)
    assert first == {
        "seq": 1,
        "at_s": 1.0,
        "node": "old",
        "kind": "ended",
        "subject": "web.1",
        "reason": "exit code 3",
    }
    assert note == {"node": "mute", "note": "its events are not all shown: it does not answer"}
    assert end == {"end": ""}


async def test_what_is_asked_is_what_the_nodes_are_asked(
    remote: aiohttp.ClientSession, world: World
) -> None:
    await told(remote, "?node=pi&subject=web&since_s=60&after=7")
    assert world.rumours.asked == [EventQuery(node="pi", subject="web", since_s=60.0, after=7)]


async def test_a_name_that_nothing_has_is_refused_unless_something_happened_to_it(
    remote: aiohttp.ClientSession,
) -> None:
    (end,) = (record for record in await told(remote, "?subject=wbe") if "end" in record)
    assert end["end"] == (
        "no event is kept, and there is no service, instance or node wbe now; did you mean web?"
    )
    gone, *_, end = await told(remote, "?subject=gone")
    assert (gone["subject"], end["end"]) == ("gone.1", "")
    assert (await told(remote, "?subject=web.2"))[-1] == {"end": ""}, "it waits for a place"


async def test_followed_such_a_name_is_only_noted_for_it_may_come(
    remote: aiohttp.ClientSession,
) -> None:
    first = (await told(remote, "?subject=wbe&follow=true"))[0]
    assert first["note"] == "there is no service, instance or node wbe now; did you mean web?"


async def test_a_node_that_was_asked_for_and_does_not_answer_ends_it_with_the_reason(
    remote: aiohttp.ClientSession,
) -> None:
    assert await told(remote, "?node=mute") == [{"end": "mute does not answer within 5 s"}]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("?node=odl", 404, "there is no node odl in the cluster; did you mean old?"),
        ("?after=3", 400, "$.after: expected with `node`: each node has numbers of its own"),
        ("?subject=a%20b", 400, "$.subject: expected a service's name, or an instance's: `web.2`"),
        ("?since_s=-1", 400, "$.since_s: expected `float` >= 0.0"),
        ("?nodes=all", 400, "$.nodes: unknown parameter"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_name(
    remote: aiohttp.ClientSession, query: str, status: int, reason: str
) -> None:
    async with remote.get(PATH + query) as answer:
        problem = await answer.json()
        assert answer.status == status
        field = problem.get("field", "")
        assert reason in f"{field}: {problem['reason']}" if field else problem["reason"]


async def test_a_nodes_own_events_are_where_they_were(remote: aiohttp.ClientSession) -> None:
    async with remote.get("/api/v1/events") as answer:
        found = await answer.json()
    assert [event["node"] for event in found["events"]] == ["pi"]


async def test_a_daemon_without_a_way_to_others_says_so(
    remote: aiohttp.ClientSession, world: World
) -> None:
    world.operations.all_events = None
    async with remote.get(PATH) as answer:
        assert answer.status == 503
