"""The TCP ports on which somebody listens, so that nothing of ours is given a port that is taken.

/proc/net/tcp has them, but the kernel walks its table of connections to print it: 2 ms a file on
a machine with much memory, however few there are. Asked through a sock_diag socket, as `ss` does,
it walks the listening sockets only: 0.03 ms. The files remain for where that socket is not to be
had: a sandbox that forbids it, a kernel without tcp_diag, a captured tree.
"""

import errno
import socket
from pathlib import Path
from struct import Struct

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.sensor import Reading, Sensor

PORTS_MAX = 1024
REPLIES_MAX = 256

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10

HEADER = Struct("=IHHII")  # length, type, flags, sequence, sender
REQUEST = Struct("=IHHIIBBBBI48x")  # the header, then inet_diag_req_v2 with an empty socket id
SOCKET = Struct("!BBBBH")  # the start of inet_diag_msg: family, state, timer, retransmits, port
ALIGNMENT = 4

LISTENING = b"0A"
LOCAL_ADDRESS, STATE = 1, 3
PORT_DIGITS = 4


class PortSensor(Sensor[tuple[int, ...]]):
    """Ports in state LISTEN, on any address, IPv4 and IPv6.

    To be watched as slow: a port taken a few seconds ago is found out by the engine anyway.
    """

    def __init__(self, root: Path) -> None:
        self._files = tuple(KernelFile(root / name) for name in ("proc/net/tcp", "proc/net/tcp6"))
        self._may_ask = root == Path("/")
        self._socket: socket.socket | None = None

    def read(self) -> Reading[tuple[int, ...]]:
        ports = self._asked() if self._may_ask else None
        if ports is None:
            ports = set[int]().union(*map(listed_ports, self._files))
        return Reading(tuple(sorted(ports)[:PORTS_MAX]))

    def close(self) -> None:
        self._hang_up()
        for file in self._files:
            file.close()

    def _asked(self) -> set[int] | None:
        """What the kernel answers, or None where it does not: there are the files then."""
        try:
            if self._socket is None:
                self._socket = diagnostic_socket()
            return ask(self._socket, socket.AF_INET) | ask(self._socket, socket.AF_INET6)
        except (OSError, ValueError):
            self._hang_up()
            return None

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def diagnostic_socket() -> socket.socket:
    # The kernel answers within the call: a socket that would wait has lost its answer.
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    return socket.socket(socket.AF_NETLINK, kind, NETLINK_SOCK_DIAG)


def ask(connection: socket.socket, family: int) -> set[int]:
    """Every listening TCP port of one address family."""
    connection.send(listening_request(family))
    ports: set[int] = set()
    for _ in range(REPLIES_MAX):
        found, done = parse_sockets(connection.recv(64 * 1024))
        ports |= found
        if done:
            return ports
    raise OSError(errno.EMSGSIZE, "more listening sockets than are worth reading")


def listening_request(family: int) -> bytes:
    return REQUEST.pack(
        REQUEST.size,
        SOCK_DIAG_BY_FAMILY,
        NLM_F_REQUEST_DUMP,
        0,
        0,
        family,
        socket.IPPROTO_TCP,
        0,
        0,
        1 << TCP_LISTEN,
    )


def listed_ports(file: KernelFile) -> set[int]:
    """The same from a file, which lists listening sockets before all others."""
    ports: set[int] = set()
    try:
        for page in file.pages():
            found, others = parse_tcp(page)
            ports |= found
            if others:
                break
    except FileNotFoundError:  # a kernel without IPv6 has no tcp6
        return set()
    return ports


def parse_sockets(reply: bytes) -> tuple[set[int], bool]:
    """Ports in one answer of the kernel, and whether it is the last."""
    ports: set[int] = set()
    offset = 0
    while offset + HEADER.size <= len(reply):
        length, kind, *_ = HEADER.unpack_from(reply, offset)
        if length < HEADER.size:
            raise ValueError(f"sock_diag: expected a message, found {reply[offset:]!r:.80}")
        body = reply[offset + HEADER.size : offset + length]
        if kind == NLMSG_DONE:
            return ports, True
        if kind == NLMSG_ERROR:
            raise ValueError(f"sock_diag refused: {body!r:.80}")
        ports.add(_source_port(body))
        offset += length + -length % ALIGNMENT
    return ports, False


def parse_tcp(text: bytes) -> tuple[set[int], bool]:
    """Listening ports of a page of /proc/net/tcp, and whether it lists other sockets as well."""
    ports: set[int] = set()
    for line in text.splitlines():
        fields = line.split(maxsplit=STATE + 1)
        if len(fields) <= STATE:
            raise ValueError(f"/proc/net/tcp: expected a socket, found {line!r:.80}")
        if fields[0] == b"sl":
            continue
        if fields[STATE] != LISTENING:
            return ports, True
        ports.add(_port(fields[LOCAL_ADDRESS]))
    return ports, False


def _source_port(body: bytes) -> int:
    if len(body) < SOCKET.size:
        raise ValueError(f"sock_diag: expected a socket, found {body!r:.80}")
    port: int = SOCKET.unpack_from(body)[-1]
    return port


def _port(address: bytes) -> int:
    digits = address.rpartition(b":")[2]
    if len(digits) != PORT_DIGITS or not digits.isalnum():
        raise ValueError(f"/proc/net/tcp: expected ADDRESS:PORT, found {address!r:.80}")
    return int(digits, 16)
