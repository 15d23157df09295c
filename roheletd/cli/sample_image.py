"""The image of the bundled sample, brought to a container engine that does not have it."""

import asyncio
from collections.abc import Callable

from roheletd import __version__
from roheletd.engines import Engine
from roheletd.engines.archive import program_image
from roheletd.engines.docker import DockerEngine
from roheletd.errors import Unavailable

IMAGE = f"localhost/roheletd-sample:{__version__}"


async def load_sample(engine: Engine | None, say: Callable[[str], None], limit_s: float) -> bool:
    """Load the image where it is absent; returns whether it was."""
    assert isinstance(engine, DockerEngine)
    try:
        async with asyncio.timeout(limit_s):
            await engine.open()
            if await engine.has_image(IMAGE):
                return False
            archive = await asyncio.to_thread(program_image, IMAGE)
            say(f"loading the sample image into the engine, {len(archive) >> 20} MiB")
            await engine.load_image(archive)
    except TimeoutError:
        raise Unavailable("the engine did not load the sample image in time") from None
    finally:
        await engine.close()
    return True


async def remove_sample(engine: Engine | None, image: str) -> None:
    assert isinstance(engine, DockerEngine)
    await engine.remove_image(image)
