"""What is asked and answered about config maps and secrets."""

from typing import Annotated

from msgspec import Meta

from roheletd.api.views import ByName, Response
from roheletd.fields import ConfigKey

VALUES_MAX = 1000


class ValuesToSet(ByName, frozen=True):
    """Values by key, as text or, in base64, as bytes. `replace`: forget all other keys."""

    data: Annotated[dict[ConfigKey, str], Meta(max_length=VALUES_MAX)] = {}
    binary: Annotated[dict[ConfigKey, bytes], Meta(max_length=VALUES_MAX)] = {}
    replace: bool = False


class Kept(Response, frozen=True):
    """A config map or a secret without its values. `services` are given it.

    `version` is the entry of the log that changed it last.
    """

    name: str
    version: int
    keys: tuple[str, ...]
    services: tuple[str, ...]


class ConfigMaps(Response, frozen=True):
    """All config maps, by name."""

    config_maps: tuple[Kept, ...]


class Secrets(Response, frozen=True):
    """All secrets, by name."""

    secrets: tuple[Kept, ...]


class Values(Kept, frozen=True, kw_only=True):
    """What is in one, by key; what is no text is in `binary`, in base64."""

    data: dict[str, str]
    binary: dict[str, bytes] = {}
