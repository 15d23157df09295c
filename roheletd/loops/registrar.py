"""Makes this node a member, and keeps what the cluster knows of it right."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from roheletd.api.problems import UnknownOutcome
from roheletd.cluster.commands import AnyCommand, Found, JoinNode, Rejected
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable
from roheletd.identity import Identity
from roheletd.loops.proposer import Proposer
from roheletd.model import Member

logger = logging.getLogger(__name__)

NOTICE = "membership"
RETRY_S = 10.0
"""A name that is taken may be free again, once somebody has removed its former holder."""


class Registrar:
    """Proposes this node's membership: a founder founds, others ask to join.

    A node that was removed does not come back by itself: somebody wanted it gone.
    """

    name = "registrar"

    def __init__(
        self,
        *,
        identity: Identity,
        member: Callable[[], Member],
        proposer: Proposer,
        state: ClusterState,
        soft: SoftState,
        admitted: Callable[[], object],
    ) -> None:
        self._identity = identity
        self._member = member
        self._proposer = proposer
        self._state = state
        self._soft = soft
        self._admitted = admitted
        self._was_member = identity.joined
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            if (command := self._due()) is None:
                await self._wake.wait()
            else:
                await self._propose(command)
            self._wake.clear()

    def _due(self) -> AnyCommand | None:
        """What to propose now, if anything; tells of a change of our membership on the way."""
        wanted = self._member()
        identity, state = self._identity, self._state
        if self._proposer.leads and state.epoch < identity.epoch:
            return Found(cluster_id=identity.cluster_id, epoch=identity.epoch, member=wanted)
        known = state.member_by_id(wanted.id)
        if known is not None:
            if not self._was_member:
                self._was_member = True
                self._admitted()
            self._soft.notices.pop(NOTICE, None)
            return JoinNode(member=wanted) if known != wanted else None
        if not self._was_member and self._proposer.leader:
            return JoinNode(
                member=wanted, previous=identity.previous, expires_at_s=identity.expires_at_s
            )
        if self._was_member and state.members and self._proposer.is_current:
            self._notice(
                f"this node was removed from cluster {identity.cluster}: its instances stop, and "
                "it takes no commands; to take part again, `roheletd cluster join --force TOKEN`"
            )
        return None

    async def _propose(self, command: AnyCommand) -> None:
        try:
            outcome = await self._proposer.propose(command, command_id=uuid4().hex)
        except (Unavailable, UnknownOutcome) as error:
            logger.info("membership waits: %s", error)
            await self._pause()
            return
        if isinstance(outcome, Rejected):
            self._notice(f"the cluster does not take this node in: {outcome.reason}")
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(RETRY_S / 10)  # what happens meanwhile is heard after it
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._wake.wait()

    def _notice(self, text: str) -> None:
        if self._soft.notices.get(NOTICE) != text:
            logger.warning("%s", text)
        self._soft.notices[NOTICE] = text
