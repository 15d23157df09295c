"""The verbs about the cluster: who is in it, who may come in, and what must not be asked aloud."""

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace

from roheletd.api import views
from roheletd.api.problems import NotFound
from roheletd.api.table import MQTT_OPERATIONS, OPERATIONS
from roheletd.errors import InvalidInput, Refused
from roheletd.token import Token, decode, encode
from tests.api.conftest import World

TOKEN = Token(cluster="garage", cluster_id="fedcba9876543210", epoch=1, key=bytes(32))
NOTHING = views.Nothing()


async def join(world: World, token: Token = TOKEN, *, force: bool = False) -> views.Changes:
    request = views.ClusterToJoin(token=encode(token), force=force)
    return await world.operations.cluster_join(request, "id")


async def test_the_status_names_every_member(world: World) -> None:
    view = await world.operations.cluster_status(NOTHING, "id")
    assert [(member.name, member.role) for member in view.members] == [
        ("pi", "voter"),
        ("old", "learner"),
    ]


async def test_a_token_is_made_for_as_long_as_was_asked(world: World) -> None:
    day = await world.operations.cluster_token(views.TokenWanted(), "id")
    assert day.expires_at_s == int(world.clock.wall_s()) + 86_400
    for_ever = await world.operations.cluster_token(views.TokenWanted(valid_for_s=0), "id")
    assert (for_ever.expires_at_s, decode(for_ever.token).cluster) == (0, "edge")


async def test_making_a_token_or_initialising_lets_others_in(world: World) -> None:
    changes = await world.operations.cluster_init(views.ClusterToShare(name="edge"), "id")
    assert changes.changed == {"edge": "shared"}
    again = await world.operations.cluster_init(views.ClusterToShare(), "id")
    assert again.changed == {"edge": "unchanged"}
    with pytest.raises(Refused, match="belongs to cluster edge already"):
        await world.operations.cluster_init(views.ClusterToShare(name="barn"), "id")


async def test_joining_is_begun_and_its_end_is_in_the_status(world: World) -> None:
    world.cluster.members.clear()
    assert (await join(world)).changed == {"garage": "joining"}
    assert world.cluster.view().membership == "joined"
    late = replace(TOKEN, expires_at_s=1)
    await join(world, late)
    view = world.cluster.view()
    assert (view.membership, view.reason) == ("refused", "the token has expired")


async def test_a_member_of_another_cluster_joins_by_force_only(world: World) -> None:
    with pytest.raises(Refused, match="another cluster, edge"):
        await join(world)
    await join(world, force=True)
    assert world.cluster.view().cluster == "garage"


async def test_a_token_that_is_none_never_reaches_the_cluster(world: World) -> None:
    before = world.cluster.view()
    request = views.ClusterToJoin(token=encode(TOKEN)[:-3])
    with pytest.raises(InvalidInput, match="cut short"):
        await world.operations.cluster_join(request, "id")
    assert world.cluster.view() == before


async def test_a_member_that_is_alive_is_not_removed(world: World) -> None:
    world.membership.heard("old", world.clock.now_s())
    with pytest.raises(Refused, match="node old is alive: `roheletd cluster leave` on it"):
        await world.operations.cluster_remove(views.ByName(name="old"), "id")
    world.clock.advance(10)
    changes = await world.operations.cluster_remove(views.ByName(name="old"), "id")
    assert changes.changed == {"old": "removed"}
    assert await world.operations.cluster_remove(views.ByName(name="old"), "id") == changes
    with pytest.raises(NotFound, match="no member of cluster edge is called old"):
        await world.operations.cluster_remove(views.ByName(name="old"), "other")


async def test_recovering_wants_to_be_meant(world: World) -> None:
    with pytest.raises(Refused, match="would be lost"):
        await world.operations.cluster_recover(views.Recovery(), "id")
    changes = await world.operations.cluster_recover(views.Recovery(force=True), "id")
    assert changes.changed == {"edge": "recovered in epoch 2"}


async def test_who_leaves_is_a_member_no_more(world: World) -> None:
    assert (await world.operations.cluster_leave(NOTHING, "id")).changed == {"edge": "left"}
    assert world.cluster.view().role == "not a member"


def test_what_is_secret_or_about_one_node_cannot_be_asked_over_mqtt() -> None:
    aloud = {operation.name for operation in MQTT_OPERATIONS}
    silent = {operation.name for operation in OPERATIONS} - aloud
    assert silent == {
        *("cluster-init", "cluster-token", "cluster-join", "cluster-leave", "cluster-recover"),
        *("reload-algorithm", "secret", "set-secret", "exec"),
    }


async def test_over_tcp_nobody_gets_a_token_without_one(remote: aiohttp.ClientSession) -> None:
    async with remote.post("/api/v1/cluster/token", json={}) as answer:
        assert answer.status == 401
        assert b"rohe1." not in await answer.read()


async def test_a_refusal_over_http_does_not_repeat_the_token(
    local: aiohttp.ClientSession,
) -> None:
    text = encode(TOKEN)[:-1]
    async with local.post("/api/v1/cluster/join", json={"token": text}) as answer:
        said = msgspec.json.decode(await answer.read(), type=views.Problem)
    assert answer.status == 400
    assert (said.error, said.field) == ("invalid", "token")
    assert text[10:30] not in said.reason
