"""DNS as bytes, asked and read by dnspython."""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.cluster.names import EMPTY, NOTHING, Meaning, Target
from roheletd.resolver import wire
from roheletd.resolver.header import SERVFAIL, failure, is_query, may_be_ours

ORIGIN = "edge.rohe"
FOUR = ("10.0.0.9", "10.0.0.1", "10.0.0.5", "10.0.0.3")
MEANINGS = {
    "web.edge.rohe": Meaning(exists=True, addresses=(*FOUR, "fd00::1")),
    "empty.edge.rohe": EMPTY,
    "_80._tcp.web.edge.rohe": Meaning(
        exists=True,
        targets=tuple(
            Target(f"a-long-name-of-a-node-{it}.nodes.edge.rohe", it) for it in range(1, 17)
        ),
    ),
}


def look(name: str) -> Meaning:
    return MEANINGS.get(name, NOTHING)


def answer(
    name: str, kind: str = "A", *, udp: bool = True, edns: bool = False
) -> dns.message.Message:
    asked = dns.message.make_query(name, kind, use_edns=edns, payload=4096)
    data = wire.response(asked.to_wire(), ORIGIN, look, udp=udp)
    assert data is not None
    found = dns.message.from_wire(data)
    assert asked.is_response(found)
    return found


def test_addresses_are_told_in_their_order_and_for_a_second() -> None:
    found = answer("web.edge.rohe")
    assert found.flags & dns.flags.AA
    (records,) = found.answer
    assert (records.ttl, [it.address for it in records]) == (1, list(FOUR))
    (records,) = answer("web.edge.rohe", "AAAA").answer
    assert [it.address for it in records] == ["fd00::1"]


def test_capital_letters_make_no_difference_and_come_back_as_they_were() -> None:
    found = answer("WeB.edge.ROHE")
    assert found.answer[0].name.to_text() == "WeB.edge.ROHE."


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("empty.edge.rohe", "A", dns.rcode.NOERROR),
        ("web.edge.rohe", "MX", dns.rcode.NOERROR),
        ("nope.edge.rohe", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_what_is_not_there_may_be_remembered_for_a_second(name: str, kind: str, rcode: int) -> None:
    found = answer(name, kind)
    assert (found.rcode(), found.answer) == (rcode, [])
    (start,) = found.authority
    assert (start.rdtype, start.ttl, start[0].minimum) == (dns.rdatatype.SOA, 1, 1)


def test_what_is_too_long_for_a_datagram_is_cut_and_told_whole_over_tcp() -> None:
    cut = answer("_80._tcp.web.edge.rohe", "SRV")
    assert cut.flags & dns.flags.TC
    whole = answer("_80._tcp.web.edge.rohe", "SRV", udp=False)
    assert sorted(it.port for it in whole.answer[0]) == list(range(1, 17))
    more = answer("_80._tcp.web.edge.rohe", "SRV", edns=True)
    assert len(more.to_wire()) <= 1232


def test_another_name_that_only_looks_like_ours_is_nobodys_answer() -> None:
    asked = dns.message.make_query("web.rohe.example", "A").to_wire()
    assert not may_be_ours(asked)
    tricky = dns.message.make_query("example.com", "TXT")
    tricky.use_edns(options=[dns.edns.GenericOption(65001, b"\x04rohe\0")])
    assert may_be_ours(tricky.to_wire())
    assert wire.response(tricky.to_wire(), ORIGIN, look, udp=True) is None


def test_another_kind_of_message_is_not_implemented() -> None:
    asked = dns.message.make_query("web.edge.rohe", "A")
    asked.set_opcode(dns.opcode.STATUS)
    data = wire.response(asked.to_wire(), ORIGIN, look, udp=True)
    assert data is not None
    assert dns.message.from_wire(data).rcode() == dns.rcode.NOTIMP


def test_a_failure_is_told_with_the_number_of_its_query() -> None:
    asked = dns.message.make_query("example.com", "A")
    data = failure(asked.to_wire(), SERVFAIL)
    found = dns.message.from_wire(data)
    assert (found.id, found.rcode()) == (asked.id, dns.rcode.SERVFAIL)
    assert is_query(asked.to_wire())
    assert not is_query(data), "an answer to an answer would go on for ever"


@given(st.binary(max_size=200))
def test_no_bytes_break_it(noise: bytes) -> None:
    query = dns.message.make_query("web.edge.rohe", "A").to_wire()
    for data in (noise, query[:12] + noise, query + noise, query[: len(noise) % len(query)]):
        may_be_ours(data)
        if is_query(data):
            wire.response(data, ORIGIN, look, udp=True)
            failure(data, SERVFAIL)
