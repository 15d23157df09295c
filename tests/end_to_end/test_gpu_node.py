"""A node with two GPUs, as far as one can be without any: it sees them, and Docker gives them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import containers
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.gpu_stand_ins import GPUS

pytestmark = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]

# In the place of NVIDIA's library, for two cards of 8 GB that do nothing.
_PYNVML = f"""\
class NVMLError(Exception): pass
class NVMLError_NotSupported(NVMLError): pass
class NVMLError_FunctionNotFound(NVMLError): pass
class NVMLError_NotFound(NVMLError): pass
class Figures:
    gpu = 0
    total = 8 << 30
    used = 0
NVML_TEMPERATURE_GPU = 0
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(index): return {GPUS}[index]
def nvmlDeviceGetName(index): return "stand-in"
def nvmlDeviceGetUtilizationRates(index): return Figures
def nvmlDeviceGetMemoryInfo(index): return Figures
def nvmlDeviceGetPowerUsage(index): return 9000
def nvmlDeviceGetTemperature(index, sensor): return 40
def nvmlDeviceGetTemperatureV(index, sensor): return 40
def nvmlDeviceGetComputeRunningProcesses(index): return []
"""
# The driver's own file, in a /proc that only this daemon sees.
_DRIVER = 'mount -t tmpfs x /proc/driver && mkdir /proc/driver/nvidia && touch "$0" && exec "$@"'


@pytest.fixture
def node(dockerd: RealEngine, tmp_path: Path) -> Iterator[RealDaemon]:
    (tmp_path / "pynvml.py").write_text(_PYNVML)
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(dockerd.socket)}
    ) as made:
        driver = ("sh", "-c", _DRIVER, "/proc/driver/nvidia/version")
        made.prefix = ("unshare", "--mount", *driver)
        made.launch(env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"})
        made.until(made.answers)
        yield made
        made.delete("/api/v1/services/net")
        made.until(lambda: not containers(dockerd, made))


def test_the_gpu_that_was_chosen_is_the_one_inside_the_container(
    node: RealDaemon, dockerd: RealEngine
) -> None:
    script = "env | grep NVIDIA_VISIBLE > /www/index.html; exec httpd -f -p 80 -h /www"
    service = {
        "name": "net",
        "image": BUSYBOX,
        "command": ["/bin/sh", "-c", script],
        "accelerators": {"gpu": 60},
        "replicas": 2,
        "ports": [{"container_port": 80}],
        "stop_grace_s": 1,
    }
    node.post("/api/v1/services", {"services": [service]})
    given = {}
    for instance in node.running(2):
        url = f"http://127.0.0.1:{instance['ports'][0]['host_port']}/"
        node.until(lambda url=url: dockerd.fetch(url))
        (gpu,) = instance["gpus"]
        given[gpu] = dockerd.fetch(url).strip()
    assert given == {gpu: f"NVIDIA_VISIBLE_DEVICES={gpu}" for gpu in GPUS}
