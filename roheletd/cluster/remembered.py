"""What became of the last commands, by id: one that is sent again is answered, and not done again.

It is part of the agreed state, since all nodes have to recognise the same repetitions.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from msgspec import Struct

from roheletd.cluster.commands import AnyCommand, Applied, Outcome, Proposal, Rejected, repeatable

REMEMBERED_COMMANDS = 1024
"""How many command ids are kept to recognise one that is sent again; the oldest are forgotten."""

REMEMBERED_CHANGES = 20_000
"""How many things they may have touched, all together: one that places 200 instances names each."""


class Remembered(Struct, frozen=True, kw_only=True):
    """What became of one command, and a digest that tells it from another under the same id."""

    outcome: Outcome
    digest: bytes


class RememberedOutcomes:
    """The last ones, as many as the two limits allow; the very last in any case."""

    def __init__(self, saved: Mapping[str, Remembered]) -> None:
        self._by_id = dict(saved)
        self._changes = sum(map(_changes, saved.values()))

    def saved(self) -> dict[str, Remembered]:
        return dict(self._by_id)

    def of(self, proposal: Proposal) -> Outcome | None:
        """None for an id that is not known."""
        known = self._by_id.get(proposal.id)
        if known is None or known.digest == _digest(proposal.command):
            return known.outcome if known else None
        return Rejected(reason=f"the id {proposal.id} was used for another command before")

    def remember(self, proposal: Proposal, outcome: Outcome) -> None:
        new = Remembered(outcome=outcome, digest=_digest(proposal.command))
        self._by_id[proposal.id] = new
        self._changes += _changes(new)
        while self._are_too_many():
            self._changes -= _changes(self._by_id.pop(next(iter(self._by_id))))

    def check(self) -> None:
        assert not self._are_too_many()
        assert self._changes == sum(map(_changes, self._by_id.values()))

    def _are_too_many(self) -> bool:
        count = len(self._by_id)
        return count > REMEMBERED_COMMANDS or (self._changes > REMEMBERED_CHANGES and count > 1)


def _changes(known: Remembered) -> int:
    return len(known.outcome.changed) if isinstance(known.outcome, Applied) else 0


_encoder = msgspec.msgpack.Encoder()


def _digest(command: AnyCommand) -> bytes:
    return blake2b(_encoder.encode(repeatable(command)), digest_size=8).digest()
