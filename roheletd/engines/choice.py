"""Which engine this node uses, and why in one line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from roheletd.config import EngineConfig
from roheletd.engines import Engine
from roheletd.engines.discovery import find_socket
from roheletd.fields import EngineKind

if TYPE_CHECKING:
    from roheletd.engines.docker_images import DockerImages


class Chosen(Struct, frozen=True, kw_only=True):
    """`engine` is None on a node that runs nothing."""

    kind: EngineKind
    engine: Engine | None
    why: str
    images: "DockerImages | None" = None


async def choose_engine(
    config: EngineConfig,
    *,
    cluster: str,
    node: str,
    before: EngineKind,
    data_dir: Path,
    host_paths: tuple[str, ...] = (),
    disk_free_min_mib: int = 0,
) -> Chosen:
    """The configured engine; with `auto` the one of the last start, or else what answers now.

    `before` is what this node registered with: at boot the engine may answer later than we ask,
    and a node that forgot its containers would start them a second time as processes.
    """
    if config.kind == "none":
        return Chosen(kind="none", engine=None, why="none: as configured")
    if config.kind == "auto" and before == "process":
        return _process(cluster, node, data_dir, "as before; set engine.kind to change it")
    if config.kind == "process":
        return _process(cluster, node, data_dir, "as configured")
    found = await find_socket(config.socket)
    if found.path is None and config.kind == "auto" and before != "docker":
        return _process(cluster, node, data_dir, f"no engine answers ({'; '.join(found.refusals)})")
    return _docker(
        config,
        cluster,
        node,
        found.path,
        host_paths=host_paths,
        disk_free_min_mib=disk_free_min_mib,
    )


def _docker(
    config: EngineConfig,
    cluster: str,
    node: str,
    path: str | None,
    *,
    host_paths: tuple[str, ...],
    disk_free_min_mib: int,
) -> Chosen:
    # Imported here: a node without a container engine never pays for its client.
    from roheletd.engines.docker import DockerEngine  # noqa: PLC0415
    from roheletd.engines.pulling import Login  # noqa: PLC0415

    engine = DockerEngine(
        path or config.socket,
        cluster=cluster,
        node=node,
        pull_stall_s=config.pull_stall_s,
        host_paths=host_paths,
        logins={
            host: Login(username=it.username, password_file=it.password_file)
            for host, it in config.registries.items()
        },
        disk_free_min_mib=disk_free_min_mib,
    )
    why = f"docker: {path} answers" if path else "docker: no socket answers yet"
    return Chosen(kind="docker", engine=engine, why=why, images=engine.store)


def _process(cluster: str, node: str, data_dir: Path, why: str) -> Chosen:
    from roheletd.engines.process import ProcessEngine  # noqa: PLC0415

    engine = ProcessEngine(run_dir(os.environ, data_dir), cluster=cluster, node=node)
    return Chosen(kind="process", engine=engine, why=f"process: {why}")


def run_dir(environ: Mapping[str, str], data_dir: Path) -> Path:
    """Where output of processes goes: memory where there is such a place, so that flash rests."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0])
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "roheletd"
    return Path("/run/roheletd") if os.access("/run", os.W_OK) else data_dir / "run"
