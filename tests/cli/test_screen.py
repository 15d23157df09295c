"""The live screen at several sizes, against golden text."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from roheletd.cli.screen import Picked, View, screen, urls, watch_command
from roheletd.cli.tables import Style
from roheletd.telemetry import CpuUse, GpuUse, MemoryUse, Telemetry, ThermalZone
from tests.cli import samples
from tests.cli.test_pages import golden, utc

__all__ = ["utc"]

PICKED = Picked(broker="managed: mosquitto found", engine="docker: /run/docker.sock answers")


def plain(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


def report(cores: int = 4, **more: object) -> Telemetry:
    used = {core: min(1000, core * 130) for core in range(cores)}
    return Telemetry(
        **{
            "node": "pi1",
            "at_s": 1.7e9,
            "interval_s": 1.0,
            "cpu": CpuUse(used_millicores=used),
            "memory": MemoryUse(total_mib=4000, available_mib=1000),
            **more,
        }  # type: ignore[arg-type]
    )


def view(telemetry: Telemetry | None, status: object = samples.STATUS) -> View:
    return View(
        picked=PICKED,
        data_dir="/tmp/roheletd-quickstart-0/data",
        status=plain(status),
        instances=plain(samples.INSTANCES)["instances"],
        telemetry=None if telemetry is None else plain(telemetry),
    )


HOT = report(
    8,
    thermal=(ThermalZone(name="cpu-thermal", celsius=81.2), ThermalZone(name="gpu", celsius=None)),
    throttled=("too hot",),
    gpus=(GpuUse(id="0", model="Orin", used_percent=35.0), GpuUse(id="1", model="dark")),
)
FACTS: Mapping[str, View] = {
    "pi": view(report()),
    "hot": view(HOT),
    "many-cores": view(report(64)),
    "first-second": view(None),
    "unwell": view(report(), samples.UNWELL),
}


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (44, 24)])
def test_the_screen_is_its_golden_text_and_fits(name: str, width: int, height: int) -> None:
    lines = screen(FACTS[name], Style(width=width), height)
    golden(f"screen-{name}-{width}x{height}", lines)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_a_low_terminal_shows_a_strip_in_place_of_the_bars() -> None:
    lines = screen(FACTS["hot"], Style(width=80), 22)
    assert any(line == "        ·░░▒▒▓▓█" for line in lines)
    assert len(lines) <= 22


def test_colour_changes_no_width() -> None:
    style = Style(width=80)
    coloured = screen(FACTS["hot"], style._replace(colour=True), 40)
    for code in ("0", "1", "2", "31", "32", "33"):
        coloured = [line.replace(f"\x1b[{code}m", "") for line in coloured]
    assert coloured == screen(FACTS["hot"], style, 40)


def test_the_commands_can_be_copied() -> None:
    command = watch_command(plain(samples.STATUS), "/tmp/with space")
    assert command == (
        "mosquitto_sub -h 127.0.0.1 -p 9471 -u rohe "
        """-P "$(cat '/tmp/with space/broker.password')" -t 'rohe/#' -v"""
    )
    assert urls(plain(samples.INSTANCES)["instances"]) == [
        "http://127.0.0.1:20000/",
        "http://127.0.0.1:20001/",
    ]
