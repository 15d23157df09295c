"""What a person does to the cluster from this node: share, invite, join, leave, recover.

Most of it changes who this node is. The daemon then ends this life of its own and begins the next
in the same process: `next_life` runs in between, when the log is closed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from roheletd import identity as identities
from roheletd import token as tokens
from roheletd.api import views
from roheletd.api.problems import NotFound
from roheletd.clock import Clock
from roheletd.cluster.commands import Missing, Rejected, RemoveNode
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.cluster.voters import outlook
from roheletd.errors import Refused, Unavailable
from roheletd.identity import Identity
from roheletd.loops.elector import Elector
from roheletd.loops.proposer import Proposer
from roheletd.loops.registrar import NOTICE
from roheletd.model import Member, node_of
from roheletd.token import Token

ANSWER_S = 0.2
"""How long an answer has to leave before the life that gave it ends."""
LEAVING_S = 10.0


class Control:
    """`ClusterControl` of the doors. `next_life` is None until this life has to end."""

    def __init__(
        self,
        *,
        identity: Identity,
        data_dir: Path,
        key: bytes,
        key_file: str | None,
        brokers: Callable[[], tuple[str, ...]],
        elector: Elector,
        proposer: Proposer,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        clock: Clock,
        stop: Callable[[], None],
    ) -> None:
        self.next_life: Callable[[], object] | None = None
        self._identity = identity
        self._data_dir = data_dir
        self._key = key
        self._key_file = key_file
        self._brokers = brokers
        self._elector = elector
        self._proposer = proposer
        self._state = state
        self._soft = soft
        self._membership = membership
        self._clock = clock
        self._stop = stop
        self._joining: Token | None = None
        self._left = False
        self._changed = asyncio.Event()
        elector.on_applied.append(self._changed.set)

    def view(self) -> views.ClusterView:
        core, me = self._elector.core, self._identity
        known = self._state.member_by_id(me.member)
        silent_s = core.silent_s(self._clock.now_s())
        return views.ClusterView(
            cluster=self._joining.cluster if self._joining else me.cluster,
            cluster_id=self._joining.cluster_id if self._joining else me.cluster_id,
            epoch=me.epoch,
            node=me.node,
            member=me.member,
            membership=self._standing(known),
            role=self._role(known),
            leader=self._proposer.leader,
            term=core.term,
            commit_index=core.commit,
            applied_index=self._state.applied_index,
            members=tuple(self._member(it) for _, it in sorted(self._state.members.items())),
            reason=self._soft.notices.get(NOTICE) or self._soft.notices.get("protocol", ""),
            shared=me.shared,
            leader_heard_s=None if core.role == "leader" else round(silent_s, 3),
            links=self._soft.links,
            outlook=self.outlook(),
            failure=self._elector.failure,
            dropped_messages=self._soft.dropped,
        )

    def outlook(self) -> str:
        """What the loss of one more node would mean, or who is missing."""
        core, now_s = self._elector.core, self._clock.now_s()
        voters = core.configuration.voters
        if (leader := self._proposer.leader) and core.me not in core.configuration.members:
            return f"those that vote know who is alive, and this node does not: ask on {leader}"
        alive = {it for it in voters if self._membership.liveness(node_of(it), now_s) == "alive"}
        return outlook(core.configuration, alive) if voters else ""

    async def share(self) -> None:
        if not self._identity.shared and self.next_life is None:
            self._end_with(lambda: identities.share(self._data_dir))

    async def token(self, valid_for_s: int) -> str:
        await self.share()
        expires_at_s = int(self._clock.wall_s()) + valid_for_s if valid_for_s else 0
        me = self._identity
        return tokens.encode(
            Token(
                cluster=me.cluster,
                cluster_id=me.cluster_id,
                epoch=me.epoch,
                key=self._key,
                brokers=self._brokers(),
                expires_at_s=expires_at_s,
            )
        )

    async def join(self, token: Token, *, force: bool) -> None:
        data_dir, key_file, node = self._data_dir, self._key_file, self._identity.node
        services = None if self._elector.failure else len(self._state.services)
        identities.check_join(data_dir, token, services=services, force=force, key_file=key_file)
        self._end_with(
            lambda: identities.join(
                data_dir, token, node=node, services=services, force=force, key_file=key_file
            )
        )
        self._joining = token

    async def leave(self) -> None:
        if not self._state.members.keys() - {self._identity.node}:
            raise Refused("this node is alone in its cluster: there is nobody to leave")
        await self._proposer.propose(
            RemoveNode(name=self._identity.node), command_id=f"leave-{self._identity.member}"
        )
        self._left = True
        core = self._elector.core
        # A voter that went before it is known to be none would be waited for by the others.
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                while core.me in core.configuration.members:
                    self._changed.clear()
                    await self._changed.wait()
        self._end_with(lambda: identities.leave(self._data_dir))

    async def recover(self) -> None:
        if self._elector.failure:
            raise Refused(f"this node has no log to recover from: {self._elector.failure}")
        if leader := self._proposer.leader:
            raise Refused(f"the cluster has a leader, {leader}: there is nothing to recover from")
        brokers = self._brokers()
        self._end_with(lambda: identities.recover(self._data_dir, brokers=brokers))
        self._identity = replace(self._identity, epoch=self._identity.epoch + 1)

    async def remove(self, name: str, *, command_id: str) -> None:
        outcome = await self._proposer.propose(RemoveNode(name=name), command_id=command_id)
        if isinstance(outcome, Missing):
            raise NotFound(outcome.reason)
        if isinstance(outcome, Rejected):
            raise Refused(outcome.reason)

    def _end_with(self, between: Callable[[], object]) -> None:
        if self.next_life is not None:
            raise Unavailable("this node begins anew at this very moment: ask again")
        self.next_life = between
        asyncio.get_running_loop().call_later(ANSWER_S, self._stop)

    def _standing(self, known: Member | None) -> views.Standing:
        if self._left:
            return "left"
        if self._joining is not None or (known is None and NOTICE not in self._soft.notices):
            return "joining"
        return "joined" if known is not None else "refused"

    def _role(self, known: Member | None) -> views.Part:
        core = self._elector.core
        if core.role != "follower":
            return core.role
        if known is None:
            return "not a member"
        return "learner" if core.me in core.configuration.learners else "follower"

    def _member(self, member: Member) -> views.MemberView:
        core = self._elector.core
        role: views.MemberRole = "follower"
        if member.id in core.configuration.voters:
            role = "witness" if member.witness else "voter"
        elif member.id in core.configuration.learners:
            role = "learner"
        progress = core.progress().get(member.id)
        lag = None if progress is None else core.last_index - progress[0]
        return views.MemberView(
            name=member.name,
            id=member.id,
            role=role,
            liveness=self._membership.liveness(member.name, self._clock.now_s()),
            voter=member.voter,
            lag=0 if member.id == core.me and core.role == "leader" else lag,
            broker=member.broker,
            version=member.version,
        )
