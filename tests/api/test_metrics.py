"""The Prometheus page: right figures, and names and labels as Prometheus wants them."""

import subprocess
import sys
from collections import Counter

import aiohttp
import pytest
from msgspec.structs import replace
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from roheletd.api.metrics import gather, page
from roheletd.telemetry import Telemetry, ThermalZone
from tests.api.conftest import World

BASE_UNITS = {"bytes", "celsius", "cores", "info", "ratio", "seconds", "watts"}
OTHER_UNITS = {
    "mib",
    "kib",
    "mb",
    "ms",
    "milliseconds",
    "millicores",
    "minutes",
    "percent",
    "fahrenheit",
}
PROMETHEUS_OWN_LABELS = {"instance", "job", "le", "quantile"}


async def families_of(world: World) -> dict[str, Metric]:
    text = page(await gather(world.operations)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for sample in families[f"roheletd_{name}"].samples
    }


async def test_the_figures_are_the_node_s_own_in_base_units(world: World) -> None:
    found = await families_of(world)
    assert samples(found, "build_info") == {("edge", "pi", "0.1.0"): 1}
    assert samples(found, "cpu_used_cores") == {("0",): 0.25, ("1",): 1.0, ("3",): 0.0}
    assert samples(found, "cpu_free_cores") == {("0",): 0.5, ("1",): 1.0, ("3",): 1.0}
    assert samples(found, "memory_available_bytes") == {(): 3000 * 2**20}
    assert samples(found, "gpu_used_ratio") == {("gpu0",): 0.25}
    assert samples(found, "instance_cpu_used_cores") == {("web", "0"): 0.125}
    assert samples(found, "instances_wanted") == {(): 2}
    assert samples(found, "instances_running") == {(): 1}
    assert samples(found, "applied_index") == {(): 5}
    assert samples(found, "leader") == {(): 1}
    assert samples(found, "broker_reconnects") == {(): 3}
    assert samples(found, "refused_messages") == {("replayed",): 7}
    assert samples(found, "sensor_sick") == {("disk",): 1}


async def test_what_is_not_known_is_no_sample(world: World) -> None:
    found = await families_of(world)
    assert samples(found, "temperature_celsius") == {("cpu-thermal",): 48.5}
    assert "roheletd_gpu_power_watts" not in found
    world.soft.telemetry.clear()
    assert "roheletd_cpu_used_cores" not in await families_of(world)


async def test_zones_of_one_name_are_one_series(world: World) -> None:
    zones = tuple(ThermalZone(name="acpitz", celsius=celsius) for celsius in (30.0, 41.0, 27.8))
    world.soft.telemetry["pi"] = replace(world.soft.telemetry["pi"], thermal=zones)
    assert samples(await families_of(world), "temperature_celsius") == {("acpitz",): 41.0}


async def test_other_nodes_add_no_series(world: World) -> None:
    before = page(await gather(world.operations))
    for number in range(100):
        name = f"n{number}"
        world.soft.telemetry[name] = Telemetry(node=name, at_s=0.0, interval_s=1.0)
    assert page(await gather(world.operations)) == before


async def test_names_units_and_labels_follow_the_conventions(world: World) -> None:
    text = page(await gather(world.operations)).decode()
    for family in text_string_to_metric_families(text):
        words = family.name.split("_")
        assert words[0] == "roheletd"
        assert family.documentation.endswith("."), family.name
        assert not OTHER_UNITS & set(words), family.name
        assert "total" not in words[:-1] or family.type == "gauge", family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            assert not PROMETHEUS_OWN_LABELS & sample.labels.keys(), sample.name
            if BASE_UNITS & set(words):
                assert words[-1] in BASE_UNITS, "the unit stands last"
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert [line for line, times in Counter(lines).items() if times > 1] == []


async def test_the_page_is_served_as_prometheus_text(remote: aiohttp.ClientSession) -> None:
    async with remote.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert b"roheletd_build_info" in await answer.read()


@pytest.mark.parametrize("module", ["prometheus_client", "roheletd.api.openapi"])
def test_what_is_rarely_asked_for_is_not_loaded_with_the_server(module: str) -> None:
    script = f"import sys, roheletd.api.server; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
