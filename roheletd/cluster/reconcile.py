"""What must run here against what does run here: the difference, as a list of actions.

Pure: the runner loop reads the committed placements and the engine's list, asks for the actions
and carries them out. It may be killed between any two of them; the next pass finds the rest.
"""

from typing import Literal

from msgspec import Struct

from roheletd.model import Gpu, PortBinding


class InstanceSpec(Struct, frozen=True, kw_only=True):
    """All that an engine needs to run one instance, and nothing it has to decide.

    `digest` names this very specification: a container that carries another one is replaced.
    `cores` are the core ids to pin to; `quota_millicores` is the ceiling over all of them
    (0: none). `memory_mib` 0 means no limit.
    """

    cluster: str
    node: str
    service: str
    instance: str
    digest: str
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    cores: tuple[int, ...]
    quota_millicores: int
    memory_mib: int
    gpus: tuple[Gpu, ...]
    ports: tuple[PortBinding, ...]
    labels: dict[str, str]
    stop_grace_s: float


class Container(Struct, frozen=True, kw_only=True):
    """One copy as the engine lists it. `exit_code` and `reason` once it has ended."""

    id: str
    instance: str
    digest: str
    state: Literal["created", "running", "exited"]
    created_s: float = 0.0
    exit_code: int | None = None
    reason: str = ""
