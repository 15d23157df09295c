"""What an engine needs to give GPUs, without a GPU: NVIDIA's hook, its runtime and a CDI spec."""

import json
from pathlib import Path

GPUS = ("GPU-one", "GPU-two")
"""The ids that the stand-ins know. Any other is refused, as NVIDIA's own would do."""

HOLLOW = "GPU-hollow"
"""In the CDI spec alone: a name without a device, as of a spec that is half written."""

# Called before the container starts, with its state as one line of JSON.
_HOOK = """\
#!/bin/sh
bundle=$(sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/')
asked=$(grep -o '"NVIDIA_VISIBLE_DEVICES=[^"]*"' "$bundle/config.json" | tail -n 1)
for id in $(echo "$asked" | tr -d '"' | cut -d= -f2 | tr , ' '); do
    case " all GPU-one GPU-two " in
        *" $id "*) ;;
        *) echo "nvidia-container-cli: device error: $id: unknown device" >&2; exit 1 ;;
    esac
done
"""
_RUNTIME = '#!/bin/sh\nexec runc "$@"\n'


def hook(folder: Path) -> Path:
    """A folder for dockerd's PATH: with this hook in it, dockerd takes requests for GPUs."""
    return _script(folder / "gpu-hook", "nvidia-container-runtime-hook", _HOOK).parent


def runtime(folder: Path) -> Path:
    """What JetPack registers as the runtime `nvidia`."""
    return _script(folder / "gpu-runtime", "nvidia-container-runtime", _RUNTIME)


def cdi_spec(folder: Path) -> None:
    """For a folder that is to be /etc/cdi: each GPU is a device file of its own, named after it."""
    devices = [*((name, [name]) for name in GPUS), ("all", list(GPUS)), (HOLLOW, [])]
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            {
                "name": name,
                "containerEdits": {
                    "env": [f"GPU_GIVEN={name}"],
                    "deviceNodes": [
                        {"path": f"/dev/{gpu}", "type": "c", "major": 1, "minor": 3} for gpu in gpus
                    ],
                },
            }
            for name, gpus in devices
        ],
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"]},
    }
    folder.mkdir(parents=True)
    (folder / "nvidia.json").write_text(json.dumps(spec))


def _script(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path
