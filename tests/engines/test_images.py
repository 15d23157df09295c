"""Which images an engine has, and what becomes of one that it cannot run."""

import contextlib
import platform
from collections.abc import AsyncIterator

import pytest

from roheletd.cluster.container import Container
from roheletd.engines import EngineError, ImageRefused, docker_api
from roheletd.engines.archive import ImageFile, image_archive
from tests.engines.conftest import Machine
from tests.engines.waiting import until
from tests.testbed.engines import BUSYBOX
from tests.testbed.unix_http import request

COPY = "localhost/copy:2"
FOREIGN = "localhost/foreign:1"


async def until_named(names: AsyncIterator[tuple[str, ...]], name: str, *, there: bool) -> None:
    """Reads on until the engine says that `name` is there, or is not."""
    async for found in names:
        if (name in found) is there:
            return


async def test_images_are_told_at_once_and_after_each_change(machine: Machine):
    async with contextlib.aclosing(machine.engine.images()) as names:
        await until_named(names, BUSYBOX, there=True)
        request(machine.real.socket, "POST", f"/images/{BUSYBOX}/tag?repo=localhost/copy&tag=2")
        await until_named(names, COPY, there=True)
        request(machine.real.socket, "DELETE", f"/images/{COPY}")
        await until_named(names, COPY, there=False)


@pytest.mark.parametrize("programs", [("bin/web",), ("bin/web", "bin/sh")], ids=["alone", "shell"])
async def test_an_image_for_another_processor_is_found_to_be_one(
    programs: tuple[str, ...], machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "machine", lambda: "riscv64")
        ended = await ended_at_once(machine, programs)
    assert ended.unfit_image, ended.reason


async def test_a_program_that_is_missing_is_no_fault_of_the_node(machine: Machine):
    ended = await ended_at_once(machine, ("bin/other",))
    assert not ended.unfit_image


async def ended_at_once(machine: Machine, programs: tuple[str, ...]) -> Container:
    """What is listed of an instance whose programs are none that the kernel can run."""
    files = [ImageFile(path=path, data=b"\x7fELF of elsewhere", mode=0o755) for path in programs]
    machine.real.load(image_archive(FOREIGN, files, command=("/bin/web",)))
    try:
        await machine.engine.run(machine.spec(image=FOREIGN))
        await until(lambda: has_ended(machine))
        return await machine.only()
    finally:
        for container in await machine.engine.list():
            await machine.engine.remove(container.id, 0)
        request(machine.real.socket, "DELETE", f"/images/{FOREIGN}?force=1")


async def has_ended(machine: Machine) -> bool:
    return (await machine.only()).state == "exited"


async def test_an_image_that_cannot_be_got_is_told_apart_from_a_name_that_is_none(
    machine: Machine,
):
    with pytest.raises(ImageRefused, match="registry unreachable"):
        await machine.engine.run(machine.spec(image="127.0.0.1:9/ghost:1"))
    with pytest.raises(EngineError, match="not valid") as refused:
        await machine.engine.run(machine.spec(image="No_such-Name!:1"))
    assert not isinstance(refused.value, ImageRefused)


def image(created: int, *tags: str, digests: tuple[str, ...] = ()) -> dict[str, object]:
    return {"Created": created, "RepoTags": list(tags), "RepoDigests": list(digests)}


def test_the_names_of_images_are_short_and_those_of_none_are_left_out():
    listed = [
        image(5, "<none>:<none>", digests=("<none>@<none>",)),
        {"Created": 1, "RepoTags": None, "RepoDigests": None},
        image(7, "docker.io/library/nginx:latest", "nginx:1", digests=("nginx@sha256:0a",)),
        image(9, "localhost/web:1"),
    ]
    assert docker_api.image_names(listed) == (
        "localhost/web:1",
        "nginx:latest",
        "nginx:1",
        "nginx@sha256:0a",
    )


def test_of_too_many_images_the_newest_are_named():
    listed = [image(number, f"web:{number}") for number in range(500)]
    names = docker_api.image_names(listed)
    assert len(names) == docker_api.IMAGE_NAMES_MAX
    assert names[0] == "web:499"
