"""The next-best node has the image of a service before it is needed there."""

from msgspec.structs import replace

from roheletd.allocation.snapshot import Profile
from roheletd.allocation.spare import spares
from roheletd.cluster.commands import AddServices, Cordon
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.engines import ImageRefused, Tell
from roheletd.loops.spare_keeper import SpareKeeper
from roheletd.model import Service
from roheletd.testing import ManualClock
from roheletd.upkeep import Volume
from tests.allocation.passes import homes, run_pass
from tests.builders import Driver, a_node, a_service, with_services

NODES = (a_node("a"), a_node("b"), a_node("c", cores=1))
WARM = a_service("web", cores=(500,), warm_spare=True)


def placed(*services: Service) -> Driver:
    cluster = with_services(*services, nodes=NODES)
    run_pass(cluster)
    return cluster


def spares_of(cluster: Driver, *lost: str) -> dict[str, str]:
    return spares(cluster.state, lost, Profile())


def test_the_spare_is_where_the_next_instance_would_go_and_never_beside_one():
    cluster = placed(replace(WARM, replicas=2))
    (spare,) = spares_of(cluster).values()
    assert spare not in homes(cluster).values()


def test_after_the_loss_of_its_node_the_instance_goes_to_its_spare():
    cluster = placed(WARM)
    home, spare = homes(cluster)["web.1"], spares_of(cluster)["web"]
    run_pass(cluster, lost_for_s={home: 60.0})
    assert homes(cluster) == {"web.1": spare}
    assert spares_of(cluster, home)["web"] not in (home, spare)


def test_lost_and_cordoned_nodes_are_no_spares():
    cluster = placed(WARM)
    first = spares_of(cluster)["web"]
    second = spares_of(cluster, first)["web"]
    assert second != first
    cluster.apply(Cordon(name=first, cordoned=True))
    assert spares_of(cluster) == {"web": second}
    assert spares_of(cluster, *"abc") == {}


def test_nobody_waits_for_who_did_not_ask_or_could_not_come():
    data = (Volume(path="/data", name="data"),)
    for service in (
        replace(WARM, warm_spare=False),
        replace(WARM, replicas=0),
        replace(WARM, image="", command=("true",)),
        replace(WARM, volumes=data),
        replace(WARM, replicas=3),
    ):
        assert spares_of(placed(service)) == {}


class Shelf:
    """Images in memory."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.trouble = ""

    async def has(self, image: str) -> bool:
        return image in self.images

    async def pull(self, image: str, instance: str, tell: Tell) -> None:
        assert instance == "web.spare"
        if self.trouble:
            raise ImageRefused(self.trouble)
        tell("pulled image", image)
        self.images.add(image)


async def test_the_spare_pulls_the_image_and_no_other_node_does():
    cluster = placed(WARM)
    spare, clock = spares_of(cluster)["web"], ManualClock()
    for node in "abc":
        events, shelf = Events(node=node, wall_s=clock.wall_s), Shelf()
        keeper = SpareKeeper(
            store=shelf,
            node=node,
            state=cluster.state,
            membership=Membership(me=node, limits=thresholds(1.0), now_s=0.0),
            profile=Profile(),
            events=events,
            clock=clock,
        )
        shelf.trouble = "registry unreachable"
        await keeper.look()
        await keeper.look()
        shelf.trouble = ""
        await keeper.look()
        await keeper.look()
        assert shelf.images == ({"web:1"} if node == spare else set())
        said = [(event.kind, event.reason) for event in events.after(0)]
        if node == spare:
            assert said == [
                ("no warm spare", "registry unreachable"),
                ("pulled image", "web:1, for a warm spare"),
            ]
            cluster.apply(AddServices(services=(replace(WARM, image="web:2"),)))
            await keeper.look()
            assert "web:2" in shelf.images, "the change will come here as well"
            cluster = placed(WARM)
        else:
            assert said == []
