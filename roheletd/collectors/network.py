"""Traffic of network interfaces, and the TCP ports on which somebody listens."""

from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.kernel_text import counts
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import Traffic

INTERFACES_MAX = 16
PORTS_MAX = 1024

# Loopback is no traffic of the node; veth are the inner ends of containers, which come and go.
SKIPPED_INTERFACES = (b"lo:", b"veth")

RECEIVED_BYTES, SENT_BYTES = 0, 8
HEADER_LINES = 2

LISTENING = b"0A"
LOCAL_ADDRESS, STATE = 1, 3
PORT_DIGITS = 4


class InterfaceSensor(Sensor[dict[str, Traffic]]):
    """Bytes received and sent by interface."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/net/dev")

    def read(self) -> Reading[dict[str, Traffic]]:
        return Reading(parse_net_dev(b"".join(self._file.pages())))

    def close(self) -> None:
        self._file.close()


class PortSensor(Sensor[tuple[int, ...]]):
    """TCP ports in state LISTEN, on any address.

    To be watched as slow: a port taken a few seconds ago is found out by the engine anyway. The
    kernel lists listening sockets before all others, so that reading stops at the first other
    one: a machine with ten thousand connections is read as fast as an idle one.
    """

    def __init__(self, root: Path) -> None:
        self._files = tuple(KernelFile(root / name) for name in ("proc/net/tcp", "proc/net/tcp6"))

    def read(self) -> Reading[tuple[int, ...]]:
        ports: set[int] = set()
        for file in self._files:
            ports.update(listening_ports(file))
        return Reading(tuple(sorted(ports)[:PORTS_MAX]))

    def close(self) -> None:
        for file in self._files:
            file.close()


def listening_ports(file: KernelFile) -> set[int]:
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


def mac_address(root: Path) -> str:
    """Address of the first interface that is a device and not made up; "" where there is none."""
    for device in sorted((root / "sys/class/net").glob("*/device")):
        address = (device.parent / "address").read_text(encoding="ascii", errors="replace").strip()
        if address.strip("0:"):
            return address
    return ""


def parse_net_dev(text: bytes) -> dict[str, Traffic]:
    traffic: dict[str, Traffic] = {}
    for line in text.splitlines()[HEADER_LINES:]:
        stripped = line.lstrip()
        if stripped.startswith(SKIPPED_INTERFACES):
            continue
        if len(traffic) == INTERFACES_MAX:
            break
        name, _, rest = stripped.rpartition(b":")
        traffic[name.decode(errors="replace")] = _interface_traffic(rest)
    return traffic


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


def _interface_traffic(rest: bytes) -> Traffic:
    fields = rest.split()
    if len(fields) <= SENT_BYTES:
        raise ValueError(f"/proc/net/dev: expected counters, found {rest!r:.80}")
    received, sent = counts((fields[RECEIVED_BYTES], fields[SENT_BYTES]))
    return Traffic(received, sent)


def _port(address: bytes) -> int:
    digits = address.rpartition(b":")[2]
    if len(digits) != PORT_DIGITS or not digits.isalnum():
        raise ValueError(f"/proc/net/tcp: expected ADDRESS:PORT, found {address!r:.80}")
    return int(digits, 16)
