"""Drives the agreed log: persist, then send, then apply; and answers whoever proposed.

With one voter there is nobody to send to. If a write fails, nobody knows what the disk holds:
this node then takes part in nothing until it is restarted, while its containers run on and reads
still answer.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from roheletd.api.operations import UnknownOutcome
from roheletd.cluster.commands import AnyCommand, Outcome, Proposal, Rejected, decode, encode
from roheletd.cluster.state import ClusterState
from roheletd.cluster.state import decode as decode_state
from roheletd.cluster.state import encode as encode_state
from roheletd.errors import InvalidInput, Unavailable
from roheletd.raft import Entry
from roheletd.raft.solo import Solo
from roheletd.store import Store, StoreFailed

log = logging.getLogger(__name__)

ENTRY_BYTES_MAX = 1 << 20
PROPOSALS_MAX = 1000
SNAPSHOT_AFTER_ENTRIES = 1000
SNAPSHOT_AFTER_BYTES = 1 << 20


async def recover(store: Store) -> tuple[ClusterState, Solo]:
    """The state that the disk leads to, and a core that goes on from there in a new term."""
    saved = await store.load()
    try:
        state = ClusterState(None if saved.snapshot is None else decode_state(saved.snapshot))
    except msgspec.MsgspecError as error:
        raise StoreFailed(
            f"the snapshot is of a version that this one cannot read: {error}"
        ) from None
    for entry in saved.entries:
        try:
            proposal = decode(entry.data)
        except msgspec.MsgspecError as error:
            raise StoreFailed(
                f"entry {entry.index} is of a version that this one cannot read: {error}"
            ) from None
        state.apply(entry.index, entry.term, proposal)
    term = max(saved.term, state.applied_term) + 1
    await store.save_term(term)
    return state, Solo(term=term, last_index=state.applied_index)


class Elector:
    """The log as the rest of the daemon sees it."""

    name = "elector"

    def __init__(self, *, node: str, core: Solo, store: Store, state: ClusterState) -> None:
        self.leader = node
        self.failure = ""
        self.on_applied: list[Callable[[], None]] = []
        self._core = core
        self._store = store
        self._state = state
        self._waiting: dict[str, tuple[AnyCommand, asyncio.Future[Outcome]]] = {}
        self._wake = asyncio.Event()

    @property
    def term(self) -> int:
        return self._core.term

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        """Returns once the command is durable and applied, or known to change nothing."""
        self._must_work()
        proposal = Proposal(id=command_id, command=command)
        if (outcome := self._state.foresee(proposal)) is not None:
            return outcome
        earlier, future = self._waiting.get(command_id) or self._enter(proposal)
        if earlier != command:
            return Rejected(reason=f"the id {command_id} is in use for another command")
        # Shielded: a caller that gives up must not take the outcome from one that repeats the id.
        return await asyncio.shield(future)

    async def run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._turn()
                except StoreFailed as error:
                    self._stop_membership(error)
        finally:
            self._settle_all("the daemon stopped before the command was on disk")

    async def _turn(self) -> None:
        ready = self._core.ready()
        if not ready.to_save:
            return
        await self._store.append(ready.to_save)
        for entry in ready.to_apply:
            self._apply(entry)
        for told in self.on_applied:
            told()
        if self._snapshot_is_due():
            await self._store.compact(
                index=self._state.applied_index,
                term=self._state.applied_term,
                snapshot=encode_state(self._state.saved()),
            )

    def _enter(self, proposal: Proposal) -> tuple[AnyCommand, asyncio.Future[Outcome]]:
        data = encode(proposal)
        if len(data) > ENTRY_BYTES_MAX:
            raise InvalidInput("$", f"a command of at most {ENTRY_BYTES_MAX} bytes")
        if len(self._waiting) >= PROPOSALS_MAX:
            raise Unavailable(f"{PROPOSALS_MAX} commands are waiting for the disk: try again")
        self._core.propose(data)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[proposal.id] = entered = (proposal.command, future)
        self._wake.set()
        return entered

    def _apply(self, entry: Entry) -> None:
        proposal = decode(entry.data)
        outcome = self._state.apply(entry.index, entry.term, proposal)
        _, future = self._waiting.pop(proposal.id, (None, None))
        if future is not None and not future.done():
            future.set_result(outcome)

    def _snapshot_is_due(self) -> bool:
        return (
            self._store.entries_since_snapshot >= SNAPSHOT_AFTER_ENTRIES
            or self._store.bytes_since_snapshot >= SNAPSHOT_AFTER_BYTES
        )

    def _must_work(self) -> None:
        if self.failure:
            raise Unavailable(f"this node takes no commands until it is restarted: {self.failure}")

    def _stop_membership(self, error: StoreFailed) -> None:
        self.failure = str(error)
        log.error("the log cannot be written, no command is taken until a restart: %s", error)
        self._settle_all(f"the disk failed while the command was written: {error}")

    def _settle_all(self, reason: str) -> None:
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(UnknownOutcome(reason))
                # Nobody may be left to look at it, and that is no error of ours.
                future.exception()
        self._waiting.clear()
