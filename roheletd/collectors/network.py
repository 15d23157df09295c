"""Traffic of network interfaces."""

from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.kernel_text import counts, words
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import Traffic

INTERFACES_MAX = 16

# Loopback is no traffic of the node; veth are the inner ends of containers, which come and go.
SKIPPED_INTERFACES = (b"lo:", b"veth")

RECEIVED_BYTES, SENT_BYTES = 0, 8
HEADER_LINES = 2


class InterfaceSensor(Sensor[dict[str, Traffic]]):
    """Bytes received and sent by interface."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/net/dev")

    def read(self) -> Reading[dict[str, Traffic]]:
        return Reading(parse_net_dev(b"".join(self._file.pages())))

    def close(self) -> None:
        self._file.close()


def mac_address(root: Path) -> str:
    """Address of the first interface that is a device and not made up; "" where there is none."""
    devices = sorted((root / "sys/class/net").glob("*/device"))
    addresses = (read_address(device.with_name("address")) for device in devices)
    return next((address for address in addresses if address.strip("0:")), "")


def read_address(path: Path) -> str:
    try:
        return words(path.read_bytes())
    except OSError:  # some interfaces have an address file and no address
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


def _interface_traffic(rest: bytes) -> Traffic:
    fields = rest.split()
    if len(fields) <= SENT_BYTES:
        raise ValueError(f"/proc/net/dev: expected counters, found {rest!r:.80}")
    received, sent = counts((fields[RECEIVED_BYTES], fields[SENT_BYTES]))
    return Traffic(received, sent)
