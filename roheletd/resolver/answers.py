"""One query and its answer: from here where it is about `.rohe`, else from elsewhere."""

from roheletd.cluster.names import Zone
from roheletd.resolver.header import SERVFAIL, failure, is_query, may_be_ours
from roheletd.resolver.upstream import Upstream


class Answers:
    """What `zone` and `upstream` know."""

    def __init__(self, zone: Zone, upstream: Upstream) -> None:
        self._zone = zone
        self._upstream = upstream

    async def to(self, query: bytes, *, udp: bool) -> bytes | None:
        """None: it is no query, and to answer an answer would go on for ever."""
        if not is_query(query):
            return None
        if may_be_ours(query):
            from roheletd.resolver import wire  # noqa: PLC0415 - 6 MB, for nodes that are asked

            answer = wire.response(query, self._zone.origin, self._zone.meaning, udp=udp)
            if answer is not None:
                return answer
        return await self._upstream.ask(query, udp=udp) or failure(query, SERVFAIL)
