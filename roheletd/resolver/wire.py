"""DNS as bytes: the only dnspython. To be imported with the first question about `.rohe`: 6 MB.

It finds the kinds of records by their names, and a frozen binary by these imports.
"""

from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from roheletd.cluster.names import TOP, Meaning
from roheletd.resolver.header import FORMERR, failure

TTL_S = 1
"""What is healthy now may not be in a second, and to ask again is cheap."""

_UDP_BYTES_MIN, _UDP_BYTES_MAX = 512, 1232
_TCP_BYTES_MAX = 65_535


def response(
    query: bytes, origin: str, look: Callable[[str], Meaning], *, udp: bool
) -> bytes | None:
    """None: it is about another name after all."""
    try:
        asked = dns.message.from_wire(query)
    except dns.exception.DNSException:
        return failure(query, FORMERR)
    made = dns.message.make_response(asked, recursion_available=True, our_payload=_UDP_BYTES_MAX)
    if asked.opcode() != dns.opcode.QUERY:
        made.set_rcode(dns.rcode.NOTIMP)
    elif len(asked.question) != 1:
        made.set_rcode(dns.rcode.FORMERR)
    else:
        name = asked.question[0].name.to_text(omit_final_dot=True).lower()
        if name != TOP and not name.endswith(f".{TOP}"):
            return None
        made.flags |= dns.flags.AA
        _answer(made, look(name), origin)
    size = min(max(_UDP_BYTES_MIN, asked.payload), _UDP_BYTES_MAX) if udp else _TCP_BYTES_MAX
    # The order is ours: this node first.
    return made.to_wire(max_size=size, prefer_truncation=True, want_shuffle=False)


def _answer(made: dns.message.Message, meaning: Meaning, origin: str) -> None:
    question = made.question[0]
    for kind, texts in _records(meaning):
        if texts and question.rdtype in {kind, dns.rdatatype.ANY}:
            made.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", kind, texts))
    if made.answer:
        return
    if not meaning.exists:
        made.set_rcode(dns.rcode.NXDOMAIN)
    # Whoever asks for what is not there may remember that, and this says for how long.
    start = f"{origin}. . 1 60 60 60 {TTL_S}"
    made.authority.append(dns.rrset.from_text(f"{origin}.", TTL_S, "IN", "SOA", start))


def _records(meaning: Meaning) -> tuple[tuple[dns.rdatatype.RdataType, list[str]], ...]:
    return (
        (dns.rdatatype.A, [it for it in meaning.addresses if ":" not in it]),
        (dns.rdatatype.AAAA, [it for it in meaning.addresses if ":" in it]),
        (dns.rdatatype.SRV, [f"0 0 {it.port} {it.host}." for it in meaning.targets]),
    )
