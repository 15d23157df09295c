"""What an engine says while it fetches an image, and what a registry is told of who asks; pure."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

_MB = 1_000_000
_FETCHED = ("Download complete", "Verifying Checksum", "Extracting", "Pull complete")
_HERE = ("Already exists", "Pull complete")


class Login(Struct, frozen=True, kw_only=True):
    """Who asks a registry. The file's first line is the password, read anew for each pull."""

    username: str
    password_file: str


class _Layer(Struct):
    total: int = 0
    fetched: int = 0
    is_fetched: bool = False
    is_here: bool = False


class Layers:
    """How far a pull has come, from the lines that the engine says of each layer.

    Docker tells the bytes of a layer once it fetches it; Podman tells of none, and of a layer only
    once it has it.
    """

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def heed(self, said: Mapping[str, Any]) -> None:
        status, name = said.get("status") or "", said.get("id") or ""
        if not name or status.startswith("Pulling from"):
            return
        layer = self._layers.setdefault(name, _Layer())
        layer.is_fetched |= status.startswith((*_FETCHED, *_HERE))
        layer.is_here |= status.startswith(_HERE)
        if status.startswith("Downloading"):
            detail = said.get("progressDetail") or {}
            layer.total = detail.get("total") or layer.total
            layer.fetched = detail.get("current") or layer.fetched

    def words(self) -> str:
        """`pulling 45 % of 193 MB`, then `unpacking 193 MB`; without figures: the layers."""
        layers = self._layers.values()
        total = sum(it.total for it in layers)
        if not total:
            done = sum(it.is_fetched for it in layers)
            return f"pulling, {done} of {len(layers)} layers" if layers else "pulling"
        fetched = sum(it.total if it.is_fetched else it.fetched for it in layers)
        if all(it.is_fetched for it in layers):
            return f"unpacking {_megabytes(total)}"
        return f"pulling {100 * fetched // total} % of {_megabytes(total)}"


def _megabytes(size: int) -> str:
    return f"{max(1, round(size / _MB))} MB"


def authorization(login: Login, password: str, registry: str) -> dict[str, str]:
    """The header that an engine takes for one pull, and passes on to the registry."""
    told = {"username": login.username, "password": password, "serveraddress": registry}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(msgspec.json.encode(told)).decode()}
