"""The images of a Docker-compatible engine: fetched as a service asks, counted, and deleted.

What keeps the disk from filling up is a `Keeper`'s business (see `loops.image_keeper`), which is
asked for room before each pull and told of what came with it.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roheletd.cluster.images import StoredImage
from roheletd.engines import EngineError, ImageRefused, Tell, docker_api
from roheletd.engines.docker_api import NOT_FOUND, Refusal
from roheletd.engines.pulling import Layers, Login, authorization
from roheletd.image import registry

if TYPE_CHECKING:
    from aiodocker import Docker

_WORK_S = 60.0
_SAY_S = 1.0
_MIB = 2**20
_LOGIN_WORDS = ("unauthorized", "denied", "authentication", "basic auth")


class Asking(Protocol):
    """The engine's client with its errors turned into ours; what for, and how long that takes."""

    def __call__(
        self, what: str, *, work_s: float = ...
    ) -> "AbstractAsyncContextManager[Docker]": ...


class Keeper(Protocol):
    """Who sees to the disk."""

    async def make_room(self) -> None: ...

    async def pulled(self, image: str, before: frozenset[str]) -> None:
        """`before` are the ids of all images that were here already."""


class DockerImages:
    """`disk_free_min_mib` has to be free before a pull; half of it during one. `root` is where."""

    def __init__(
        self,
        asking: Asking,
        *,
        stall_s: float,
        logins: Mapping[str, Login] | None = None,
        disk_free_min_mib: int = 0,
    ) -> None:
        self._asking = asking
        self._stall_s = stall_s
        self._logins = logins or {}
        self.disk_free_min_mib = disk_free_min_mib
        self.root = ""
        self.keeper: Keeper | None = None
        self.doing: dict[str, str] = {}
        """Instance to how far the pull of its image has come, in words."""

    def free_mib(self) -> int | None:
        """What the disk of the images has left; None where that cannot be told."""
        try:
            disk = os.statvfs(self.root)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize // _MIB

    async def stored(self) -> list[StoredImage]:
        """Every image that is here, and whether anybody's container is made from it."""
        async with self._asking("list of images", work_s=_WORK_S) as client:
            images = await client.images.list()
            containers = await client.containers.list(all=True)
        used = {container["ImageID"].removeprefix("sha256:") for container in containers}
        return [
            StoredImage(
                id=image["Id"].removeprefix("sha256:"),
                names=docker_api.names_of(image),
                size_mib=image["Size"] // _MIB,
                is_used=image["Id"].removeprefix("sha256:") in used,
            )
            for image in images
        ]

    async def delete(self, image_id: str) -> bool:
        """Not by force: False where the engine knows of somebody who needs it."""
        try:
            async with self._asking("removal of an image", work_s=_WORK_S) as client:
                await client.images.delete(image_id)
        except Refusal as refusal:
            return refusal.status == NOT_FOUND
        return True

    async def has(self, image: str) -> bool:
        try:
            async with self._asking("inspect of an image") as client:
                await client.images.inspect(image)
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                return False
            raise
        return True

    async def pull(self, image: str, instance: str, tell: Tell) -> None:
        """Fetch an image; given up once there is no progress for the configured time."""
        before = await self._make_room(image)
        headers = self._headers(image)
        tell("pulling image", image)
        try:
            await self._pulled(image, instance, headers)
        finally:
            self.doing.pop(instance, None)
        tell("pulled image", image)
        if self.keeper is not None:
            await self.keeper.pulled(image, before)

    async def _make_room(self, image: str) -> frozenset[str]:
        if self.keeper is None:
            return frozenset()
        await self.keeper.make_room()
        self._refuse_below(self.disk_free_min_mib, f"{image} is not pulled")
        return frozenset(it.id for it in await self.stored())

    def _refuse_below(self, least_mib: int, what: str) -> None:
        free_mib = self.free_mib()
        if free_mib is not None and free_mib < least_mib:
            raise ImageRefused(
                f"{what}: {free_mib} MiB are free in {self.root}, and "
                f"`images.disk_free_min_mib` is {self.disk_free_min_mib}; make room there"
            )

    def _headers(self, image: str) -> dict[str, str]:
        login = self._logins.get(host := registry(image))
        if login is None:
            return {}
        try:
            password = Path(login.password_file).read_text(encoding="utf-8").partition("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise ImageRefused(
                f"image {image}: the password file of registry {host} cannot be read: {error}"
            ) from None
        return authorization(login, password, host)

    async def _pulled(self, image: str, instance: str, headers: dict[str, str]) -> None:
        async with self._asking(f"pull of {image}", work_s=float("inf")) as client:
            try:
                steps = _pull(client, image, headers)
                noted = self._noted(image, instance, steps)
                stalled = await _stalls(noted, self._stall_s)
            except Refusal as refusal:
                raise self._refused(image, refusal) from None
            if stalled:
                raise ImageRefused(
                    f"pulling {image} stalled: no progress for {self._stall_s:g} s; "
                    "the registry or the link to it is down or very slow"
                )

    def _refused(self, image: str, refusal: Refusal) -> EngineError:
        reason = f"image {image}: {refusal}"
        if not refusal.retry:  # no node could get it
            return EngineError(reason, retry=False)
        host = registry(image)
        if any(words in refusal.message for words in _LOGIN_WORDS):
            if (login := self._logins.get(host)) is not None:
                reason += f"; {login.username} of `engine.registries` was tried at {host}"
            else:
                reason += f"; this node has no login for {host} in `engine.registries`"
        return ImageRefused(reason)

    async def _noted(
        self, image: str, instance: str, steps: AsyncGenerator[Mapping[str, Any], None]
    ) -> AsyncIterator[None]:
        """Keeps `doing` as it is, at most once a second, and an eye on the disk."""
        layers, loop = Layers(), asyncio.get_running_loop()
        say_at_s = loop.time()
        self.doing[instance] = layers.words()
        async with contextlib.aclosing(steps):  # given up, the engine is to hear of it at once
            async for said in steps:
                layers.heed(said)
                if loop.time() >= say_at_s:
                    say_at_s = loop.time() + _SAY_S
                    self.doing[instance] = layers.words()
                    self._refuse_below(self.disk_free_min_mib // 2, f"pulling {image} was given up")
                yield


async def _pull(
    client: "Docker", image: str, headers: dict[str, str]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """One item for each step forward.

    Not aiodocker's own pull: given up, it leaves its connection open, and the engine goes on.
    """
    asked = docker_api.pull_parameters(image)
    url = docker_api.url(client, "images/create")
    async with client.session.post(url, params=asked, headers=headers) as answer:
        async for line in answer.content:
            said = docker_api.step_of_pull(answer.status, line)
            if isinstance(said, Refusal):
                raise said
            yield said


async def _stalls(progress: AsyncIterator[object], patience_s: float) -> bool:
    """Read to the end; True where nothing has come for `patience_s`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience_s) as end:
            async for _ in progress:
                end.reschedule(loop.time() + patience_s)
    except TimeoutError:
        return True
    return False
