"""The unit file: as systemd reads it, and under a real systemd in a container of its own.

The container's root holds nothing but this machine's /usr, read-only, and what an installation
would put there; its systemd boots straight into guest.sh, which writes down what it sees.
"""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT
from tests.testbed.requirements import need

UNIT = ROOT / "systemd/roheletd.service"
EXPOSURE_MAX = 23  # tenths; a unit that restricts nothing scores 96

# An operator's own settings come last in the same way.
DROP_IN = """\
[Service]
ExecStart=
ExecStart=/opt/roheletd/roheletd run --config /etc/roheletd/roheletd.yaml
# So that the test takes seconds.
WatchdogSec=4
RestartSec=0.2
"""
GUEST = """\
[Unit]
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh /guest.sh
ExecStopPost=systemctl poweroff --force
StandardOutput=file:/facts
StandardError=file:/errors
TimeoutStartSec=120
"""
CONFIG = """\
node: {name: guest}
engine: {kind: process}
broker: {mode: managed}
"""
SERVICES = """\
services:
  - {name: sample, image: none, command: [/opt/roheletd/roheletd, sample], replicas: 2,
     cores: [50], memory_mib: 32, ports: [{container_port: 8080}]}
"""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a binary that exists here, as the verifier demands."""
    path = tmp_path / "roheletd.service"
    path.write_text(UNIT.read_text().replace("/usr/bin/roheletd", "/bin/true"))
    return path


def test_systemd_has_nothing_to_object_to_in_the_unit(unit):
    need("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_is_as_tight_as_was_decided(unit):
    need("systemd-analyze")
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]
    done = subprocess.run([*argv, str(unit)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_root(folder: Path, onedir: Path) -> None:
    """What a fresh machine has, and then what the head of the unit file says to do."""
    folder.chmod(0o755)  # "/" of an account other than root
    for name in ("usr", "var/lib", "var/log/journal", "tmp", "run", "proc", "sys", "dev"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    write(folder / "etc/os-release", Path("/usr/lib/os-release").read_text())
    shutil.copy("/etc/ld.so.cache", folder / "etc")
    shutil.copytree(onedir.parent, folder / "opt/roheletd", symlinks=True)
    system = folder / "etc/systemd/system"
    write(folder / "etc/sysusers.d/roheletd.conf", (ROOT / "systemd/roheletd.sysusers").read_text())
    write(folder / "etc/roheletd/roheletd.yaml", CONFIG)
    write(system / "roheletd.service", UNIT.read_text())
    write(system / "roheletd.service.d/test.conf", DROP_IN)
    write(system / "guest.service", GUEST)
    write(folder / "guest.sh", (Path(__file__).parent / "guest.sh").read_text())
    write(folder / "services.yaml", SERVICES)


@pytest.fixture(scope="module")
def facts(onedir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One boot, and what guest.sh saw."""
    need("systemd-nspawn", "mosquitto", root=True)
    folder = tmp_path_factory.mktemp("machine")
    make_root(folder, onedir)
    machine = f"roheletd-test-{uuid.uuid4().hex[:8]}"
    argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]
    argv += [f"--machine={machine}", f"--directory={folder}", "--bind-ro=/usr", "--console=pipe"]
    done = subprocess.run(
        [*argv, "--boot", "systemd.unit=guest.service"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    said = {
        name: (folder / name).read_text()
        for name in ("facts", "errors", "journal")
        if (folder / name).exists()
    }
    print(done.stdout, done.stderr, *said.values(), sep="\n")
    assert "facts" in said, "systemd did not boot"
    yield dict(line.split("=", 1) for line in said["facts"].splitlines())
    # Where /run is no tmpfs, nspawn leaves this folder behind.
    shutil.rmtree(f"/run/systemd/nspawn/propagate/{machine}", ignore_errors=True)


@pytest.mark.binary
@pytest.mark.systemd
@pytest.mark.root
class TestUnderRealSystemd:
    def test_it_is_ready_as_an_account_that_may_open_low_ports_and_nothing_else(self, facts):
        assert (facts["start_exit"], facts["active"]) == ("0", "active")
        assert (facts["account"], facts["capabilities"]) == ("roheletd", f"{1 << 10:016x}")
        assert facts["seccomp"] == "2"

    def test_inside_the_sandbox_it_runs_its_broker_and_two_processes(self, facts):
        assert facts["samples"] == "2"
        assert facts["broker"].endswith("true")

    def test_the_watchdog_hears_from_it(self, facts):
        assert facts["watchdog_kept"] == "yes"

    def test_it_stops_cleanly_in_less_than_two_seconds(self, facts):
        assert (facts["stop_result"], facts["stop_exit"]) == ("success", "0")
        assert int(facts["stop_ms"]) < 2000

    @pytest.mark.parametrize("event", ["stop", "start", "kill", "hang"])
    def test_what_it_supervises_lives_on_through(self, facts, event):
        assert facts[f"samples_after_{event}"] == "yes"

    def test_a_killed_daemon_is_started_again_with_one_broker(self, facts):
        assert facts["restarted_after_kill"] == "yes"
        assert facts["brokers"] == "1"

    def test_a_hanging_daemon_is_ended_by_the_watchdog(self, facts):
        assert facts["restarted_after_hang"] == "yes"
        assert facts["hang_reason"] == "Watchdog timeout"

    def test_a_removed_service_is_gone(self, facts):
        assert facts["samples_removed"] == "yes"
