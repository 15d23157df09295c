"""What the engine of this node says of itself, kept in soft state: is it there, what it has."""

import logging

from msgspec.structs import asdict

from roheletd.cluster.events import Events
from roheletd.cluster.soft import EngineLink, SoftState
from roheletd.engines import Engine, EngineError, EngineInfo

logger = logging.getLogger(__name__)


class EngineNews:
    """Writes `soft.engine` and `soft.images`, and tells people when the engine comes and goes."""

    def __init__(self, soft: SoftState, events: Events) -> None:
        self._soft = soft
        self._events = events

    def answers(self, info: EngineInfo) -> None:
        link = EngineLink(**asdict(info), reachable=True, reason="")
        if link != self._soft.engine:
            self._events.add("engine answers", info.name, f"{info.version} at {info.address}")
        self._soft.engine = link

    def lost(self, reason: str) -> None:
        link = self._soft.engine
        if link.reachable or link.reason != reason:
            self._events.add("engine lost", link.name or link.kind, reason)
        self._soft.engine = link.lost(reason)

    async def follow_images(self, engine: Engine) -> None:
        """Until the engine is lost. One that runs containers but lists no images serves as well."""
        try:
            async for names in engine.images():
                self._soft.images = names
        except EngineError as error:
            logger.warning("which images this node has is not known: %s", error)
            self._soft.images = None
