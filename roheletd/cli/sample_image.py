"""The image of the bundled sample, brought to a container engine that does not have it."""

import asyncio
from collections.abc import Callable

from roheletd import __version__
from roheletd.engines import Engine
from roheletd.engines.archive import program_image
from roheletd.engines.docker import DockerEngine
from roheletd.errors import Unavailable

IMAGE = f"localhost/roheletd-sample:{__version__}"


async def has_sample(engine: Engine | None) -> bool:
    """Whether the engine has the image; raises `Unavailable` where there is no engine."""
    assert isinstance(engine, DockerEngine)
    try:
        await engine.open()
        return await engine.has_image(IMAGE)
    finally:
        await engine.close()


async def load_sample(engine: Engine | None, say: Callable[[str], None], limit_s: float) -> None:
    assert isinstance(engine, DockerEngine)
    try:
        async with asyncio.timeout(limit_s):
            archive = await asyncio.to_thread(program_image, IMAGE)
            say(f"loading the sample image into the engine, {len(archive) >> 20} MiB")
            await engine.open()
            await engine.load_image(archive)
    except TimeoutError:
        raise Unavailable("the engine did not load the sample image in time") from None
    finally:
        await engine.close()


async def remove_sample(engine: Engine | None, image: str) -> None:
    assert isinstance(engine, DockerEngine)
    await engine.remove_image(image)
