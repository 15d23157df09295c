"""Any Docker-compatible engine, through its socket: Docker and Podman. The only aiodocker.

aiodocker is imported when an engine is opened and not before: it costs 16 MB. Every request has
a deadline, because a frozen engine accepts connections and never answers.
"""

import asyncio
import contextlib
import io
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import replace

from roheletd.cluster.container import Container
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.cluster.streams import Batch, ExecWanted
from roheletd.cluster.volumes import StoredVolume
from roheletd.engines import (
    EngineError,
    EngineInfo,
    ExecSession,
    ImageRefused,
    Limit,
    PortTaken,
    Tell,
    Usage,
    docker_api,
    docker_streams,
    gpus,
    podman_api,
    to_nobody,
)
from roheletd.engines.cgroup import CgroupMeter, meter
from roheletd.engines.discovery import find_socket
from roheletd.engines.docker_api import NOT_FOUND, Json, Refusal
from roheletd.engines.docker_images import DockerImages
from roheletd.engines.mounts import (
    host_sources,
    missing_mount,
    mounts,
    stored_volumes,
    volume_name,
)
from roheletd.engines.oom import OomWatch
from roheletd.engines.procfs import thread_cpu_s
from roheletd.engines.pulling import Login
from roheletd.errors import Unavailable
from roheletd.image import has_digest

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiodocker.containers import DockerContainer
    from aiohttp import ClientResponse

_log = logging.getLogger(__name__)

_WORK_S = 60.0  # creating and starting on an SD card under load
_LOAD_S = 300.0
_LISTENS_S = 1.0  # after its answer
_IMAGES_SETTLE_S = 1.0  # pruning many tells of each one
_AIODOCKER_CANNOT_CONNECT = 900

# What may change an instance; Docker's and Podman's names together. Without the filter, each
# health probe that runs a command inside a container would wake the daemon.
_EVENTS = ["start", "die", "died", "destroy", "remove", "pause", "unpause"]

_REMEDIES: dict[Limit, str] = {
    "cores": "instances are not pinned to their cores",
    "quota": "instances may use more CPU than they were given",
    "memory": "instances may use more memory than they were given; on a Raspberry Pi add "
    "cgroup_enable=memory to /boot/firmware/cmdline.txt and reboot",
}


class DockerEngine:
    """Runs instances in containers. `socket` None: the first that answers, see `find_socket`.

    An engine that does not begin to answer within `answer_s` is `Unavailable`.
    """

    def __init__(
        self,
        socket: str | None,
        *,
        cluster: str,
        node: str,
        pull_stall_s: float,
        host_paths: tuple[str, ...] = (),
        logins: Mapping[str, Login] = {},
        disk_free_min_mib: int = 0,
        answer_s: float = 10.0,
    ) -> None:
        self._socket = socket
        self._cluster = cluster
        self._node = node
        self._host_paths = host_paths
        self._answer_s = answer_s
        self.store = DockerImages(
            self._asking,
            stall_s=pull_stall_s,
            logins=logins,
            disk_free_min_mib=disk_free_min_mib,
        )
        self._client: Docker | None = None
        self._name = "the container engine"
        self._arch = ""
        self._unenforced: tuple[Limit, ...] = ()
        self._runtimes: tuple[str, ...] = ()
        self._init = True
        self._host_address = ""
        self._meters: dict[str, CgroupMeter] = {}
        self._oom = OomWatch()
        self._unsettled: set[str] = set()

    async def open(self) -> EngineInfo:
        from aiodocker import Docker  # noqa: PLC0415 - 16 MB, for nodes with an engine only

        await self._disconnect()
        search = await find_socket(self._socket)
        if search.path is None:
            raise Unavailable(f"no container engine answers: {'; '.join(search.refusals)}")
        self._client = Docker(url=f"unix://{search.path}")
        async with self._asking("version") as client:
            version = await client.version()
            client.api_version = f"v{version['ApiVersion']}"
            info = await client.system.info()
        self._host_address = await self._find_host_address()
        self.store.root = info.get("DockerRootDir", "")
        self._name, self._init = docker_api.engine_name(version), True
        self._arch = version.get("Arch", "")
        self._runtimes = tuple(info.get("Runtimes") or ())
        self._unenforced = docker_api.unenforced_limits(info)
        for limit in self._unenforced:
            _log.warning("%s cannot limit %s here: %s", self._name, limit, _REMEDIES[limit])
        return EngineInfo(
            kind="docker",
            name=self._name,
            version=version["Version"],
            address=search.path,
            unenforced=self._unenforced,
            ends_containers=docker_api.ends_containers(self._name, info),
            host_address=self._host_address,
        )

    async def _find_host_address(self) -> str:
        """Not known is no reason not to run anything: names then resolve as the engine does it."""
        found = []
        for network in ("bridge", "podman"):
            try:
                async with self._asking("network") as client:
                    found.append(await client._query_json(f"networks/{network}"))  # noqa: SLF001
            except Refusal:
                continue
        return docker_api.host_address(found)

    async def close(self) -> None:
        for kept in self._meters.values():
            kept.close()
        self._meters.clear()
        self._oom.close()
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    @contextlib.asynccontextmanager
    async def _asking(self, what: str, *, work_s: float = 0.0) -> "AsyncIterator[Docker]":
        """The client, with its errors turned into ours and an end to waiting.

        `work_s` is what the request itself may take, beyond the time for any answer.
        """
        from aiodocker import DockerError  # noqa: PLC0415
        from aiohttp import ClientError  # noqa: PLC0415

        if self._client is None:
            raise Unavailable(f"{self._name} is not connected")
        client, within_s = self._client, self._answer_s + work_s
        try:
            async with asyncio.timeout(within_s):
                yield client
        except TimeoutError:
            reason = f"{self._name} did not answer within {within_s:g} s ({what})"
            raise Unavailable(reason) from None
        except DockerError as error:
            if error.status == _AIODOCKER_CANNOT_CONNECT:
                raise Unavailable(f"{self._name} is gone ({what}): {error.message}") from None
            raise Refusal(error.status, error.message) from None
        except (ClientError, OSError) as error:
            raise Unavailable(f"{self._name} is gone ({what}): {error}") from error
        except RuntimeError as error:
            if not client.session.closed:
                raise
            raise Unavailable(f"{self._name} was let go meanwhile ({what})") from error

    async def list(self) -> list[Container]:
        filters = json.dumps(docker_api.ours(self._cluster, self._node))
        async with self._asking("list") as client:
            listed = await client.containers.list(all=True, filters=filters)
        ids = {container.id for container in listed}
        self._forget_meters_except(ids)
        self._oom.keep(ids)
        self._unsettled &= ids
        found = [await self._described(container) for container in listed]
        return [container for container in found if container is not None]

    async def _described(self, listed: "DockerContainer") -> Container | None:
        """What the list does not say: why a copy ended, and where to measure a running one.

        None: it has been removed since it was listed.
        """
        seen = docker_api.container(listed)
        if seen.stranger:
            return seen
        try:
            if seen.state == "exited":
                return await self._ended(seen, listed)
            if seen.state == "running" and (
                seen.id in self._unsettled or seen.id not in self._meters
            ):
                return await self._verified(seen, listed)
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise
        return seen

    async def _verified(self, seen: Container, listed: "DockerContainer") -> Container | None:
        """A running container, or one that has ended though the list does not say so yet.

        dockerd tells of a death before its list shows it, by as long as its clean-up takes, and of
        a pause. An inspection waits for that, and nothing else would tell again.
        """
        self._unsettled.discard(seen.id)
        async with self._asking("inspect"):
            inspected = await listed.show()
        if not inspected["State"]["Running"]:
            return await self._ended(replace(seen, state="exited"), listed)
        self._measure(inspected)
        return replace(seen, paused=inspected["State"]["Paused"])

    async def _ended(self, seen: Container, listed: "DockerContainer") -> Container | None:
        async with self._asking("inspect"):
            inspected = await listed.show()
        if docker_api.is_going(inspected):
            return None
        reason = docker_api.exit_reason(
            inspected,
            await self._last_line(listed),
            out_of_memory=self._oom.happened(seen.id),
        )
        return replace(
            seen,
            exit_code=inspected["State"]["ExitCode"],
            reason=reason,
            unfit_image=docker_api.init_gave_up(reason) and await self._is_foreign(inspected),
        )

    async def _is_foreign(self, inspected: Json) -> bool:
        """Whether the image of a container is made for another processor than this engine's."""
        try:
            async with self._asking("inspect of an image") as client:
                image = await client.images.inspect(inspected["Image"])
        except Refusal:  # it has been deleted since
            return False
        return bool(self._arch and image.get("Architecture", self._arch) != self._arch)

    async def _last_line(self, ended: "DockerContainer") -> str:
        try:
            async with self._asking("logs"):
                return "".join(await ended.log(stdout=True, stderr=True, tail=1))
        except Refusal:  # the copy is being removed: its last word is of no use any more
            return ""

    def _measure(self, inspected: Json) -> None:
        pid, container_id = inspected["State"]["Pid"], inspected["Id"]
        found = meter(pid, container_id) if pid else None
        if found is not None:
            self._forget_meter(container_id)
            self._meters[container_id] = found
            self._oom.watch(container_id, found.memory, version=found.version)

    def _forget_meters_except(self, listed: set[str]) -> None:
        for container_id in self._meters.keys() - listed:
            self._forget_meter(container_id)

    def _forget_meter(self, container_id: str) -> None:
        kept = self._meters.pop(container_id, None)
        if kept is not None:
            kept.close()

    async def run(self, spec: InstanceSpec, tell: Tell = to_nobody) -> None:
        if not spec.image:
            raise EngineError(f"{spec.service} names no image to run in {self._name}", retry=False)
        if self._name == "Docker" and (lack := gpus.lacks_runtime(spec.gpus, self._runtimes)):
            raise EngineError(lack)
        try:
            await self._create_and_start(spec, tell)
        except Refusal as refusal:
            if not self._gives_up_init(refusal.message):
                raise
            await self._create_and_start(spec, tell)

    async def _create_and_start(self, spec: InstanceSpec, tell: Tell) -> None:
        asked, container = await self._create(spec, tell)
        try:
            await self._start(container, spec)
            await self._verify(container, asked, spec)
        except EngineError:
            # A copy that never ran would hold the name against the next attempt.
            await self.remove(container.id, 0)
            raise

    async def _create(self, spec: InstanceSpec, tell: Tell) -> "tuple[Json, DockerContainer]":
        """Create; where the image is missing, or may be newer elsewhere, pull it before."""
        if spec.pull != "always" or has_digest(spec.image):
            try:
                return await self._create_once(spec)
            except Refusal as refusal:
                if refusal.status != NOT_FOUND:
                    raise
        if spec.pull == "never":
            raise ImageRefused(f"image {spec.image} is not on this node, and `pull` is never")
        await self.store.pull(spec.image, spec.instance, tell)
        return await self._create_once(spec)

    async def _create_once(self, spec: InstanceSpec) -> "tuple[Json, DockerContainer]":
        body = docker_api.create_body(
            spec,
            unenforced=self._unenforced,
            init=self._init,
            render_nodes=gpus.render_nodes() if spec.gpus else {},
            host_address=self._host_address,
        )
        if spec.volumes or spec.files:
            sources = host_sources(spec.volumes, self._host_paths)
            await self._make_volumes(spec)
            body["HostConfig"]["Mounts"] = mounts(spec, sources)
        name = docker_api.container_name(spec)
        by_podman = gpus.cdi_names(spec.gpus) if self._name == "Podman" else ()
        if by_podman:
            body = podman_api.with_devices(body, by_podman)
        create = _create_by_podman if by_podman else _create_by_docker
        try:
            async with self._asking("create", work_s=_WORK_S) as client:
                return body, await create(client, body, name)
        except Refusal as refusal:
            if not docker_api.is_name_taken(refusal):
                raise
        await self._free(name)
        async with self._asking("create", work_s=_WORK_S) as client:
            return body, await create(client, body, name)

    async def _free(self, name: str) -> None:
        """Wait until whoever holds a name has gone; raises where nobody is about to go."""
        try:
            async with self._asking("removal", work_s=_WORK_S) as client:
                container = await client.containers.get(name)
                if not docker_api.is_going(container):
                    raise self._name_conflict(name, container["Config"]["Labels"] or {})
                await container.wait(condition="removed")
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise
            if self._name == "Podman":
                # After a power cut its storage may have a container that it knows nothing of.
                await self._delete(name)

    async def _make_volumes(self, spec: InstanceSpec) -> None:
        """With labels that say whose they are; one that is there is kept as it is."""
        labels = docker_api.identity_labels(spec)
        async with self._asking("creation of volumes", work_s=_WORK_S) as client:
            for volume in spec.volumes:
                if volume.name is not None:
                    name = volume_name(spec, volume)
                    made = {"Name": name, "Labels": labels}
                    await client.volumes.create(made)  # type: ignore[no-untyped-call]

    async def volumes(self) -> tuple[StoredVolume, ...]:
        async with self._asking("list of volumes", work_s=_WORK_S) as client:
            listed = await client.volumes.list()  # type: ignore[no-untyped-call]
        return stored_volumes(listed.get("Volumes") or (), self._cluster)

    async def remove_volume(self, name: str) -> None:
        try:
            async with self._asking("removal of a volume", work_s=_WORK_S) as client:
                await (await client.volumes.get(name)).delete()  # type: ignore[no-untyped-call]
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise

    def _gives_up_init(self, message: str) -> bool:
        """True, once, where the engine has no init program: better without than not at all."""
        if not (self._init and docker_api.lacks_init(message)):
            return False
        self._init = False
        _log.warning(
            "%s has no init program (install catatonit for Podman, tini for Docker): a service "
            "that ignores SIGTERM takes its whole grace period to stop",
            self._name,
        )
        return True

    def _name_conflict(self, name: str, labels: Json) -> EngineError:
        """Whose container holds the name: ours goes away by itself, a stranger's does not."""
        if labels.get(docker_api.CLUSTER) == self._cluster:
            return EngineError(f"an earlier copy of {name} is still being removed")
        return EngineError(
            f"a container named {name} exists that roheletd did not make: "
            f"remove or rename it ({self._name.lower()} rm -f {name})"
        )

    async def _start(self, container: "DockerContainer", spec: InstanceSpec) -> None:
        try:
            async with self._asking("start", work_s=_WORK_S):
                await container.start()
        except Refusal as refusal:
            ports = docker_api.taken_ports(refusal.message, spec)
            if ports:
                raise PortTaken(ports) from None
            if unknown := gpus.unresolved(refusal.message):
                raise EngineError(unknown) from None
            if docker_api.is_not_executable(refusal.message):
                raise ImageRefused(f"image {spec.image}: {refusal}") from None
            raise

    async def _verify(self, container: "DockerContainer", asked: Json, spec: InstanceSpec) -> None:
        """Refuse an instance that runs without the limits it was promised to be held to."""
        async with self._asking("inspect"):
            inspected = await container.show()
        lost = docker_api.dropped(asked, inspected) or missing_mount(spec, inspected)
        if lost:
            raise EngineError(f"{self._name} did not keep what was asked: {lost}", retry=False)
        self._measure(inspected)

    async def start(self, container_id: str) -> None:
        async with self._asking("start", work_s=_WORK_S) as client:
            await client.containers.container(container_id).start()
        self._forget_meter(container_id)  # its cgroup is a new one
        self._oom.forget(container_id)

    async def stop(self, container_id: str, grace_s: float) -> None:
        whole_s = math.ceil(grace_s)
        try:
            async with self._asking("stop", work_s=_WORK_S + whole_s) as client:
                await client.containers.container(container_id).stop(t=whole_s)
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise

    async def remove(self, container_id: str, grace_s: float) -> None:
        try:
            # Stopped first: a forced removal has a grace period of its own on Podman.
            await self.stop(container_id, grace_s)
        except Refusal as refusal:
            # Podman stops none that somebody has paused, and forces it out nevertheless.
            _log.info("%s did not stop %s: %s", self._name, container_id[:12], refusal)
        await self._delete(container_id)

    async def _delete(self, container: str) -> None:
        """By its id or its name; one that is missing or is going is no error."""
        try:
            async with self._asking("remove", work_s=_WORK_S) as client:
                await client.containers.container(container).delete(force=True, v=True)
        except Refusal as refusal:
            if refusal.status != NOT_FOUND and "already in progress" not in refusal.message:
                raise

    def doing(self) -> dict[str, str]:
        return self.store.doing

    def usage(self) -> dict[str, Usage]:
        found = {}
        for container_id, kept in tuple(self._meters.items()):
            try:
                found[container_id] = kept.usage()
            except OSError:  # ENODEV: the container ended, and its cgroup with it
                self._forget_meter(container_id)
        return found

    def threads(self, container_id: str) -> dict[int, float]:
        kept = self._meters.get(container_id)
        return thread_cpu_s(kept.threads()) if kept is not None else {}

    async def changes(self) -> AsyncIterator[None]:
        """One item once the stream is open, then one for each batch of events.

        The first covers whatever changed before anyone listened. Ends with `Unavailable`; call
        again after `open()`.
        """
        # Not aiodocker's own events: its reader never reconnects and its queue has no bound.
        filters = docker_api.ours(self._cluster, self._node)
        filters |= {"type": ["container"], "event": _EVENTS}
        with contextlib.closing(await self._event_stream(filters)) as stream:
            yield None
            if self._name == "Podman":
                await self._first_event(stream)
                yield None
            while line := await self._next_event(stream):
                self._heed(line)
                yield None
        raise self._no_more_events()

    async def _first_event(self, stream: "ClientResponse") -> None:
        """One that comes soon; looked at or not, Podman listens by then, which it may not yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LISTENS_S):
                self._heed(await self._next_event(stream))

    async def images(self) -> AsyncIterator[tuple[str, ...]]:
        """Asked for once the stream is open, then after each batch of events, whatever they say.

        A stream of its own, because the filter for our containers' labels goes for images too.
        """
        with contextlib.closing(await self._event_stream({"type": ["image"]})) as stream:
            yield await self._image_names()
            while await self._next_event(stream):
                await asyncio.sleep(_IMAGES_SETTLE_S)
                with self._hearing():
                    stream.content.read_nowait()
                yield await self._image_names()
        raise self._no_more_events()

    def _no_more_events(self) -> Unavailable:
        cause = '; with `events_logger = "none"` it has none' if self._name == "Podman" else ""
        return Unavailable(f"{self._name} closed its event stream{cause}")

    async def _image_names(self) -> tuple[str, ...]:
        async with self._asking("list of images", work_s=_WORK_S) as client:
            return docker_api.image_names(await client.images.list())

    async def _event_stream(self, filters: Mapping[str, Sequence[str]]) -> "ClientResponse":
        async with self._asking("events") as client:
            asked = {"filters": json.dumps(filters)}
            if self._name != "Podman":
                # dockerd answers before it listens: what happens in between it has to repeat.
                # Podman would leave out all that a clock which is set back dates before this.
                asked["since"] = str(int(time.time()) - 1)
            answer = await client.session.get(docker_api.url(client, "events"), params=asked)
            if answer.status >= HTTPStatus.BAD_REQUEST:
                with contextlib.closing(answer):
                    why = docker_api.said(await answer.read()).get("message", "")
                    raise Refusal(answer.status, f"no events: {why}")
            return answer

    async def _next_event(self, stream: "ClientResponse") -> bytes:
        with self._hearing():
            try:
                return await stream.content.readline()
            except ValueError:  # longer than any line should be: its many labels
                return await stream.content.readany()

    @contextlib.contextmanager
    def _hearing(self) -> Iterator[None]:
        from aiohttp import ClientError  # noqa: PLC0415

        try:
            yield
        except (ClientError, OSError) as error:
            raise Unavailable(f"{self._name} is gone (events): {error}") from error

    def _heed(self, event: bytes) -> None:
        """Remember of whom an event speaks; one that cannot be read may speak of anybody."""
        self._unsettled |= docker_api.unsettled(event, set(self._meters))

    def logs(
        self,
        container_id: str,
        *,
        follow: bool,
        since_unix_s: int = 0,
        tail: int | None = None,
        again: bool = False,  # noqa: ARG002 - its stamps say it
    ) -> AsyncIterator[Batch]:
        return docker_streams.logs(
            self._asking, container_id, follow=follow, since_unix_s=since_unix_s, tail=tail
        )

    async def exec_session(self, container_id: str, wanted: ExecWanted) -> ExecSession:
        return await docker_streams.start_exec(self._asking, container_id, wanted)

    async def has_image(self, tag: str) -> bool:
        return await self.store.has(tag)

    async def load_image(self, archive: bytes) -> None:
        """Load what `docker save` or `engines.archive` has made."""
        async with self._asking("load of an image", work_s=_LOAD_S) as client:
            await client.images.import_image(io.BytesIO(archive))

    async def remove_image(self, tag: str) -> None:
        """A missing image is no error."""
        try:
            async with self._asking("removal of an image", work_s=_WORK_S) as client:
                await client.images.delete(tag, force=True)
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise


async def _create_by_docker(client: "Docker", body: Json, name: str) -> "DockerContainer":
    return await client.containers.create(body, name=name)


async def _create_by_podman(client: "Docker", body: Json, name: str) -> "DockerContainer":
    """In Podman's own API, which is beside the Docker-compatible one."""
    async with client.session.post(
        f"{client.docker_host}/{podman_api.CREATE}",
        json=podman_api.create_body(body, name=name),
    ) as answer:
        said = docker_api.said(await answer.read())
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise Refusal(answer.status, said.get("message", ""))
    return client.containers.container(said["Id"])
