"""The parts of the daemon that carry the verbs out, as the doors see them."""

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from roheletd.api import views
from roheletd.cluster.commands import AnyCommand, Outcome
from roheletd.cluster.configuration import Sealed
from roheletd.cluster.events import Event, EventNote, EventQuery
from roheletd.cluster.streams import LogLine, LogQuery, Piece, Wanted
from roheletd.model import Placement
from roheletd.token import Token


class Log(Protocol):
    """The agreed log as the doors see it."""

    @property
    def term(self) -> int: ...

    @property
    def leader(self) -> str:
        """Who leads by all that this node knows; empty: nobody."""

    @property
    def leads(self) -> bool:
        """Whether this node may act as the leader."""

    @property
    def failure(self) -> str: ...

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        """Returns once the command is durable and applied, or known to be refused."""


class Vault(Protocol):
    """Encrypts and opens values of secrets, each bound to its secret and key."""

    def seal(self, secret: str, key: str, plain: bytes) -> Sealed: ...

    def open(self, secret: str, key: str, sealed: Sealed) -> bytes: ...


class ClusterControl(Protocol):
    """Membership of this node as the doors see it."""

    def view(self) -> views.ClusterView: ...

    async def share(self) -> None:
        """Others may join from now on, and reach what they need for that."""

    async def token(self, valid_for_s: int) -> str:
        """A token that others join with; the cluster is shared from now on. 0: valid for ever."""

    async def join(self, token: Token, *, force: bool) -> None:
        """Returns once this node is bound to ask; from then on `view` says what becomes of it."""

    async def leave(self) -> None:
        """Returns once the others know."""

    async def recover(self) -> None:
        """Returns once this node leads the next epoch, alone."""

    async def remove(self, name: str, *, command_id: str) -> None:
        """Returns once it is committed. Raises `NotFound` for a name that no member has."""


Emit = Callable[[Placement, tuple[LogLine, ...]], Awaitable[None]]
EmitEvents = Callable[[Sequence[Event | EventNote]], Awaitable[None]]


class Conversation(Protocol):
    """One side of an open conversation, wherever the other one is.

    Both ways wait for the other side, so that whoever does not read holds up whoever writes.
    Raises `Unavailable` once the other side cannot be reached any more.
    """

    async def send(self, piece: Piece) -> None: ...

    async def receive(self) -> Piece: ...


class Streams(Protocol):
    """The way to the instances of all nodes, as the doors see it."""

    async def read(self, query: LogQuery, emit: Emit) -> None:
        """Until all is said. Raises why it is not complete."""

    def talk(self, node: str, wanted: Wanted) -> AbstractAsyncContextManager[Conversation]:
        """A conversation with whoever runs the instance."""


class AllEvents(Protocol):
    """The way to the events of all nodes, as the doors see it."""

    def nodes(self) -> AbstractSet[str]:
        """Those that have any."""

    async def read(self, asked: EventQuery, emit: EmitEvents) -> None:
        """Until all is said. Raises why it is not complete, where only one node was asked."""
