"""Parsers are functions of bytes: captured text in, figures out, `ValueError` for all else."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.collectors.cpu import parse_khz, parse_loadavg, parse_stat
from roheletd.collectors.disk import parse_diskstats
from roheletd.collectors.gpu_drm import parse_gpu_stats, parse_percent
from roheletd.collectors.gpu_jetson import parse_load
from roheletd.collectors.kernel_text import core_ids, count, words
from roheletd.collectors.memory import parse_meminfo
from roheletd.collectors.network import INTERFACES_MAX, parse_net_dev
from roheletd.collectors.ports import parse_sockets, parse_tcp
from roheletd.collectors.thermal import (
    parse_millidegrees,
    parse_throttled,
    parse_voltage_alarm,
)
from roheletd.telemetry import CoreTicks, QueueTime, Traffic
from tests.collectors.machines import captured

PARSERS: dict[str, Callable[[bytes], object]] = {
    parser.__name__: parser
    for parser in (
        core_ids,
        count,
        parse_diskstats,
        parse_gpu_stats,
        parse_khz,
        parse_load,
        parse_loadavg,
        parse_meminfo,
        parse_millidegrees,
        parse_net_dev,
        parse_percent,
        parse_sockets,
        parse_stat,
        parse_tcp,
        parse_throttled,
        parse_voltage_alarm,
    )
}

# Lines that nearly are what a parser wants reach further into it than noise does.
GARBLED = st.lists(
    st.sampled_from(
        (
            b"cpu", b"cpu0", b"cpu1", b"cpu-1", b"intr", b" ", b"\t", b"\n", b"-", b",", b":", b"0",
            b"1", b"7", b"-3", b"18446744073709551616", b"9" * 5000, b"1e400", b"nan", b"inf",
            b"-inf", b"0x", b"_", b"1_0", b"MemTotal:", b"MemAvailable: 1 kB\n", b"SwapTotal: ",
            b" kB\n", b"sda", b"loop0", b"eth0:", b"lo:", b"sl", b"0:", b"00000000:1F90", b"0A",
            b"01", b"bin", b"queue\n", b"\0", b"\xff", b"\x00\x00\x00\x14\x00", b"\x03\x00",
        )
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.binary(max_size=400) | GARBLED)
def test_a_parser_raises_nothing_but_value_error(name: str, text: bytes) -> None:
    with suppress(ValueError):
        PARSERS[name](text)


@given(text=st.binary(max_size=400) | GARBLED)
def test_words_makes_a_name_of_anything(text: bytes) -> None:
    assert words(text).encode() is not None


@given(
    cores=st.dictionaries(
        st.integers(0, 4095), st.lists(st.integers(0, 2**60), min_size=10, max_size=10), min_size=1
    )
)
def test_stat_finds_every_core_by_its_id(cores: dict[int, list[int]]) -> None:
    lines = [f"cpu{core} {' '.join(map(str, ticks))}" for core, ticks in cores.items()]
    text = "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *lines, "intr 1 2 3", "ctxt 4", ""])
    assert parse_stat(text.encode()) == {
        core: CoreTicks(sum(ticks[:3]) + sum(ticks[5:8]), ticks[3] + ticks[4])
        for core, ticks in cores.items()
    }


def test_stat_counts_steal_as_busy_and_waiting_as_idle_and_guests_once() -> None:
    #                  user nice system idle iowait irq softirq steal guest guest_nice
    text = b"cpu  0\ncpu0 100 20 30 1000 200 4 5 6 90 10\nintr 0\n"
    assert parse_stat(text) == {0: CoreTicks(100 + 20 + 30 + 4 + 5 + 6, 1200)}


@pytest.mark.parametrize("text", [b"", b"cpu  1 2 3\n", b"intr 1\n", b"cpu0 1 2 3\n", b"cpux 1\n"])
def test_stat_without_a_whole_core_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"stat|invalid literal"):
        parse_stat(text)


@pytest.mark.parametrize("text", [b"nan 0 0 1/2 3", b"-1 0 0", b"inf 0 0", b"1 2", b"1e300 0 0"])
def test_a_load_that_cannot_be_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"loadavg|values to unpack"):
        parse_loadavg(text)


def test_core_lists_as_the_kernel_prints_them() -> None:
    assert core_ids(b"0-3,6\n") == (0, 1, 2, 3, 6)
    assert core_ids(b"0\n") == (0,)
    assert core_ids(b"\n") == ()
    with pytest.raises(ValueError, match="range of core ids"):
        core_ids(b"0-4294967295")


def test_meminfo_of_a_kernel_without_swap() -> None:
    use = parse_meminfo(b"MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n")
    assert (use.total_mib, use.available_mib, use.swap_total_mib) == (2, 1, 0)


def test_diskstats_count_in_sectors_of_512_bytes_and_leave_image_files_out() -> None:
    traffic = parse_diskstats(captured("raspberry_pi_4", "proc/diskstats"))
    assert list(traffic) == ["mmcblk0", "mmcblk0p1", "mmcblk0p2"]
    assert traffic["mmcblk0p1"] == Traffic(14200 * 512, 2 * 512)


def test_net_dev_leaves_out_loopback_and_inner_ends_of_containers() -> None:
    traffic = parse_net_dev(captured("raspberry_pi_4", "proc/net/dev"))
    assert list(traffic) == ["eth0", "wlan0", "docker0"]
    assert traffic["eth0"] == Traffic(912330112, 44120331)


def test_net_dev_is_bounded() -> None:
    lines = [f"eth{i}: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0" for i in range(100)]
    traffic = parse_net_dev("\n".join(["head", "head", *lines]).encode())
    assert len(traffic) == INTERFACES_MAX


def test_tcp_stops_at_the_first_socket_that_does_not_listen() -> None:
    assert parse_tcp(captured("raspberry_pi_4", "proc/net/tcp")) == ({22, 1883}, True)
    assert parse_tcp(captured("raspberry_pi_4", "proc/net/tcp6")) == ({22, 9090}, False)


def test_throttled_bits_in_words() -> None:
    assert parse_throttled(b"0\n") == ()
    assert parse_throttled(b"0x8\n") == ("soft temperature limit",)
    assert parse_throttled(b"60002") == (
        "frequency capped",
        "frequency capping has occurred",
        "throttling has occurred",
    )
    with pytest.raises(ValueError, match="32 bits"):
        parse_throttled(b"-1")


@pytest.mark.parametrize(
    ("text", "celsius"),
    [
        (b"54530\n", 54.5),
        (b"-12000\n", -12.0),
        (b"0\n", 0.0),
        (b"-256000", None),
        (b"-274000", None),
    ],
)
def test_millidegrees(text: bytes, celsius: float | None) -> None:
    assert parse_millidegrees(text) == celsius


def test_v3d_queues_that_only_serve_others_are_left_out() -> None:
    text = captured("raspberry_pi_4", "sys/devices/platform/v3dbus/fec00000.v3d/gpu_stats")
    queues = parse_gpu_stats(text)
    assert set(queues) == {"bin", "render", "csd"}
    assert queues["render"] == QueueTime(61022334120, 8122033441420)


@pytest.mark.parametrize("text", [b"1001\n", b"-1\n", b"0@300000000Hz\n"])
def test_a_load_that_is_not_per_mille_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"per mille|unsigned|invalid literal"):
        parse_load(text)


def test_a_clock_the_driver_does_not_know_is_null() -> None:
    assert parse_khz(b"<unknown>\n") is None
    assert parse_khz(b"1800000\n") == 1800


def test_device_tree_strings_lose_their_nul() -> None:
    assert words(b"gv11b\0") == "gv11b"
