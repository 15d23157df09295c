"""What is agreed, in the formats of others: which services, and that no secret goes along."""

import msgspec
import pytest

from roheletd.api import views
from roheletd.api.configuration import ValuesToSet
from roheletd.api.exports import ManifestsAsked, Selection
from roheletd.api.problems import NotFound
from roheletd.api.requests import convert
from roheletd.errors import InvalidInput, Refused
from roheletd.rohe import nodes_from, services_from
from roheletd.upkeep import Inclusion
from tests.api.conftest import World
from tests.builders import a_node, a_service

PASSWORD = "correct horse"


@pytest.fixture
async def site(world: World) -> World:
    operations = world.operations
    nodes = (a_node("n1", mac_address="aa:bb:cc:dd:ee:ff"),)
    await operations.add_nodes(views.NodesToAdd(nodes=nodes), "nodes")
    await operations.set_config_map(ValuesToSet(name="conf", data={"a.ini": "x"}), "conf")
    await operations.set_secret(ValuesToSet(name="keys", data={"key": PASSWORD}), "keys")
    shop = a_service(
        "shop",
        application="shop",
        cores=(500, 50),
        memory_mib=64,
        accelerators={"gpu": 30},
        config_maps=(Inclusion(name="conf", path="/etc/shop"),),
        secrets=(Inclusion(name="keys", path="/run/secrets"),),
    )
    await operations.add_services(views.ServicesToAdd(services=(shop,)), "services")
    return world


async def test_kubernetes_gets_all_services_or_those_that_are_named(site: World) -> None:
    async def names(**asked: object) -> list[str]:
        found = await site.operations.export_kubernetes(convert(asked, ManifestsAsked), "id")
        kinds = ("Deployment", "StatefulSet")
        objects = [it.object for it in found.manifests]
        return [it["metadata"]["name"] for it in objects if it["kind"] in kinds]

    assert await names() == ["shop", "web"]
    assert await names(services="web") == ["web"]
    assert await names(services="web,shop") == ["web", "shop"]
    assert await names(application="shop") == ["shop"]


async def test_an_unknown_service_or_application_is_not_found(site: World) -> None:
    with pytest.raises(NotFound, match="there is no service gone"):
        await site.operations.export_kubernetes(ManifestsAsked(services="web,gone"), "id")
    with pytest.raises(NotFound, match="no service of the application gone"):
        await site.operations.export_rohe(Selection(application="gone"), "id")


@pytest.mark.parametrize("services", ["web,", ",", "a b", "a,,b", "../x"])
def test_a_list_of_names_that_is_none_is_refused(services: str) -> None:
    with pytest.raises(InvalidInput):
        convert({"services": services}, ManifestsAsked)


async def test_pinned_manifests_name_the_nodes_of_the_placements(site: World) -> None:
    found = await site.operations.export_kubernetes(ManifestsAsked(services="web", pin=True), "id")
    assert '"values":["pi"]' in msgspec.json.encode(found).decode()


async def test_a_secret_is_named_and_its_value_stays(site: World) -> None:
    found = await site.operations.export_kubernetes(ManifestsAsked(), "id")
    assert found.secrets == {"keys": "keys"}
    assert "needed before: kubectl create secret generic keys --from-literal=key=..." in found.notes
    resources = await site.operations.export_rohe(Selection(), "id")
    for answer in (found, resources):
        assert PASSWORD not in msgspec.json.encode(answer).decode()


async def test_rohes_resources_are_files_that_are_read_again(site: World) -> None:
    answer = await site.operations.export_rohe(Selection(), "id")
    found = msgspec.json.decode(msgspec.json.encode(answer))
    services = services_from({"data": found["microservices"]}).items
    shop, web = sorted(services, key=lambda it: it.name)
    assert (shop.application, shop.cores, shop.memory_mib, shop.accelerators) == (
        "shop",
        (500, 50),
        64,
        {"gpu": 30},
    )
    known = site.state.services["web"].service
    assert (web.image, web.replicas, web.memory_mib) == (
        known.image,
        known.replicas,
        known.memory_mib,
    )
    nodes = {node.name: node for node in nodes_from({"data": found["nodes"]}).items}
    for name, node in site.state.nodes.items():
        assert nodes[name].capacity.cpu_millicores == node.capacity.cpu_millicores
        assert nodes[name].capacity.memory_mib == node.capacity.memory_mib


async def test_rohes_books_say_what_is_promised_and_where(site: World) -> None:
    found = await site.operations.export_rohe(Selection(), "id")
    web = found.microservices[site.state.services["web"].service.application]["web"]
    placements = site.state.placements_of("web")
    assert web.instance_ids == tuple(it.instance for it in placements)
    assert (web.running, web.status) == (1, "queueing")
    (deployment,) = found.deployments
    assert (deployment.task_name, deployment.node_name) == ("web", placements[0].node)
    assert found.nodes["pi"].services == {"web": 1}
    assert {it.name: it.data for it in found.configmaps}["conf"] == {"a.ini": "x"}
    assert found.nodes["n1"].mac_address == "aa:bb:cc:dd:ee:ff"


async def test_a_plan_may_count_on_config_maps_and_secrets_that_are_set_before_it_is_done(
    world: World,
) -> None:
    service = a_service(
        "cam",
        config_maps=(Inclusion(name="later"),),
        secrets=(Inclusion(name="soon", path="/run/secrets"),),
    )
    before = world.picture()
    with pytest.raises(Refused, match="needs the config map later"):
        await world.operations.plan(views.PlanAsked(services=(service,)), "id")
    asked = views.PlanAsked(services=(service,), config_maps=("later",), secrets=("soon",))
    assert (await world.operations.plan(asked, "id")).changes == 1
    assert world.picture() == before
    also = views.PlanToApply(services=(service,), config_maps=("later",), secrets=("soon",))
    with pytest.raises(Refused, match="needs the config map later"):
        await world.operations.apply(also, "id")
