"""Images of real engines: counted, deleted where nobody needs them, refused where no room is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roheletd.cluster.events import Events
from roheletd.engines import ImageRefused
from roheletd.engines.archive import ImageFile, image_archive
from roheletd.engines.docker import DockerEngine
from roheletd.engines.pulling import Layers
from roheletd.loops.image_keeper import ImageKeeper
from roheletd.testing import ManualClock
from tests.builders import a_service, with_services
from tests.engines.conftest import Machine
from tests.testbed.engines import BUSYBOX
from tests.testbed.registry import Registry, registry


@pytest.fixture
def hub(machine: Machine) -> Iterator[Registry]:
    with registry(machine.real) as opened:
        yield opened


def keeper_of(engine: DockerEngine, folder: Path) -> ImageKeeper:
    """Deletes at once what nothing needs; `web` needs busybox."""
    clock = ManualClock()
    return ImageKeeper(
        store=engine.store,
        state=with_services(a_service("web", image=BUSYBOX)).state,
        events=Events(node="n1", wall_s=clock.wall_s),
        clock=clock,
        path=folder / "pulled",
        prune=True,
        keep_unused_s=0,
    )


async def test_only_what_we_pulled_and_nobody_uses_is_deleted(
    machine: Machine, hub: Registry, tmp_path: Path
):
    engine, real = machine.engine, machine.real
    engine.store.keeper = keeper = keeper_of(engine, tmp_path)
    image = f"{hub.address}/tiny:1"
    tiny = ImageFile(path="bin/nothing", data=hub.address.encode())
    real.load(image_archive(image, [tiny], command=("/bin/nothing",)))
    real.push(image, image)
    await engine.run(machine.spec(image=image))
    await engine.remove((await machine.only()).id, 0)
    assert await engine.has_image(image)
    real.create(f"{machine.cluster}-stranger", {"Image": image})
    await keeper.look()
    assert await engine.has_image(image), "somebody else's container is made from it"
    await engine.remove(f"{machine.cluster}-stranger", 0)
    await keeper.look()
    assert not await engine.has_image(image)
    assert await engine.has_image(BUSYBOX)


async def test_nothing_is_pulled_onto_a_disk_that_is_filling(machine: Machine, tmp_path: Path):
    engine = DockerEngine(
        str(machine.real.socket),
        cluster=machine.cluster,
        node="n1",
        pull_stall_s=5,
        disk_free_min_mib=900_000_000,
    )
    await engine.open()
    try:
        engine.store.keeper = keeper_of(engine, tmp_path)
        with pytest.raises(ImageRefused, match=r"MiB are free in .*disk_free_min_mib"):
            await engine.run(machine.spec(image="127.0.0.1:1/x:1"))
    finally:
        await engine.close()


def test_progress_is_told_in_bytes_where_the_engine_counts_them():
    layers = Layers()
    assert layers.words() == "pulling"
    layers.heed({"status": "Pulling from library/x", "id": "1"})
    for name, total in (("a", 150_000_000), ("b", 43_000_000)):
        layers.heed({"status": "Pulling fs layer", "id": name, "progressDetail": {}})
        assert layers.words().startswith("pulling")
        layers.heed(
            {
                "status": "Downloading",
                "id": name,
                "progressDetail": {"current": total // 2, "total": total},
            }
        )
    assert layers.words() == "pulling 50 % of 193 MB"
    layers.heed({"status": "Download complete", "id": "a"})
    assert layers.words() == "pulling 88 % of 193 MB"
    layers.heed({"status": "Extracting", "id": "b", "progressDetail": {"current": 1, "total": 9}})
    assert layers.words() == "unpacking 193 MB"


def test_progress_is_told_in_layers_where_it_does_not():
    layers = Layers()
    for name in "abc":
        layers.heed({"status": "Pulling fs layer", "id": name})
    layers.heed({"status": "Download complete", "id": "a"})
    layers.heed({"status": "Already exists", "id": "b"})
    assert layers.words() == "pulling, 2 of 3 layers"
