"""What runs: the container with its limits, checks and files."""

import math
from collections.abc import Iterator

from roheletd.kubernetes.drawing import Drawing, Object
from roheletd.kubernetes.names import name_of
from roheletd.kubernetes.program import host_name_of, literal, program_of, secrets_group_of
from roheletd.kubernetes.scheduling import scheduled
from roheletd.model import accelerators, demand
from roheletd.upkeep import HealthCheck, Inclusion, Volume, folders

_GPU = "nvidia.com/gpu"
_PULLS = {"missing": "IfNotPresent", "always": "Always", "never": "Never"}
_OWNER_ONLY, _ALL = 0o400, 0o444


def pod_of(drawing: Drawing, *, claimed: bool) -> Object:
    """A pod's specification; `claimed`: its named volumes come from templates of claims."""
    service = drawing.service
    container: Object = {
        "name": drawing.name,
        "image": service.image,
        "imagePullPolicy": _PULLS[service.pull],
    }
    container |= program_of(drawing)
    if service.env:
        env = sorted(service.env.items())
        container["env"] = [{"name": name, "value": literal(value)} for name, value in env]
    if sources := list(_env_from(drawing)):
        container["envFrom"] = sources
    if service.ports:
        container["ports"] = list(_ports(drawing))
    if resources := _resources(drawing):
        container["resources"] = resources
    if service.health is not None:
        container |= _probes(service.health)
    mounts, volumes = _files(drawing, claimed=claimed)
    if mounts:
        container["volumeMounts"] = mounts
    pod: Object = {
        "containers": [container],
        # Variables for each service of the namespace are none that it has here.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(service.stop_grace_s),
        **host_name_of(drawing, claimed=claimed),
        **(secrets_group_of(drawing) if _secret_folders(drawing) else {}),
        **scheduled(drawing),
    }
    return pod | ({"volumes": volumes} if volumes else {})


def _ports(drawing: Drawing) -> Iterator[Object]:
    for port in drawing.service.ports:
        found: Object = {
            "name": port_name(port.container_port, port.protocol),
            "containerPort": port.container_port,
            "protocol": port.protocol.upper(),
        }
        if port.host_port and port.required:
            found["hostPort"] = port.host_port
        elif port.host_port:
            drawing.note(f"host port {port.host_port} is a wish here, and left out there")
        yield found


def port_name(port: int, protocol: str) -> str:
    return f"{protocol}-{port}"


def _resources(drawing: Drawing) -> Object:
    service = drawing.service
    needed: Object = {}
    if millicores := sum(demand(service)):
        needed["cpu"] = f"{millicores}m"
    if service.memory_mib:
        needed["memory"] = f"{service.memory_mib}Mi"
    for kind, percent in accelerators(service).items():
        if kind != "gpu":
            drawing.note(f"left out: {percent} percent of an accelerator `{kind}`")
            continue
        needed[_GPU] = "1"
        if percent < 100:  # noqa: PLR2004
            drawing.note(f"needs {percent} percent of a GPU here, and gets a whole one there")
    if len(service.cores) > 1:
        drawing.note("its cores are chosen one by one here; there, its CPU is their sum")
    if service.gpu_memory_mib:
        drawing.note(f"left out: {service.gpu_memory_mib} MiB of a GPU's memory")
    return {"requests": needed, "limits": dict(needed)} if needed else {}


def _probes(health: HealthCheck) -> Object:
    probe: Object = {
        "periodSeconds": max(1, round(health.interval_s)),
        "timeoutSeconds": max(1, math.ceil(health.patience_s)),
        "failureThreshold": health.unhealthy_after,
    }
    if health.http is not None:
        probe["httpGet"] = {"path": health.http.path, "port": health.http.port}
    elif health.tcp is not None:
        probe["tcpSocket"] = {"port": health.tcp.port}
    elif health.exec is not None:
        probe["exec"] = {"command": [literal(word) for word in health.exec.command]}
    found = {
        "readinessProbe": {**probe, "successThreshold": health.healthy_after},
        "livenessProbe": probe,
    }
    if health.start_grace_s:
        tries = math.ceil(health.start_grace_s)
        found["startupProbe"] = {**probe, "periodSeconds": 1, "failureThreshold": tries}
    return found


def _env_from(drawing: Drawing) -> Iterator[Object]:
    for kind, included in _included(drawing):
        if included.path is None:
            yield {f"{kind}Ref": {"name": name_of(included.name)}}


def _included(drawing: Drawing) -> Iterator[tuple[str, Inclusion]]:
    yield from (("configMap", it) for it in drawing.service.config_maps)
    yield from (("secret", it) for it in drawing.service.secrets)


def _files(drawing: Drawing, *, claimed: bool) -> tuple[list[Object], list[Object]]:
    mounts: list[Object] = []
    volumes: list[Object] = []
    for position, volume in enumerate(drawing.service.volumes):
        name = _volume_name(volume, position)
        mount: Object = {"name": name, "mountPath": volume.path}
        mounts.append(mount | ({"readOnly": True} if volume.read_only else {}))
        if volume.host_path is not None:
            volumes.append({"name": name, "hostPath": {"path": volume.host_path}})
        elif volume.name is None:
            size = f"{volume.tmpfs_mib}Mi"
            volumes.append({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
        elif not claimed and name not in {it["name"] for it in volumes}:
            claim = {"claimName": claim_name(drawing, volume.name)}
            volumes.append({"name": name, "persistentVolumeClaim": claim})
    secret = _secret_folders(drawing)
    for path, sources in _by_folder(drawing).items():
        name = f"files-{len(volumes)}"
        mounts.append({"name": name, "mountPath": path, "readOnly": True})
        mode = _OWNER_ONLY if path in secret else _ALL
        volumes.append({"name": name, "projected": {"sources": sources, "defaultMode": mode}})
    return mounts, volumes


def _by_folder(drawing: Drawing) -> dict[str, list[Object]]:
    """All that goes into one folder is one volume there."""
    found: dict[str, list[Object]] = {}
    for kind, included in _included(drawing):
        if included.path is not None:
            sources = found.setdefault(_plain(included.path), [])
            sources.append({kind: {"name": name_of(included.name)}})
    return found


def _plain(path: str) -> str:
    """However it is written: two mounts at one path would hide one another there."""
    return "/" + "/".join(folders(path))


def _secret_folders(drawing: Drawing) -> set[str]:
    """Those with nothing but secrets that one user alone may read."""
    own, others = set[str](), set[str]()
    for kind, included in _included(drawing):
        if included.path is not None:
            private = kind == "secret" and not included.any_user
            (own if private else others).add(_plain(included.path))
    return own - others


def _volume_name(volume: Volume, position: int) -> str:
    if volume.name is not None:
        return template_name(volume.name)
    return f"host-{position}" if volume.host_path is not None else f"memory-{position}"


def template_name(volume: str) -> str:
    return name_of(f"data-{volume}")


def claim_name(drawing: Drawing, volume: str) -> str:
    return name_of(f"{drawing.service.name}-{volume}")


def named_volumes(drawing: Drawing) -> tuple[str, ...]:
    names = (it.name for it in drawing.service.volumes if it.name is not None)
    return tuple(dict.fromkeys(names))
