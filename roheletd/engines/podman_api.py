"""Podman's own API, for what its Docker-compatible one drops without a word: GPUs. Pure.

A request is made as for Docker and turned into Podman's words here, so that a container with a GPU
is in everything else like one without. What has no word here is refused, never left out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roheletd.engines import EngineError
from roheletd.engines.docker_api import Json
from roheletd.engines.signals import signal_number
from roheletd.fields import StopSignal

CREATE = "v4.0.0/libpod/containers/create"
"""Version 4 of Podman is the first with CDI, and version 5 still answers to it."""


def with_devices(body: Json, names: Sequence[str]) -> dict[str, Any]:
    """A request for Docker with CDI devices in the place of what Podman would drop."""
    host = {key: value for key, value in body["HostConfig"].items() if key not in _DROPPED}
    devices = [*host.get("Devices", ()), *({"PathOnHost": name} for name in names)]
    return {**body, "HostConfig": {**host, "Devices": devices}}


def create_body(body: Json, *, name: str) -> dict[str, Any]:
    """The request for Docker in Podman's own words."""
    said: dict[str, Any] = {
        "name": name,
        # As the Docker-compatible API does for an image that declares volumes.
        "image_volume_mode": "anonymous",
        "netns": {"nsmode": "bridge"},
        "devices": [],
        "resource_limits": {},
    }
    asked = {key: value for key, value in body.items() if key != "HostConfig"}
    _translate(asked, _WORDS, said)
    _translate(body["HostConfig"], _HOST_WORDS, said)
    return said


Word = Callable[[Any, dict[str, Any]], None]


def _translate(asked: Json, words: Mapping[str, Word], said: dict[str, Any]) -> None:
    for key, value in asked.items():
        if key not in words:
            raise EngineError(
                f"Podman gives no GPU to a service that also asks for {key}", retry=False
            )
        words[key](value, said)


def _as(key: str) -> Word:
    return lambda value, said: said.update({key: value})


def _env(value: Sequence[str], said: dict[str, Any]) -> None:
    said["env"] = dict(pair.split("=", 1) for pair in value)


def _nothing(_value: object, _said: dict[str, Any]) -> None:
    """Said with another key: an exposed port with where it is bound."""


def _working_dir(value: str, said: dict[str, Any]) -> None:
    """Made where it is missing, as the Docker-compatible API does by itself."""
    said |= {"work_dir": value, "create_working_dir": True}


def _stop_signal(value: StopSignal, said: dict[str, Any]) -> None:
    said["stop_signal"] = signal_number(value)


def _log(value: Json, said: dict[str, Any]) -> None:
    size = value["Config"]["max-size"]
    said["log_configuration"] = {"driver": "k8s-file", "options": {"max-size": size}}


def _ports(value: Json, said: dict[str, Any]) -> None:
    said["portmappings"] = [
        {
            "container_port": int(port.partition("/")[0]),
            "protocol": port.partition("/")[2],
            "host_ip": binding["HostIp"],
            "host_port": int(binding["HostPort"]),
        }
        for port, bindings in value.items()
        for binding in bindings
    ]


def _limit(part: str, key: str) -> Word:
    return lambda value, said: said["resource_limits"].setdefault(part, {}).update({key: value})


def _devices(value: Sequence[Json], said: dict[str, Any]) -> None:
    said["devices"] += [{"path": device["PathOnHost"]} for device in value]


def _mounts(value: Sequence[Json], said: dict[str, Any]) -> None:
    for mount in value:
        options = ["ro"] if mount.get("ReadOnly") else []
        if mount["Type"] == "volume":
            said.setdefault("volumes", []).append(
                {"Name": mount["Source"], "Dest": mount["Target"], "Options": options}
            )
            continue
        if mount["Type"] == "tmpfs":
            options += _tmpfs_options(mount.get("TmpfsOptions") or {})
        else:
            options.append("rbind")
        said.setdefault("mounts", []).append(
            {
                "type": mount["Type"],
                "source": mount.get("Source") or "tmpfs",
                "destination": mount["Target"],
                "options": options,
            }
        )


def _tmpfs_options(asked: Json) -> list[str]:
    size = [f"size={asked['SizeBytes']}"] if asked.get("SizeBytes") else []
    return size + ([f"mode={asked['Mode']:o}"] if asked.get("Mode") else [])


_DROPPED = frozenset(("DeviceRequests", "Runtime"))

_WORDS: dict[str, Word] = {
    "Image": _as("image"),
    "Cmd": _as("command"),
    "Entrypoint": _as("entrypoint"),
    "User": _as("user"),
    "WorkingDir": _working_dir,
    "Hostname": _as("hostname"),
    "StopSignal": _stop_signal,
    "Env": _env,
    "Labels": _as("labels"),
    "ExposedPorts": _nothing,
    "Healthcheck": _as("healthconfig"),
}
_HOST_WORDS: dict[str, Word] = {
    "LogConfig": _log,
    "RestartPolicy": lambda value, said: said.update(restart_policy=value["Name"]),
    "Init": _as("init"),
    "PortBindings": _ports,
    "CpusetCpus": _limit("cpu", "cpus"),
    "CpuPeriod": _limit("cpu", "period"),
    "CpuQuota": _limit("cpu", "quota"),
    "Memory": _limit("memory", "limit"),
    "MemorySwap": _limit("memory", "swap"),
    "ReadonlyRootfs": _as("read_only_filesystem"),
    "Devices": _devices,
    "Mounts": _mounts,
}
