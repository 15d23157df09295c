"""Commands: the only way the agreed state changes. Each becomes one entry of the log.

Inside an entry they are msgpack maps tagged by `command`, so that an entry stays readable by a
version that added fields with defaults. They are closed: a version that lacks such a field must not
read on without it, or its state would become another one (see `applier.UnknownEntry`).
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from roheletd.cluster.configuration import Sealed
from roheletd.decoding import decoded
from roheletd.fields import ConfigKey, LabelKey, Name, Text
from roheletd.model import Member, Node, Placement, Service


class Command(Struct, frozen=True, kw_only=True, tag_field="command", forbid_unknown_fields=True):
    """Root of the union."""


class AddServices(Command, frozen=True, tag="add-services"):
    """Define services, or redefine those that exist, and forget `removed`: all of it or nothing.

    That a name of `removed` is not there is what was asked for, and no refusal.
    """

    services: tuple[Service, ...] = ()
    removed: tuple[Name, ...] = ()


class OfService(Command, frozen=True):
    """About one service that is there."""

    name: Name


class RemoveService(OfService, frozen=True, tag="remove-service"):
    """Forget a service and release its placements."""


class Scale(OfService, frozen=True, tag="scale"):
    """Another number of instances of a service, whatever else it says at that moment."""

    replicas: Annotated[int, Meta(ge=0, le=10_000)]


class Restart(OfService, frozen=True, tag="restart"):
    """Replace every instance of a service, in the way of its updates."""


class RollBack(OfService, frozen=True, tag="roll-back"):
    """Go back to the edition of a service that was the last one to be rolled out before."""


class EndRollout(OfService, frozen=True, tag="end-rollout"):
    """The leader's word on the rollout that `begun_at` names: all is well, or it is given up."""

    begun_at: int
    succeeded: bool
    reason: str = ""


class AddNodes(Command, frozen=True, tag="add-nodes"):
    """Register nodes, or correct what is known of them: all of them or none."""

    nodes: tuple[Node, ...]


class RemoveNode(Command, frozen=True, tag="remove-node"):
    """Forget a node and its membership; what was placed on it is placed again elsewhere."""

    name: Name


class OfNode(Command, frozen=True):
    """About one node that is registered."""

    name: Name


class Cordon(OfNode, frozen=True, tag="cordon"):
    """Take a node out of the allocator's reach, or give it back; what is placed there stays."""

    cordoned: bool


class Drain(OfNode, frozen=True, tag="drain"):
    """Cordon a node and let its instances move elsewhere one after the other, or give it back."""

    draining: bool


class LabelNode(OfNode, frozen=True, tag="label-node"):
    """Set labels of a node, and take others away."""

    labels: Annotated[dict[LabelKey, Text], Meta(max_length=256)] = {}
    removed: Annotated[tuple[LabelKey, ...], Meta(max_length=256)] = ()


class ForgetHome(OfNode, frozen=True, tag="forget-home"):
    """The data that an instance had on a node is deleted: it is not bound to that any more."""

    instance: Text


class Configure(Command, frozen=True):
    """About one config map or one secret."""

    name: Name


class SetConfigMap(Configure, frozen=True, tag="set-config-map"):
    """Set these keys; `replace`: and forget all others."""

    values: Annotated[dict[ConfigKey, bytes], Meta(min_length=1, max_length=1000)]
    replace: bool = False


class RemoveConfigMap(Configure, frozen=True, tag="remove-config-map"):
    """Forget a config map that no service includes."""


class SetSecret(Configure, frozen=True, tag="set-secret"):
    """Set these keys; `replace`: and forget all others. The values come encrypted."""

    values: Annotated[dict[ConfigKey, Sealed], Meta(min_length=1, max_length=1000)]
    replace: bool = False


class RemoveSecret(Configure, frozen=True, tag="remove-secret"):
    """Forget a secret that no service includes."""


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


AnyCommand = (
    AddServices
    | RemoveService
    | Scale
    | Restart
    | RollBack
    | EndRollout
    | AddNodes
    | RemoveNode
    | Cordon
    | Drain
    | LabelNode
    | ForgetHome
    | SetConfigMap
    | RemoveConfigMap
    | SetSecret
    | RemoveSecret
    | JoinNode
    | Found
    | Place
)


class Proposal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


def repeatable(command: AnyCommand) -> AnyCommand:
    """What is the same whenever the same is asked: the same secret is encrypted anew each time."""
    if not isinstance(command, SetSecret):
        return command
    marks = {key: replace(value, box=b"") for key, value in command.values.items()}
    return replace(command, values=marks)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Proposal)


def encode(proposal: Proposal) -> bytes:
    return _encoder.encode(proposal)


def decode(data: bytes) -> Proposal:
    """Raises `msgspec.MsgspecError` for an entry that this version does not know."""
    return decoded(_decoder, data)
