"""What is mounted into a container: volumes of the engine, files of this node, memory.

A named volume belongs to one instance: `web.1` and `web.2` never write to one volume by accident.
It stays when its instance goes, on whatever node that was.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roheletd.cluster.reconcile import InstanceSpec
from roheletd.cluster.volumes import StoredVolume, name_of, stored_volume
from roheletd.engines import EngineError
from roheletd.engines.docker_api import CLUSTER, INSTANCE
from roheletd.upkeep import Volume

_TMPFS_MODE = 0o1777  # Podman's own is 0, which only root can enter


def volume_name(spec: InstanceSpec, volume: Volume) -> str:
    """What an engine knows a named volume by: `edge.web.1.data`."""
    assert volume.name is not None, "it has a name"
    return name_of(spec.cluster, spec.instance, volume.name)


def stored_volumes(listed: Iterable[Mapping[str, Any]], cluster: str) -> tuple[StoredVolume, ...]:
    """Those of instances of a cluster, of all that an engine has.

    By our labels where a volume has them, else by its name: some have none, for an engine makes
    what it is to mount and does not find.
    """
    found = (_stored_volume(it["Name"], it.get("Labels") or {}, cluster) for it in listed)
    return tuple(it for it in found if it is not None)


def _stored_volume(name: str, labels: Mapping[str, str], cluster: str) -> StoredVolume | None:
    if CLUSTER not in labels:
        return stored_volume(cluster, name)
    if labels[CLUSTER] != cluster:
        return None
    return stored_volume(cluster, name, labelled=labels.get(INSTANCE, ""))


def mounts(spec: InstanceSpec, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """In the words of Docker's API; `sources` has where each host path really is."""
    return [
        *(_mount(spec, volume, sources) for volume in spec.volumes),
        *(
            {"Type": "bind", "Source": it.source, "Target": it.path, "ReadOnly": True}
            for it in spec.files
        ),
    ]


def _mount(spec: InstanceSpec, volume: Volume, sources: Mapping[str, str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"Target": volume.path}
    if volume.tmpfs_mib:
        options = {"SizeBytes": volume.tmpfs_mib * 2**20, "Mode": _TMPFS_MODE}
        return mount | {"Type": "tmpfs", "TmpfsOptions": options}
    if volume.host_path is not None:
        mount |= {"Type": "bind", "Source": sources[volume.host_path]}
    else:
        mount |= {"Type": "volume", "Source": volume_name(spec, volume)}
    return mount | ({"ReadOnly": True} if volume.read_only else {})


def missing_mount(spec: InstanceSpec, inspected: Mapping[str, Any]) -> str:
    """What the engine has mounted nothing for, though it was asked to; empty if none."""
    kept = {mount["Destination"] for mount in inspected.get("Mounts") or ()}
    kept |= (inspected["HostConfig"].get("Tmpfs") or {}).keys()
    kept = {os.path.normpath(path) for path in kept}
    asked = [*(it.path for it in spec.volumes), *(it.path for it in spec.files)]
    lost = (path for path in asked if os.path.normpath(path) not in kept)
    return next((f"nothing is mounted at {path}" for path in lost), "")


def host_sources(volumes: Iterable[Volume], allowed: Iterable[str]) -> dict[str, str]:
    """Where each host path really is, with all links followed; raises `EngineError` outside.

    An engine would make a folder of what is not there (Podman does), and so would hide a typing
    error, or a disk that is not mounted.
    """
    found = {}
    for path in (it.host_path for it in volumes if it.host_path is not None):
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            why = os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else "a loop"
            raise EngineError(f"host path {path} of this node: {why}") from None
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in allowed):
            through = "" if str(real) == path else f" (it leads to {real})"
            raise EngineError(
                f"host path {path}{through} is not below any of this node's `node.host_paths`",
                retry=False,
            )
        found[path] = str(real)
    return found
