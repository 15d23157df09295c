"""What the engine of this node says of itself, kept in soft state: is it there, what it has."""

import logging
from collections.abc import Sequence

from msgspec.structs import asdict, replace

from roheletd.cluster.container import Container
from roheletd.cluster.events import Events
from roheletd.cluster.soft import EngineLink, SoftState
from roheletd.engines import Engine, EngineError, EngineInfo

logger = logging.getLogger(__name__)


class EngineNews:
    """Writes `soft.engine` and `soft.images`, and tells people when the engine comes and goes."""

    def __init__(self, soft: SoftState, events: Events) -> None:
        self._soft = soft
        self._events = events
        self._was_lost = False

    def answers(self, info: EngineInfo) -> None:
        link = EngineLink(**asdict(info), reachable=True, reason="")
        before, self._soft.engine = self._soft.engine, link
        if link != before:
            self._events.add("engine answers", info.name, f"{info.version} at {info.address}")

    def lost(self, reason: str) -> None:
        link = self._soft.engine
        if link.reachable or link.reason != reason:
            self._events.add("engine lost", link.name or link.kind, reason)
        self._was_lost |= link.reachable
        self._soft.engine = link.lost(reason)

    def listed(self, info: EngineInfo, containers: Sequence[Container]) -> list[Container]:
        """The containers with what is known beside the engine's own words.

        Those that are not of our making are told about once.
        """
        strangers = tuple(sorted(item.stranger for item in containers if item.stranger))
        for name in strangers:
            if name not in self._soft.strangers:
                self._events.add("unknown container", name, "it has our labels; it is left alone")
        self._soft.strangers = strangers
        was_lost, self._was_lost = self._was_lost, False
        return self._after_absence(info, containers) if was_lost else list(containers)

    def _after_absence(self, info: EngineInfo, containers: Sequence[Container]) -> list[Container]:
        """Those that ended meanwhile say so."""
        away = f"it ended while {info.name} was away"
        if info.ends_containers:
            away += ", whose restart ends every container"
            # Some may have been seen to end just before it went, for no reason of their own.
            if ended := [
                it.instance for it in containers if it.state == "exited" and not it.stranger
            ]:
                why = "a restart of this engine ends every container: see the warnings of status"
                self._events.add("containers ended", ", ".join(sorted(ended)), why)
        return [
            replace(item, reason=f"{away}: {item.reason}") if item.state == "exited" else item
            for item in containers
        ]

    async def follow_images(self, engine: Engine) -> None:
        """Until the engine is lost. One that runs containers but lists no images serves as well."""
        try:
            async for names in engine.images():
                self._soft.images = names
        except EngineError as error:
            logger.warning("which images this node has is not known: %s", error)
            self._soft.images = None
