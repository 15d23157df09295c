"""Rates from counters: what two samples say, and what they never may."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.instance_use import InstanceUse
from roheletd.telemetry import (
    CoreTicks,
    DiskSpace,
    GpuReading,
    GpuUse,
    MemoryUse,
    QueueTime,
    Sample,
    Telemetry,
    ThermalZone,
    Traffic,
    capacity,
    queue_percent,
    report,
    smoothed,
    used_millicores,
)

COUNTER = st.integers(0, 2**64 - 1)
TRAFFIC = st.builds(Traffic, COUNTER, COUNTER)
QUEUES = st.dictionaries(
    st.sampled_from(["bin", "render", "csd"]), st.builds(QueueTime, COUNTER, COUNTER)
)
SAMPLES = st.builds(
    Sample,
    monotonic_s=st.floats(0, 1e9),
    cores=st.dictionaries(st.integers(0, 7), st.builds(CoreTicks, COUNTER, COUNTER)),
    disk_space=st.just((DiskSpace(mount="/", device="sda", total_mib=2, free_mib=1),)),
    disk_traffic=st.dictionaries(st.sampled_from(["sda", "sdb"]), TRAFFIC),
    network=st.dictionaries(st.sampled_from(["eth0", "wlan0"]), TRAFFIC),
    gpus=st.builds(lambda queues: (GpuReading(use=GpuUse(id="v3d"), queues=queues),), QUEUES),
)


def sample(monotonic_s: float, **parts: object) -> Sample:
    return msgspec.structs.replace(Sample(monotonic_s=monotonic_s), **parts)


def told(before: Sample, after: Sample) -> Telemetry:
    return report(before, after, node="pi", at_s=1_700_000_000.0)


def figures(value: object) -> list[float]:
    """Every number in a document, however deep."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in figures(item)]
    if isinstance(value, list):
        return [number for item in value for number in figures(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@given(before=SAMPLES, after=SAMPLES)
def test_no_two_samples_make_a_negative_or_impossible_figure(before: Sample, after: Sample) -> None:
    telemetry = told(before, after)
    assert all(
        number >= 0 and math.isfinite(number)
        for number in figures(msgspec.to_builtins(telemetry, str_keys=True))
    )
    if telemetry.cpu:
        assert all(0 <= used <= 1000 for used in telemetry.cpu.used_millicores.values())
    assert all((gpu.used_percent or 0) <= 100 for gpu in telemetry.gpus)


@given(before=SAMPLES, after=SAMPLES)
def test_a_report_survives_the_wire(before: Sample, after: Sample) -> None:
    telemetry = told(before, after)
    assert msgspec.json.decode(msgspec.json.encode(telemetry), type=Telemetry) == telemetry


@pytest.mark.parametrize(
    ("before", "after", "millicores"),
    [
        (CoreTicks(100, 900), CoreTicks(150, 950), 500),
        (CoreTicks(100, 900), CoreTicks(200, 900), 1000),
        (CoreTicks(100, 900), CoreTicks(100, 1000), 0),
        (CoreTicks(100, 900), CoreTicks(100, 900), 0),  # no tick passed
        (CoreTicks(100, 900), CoreTicks(5, 20), 0),  # plugged back in: counters from zero
        (CoreTicks(100, 900), CoreTicks(125, 890), 1000),  # iowait ran backwards
    ],
)
def test_used_millicores(before: CoreTicks, after: CoreTicks, millicores: int) -> None:
    assert used_millicores(before, after) == millicores


def test_a_late_sample_does_not_look_like_load() -> None:
    before = sample(0.0, cores={0: CoreTicks(0, 0)})
    after = sample(1.0, cores={0: CoreTicks(75, 225)})  # three seconds' worth of ticks
    assert told(before, after).cpu.used_millicores == {0: 250}


def test_traffic_is_per_second_of_the_time_between_the_samples() -> None:
    disk = (DiskSpace(mount="/", device="sda1", total_mib=10, free_mib=4),)
    before = sample(10.0, network={"eth0": Traffic(1024, 0)}, disk_traffic={"sda1": Traffic(0, 0)})
    after = sample(
        14.0,
        network={"eth0": Traffic(1024 + 8192, 4096), "wlan0": Traffic(9, 9)},
        disk_traffic={"sda1": Traffic(2048, 40960)},
        disk_space=disk,
    )
    telemetry = told(before, after)
    assert telemetry.interval_s == 4.0
    assert [(use.received_kib_s, use.sent_kib_s) for use in telemetry.network] == [
        (2.0, 1.0),
        (0.0, 0.0),  # an interface seen for the first time
    ]
    (use,) = telemetry.disks
    assert (use.mount, use.total_mib, use.free_mib) == ("/", 10, 4)
    assert (use.read_kib_s, use.written_kib_s) == (0.5, 10.0)


def test_a_counter_that_wraps_or_starts_again_is_a_rate_of_zero() -> None:
    before = sample(0.0, network={"eth0": Traffic(2**32 - 10, 500)})
    after = sample(1.0, network={"eth0": Traffic(90, 0)})
    (use,) = told(before, after).network
    assert (use.received_kib_s, use.sent_kib_s) == (0.0, 0.0)


def test_two_samples_of_one_moment_have_no_rates() -> None:
    one = sample(5.0, network={"eth0": Traffic(0, 0)}, cores={0: CoreTicks(1, 1)})
    two = sample(5.0, network={"eth0": Traffic(10**9, 0)}, cores={0: CoreTicks(1, 1)})
    telemetry = told(one, two)
    assert telemetry.interval_s == 0.0
    assert telemetry.network[0].received_kib_s == 0.0
    assert telemetry.cpu.used_millicores == {0: 0}


def test_a_sick_processor_sensor_leaves_the_processor_out_and_its_name_in() -> None:
    after = sample(1.0, sick={"cpu": "no"}, memory=MemoryUse(total_mib=8, available_mib=4))
    telemetry = told(sample(0.0, cores={0: CoreTicks(1, 1)}), after)
    assert telemetry.cpu is None
    assert telemetry.sick == {"cpu": "no"}
    assert telemetry.memory == after.memory


def test_what_needs_no_rate_is_passed_on() -> None:
    instances = (InstanceUse(instance="web-0", state="running", cpu_millicores=120),)
    zones = (ThermalZone(name="cpu-thermal", celsius=None),)
    after = sample(1.0, thermal=zones, throttled=("throttled",), taken_ports=(22,))
    telemetry = report(sample(0.0), after, node="pi", at_s=1.0, instances=instances)
    assert (telemetry.thermal, telemetry.throttled) == (zones, ("throttled",))
    assert (telemetry.taken_ports, telemetry.instances) == ((22,), instances)


def test_queue_percent_is_that_of_the_busiest_queue() -> None:
    before = {"bin": QueueTime(0, 0), "render": QueueTime(500, 0), "csd": QueueTime(9, 0)}
    after = {
        "bin": QueueTime(100, 1000),
        "render": QueueTime(1250, 1000),
        "csd": QueueTime(0, 1000),
    }
    assert queue_percent(before, after) == 75.0
    assert queue_percent({}, after) is None
    assert queue_percent(after, after) is None


def test_a_gpu_that_reports_its_own_use_keeps_it() -> None:
    use = GpuUse(id="GPU-1", used_percent=42.0, memory_used_mib=7)
    after = sample(1.0, gpus=(GpuReading(use=use),))
    assert told(sample(0.0), after).gpus == (use,)


def test_capacity_keeps_holes_in_core_ids_and_counts_shared_memory_as_the_systems() -> None:
    has = capacity(
        sample(
            0.0,
            cores={3: CoreTicks(1, 1), 0: CoreTicks(1, 1)},
            memory=MemoryUse(total_mib=4000, available_mib=1, swap_total_mib=100),
            gpus=(
                GpuReading(use=GpuUse(id="jetson", shares_memory=True)),
                GpuReading(use=GpuUse(id="card", memory_total_mib=8000)),
            ),
        )
    )
    assert has.cores == {0: 1000, 3: 1000}
    assert (has.memory_mib, has.vms_mib) == (4000, 4100)
    assert [(gpu.id, gpu.memory_mib) for gpu in has.gpus] == [("jetson", 4000), ("card", 8000)]


def test_smoothing_starts_at_the_present_load_and_forgets_cores_that_are_gone() -> None:
    assert smoothed({}, {0: 700, 5: 0}, interval_s=1.0) == {0: 700.0, 5: 0.0}
    assert smoothed({0: 700.0, 5: 0.0}, {0: 700}, interval_s=1.0) == {0: 700.0}


def test_a_spike_of_one_second_hardly_moves_the_smoothed_load() -> None:
    load = smoothed({0: 100.0}, {0: 1000}, interval_s=1.0)
    assert load[0] == pytest.approx(100 + 900 * (1 - math.exp(-1 / 15)))
    assert load[0] < 160


def test_smoothed_load_covers_two_thirds_of_a_step_in_one_tau_however_often_it_is_fed() -> None:
    each_second = {0: 0.0}
    for _ in range(15):
        each_second = smoothed(each_second, {0: 1000}, interval_s=1.0)
    at_once = smoothed({0: 0.0}, {0: 1000}, interval_s=15.0)
    assert each_second[0] == pytest.approx(at_once[0]) == pytest.approx(632.12, abs=0.01)


@given(
    before=st.dictionaries(st.integers(0, 3), st.floats(0, 1000)),
    used=st.dictionaries(st.integers(0, 3), st.integers(0, 1000)),
    interval_s=st.floats(-10, 1e6),
)
def test_smoothed_load_stays_between_what_was_and_what_is(
    before: dict[int, float], used: dict[int, int], interval_s: float
) -> None:
    after = smoothed(before, used, interval_s=interval_s)
    assert after.keys() == used.keys()
    for core, load in after.items():
        was = before.get(core, used[core])
        assert min(was, used[core]) - 1e-9 <= load <= max(was, used[core]) + 1e-9
