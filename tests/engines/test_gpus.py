"""How GPUs get into containers: what is asked for, and on real engines what has arrived."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roheletd.engines import EngineError, docker_api, gpus, podman_api
from roheletd.model import Gpu
from tests.engines.conftest import Machine, make_spec, open_machine
from tests.engines.waiting import fetched
from tests.testbed import engines
from tests.testbed.engines import RealEngine
from tests.testbed.gpu_stand_ins import GPUS, HOLLOW

ONE, TWO = (Gpu(id=name) for name in GPUS)
ORIN = Gpu(id="17000000.ga10b", shares_memory=True)
THOR = Gpu(id="GPU-thor", shares_memory=True)
RADEON = Gpu(id="0000:03:00.0")
PI = Gpu(id="1002000000.v3d", shares_memory=True)


def test_each_gpu_is_known_by_the_id_that_its_sensor_gives_it() -> None:
    found = {gpu.id: gpus.road(gpu) for gpu in (ONE, THOR, ORIN, RADEON, PI)}
    assert list(found.values()) == ["nvidia", "nvidia", "jetson", "render", "render"]
    assert gpus.road(Gpu(id="57000000.gpu", shares_memory=True)) == "jetson"


def test_cards_are_asked_for_by_their_ids() -> None:
    asked = docker_api.create_body(make_spec("c", gpus=(ONE, TWO)), unenforced=(), init=True)
    (request,) = asked["HostConfig"]["DeviceRequests"]
    assert request == {"DeviceIDs": list(GPUS), "Capabilities": [["gpu"]]}


def test_a_jetson_gets_the_runtime_and_its_two_variables_whatever_the_service_says() -> None:
    spec = make_spec("c", gpus=(ORIN,), env={"NVIDIA_VISIBLE_DEVICES": "none"})
    asked = docker_api.create_body(spec, unenforced=(), init=True)
    assert asked["HostConfig"]["Runtime"] == "nvidia"
    assert "DeviceRequests" not in asked["HostConfig"]
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all"} <= set(asked["Env"])


def test_a_docker_without_the_runtime_is_told_with_the_remedy() -> None:
    assert "nvidia-ctk runtime configure" in gpus.lacks_runtime((ORIN,), ("runc",))
    assert gpus.lacks_runtime((ORIN,), ("runc", "nvidia")) == ""
    assert gpus.lacks_runtime((ONE, RADEON), ("runc",)) == ""


def test_a_graphics_driver_s_gpu_is_its_render_node(tmp_path: Path) -> None:
    card = tmp_path / "sys/devices/pci0000:00/0000:03:00.0"
    card.mkdir(parents=True)
    (card / "gpu_busy_percent").touch()
    node = tmp_path / "sys/class/drm/renderD129"
    node.mkdir(parents=True)
    (node / "device").symlink_to(card)
    assert gpus.render_nodes(tmp_path) == {RADEON.id: ("/dev/dri/renderD129",)}
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    nodes = gpus.render_nodes(tmp_path)
    config = gpus.host_config((RADEON,), nodes)
    paths = [device["PathOnHost"] for device in config["Devices"]]
    assert paths == ["/dev/dri/renderD129", "/dev/kfd"]
    assert gpus.dropped(config, {"Devices": config["Devices"]}) == ""
    assert gpus.dropped(config, {"Devices": None}) != ""
    with pytest.raises(EngineError, match="is its driver loaded"):
        gpus.host_config((PI,), nodes)


def test_what_an_engine_dropped_without_a_word_is_found() -> None:
    asked = gpus.host_config((ORIN,), {})
    assert gpus.dropped(asked, {"Runtime": "runc"}) == "runtime nvidia became runc"
    assert gpus.dropped(asked, {"Runtime": "nvidia"}) == ""
    asked = gpus.host_config((ONE, TWO), {})
    other = {"DeviceRequests": [{"DeviceIDs": ["GPU-one"]}]}
    assert gpus.dropped(asked, other) == "the request for GPU-one, GPU-two vanished"


def test_podman_is_asked_for_cdi_names_and_a_jetson_for_all_it_has() -> None:
    names = gpus.cdi_names((ONE, TWO, RADEON))
    assert names == ("nvidia.com/gpu=GPU-one", "nvidia.com/gpu=GPU-two")
    assert gpus.cdi_names((ORIN,)) == ("nvidia.com/gpu=all",)
    assert gpus.cdi_names((RADEON, PI)) == ()


def test_a_request_that_has_no_word_in_podmans_own_api_is_refused_not_cut() -> None:
    body = {"HostConfig": {"Devices": [], "GroupAdd": ["video"]}}
    with pytest.raises(EngineError, match="GroupAdd"):
        podman_api.create_body(body, name="x")


def test_mounts_are_said_in_podmans_words() -> None:
    mounts = [
        {"Type": "volume", "Source": "data", "Target": "/data"},
        {"Type": "bind", "Source": "/srv", "Target": "/srv", "ReadOnly": True},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 9, "Mode": 0o1777}},
    ]
    said = podman_api.create_body({"HostConfig": {"Mounts": mounts}}, name="x")
    assert said["volumes"] == [{"Name": "data", "Dest": "/data", "Options": []}]
    assert [mount["options"] for mount in said["mounts"]] == [
        ["ro", "rbind"],
        ["size=9", "mode=1777"],
    ]


async def environment(machine: Machine, *chosen: Gpu, **changes: object) -> list[str]:
    """What a container with these GPUs sees of them: its environment and its devices."""
    port = machine.port(80)
    script = "(env; cd /dev; echo *) > /www/index.html; httpd -f -p 80 -h /www"
    spec = machine.spec("sh", "-c", script, gpus=chosen, ports=(port,), **changes)
    await machine.engine.run(spec)
    return (await fetched(machine, port.host_port)).split()


@pytest.fixture
async def docker(dockerd: RealEngine) -> AsyncIterator[Machine]:
    async for opened in open_machine(dockerd):
        yield opened


@pytest.fixture(scope="module")
def podman_gpus() -> Iterator[RealEngine]:
    with engines.podman_with_gpus() as engine:
        yield engine


@pytest.fixture
async def podman_machine(podman_gpus: RealEngine) -> AsyncIterator[Machine]:
    async for opened in open_machine(podman_gpus):
        yield opened


@pytest.mark.docker
@pytest.mark.root
async def test_docker_gives_a_container_the_chosen_cards_and_no_other(docker: Machine) -> None:
    assert "NVIDIA_VISIBLE_DEVICES=GPU-two" in await environment(docker, TWO)
    assert "NVIDIA_VISIBLE_DEVICES=GPU-one,GPU-two" in await environment(docker, ONE, TWO)


@pytest.mark.docker
@pytest.mark.root
async def test_docker_gives_a_jetsons_container_the_runtime(docker: Machine) -> None:
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all"} <= set(
        await environment(docker, ORIN)
    )
    container = await docker.only()
    assert docker.real.inspect(container.id)["HostConfig"]["Runtime"] == "nvidia"


@pytest.mark.podman
@pytest.mark.root
async def test_podman_gives_the_chosen_cards_and_all_else_that_was_asked(
    podman_machine: Machine,
) -> None:
    seen = await environment(
        podman_machine,
        TWO,
        env={"GREETING": "a=b"},
        cores=(1,),
        quota_millicores=500,
        memory_mib=64,
    )
    assert {"GREETING=a=b", "GPU-two"} <= set(seen)
    assert "GPU-one" not in seen
    container = await podman_machine.only()
    inspected = podman_machine.real.inspect(container.id)
    host = inspected["HostConfig"]
    assert (host["CpusetCpus"], host["CpuQuota"], host["Memory"]) == ("1", 50_000, 64 << 20)
    assert (host["Init"], host["RestartPolicy"]["Name"]) == (True, "no")
    assert inspected["Config"]["Healthcheck"]["Test"] == ["NONE"]
    assert container.id in podman_machine.engine.usage()
    started = asyncio.get_running_loop().time()
    await podman_machine.engine.remove(container.id, 10)
    assert asyncio.get_running_loop().time() - started < 5, "no init passed the signal on"


@pytest.mark.podman
@pytest.mark.root
async def test_podman_gives_a_jetsons_container_all_that_the_spec_has(
    podman_machine: Machine,
) -> None:
    seen = await environment(podman_machine, ORIN)
    assert {*GPUS, "NVIDIA_DRIVER_CAPABILITIES=all"} <= set(seen)


@pytest.mark.podman
@pytest.mark.root
async def test_podman_tells_of_an_image_it_lacks_before_it_gives_gpus(
    podman_machine: Machine,
) -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/ghost"):
        await podman_machine.engine.run(
            podman_machine.spec(gpus=(ONE,), image="127.0.0.1:9/ghost:1")
        )


@pytest.mark.podman
@pytest.mark.root
async def test_podman_that_gives_no_device_runs_nothing_rather_than_without(
    podman_machine: Machine,
) -> None:
    with pytest.raises(EngineError, match=r"GPU-hollow gave no device"):
        await podman_machine.engine.run(podman_machine.spec("sleep", "9", gpus=(Gpu(id=HOLLOW),)))
    with pytest.raises(EngineError, match=r"nvidia-ctk cdi generate"):
        await podman_machine.engine.run(podman_machine.spec("sleep", "9", gpus=(Gpu(id="GPU-x"),)))
    assert await podman_machine.engine.list() == []


@pytest.mark.docker
@pytest.mark.root
async def test_docker_refuses_a_card_that_is_not_there_and_leaves_nothing(docker: Machine) -> None:
    with pytest.raises(EngineError, match=r"the GPU is not there now.*GPU-x"):
        await docker.engine.run(docker.spec("sleep", "9", gpus=(Gpu(id="GPU-x"),)))
    assert await docker.engine.list() == []
