"""What nodes say to each other: every kind comes back as it went, and nothing else comes at all."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.cluster.commands import Applied, Missing, Rejected
from roheletd.cluster.exchange import Answer, Forward, decode, encode
from roheletd.raft import Configuration, Entry, Kind, SnapshotChunk
from roheletd.raft.values import (
    Append,
    AppendResponse,
    SnapshotRequest,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

WAY: dict[str, Any] = {"sender": "a.00000000", "to": "b.00000000", "term": 3}
SPEECHES = (
    Forward(boot=7, proposal=b"\x00\xff"),
    Answer(id="1", index=3, outcome=Applied(changed={"web": "added"})),
    Answer(id="1", index=0, outcome=Rejected(reason="no")),
    Answer(id="1", index=0, outcome=Missing(reason="there is no service web")),
    Answer(id="1", index=0, refusal="1000 commands are waiting"),
    VoteRequest(**WAY, last_index=1, last_term=1, pre=True),
    VoteResponse(**WAY, granted=True),
    Append(**WAY, prev_index=1, prev_term=1, commit=1, entries=(Entry(2, 3, b"x", Kind.NOOP),)),
    AppendResponse(**WAY, index=2, refused=4),
    SnapshotChunk(
        **WAY,
        index=9,
        snapshot_term=2,
        configuration=Configuration(("a.00000000",)),
        size=3,
        offset=0,
        data=b"abc",
    ),
    SnapshotRequest(**WAY, index=9, offset=3),
    TimeoutNow(**WAY),
)


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: type(speech).__name__)
def test_each_kind_comes_back_as_it_went(speech: msgspec.Struct) -> None:
    assert decode(encode(speech)) == speech


def test_a_missing_thing_is_told_from_a_plain_refusal() -> None:
    found = decode(encode(Answer(id="1", index=0, outcome=Missing(reason="there is none"))))
    assert isinstance(found, Answer)
    assert type(found.outcome) is Missing


def test_what_a_later_version_adds_at_the_end_is_passed_over() -> None:
    longer = [*msgspec.msgpack.decode(encode(Forward(boot=7, proposal=b"x"))), "more"]
    assert decode(msgspec.msgpack.encode(longer)) == Forward(boot=7, proposal=b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91\xa4soar",
        b"\x92\xa7forward\x01",
        b"\x80",
        b"\x91\xa1\x80",
        b"\x91" * 9999,
    ],
)
def test_what_is_no_speech_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(data)


@given(st.binary(max_size=60))
def test_whatever_the_bytes_nothing_else_is_raised(data: bytes) -> None:
    try:
        found = decode(data)
    except msgspec.MsgspecError:
        return
    assert decode(encode(found)) == found
