"""The named volumes of this node, for whoever asks for them or wants one deleted."""

from collections.abc import Iterable

from roheletd.api.collaborators import Conversation
from roheletd.cluster.events import Events
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import Deleted, Volumes, VolumesWanted, VolumeUnwanted
from roheletd.cluster.volumes import StoredVolume, need_of, stored_volume
from roheletd.engines import Engine
from roheletd.errors import Refused

_VOLUMES_IN_PIECE = 64
"""A name is at most 200 bytes, and said in parts once more."""


class StoredVolumes:
    """What the engine has, and by the agreed state who needs it. `engine` None: nothing runs."""

    def __init__(
        self,
        *,
        engine: Engine | None,
        cluster: str,
        node: str,
        state: ClusterState,
        events: Events,
    ) -> None:
        self._engine = engine
        self._cluster = cluster
        self._node = node
        self._state = state
        self._events = events

    async def answer(self, wanted: VolumesWanted | VolumeUnwanted, talk: Conversation) -> None:
        engine = self._engine
        volumes = None if engine is None else await engine.volumes()
        if engine is None or volumes is None:
            if isinstance(wanted, VolumeUnwanted):
                raise Refused(f"there is no {wanted.name}: {self._why_none()}")
            await talk.send(Volumes((), self._why_none()))
        elif isinstance(wanted, VolumeUnwanted):
            await talk.send(await self._delete(wanted.name, volumes, engine))
        else:
            for at in range(0, len(volumes), _VOLUMES_IN_PIECE):
                await talk.send(Volumes(volumes[at : at + _VOLUMES_IN_PIECE]))

    async def _delete(self, name: str, volumes: Iterable[StoredVolume], engine: Engine) -> Deleted:
        others = {it.name: it for it in volumes}
        it = others.pop(name, None)
        if it is not None:
            why = self._why_deleted(it)
            await engine.remove_volume(name)
            self._events.add("volume removed", name, why)
        # One that is not there may have been deleted before, and only that been left unfinished.
        whose = it or stored_volume(self._cluster, name)
        instance = "" if whose is None else whose.instance
        return Deleted(instance, it is not None, self._kept_for(instance, others.values()))

    def _why_deleted(self, it: StoredVolume) -> str:
        """Raises `Refused` for one that must not be."""
        need = need_of(it, self._node, self._state)
        if need.claim == "in use":
            raise Refused(
                f"{it.name} is in use on {self._node}: {need.reason}; scale {it.service} down, or "
                "remove it, before its data"
            )
        return need.reason

    def _kept_for(self, instance: str, others: Iterable[StoredVolume]) -> tuple[str, ...]:
        return tuple(
            it.name
            for it in others
            if it.instance == instance and need_of(it, self._node, self._state).claim != "orphaned"
        )

    def _why_none(self) -> str:
        if self._engine is None:
            return f"{self._node} runs no instances"
        return f"{self._node} runs local processes, which have no volumes"
