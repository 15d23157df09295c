"""Commands: the only way the agreed state changes. Each becomes one entry of the log.

Inside an entry they are msgpack maps tagged by `command`, so that an entry stays readable by a
version that added fields with defaults.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from roheletd.decoding import decoded
from roheletd.fields import Name
from roheletd.model import Member, Node, Placement, Service


class Command(Struct, frozen=True, kw_only=True, tag_field="command"):
    """Root of the union."""


class AddServices(Command, frozen=True, tag="add-services"):
    """Define services, or redefine those that exist, and forget `removed`: all of it or nothing.

    That a name of `removed` is not there is what was asked for, and no refusal.
    """

    services: tuple[Service, ...] = ()
    removed: tuple[Name, ...] = ()


class RemoveService(Command, frozen=True, tag="remove-service"):
    """Forget a service and release its placements."""

    name: Name


class AddNodes(Command, frozen=True, tag="add-nodes"):
    """Register nodes, or correct what is known of them: all of them or none."""

    nodes: tuple[Node, ...]


class RemoveNode(Command, frozen=True, tag="remove-node"):
    """Forget a node and its membership; what was placed on it is placed again elsewhere."""

    name: Name


class Cordon(Command, frozen=True, tag="cordon"):
    """Take a node out of the allocator's reach, or give it back; what is placed there stays."""

    name: Name
    cordoned: bool


class JoinNode(Command, frozen=True, tag="join-node"):
    """Take a machine in, or correct what is known of it.

    `previous` is the id that this machine had before, which proves that the name is its own.
    `expires_at_s` is that of the token that it was given (seconds since 1970; 0: never).
    """

    member: Member
    previous: str = ""
    expires_at_s: int = 0


class Found(Command, frozen=True, tag="found"):
    """The first entry of a cluster, or of an epoch: `member` alone is in it.

    What is known of the machines of an earlier epoch, and what is placed on them, stays: what runs
    keeps its place until its node is lost.
    """

    cluster_id: Annotated[str, Meta(min_length=1)]
    epoch: Annotated[int, Meta(ge=1)]
    member: Member


class Place(Command, frozen=True, tag="place"):
    """The allocator's decisions, in one piece: `released` first, then `placements`.

    `basis` is the index up to which the log was applied where they were made: if anything that they
    may rest on has changed since, all of it is refused, so that two deciders never give the same
    share twice. None: each placement is taken whose service and node are as they were.
    `together`: all placements or nothing of it.
    """

    placements: tuple[Placement, ...] = ()
    released: tuple[str, ...] = ()
    basis: int | None = None
    together: bool = False


AnyCommand = AddServices | RemoveService | AddNodes | RemoveNode | Cordon | JoinNode | Found | Place


class Proposal(Struct, frozen=True, kw_only=True):
    """A command under an id of the sender's making: sent twice, it is applied once."""

    id: str
    command: AnyCommand


class Applied(Struct, frozen=True, kw_only=True, tag="applied"):
    """What a command did: the name of each thing it touched to what happened to it."""

    changed: dict[str, str] = {}


class Rejected(Struct, frozen=True, kw_only=True, tag="rejected"):
    """Why a well-formed command does nothing in the present state."""

    reason: str


class Missing(Rejected, frozen=True, tag="missing"):
    """A rejection because there is nothing of that name."""


Outcome = Applied | Rejected | Missing

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Proposal)


def encode(proposal: Proposal) -> bytes:
    return _encoder.encode(proposal)


def decode(data: bytes) -> Proposal:
    """Raises `msgspec.MsgspecError` for an entry that this version does not know."""
    return decoded(_decoder, data)
