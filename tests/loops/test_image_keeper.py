"""Which images are deleted, when, and which never are."""

from pathlib import Path

import pytest

from roheletd.cluster.commands import AddServices, RemoveService
from roheletd.cluster.events import Events
from roheletd.cluster.images import StoredImage, needed
from roheletd.loops.image_keeper import LOOK_AGAIN_S, ImageKeeper
from roheletd.testing import ManualClock
from tests.builders import Driver, a_service, with_services

WEEK_S = 604_800.0


class Shelf:
    """Images in memory, on a disk of 1000 MiB that holds nothing else."""

    disk_free_min_mib = 500

    def __init__(self) -> None:
        self.images: dict[str, StoredImage] = {}
        self.held: set[str] = set()

    def put(self, image_id: str, *names: str, size_mib: int = 100, is_used: bool = False) -> None:
        self.images[image_id] = StoredImage(
            id=image_id, names=names, size_mib=size_mib, is_used=is_used
        )

    def free_mib(self) -> int:
        return 1000 - sum(it.size_mib for it in self.images.values())

    async def stored(self) -> list[StoredImage]:
        return list(self.images.values())

    async def delete(self, image_id: str) -> bool:
        if image_id in self.held:
            return False
        del self.images[image_id]
        return True


class Stage:
    """A keeper beside a state in which `web` runs `web:1`."""

    def __init__(self, folder: Path, *, prune: bool = True, keep_unused_s: float = WEEK_S) -> None:
        self.path = folder / "pulled"
        self.clock = ManualClock()
        self.shelf = Shelf()
        self.driver: Driver = with_services(a_service("web", image="web:1"))
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self._settings = (prune, keep_unused_s)
        self.begin()

    def begin(self) -> None:
        """A daemon starts, and remembers what is on disk."""
        prune, keep_unused_s = self._settings
        self.keeper = ImageKeeper(
            store=self.shelf,
            state=self.driver.state,
            events=self.events,
            clock=self.clock,
            path=self.path,
            prune=prune,
            keep_unused_s=keep_unused_s,
        )

    async def pull(self, image_id: str, *names: str, size_mib: int = 100) -> None:
        before = frozenset(self.shelf.images)
        self.shelf.put(image_id, *names, size_mib=size_mib)
        await self.keeper.pulled(names[0], before)

    async def after(self, seconds: float) -> set[str]:
        """What is there, once the keeper has looked so much later."""
        await self.keeper.look()
        self.clock.advance(seconds)
        await self.keeper.look()
        return set(self.shelf.images)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_what_was_pulled_goes_once_nothing_has_needed_it_for_long_enough(stage: Stage):
    await stage.pull("a", "old:1")
    assert await stage.after(WEEK_S - 1) == {"a"}
    assert await stage.after(1) == set()
    (event,) = stage.events.after(0)
    assert (event.kind, event.subject) == ("image deleted", "old:1")
    assert "nothing has needed it for 604800 s (100 MiB)" in event.reason


async def test_what_a_person_has_put_there_stays(stage: Stage):
    stage.shelf.put("a", "mine:1")
    await stage.keeper.pulled("mine:1", frozenset({"a"}))
    assert await stage.after(2 * WEEK_S) == {"a"}


async def test_what_a_service_or_a_container_needs_stays(stage: Stage):
    await stage.pull("a", "web:1")
    await stage.pull("b", "other:1")
    stage.shelf.put("b", "other:1", is_used=True)
    assert await stage.after(2 * WEEK_S) == {"a", "b"}


async def test_what_a_service_was_before_its_last_change_stays_for_a_rollback(stage: Stage):
    await stage.pull("a", "web:1")
    stage.driver.apply(AddServices(services=(a_service("web", image="web:2"),)))
    assert needed(stage.driver.state) == {"web:1", "web:2"}
    assert await stage.after(2 * WEEK_S) == {"a"}
    stage.driver.apply(RemoveService(name="web"))
    assert await stage.after(2 * WEEK_S) == set()


async def test_a_need_in_between_starts_the_count_again(stage: Stage):
    await stage.pull("a", "old:1")
    assert await stage.after(WEEK_S - 1) == {"a"}
    stage.driver.apply(AddServices(services=(a_service("old", image="docker.io/library/old:1"),)))
    assert await stage.after(2) == {"a"}
    stage.driver.apply(RemoveService(name="old"))
    assert await stage.after(WEEK_S - 1) == {"a"}


async def test_a_filling_disk_costs_unused_images_at_once_and_no_more_than_it_takes(stage: Stage):
    await stage.pull("a", "a:1", size_mib=300)
    await stage.keeper.look()
    stage.clock.advance(10)
    await stage.pull("b", "b:1", size_mib=150)
    await stage.keeper.make_room()
    assert set(stage.shelf.images) == {"a", "b"}, "500 MiB and more are free"
    await stage.pull("c", "c:1", size_mib=100)
    await stage.keeper.make_room()
    assert set(stage.shelf.images) == {"b", "c"}, "the longest unused one is enough"
    assert "the disk is filling" in stage.events.after(0)[-1].reason


async def test_a_full_disk_that_images_do_not_fill_is_not_looked_at_each_second(stage: Stage):
    stage.shelf.put("a", "mine:1", size_mib=900)
    looks = 0
    for _ in range(3 * int(LOOK_AGAIN_S)):
        stage.clock.advance(1)
        stage.keeper.measured()
        looks += stage.keeper._wake.is_set()
        stage.keeper._wake.clear()
    assert looks == 3


async def test_what_the_engine_will_not_delete_is_kept_in_mind(stage: Stage):
    await stage.pull("a", "old:1")
    stage.shelf.held.add("a")
    assert await stage.after(WEEK_S) == {"a"}
    stage.shelf.held.clear()
    assert await stage.after(0) == set()


async def test_a_daemon_that_starts_again_knows_what_it_pulled_and_writes_nothing_at_rest(
    stage: Stage,
):
    await stage.pull("a", "old:1")
    written = stage.path.stat()
    stage.begin()
    assert await stage.after(WEEK_S - 1) == {"a"}
    assert stage.path.stat() == written
    assert await stage.after(1) == set()
    assert stage.path.read_text() == ""


async def test_nothing_is_deleted_where_a_person_does_it(tmp_path: Path):
    stage = Stage(tmp_path, prune=False, keep_unused_s=0)
    await stage.pull("a", "old:1")
    assert await stage.after(WEEK_S) == {"a"}


async def test_nothing_is_deleted_before_anything_is_known_of_the_cluster(tmp_path: Path):
    stage = Stage(tmp_path, keep_unused_s=0)
    stage.driver = Driver()
    stage.begin()
    await stage.pull("a", "web:1")
    assert await stage.after(WEEK_S) == {"a"}
