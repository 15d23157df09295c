"""Listening ports, asked of this machine's kernel in both ways."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.ports import PORTS_MAX, PortSensor, ask, diagnostic_socket, listed_ports

ROOT = Path("/")


@pytest.fixture
def sensor() -> Iterator[PortSensor]:
    sensor = PortSensor(ROOT)
    yield sensor
    sensor.close()


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    """Eighty sockets: more than the kernel prints on one page of /proc/net/tcp."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(80)]
    yield [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()


def test_a_port_somebody_listens_on_is_found_and_gone_when_closed(sensor: PortSensor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port in sensor.read().value
    assert port not in sensor.read().value


def test_a_port_listened_on_over_ipv6_is_found(sensor: PortSensor) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6 address")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert listener.getsockname()[1] in sensor.read().value


def test_the_files_tell_the_same_as_the_diagnostic_socket(listeners: list[int]) -> None:
    file = KernelFile(ROOT / "proc/net/tcp")
    with diagnostic_socket() as connection:
        asked = ask(connection, socket.AF_INET)
    assert set(listeners) <= asked
    assert set(listeners) <= listed_ports(file)
    file.close()


def test_the_local_end_of_a_connection_is_not_a_listening_port(sensor: PortSensor) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        ports = sensor.read().value
        assert listener.getsockname()[1] in ports
        assert connection.getsockname()[1] not in ports


def test_where_the_diagnostic_socket_is_refused_the_files_are_read(
    sensor: PortSensor, listeners: list[int]
) -> None:
    broken = diagnostic_socket()
    broken.close()  # every call on it fails, as in a sandbox
    sensor._socket = broken
    assert set(listeners) <= set(sensor.read().value)
    assert set(listeners) <= set(sensor.read().value)  # and asked again the next time
    assert sensor._socket is not None


def test_the_list_is_bounded(tmp_path: Path) -> None:
    rows = [f"{i}: 00000000:{i + 1:04X} 00000000:0000 0A 0" for i in range(1500)]
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text("\n".join(rows))
    ports = PortSensor(tmp_path).read().value
    assert ports == tuple(range(1, PORTS_MAX + 1))
