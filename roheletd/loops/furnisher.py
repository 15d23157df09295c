"""Fills what an instance includes into its specification: variables, and folders of files.

The only place beside `secret get` where secrets are opened, just before an engine needs them.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from roheletd.cluster.configuration import Content, Included, Sealed
from roheletd.cluster.container import Container
from roheletd.cluster.reconcile import Files, InstanceSpec, Surroundings
from roheletd.cluster.registry import variables
from roheletd.cluster.state import ClusterState
from roheletd.engines import EngineError
from roheletd.engines.files import ROOT, ValueFile, ValueFolders
from roheletd.errors import RoheletError
from roheletd.upkeep import user_numbers

VARIABLE_BYTES_MAX = 131_071
"""The kernel's limit for one variable, with its name and `=` (MAX_ARG_STRLEN)."""


class Opener(Protocol):
    """Opens what was sealed."""

    def open(self, secret: str, key: str, sealed: Sealed) -> bytes: ...


class Furnisher:
    """Knows the agreed values, and has a place for files."""

    def __init__(
        self,
        *,
        state: ClusterState,
        vault: Opener,
        folders: ValueFolders,
        search: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """`search` gives the domains of this node's own resolver; none while it has none."""
        self._state = state
        self._search = search
        self._vault = vault
        self._folders = folders
        self._wanted: Mapping[str, InstanceSpec] = {}

    def expect(self, wanted: Mapping[str, InstanceSpec], listed: Collection[Container]) -> None:
        """Forget the files of what is neither `wanted` nor there."""
        self._wanted = wanted
        runs = {run_of(spec) for spec in wanted.values()}
        self._folders.keep(runs | {run_of(container) for container in listed})

    def renew(self, instance: str) -> None:
        """Files for a container that was made before, perhaps before a reboot."""
        if (spec := self._wanted.get(instance)) is not None:
            self.furnish(spec)

    def furnish(self, spec: InstanceSpec) -> InstanceSpec:
        """What a service says itself goes before what it includes; of two, the last one counts."""
        spec = replace(spec, surroundings=self._surroundings(spec.service))
        if not spec.included:
            return spec
        env: dict[str, str] = {}
        folders: dict[Path, dict[str, ValueFile]] = {}
        for item in spec.included:
            values = self._values(item)
            if item.path is None:
                env |= _variables(item, values)
                continue
            files = folders.setdefault(Path(item.path), {})
            for key, content in values.items():
                secret = item.kind == "secret"
                files[key] = ValueFile(content=content, secret=secret, any_user=item.any_user)
        uid, _gid = user_numbers(spec.user or None) or (ROOT, None)
        written = tuple(
            Files(
                source=str(self._folders.write(run_of(spec), number, files, reader=uid)),
                path=str(path),
                variables=tuple(variable(it) for it in spec.included if _is_at(it, path)),
            )
            for number, (path, files) in enumerate(folders.items())
        )
        return replace(spec, env={**env, **spec.env}, files=written)

    def _surroundings(self, service: str) -> Surroundings:
        known = self._state.services.get(service)
        application = known.service.application if known else ""
        return Surroundings(variables=variables(self._state, application), search=self._search())

    def _values(self, item: Included) -> Mapping[str, bytes]:
        found = self._state.configuration.values(item.kind, item.name, item.version)
        if found is None:
            raise EngineError(f"{item.kind} {item.name} is not there any more")
        try:
            return {key: self._opened(item, key, content) for key, content in found.items()}
        except RoheletError as error:
            raise EngineError(str(error)) from None

    def _opened(self, item: Included, key: str, content: Content) -> bytes:
        if isinstance(content, Sealed):
            return self._vault.open(item.name, key, content)
        return content


def run_of(it: InstanceSpec | Container) -> str:
    return f"{it.instance}.{it.digest}"


def variable(item: Included) -> str:
    """`ROHE_SECRET_DB`: in it an instance finds the folder of its files."""
    kind, name = (re.sub("[^A-Z0-9]", "_", text.upper()) for text in (item.kind, item.name))
    return f"ROHE_{kind}_{name}"


def _is_at(item: Included, path: Path) -> bool:
    return item.path is not None and Path(item.path) == path


def _variables(item: Included, values: Mapping[str, bytes]) -> dict[str, str]:
    found = {}
    for key, content in values.items():
        what = f"{item.kind} {item.name}, key {key}"
        if len(key) + len(content) + 1 > VARIABLE_BYTES_MAX:
            raise EngineError(f"{what}: too long for a variable; give it a path", retry=False)
        try:
            found[key] = content.decode()
        except UnicodeDecodeError:
            raise EngineError(f"{what}: no text; give it a path", retry=False) from None
        if "\0" in found[key]:
            raise EngineError(f"{what}: NUL cannot be in a variable; give it a path", retry=False)
    return found
