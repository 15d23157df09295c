"""The verbs about what instances have stored on nodes: their named volumes."""

import asyncio

from msgspec import Struct

from roheletd.api import views
from roheletd.api.explaining import or_rather
from roheletd.api.problems import NotFound, UnknownOutcome
from roheletd.api.streaming import Streaming, ended
from roheletd.api.volumes import VolumeList, VolumesAsked, VolumeToRemove, VolumeView
from roheletd.cluster.commands import ForgetHome
from roheletd.cluster.streams import Deleted, End, Volumes, VolumesWanted, VolumeUnwanted
from roheletd.cluster.volumes import StoredVolume, need_of
from roheletd.errors import Refused, RoheletError, Unavailable

ANSWER_S = 8.0
"""Less than whoever asks for all nodes waits for the answer about them."""


class _Told(Struct, frozen=True):
    """What a node said of its volumes; or why it has none, or why it did not say."""

    node: str
    volumes: tuple[StoredVolume, ...] = ()
    none_because: str = ""
    fault: RoheletError | None = None


class Storing(Streaming):
    """See and delete named volumes, wherever they are."""

    async def volumes(self, request: VolumesAsked, _id: str) -> VolumeList:
        """The named volumes of instances on all nodes, or on one, and who still needs each."""
        if request.node is None:
            nodes = sorted({*self._state.expected, self._node})
        else:
            nodes = [self._known(request.node)]
        told = await asyncio.gather(*(self._told(node) for node in nodes))
        if request.node is not None and (fault := told[0].fault) is not None:
            raise fault
        return VolumeList(
            volumes=tuple(self._volume(it, told.node) for told in told for it in told.volumes),
            unanswered={it.node: str(it.fault) for it in told if it.fault is not None},
            without={it.node: it.none_because for it in told if it.none_because},
        )

    async def remove_volume(self, request: VolumeToRemove, command_id: str) -> views.Changes:
        """Delete a named volume and all data in it, unless an instance that is placed there has it.

        Whose last volume it was may go to another node, once it has no place there any more.
        """
        name, node = request.name, self._known(request.node)
        deleted = await self._deleted(name, node)
        waits = self._waits_for(deleted.instance, node)
        if not deleted.found and (deleted.kept or not waits):
            raise NotFound(f"there is no volume {name} on {node}")
        changed = {name: "removed"} if deleted.found else {}
        if not waits:
            return views.Changes(changed=changed)
        if deleted.kept:
            note = f"{deleted.instance} stays bound to {node}, for {', '.join(deleted.kept)}"
            return views.Changes(changed=changed, notes=(note,))
        try:
            freed = await self._commit(ForgetHome(name=node, instance=deleted.instance), command_id)
        except Refused as error:  # it was placed there meanwhile
            return views.Changes(changed=changed, notes=(str(error),))
        except Unavailable as error:
            raise Unavailable(_half_done(name, deleted.instance, node, error)) from None
        except UnknownOutcome as error:
            raise UnknownOutcome(_half_done(name, deleted.instance, node, error)) from None
        return views.Changes(changed=changed | freed.changed)

    def _known(self, node: str) -> str:
        known = {*self._state.registrations, *self._state.members, self._node}
        if node not in known:
            raise NotFound(f"there is no node {node}{or_rather(node, known)}")
        return node

    def _volume(self, it: StoredVolume, node: str) -> VolumeView:
        need = need_of(it, node, self._state)
        return VolumeView(
            volume=it.name, node=node, instance=it.instance, claim=need.claim, reason=need.reason
        )

    def _waits_for(self, instance: str, node: str) -> bool:
        """Whether an instance that is not placed on a node has its data there."""
        at = self._state.placements.get(instance)
        return self._state.home_of(instance) == node and (at is None or at.node != node)

    async def _told(self, node: str) -> _Told:
        """All that one node says; never raises, so that it hides nothing that others say."""
        volumes: list[StoredVolume] = []
        none_because = ""
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._way().talk(node, VolumesWanted()) as talk,
            ):
                while True:
                    match await talk.receive():
                        case Volumes(volumes=some, none_because=why):
                            volumes += some
                            none_because = why
                        case End(kind=""):
                            break
                        case End() as end:
                            return _Told(node, fault=ended(end))
        except TimeoutError:
            reason = f"{node} has not said which volumes it has within {ANSWER_S:g} s"
            return _Told(node, fault=Unavailable(reason))
        except RoheletError as error:
            return _Told(node, fault=error)
        return _Told(node, tuple(sorted(volumes, key=lambda it: it.name)), none_because)

    async def _deleted(self, name: str, node: str) -> Deleted:
        async with self._way().talk(node, VolumeUnwanted(name)) as talk:
            while True:
                match await talk.receive():
                    case Deleted() as deleted:
                        return deleted
                    case End() as end:
                        raise ended(end)


def _half_done(name: str, instance: str, node: str, error: RoheletError) -> str:
    return (
        f"{name} is removed, but {instance} is still bound to {node}: {error}; remove it again to "
        "let it go elsewhere"
    )
