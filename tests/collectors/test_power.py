"""What feeds a machine, from what its plugs and batteries say."""

from pathlib import Path

import pytest

from roheletd.collectors.power import PowerSensor, Supply, power_use
from roheletd.telemetry import PowerUse
from tests.collectors.conftest import Opener
from tests.collectors.machines import unpack

PLUGGED = Supply("feed", online=True)
UNPLUGGED = Supply("feed", online=False)


def battery(status: str, charge: float | None = 0.5) -> Supply:
    return Supply("store", status=status, charge=charge)


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ([], None),
        ([UNPLUGGED, UNPLUGGED], None),  # the USB-C sockets of a desktop
        ([PLUGGED], PowerUse(source="mains")),
        ([PLUGGED, battery("Charging")], PowerUse(source="mains", charge=0.5)),
        # One of several sockets feeds it, whatever a weak charger does to the battery.
        ([UNPLUGGED, PLUGGED, battery("Discharging")], PowerUse(source="mains", charge=0.5)),
        ([UNPLUGGED, battery("Discharging")], PowerUse(source="battery", charge=0.5)),
        ([UNPLUGGED, battery("Unknown")], PowerUse(source="battery", charge=0.5)),
        # A hat with a battery whose plug no driver shows.
        ([battery("Full", 1.0)], PowerUse(source="mains", charge=1.0)),
        ([battery("Unknown")], PowerUse(source="mains", charge=0.5)),
        ([battery("Discharging", None)], PowerUse(source="battery")),
        (
            [battery("Discharging", 0.2), battery("Full", 1.0)],
            PowerUse(source="battery", charge=0.6),
        ),
    ],
)
def test_a_machine_lives_from_its_battery_only_while_nothing_feeds_it(
    supplies: list[Supply], expected: PowerUse | None
) -> None:
    assert power_use(supplies) == expected


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    return unpack("pc_core_offline", tmp_path)


def supply(root: Path, name: str) -> Path:
    return root / "sys/class/power_supply" / name


def test_a_laptop_tells_its_battery_and_not_that_of_its_mouse(
    laptop: Path, collectors_of: Opener
) -> None:
    sample = collectors_of(laptop).sample(0.0)
    assert sample.power == PowerUse(source="battery", charge=0.62)
    assert sample.sick == {}


def test_a_plug_that_is_put_in_is_seen_through_the_kept_descriptors(
    laptop: Path, collectors_of: Opener
) -> None:
    collectors = collectors_of(laptop)
    collectors.sample(0.0)
    supply(laptop, "AC/online").write_text("1\n")
    supply(laptop, "BAT0/status").write_text("Charging\n")
    assert collectors.sample(10.0).power == PowerUse(source="mains", charge=0.62)


def test_a_battery_that_is_taken_out_is_forgotten(laptop: Path, collectors_of: Opener) -> None:
    collectors = collectors_of(laptop)
    collectors.sample(0.0)
    supply(laptop, "AC/online").write_text("1\n")
    supply(laptop, "BAT0/present").write_text("0\n")
    assert collectors.sample(10.0).power == PowerUse(source="mains")


def test_a_gauge_that_does_not_know_yet_is_no_sickness(laptop: Path, collectors_of: Opener) -> None:
    supply(laptop, "BAT0/capacity").unlink()
    sample = collectors_of(laptop).sample(0.0)
    assert sample.power == PowerUse(source="battery")
    assert sample.sick == {}


@pytest.mark.parametrize("file", ["BAT0/capacity", "BAT0/status", "AC/online"])
def test_garbage_is_a_sick_sensor_and_no_power_source(
    file: str, laptop: Path, collectors_of: Opener
) -> None:
    supply(laptop, file).write_text("gar bage\n")
    sample = collectors_of(laptop).sample(0.0)
    assert list(sample.sick) == ["power"]
    assert sample.power is None


def test_a_machine_without_supplies_does_not_know(tmp_path: Path) -> None:
    sensor = PowerSensor(tmp_path)
    sensor.look()
    assert sensor.read().value is None
