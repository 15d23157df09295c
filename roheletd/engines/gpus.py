"""How each kind of GPU gets into a container; pure but for the look at the render nodes.

    NVIDIA card      DeviceRequests with its id, and the toolkit's hook    | CDI name of that id
    Jetson           runtime `nvidia` and its two variables                | CDI name `all`
    any other        its render node, as a device, on Docker and on Podman alike

Docker is on the left. Podman's Docker API drops the first two without a word, so that Podman is
asked in its own, which knows CDI names: see `podman_api`. What a GPU is shows in the id that its
sensor gave it: NVML's is a UUID, that of a Jetson or of a Raspberry Pi is a device of the board.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from roheletd.engines import EngineError
from roheletd.model import Gpu

CDI_KIND = "nvidia.com/gpu"
RUNTIME = "nvidia"

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_COMPUTE = "/dev/kfd"
"""AMD's compute stack needs it beside the render node, whichever card is used."""

_TOOLKIT = "install the NVIDIA container toolkit"
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_GENERATE = "sudo nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"


def road(gpu: Gpu) -> Literal["nvidia", "jetson", "render"]:
    """Which of the three ways leads to it."""
    if gpu.id.endswith(".v3d") or gpu.id == "v3d" or _PCI_ADDRESS.fullmatch(gpu.id):
        return "render"
    # A Grace or Thor board shares its memory too, and is spoken to as a card.
    is_board = gpu.shares_memory and not gpu.id.startswith(("GPU-", "MIG-", "nvidia-"))
    return "jetson" if is_board else "nvidia"


def variables(gpus: Sequence[Gpu]) -> dict[str, str]:
    """What NVIDIA's runtime reads on a Jetson; there is one GPU, and it cannot be divided."""
    if not any(road(gpu) == "jetson" for gpu in gpus):
        return {}
    return {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}


def host_config(gpus: Sequence[Gpu], render_nodes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What Docker is asked for."""
    config: dict[str, Any] = {}
    if cards := [gpu.id for gpu in gpus if road(gpu) == "nvidia"]:
        config["DeviceRequests"] = [{"DeviceIDs": cards, "Capabilities": [["gpu"]]}]
    if any(road(gpu) == "jetson" for gpu in gpus):
        config["Runtime"] = RUNTIME
    devices = [path for gpu in gpus if road(gpu) == "render" for path in _nodes(gpu, render_nodes)]
    if devices:
        config["Devices"] = [
            {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
            for path in dict.fromkeys(devices)
        ]
    return config


def cdi_names(gpus: Iterable[Gpu]) -> tuple[str, ...]:
    """What Podman is asked for in its own API; empty: nothing but plain devices."""
    roads = ((road(gpu), gpu.id) for gpu in gpus)
    names = (
        f"{CDI_KIND}={'all' if way == 'jetson' else name}" for way, name in roads if way != "render"
    )
    return tuple(dict.fromkeys(names))


def dropped(asked: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The first of these that an engine accepted and then did not keep; empty if none."""
    given = [it.get("DeviceIDs") for it in kept.get("DeviceRequests") or ()]
    for request in asked.get("DeviceRequests", ()):
        if request["DeviceIDs"] not in given:
            return f"the request for {', '.join(request['DeviceIDs'])} vanished"
    if "Runtime" in asked and asked["Runtime"] != kept.get("Runtime"):
        return f"runtime {asked['Runtime']} became {kept.get('Runtime')}"
    names = {device["PathOnHost"] for device in asked.get("Devices", ())}
    plain = {name for name in names if not name.startswith(f"{CDI_KIND}=")}
    there = {device["PathInContainer"] for device in kept.get("Devices") or ()}
    # A CDI name stands for device files that only its maker knows.
    if not plain <= there or (names > plain and not there > plain):
        return f"{', '.join(sorted(names - there))} gave no device"
    return ""


def lacks_runtime(gpus: Iterable[Gpu], runtimes: Iterable[str]) -> str:
    """Why Docker could not give a Jetson's GPU, and the remedy; empty if it can."""
    if RUNTIME in runtimes or not any(road(gpu) == "jetson" for gpu in gpus):
        return ""
    return (
        f"Docker has no runtime named {RUNTIME}, which a Jetson's GPU needs: {_TOOLKIT}, "
        f"then {_CONFIGURE}"
    )


def unresolved(message: str) -> str:
    """What to tell a person where Podman finds no CDI device of a name; empty: it is not that."""
    if "unresolvable CDI devices" not in message:
        return ""
    names = message.partition("unresolvable CDI devices")[2].split('"')[0].strip(" ,")
    return f"Podman knows no GPU {names}: {_TOOLKIT}, then {_GENERATE}"


def render_nodes(root: Path = Path("/")) -> dict[str, tuple[str, ...]]:
    """By the id that the sensor gives a GPU of the kernel's graphics drivers: its device files."""
    compute = (_COMPUTE,) if (root / _COMPUTE.lstrip("/")).exists() else ()
    found = {}
    for node in sorted((root / "sys/class/drm").glob("renderD*")):
        device = (node / "device").resolve()
        more = compute if (device / "gpu_busy_percent").exists() else ()
        found[device.name] = (f"/dev/dri/{node.name}", *more)
    return found


def _nodes(gpu: Gpu, render_nodes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if gpu.id not in render_nodes:
        raise EngineError(
            f"GPU {gpu.id} has no device below /dev/dri on this node: is its driver loaded?"
        )
    return render_nodes[gpu.id]
