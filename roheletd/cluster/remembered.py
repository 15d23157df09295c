"""What became of the last commands, by id: one that is sent again is answered, and not done again.

It is part of the agreed state, since all nodes have to recognise the same repetitions.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from msgspec import Struct

from roheletd.cluster.commands import AnyCommand, Outcome, Proposal, Rejected, repeatable

REMEMBERED_COMMANDS = 1024
"""How many command ids are kept to recognise one that is sent again; the oldest are forgotten."""


class Remembered(Struct, frozen=True, kw_only=True):
    """What became of one command, and a digest that tells it from another under the same id."""

    outcome: Outcome
    digest: bytes


class RememberedOutcomes:
    """At most `REMEMBERED_COMMANDS` of them."""

    def __init__(self, saved: Mapping[str, Remembered]) -> None:
        self._by_id = dict(saved)

    def saved(self) -> dict[str, Remembered]:
        return dict(self._by_id)

    def of(self, proposal: Proposal) -> Outcome | None:
        """None for an id that is not known."""
        known = self._by_id.get(proposal.id)
        if known is None or known.digest == _digest(proposal.command):
            return known.outcome if known else None
        return Rejected(reason=f"the id {proposal.id} was used for another command before")

    def remember(self, proposal: Proposal, outcome: Outcome) -> None:
        self._by_id[proposal.id] = Remembered(outcome=outcome, digest=_digest(proposal.command))
        while len(self._by_id) > REMEMBERED_COMMANDS:
            del self._by_id[next(iter(self._by_id))]

    def check(self) -> None:
        assert len(self._by_id) <= REMEMBERED_COMMANDS


_encoder = msgspec.msgpack.Encoder()


def _digest(command: AnyCommand) -> bytes:
    return blake2b(_encoder.encode(repeatable(command)), digest_size=8).digest()
