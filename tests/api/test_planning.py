"""The verbs that look ahead, move and explain: what they answer, and what they leave alone."""

from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from roheletd.api import views
from roheletd.api.problems import NotFound
from roheletd.cluster.difference import FieldChange
from roheletd.errors import InvalidInput, Refused
from roheletd.model import Capacity, Node, Service
from tests.api.conftest import TOKEN, World
from tests.builders import a_node, a_service

ROHE = {
    "data": {
        "shop": {
            "front": {
                "service_name": "front",
                "image": "nginx:alpine",
                "cpu": 500,
                "processor": [50],
                "memory": {"rss": 64, "vms": 128},
                "replicas": 2,
            }
        }
    }
}
CAM = a_service("cam", cores=(500, 50), memory_mib=64)


@pytest.fixture
async def roomy(world: World) -> World:
    """Two more nodes, `n1` and `n2`, that are alive and run containers."""
    nodes = tuple(a_node(name, memory_mib=1024) for name in ("n1", "n2"))
    await world.operations.add_nodes(views.NodesToAdd(nodes=nodes), "nodes")
    for name in ("n1", "n2"):
        world.membership.heard(name, world.clock.now_s())
    return world


async def what_if(world: World, *services: Service, **more: Any) -> views.WhatIf:
    before = world.picture()
    request = views.WhatIfAsked(services=services, **more)
    found = await world.operations.what_if(request, "id")
    assert world.picture() == before
    return found


async def plan(world: World, *services: Service, **more: Any) -> views.Plan:
    before = world.picture()
    found = await world.operations.plan(views.PlanAsked(services=services, **more), "id")
    assert world.picture() == before
    return found


async def apply(
    world: World, *services: Service, command_id: str = "id", **more: Any
) -> views.AppliedPlan:
    request = views.PlanToApply(services=services, **more)
    return await world.operations.apply(request, command_id)


class TestWhatIf:
    async def test_it_names_node_cores_and_terms_and_changes_nothing(self, roomy: World) -> None:
        (arrival,) = (await what_if(roomy, CAM)).forecast.placed
        assert arrival.node in ("n1", "n2")
        assert sorted(arrival.cores.values()) == [50, 500]
        assert arrival.terms["cpu"] > 0

    async def test_a_rohe_file_is_read_and_says_how(self, roomy: World) -> None:
        found = await what_if(roomy, document=ROHE)
        assert [it.instance for it in found.forecast.placed] == ["front.1", "front.2"]
        assert any("cores read as 100 per core" in note for note in found.notes)

    async def test_what_does_not_fit_is_told_node_by_node(self, roomy: World) -> None:
        (refused,) = (await what_if(roomy, replace(CAM, memory_mib=2000))).forecast.refused
        said = {verdict.node: verdict.refusals for verdict in refused.verdicts}
        assert said["n1"] == {"memory": "needs 2000 MiB of memory, 1024 are free"}
        assert "engine" in said["pi"] or "alive" in said["pi"]

    async def test_a_voter_that_does_not_lead_answers_as_well(self, roomy: World) -> None:
        leading = await what_if(roomy, CAM)
        roomy.log.leader, roomy.log.leads = "old", False
        assert await what_if(roomy, CAM) == leading

    async def test_what_would_be_refused_as_a_change_is_refused_as_a_question(
        self, roomy: World
    ) -> None:
        with pytest.raises(Refused, match="belongs to application default"):
            await what_if(roomy, a_service("web", application="other"))
        with pytest.raises(InvalidInput, match=r"\$\.services"):
            await what_if(roomy)
        with pytest.raises(InvalidInput, match="expected each name once, got cam"):
            await what_if(roomy, CAM, CAM)
        twice = {**ROHE, "command": "REMOVE"}
        with pytest.raises(InvalidInput, match=r"\$\.command"):
            await what_if(roomy, document=twice)


class TestPlan:
    async def test_it_shows_what_is_new_changed_and_left_alone(self, roomy: World) -> None:
        await apply(roomy, CAM)
        changed = replace(roomy.state.services["web"].service, replicas=5)
        found = await plan(roomy, changed, a_service("new"))
        assert found.services.added == ("new",)
        assert [it.name for it in found.services.changed] == ["web"]
        assert found.services.changed[0].fields == (FieldChange(field="replicas", old=2, new=5),)
        assert (found.services.left, found.services.removed) == (("cam",), ())
        assert found.changes == 2
        assert {it.service for it in found.forecast.placed} == {"web", "new"}

    async def test_with_prune_what_the_file_lacks_is_removed(self, roomy: World) -> None:
        found = await plan(roomy, CAM, prune=True)
        assert found.services.removed == ("web",)
        assert found.forecast.stopped == {"web.0": "pi"}
        assert found.services.left == ()

    async def test_nothing_to_do_is_said(self, roomy: World) -> None:
        await apply(roomy, CAM)
        found = await plan(roomy, CAM)
        assert (found.changes, found.services.unchanged) == (0, ("cam",))

    async def test_a_file_without_anything_is_refused(self, roomy: World) -> None:
        with pytest.raises(InvalidInput, match="at least one service or node"):
            await plan(roomy)

    async def test_nodes_are_part_of_it(self, roomy: World) -> None:
        nano = Node(name="nano", capacity=Capacity(cores={0: 1000}, memory_mib=512))
        found = await plan(roomy, CAM, nodes=(nano,))
        assert (found.nodes.added, found.services.added) == (("nano",), ("cam",))
        done = await apply(roomy, CAM, nodes=(nano,))
        assert done.changed == {"node nano": "added", "cam": "added"}
        assert roomy.state.registrations["nano"].node.source == "declared"


class TestApply:
    async def test_it_does_what_the_plan_said_in_one_entry(self, roomy: World) -> None:
        shown = await plan(roomy, CAM, prune=True)
        before = roomy.state.applied_index
        done = await apply(roomy, CAM, prune=True, fingerprint=shown.fingerprint)
        assert done.changed == {"cam": "added", "web": "removed"}
        assert done.services == shown.services
        assert roomy.state.applied_index == before + 1
        assert set(roomy.state.services) == {"cam"}

    async def test_a_plan_that_is_overtaken_is_not_carried_out(self, roomy: World) -> None:
        shown = await plan(roomy, CAM)
        await apply(roomy, replace(CAM, replicas=3), command_id="somebody else")
        before = roomy.picture()
        with pytest.raises(Refused, match="no longer what was shown: plan it again"):
            await apply(roomy, CAM, fingerprint=shown.fingerprint)
        assert roomy.picture() == before

    async def test_what_is_placed_meanwhile_does_not_overtake_a_plan(self, roomy: World) -> None:
        shown = await plan(roomy, CAM)
        await apply(roomy, a_service("other", application="far"), command_id="somebody else")
        assert (await apply(roomy, CAM, fingerprint=shown.fingerprint)).changed == {"cam": "added"}

    async def test_sent_twice_it_is_done_once_and_answered_twice(self, roomy: World) -> None:
        shown = await plan(roomy, CAM, prune=True)
        for _ in range(2):
            await apply(roomy, CAM, prune=True, fingerprint=shown.fingerprint)
        assert set(roomy.state.services) == {"cam"}

    async def test_one_wrong_service_keeps_all_of_them_out(self, roomy: World) -> None:
        before = roomy.picture()
        with pytest.raises(Refused):
            await apply(roomy, CAM, a_service("web", application="other"))
        assert roomy.picture() == before


class TestCordon:
    async def test_a_cordoned_node_is_shown_and_takes_nothing_new(self, roomy: World) -> None:
        by_name = views.ByName(name="n1")
        assert (await roomy.operations.cordon(by_name, "1")).changed == {"n1": "cordoned"}
        shown = {it.node.name: it for it in (await roomy.operations.nodes(NOTHING, "")).nodes}
        assert (shown["n1"].cordoned, shown["n2"].cordoned) == (True, False)
        assert {it.node for it in (await what_if(roomy, CAM)).forecast.placed} == {"n2"}
        assert (await roomy.operations.uncordon(by_name, "2")).changed == {"n1": "uncordoned"}
        again = await roomy.operations.uncordon(by_name, "3")
        assert again.changed == {"n1": "unchanged"}

    async def test_a_node_that_is_not_there_is_not_found(self, roomy: World) -> None:
        with pytest.raises(NotFound, match="there is no node n9"):
            await roomy.operations.cordon(views.ByName(name="n9"), "1")

    async def test_over_http_it_needs_no_body_and_takes_none(
        self, remote: aiohttp.ClientSession, world: World
    ) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with remote.post("/api/v1/nodes/pi/cordon", headers=headers) as answer:
            assert (answer.status, (await answer.json())["changed"]) == (200, {"pi": "cordoned"})
        async with remote.post("/api/v1/nodes/pi/uncordon", headers=headers, json={}) as answer:
            assert answer.status == 400
        async with remote.post("/api/v1/nodes/pi/uncordon") as answer:
            assert answer.status == 401
        assert world.state.cordoned == {"pi"}


class TestRebalance:
    @pytest.fixture
    async def lopsided(self, roomy: World) -> World:
        """All on `n1`."""
        services = tuple(
            a_service(f"s{number}", cores=(1000,), memory_mib=250) for number in range(4)
        )
        await roomy.operations.cordon(views.ByName(name="n2"), "c")
        await apply(roomy, *services, prune=True, command_id="a")
        roomy.settle()
        await roomy.operations.uncordon(views.ByName(name="n2"), "u")
        return roomy

    async def test_a_dry_run_shows_what_is_then_done(self, lopsided: World) -> None:
        before = lopsided.picture()
        ask = views.Rebalancing(moves=2, dry_run=True)
        shown = await lopsided.operations.rebalance(ask, "1")
        assert lopsided.picture() == before
        assert 1 <= len(shown.moves) <= 2
        assert all((it.source, it.target) == ("n1", "n2") for it in shown.moves)
        done = await lopsided.operations.rebalance(replace(ask, dry_run=False), "2")
        assert done.moves == shown.moves
        for it in shown.moves:
            assert lopsided.state.placements[it.instance].node == "n2"

    async def test_where_nothing_would_gain_nothing_is_moved(self, roomy: World) -> None:
        before = roomy.picture()
        assert (await roomy.operations.rebalance(views.Rebalancing(moves=9), "1")).moves == ()
        assert roomy.picture() == before


class TestWhy:
    async def why(self, world: World, name: str) -> views.Why:
        return await world.operations.why(views.SubjectAsked(name=name), "id")

    async def test_a_service_that_is_not_there_suggests_close_names(self, roomy: World) -> None:
        await apply(roomy, a_service("detector"), a_service("director"))
        with pytest.raises(NotFound, match=r"there is no service detecter; did you mean detector"):
            await self.why(roomy, "detecter")
        with pytest.raises(NotFound) as caught:
            await self.why(roomy, "zzz")
        assert str(caught.value) == "there is no service zzz"

    async def test_the_leader_knows_for_how_long_it_waits_and_when_it_is_tried_again(
        self, world: World
    ) -> None:
        world.soft.waiting_times["web"] = (world.clock.now_s() - 12.5, world.clock.now_s() + 4.0)
        found = await self.why(world, "web")
        assert (found.waiting_for_s, found.tried_again_in_s) == (12.5, 4.0)
        world.log.leads = False
        found = await self.why(world, "web")
        assert (found.waiting_for_s, found.tried_again_in_s) == (None, None)

    async def test_the_weights_are_those_that_count_for_the_service(self, roomy: World) -> None:
        await apply(roomy, CAM, replace(CAM, name="packed", strategy="best_fit"))
        plain, packed = await self.why(roomy, "cam"), await self.why(roomy, "packed")
        assert plain.weights.keys() - packed.weights.keys() == {"spread"}
        assert plain.weights.keys() == {term for it in plain.verdicts for term in it.terms}

    async def test_an_instance_is_judged_as_if_it_were_not_there(self, roomy: World) -> None:
        large = a_service("large", cores=(1000, 1000, 1000), memory_mib=800)
        await apply(roomy, large)
        roomy.settle()
        at = roomy.state.placements["large.1"]
        of_all = {it.node: it for it in (await self.why(roomy, "large")).verdicts}
        found = await self.why(roomy, "large.1")
        of_one = {it.node: it for it in found.verdicts}
        assert (found.instance, [it.instance for it in found.instances]) == ("large.1", ["large.1"])
        assert of_all[at.node].refusals
        assert not of_one[at.node].refusals

    async def test_an_instance_that_cannot_be_says_which_ones_can(self, roomy: World) -> None:
        with pytest.raises(NotFound, match=r"there is no instance web.3: web has web.1 to web.2"):
            await self.why(roomy, "web.3")
        waiting = await self.why(roomy, "web.2")
        assert (waiting.instance, waiting.instances) == ("web.2", ())

    @pytest.mark.parametrize("name", ["web.", "web.x", ".1", "web.1.1", "web.123456"])
    async def test_what_is_no_name_is_refused(
        self, name: str, remote: aiohttp.ClientSession
    ) -> None:
        async with remote.get(f"/api/v1/why/{name}") as answer:
            assert answer.status == 400
            assert "a service's name" in (await answer.json())["reason"]


NOTHING = views.Nothing()
