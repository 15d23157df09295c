"""What is asked and answered about exports to other systems."""

from typing import Annotated

from msgspec import Meta, Struct

from roheletd.api.views import Request, Response
from roheletd.fields import Name
from roheletd.kubernetes import Manifest
from roheletd.rohe.resources import Deployment, Microservice, RoheNode

_NAMES_PATTERN = r"^(?:[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:,(?!$)|$(?!\n))){0,1000}$(?!\n)"


class Selection(Request, frozen=True):
    """Which services: those of a list of names with commas, those of an application, or all."""

    services: Annotated[
        str, Meta(pattern=_NAMES_PATTERN, description="names of services, with commas between")
    ] = ""
    application: Name | None = None


class ManifestsAsked(Selection, frozen=True):
    """`pin`: only on the nodes where the instances are now."""

    pin: bool = False


class Manifests(Response, frozen=True):
    """Kubernetes objects in the order to apply them, each with what it could not say.

    `notes` are about what has to be there before. `secrets` maps the names of the secrets that the
    manifests need to ours; their values are never part of this answer.
    """

    manifests: tuple[Manifest, ...]
    notes: tuple[str, ...]
    secrets: dict[str, str]


class ConfigMapData(Struct, frozen=True, kw_only=True):
    """ROHE's ConfigMap; what is no text is left out."""

    name: str
    data: dict[str, str]


class RoheResources(Response, frozen=True):
    """ROHE's four kinds of resources, with ROHE's field names and units.

    `nodes` and `microservices` are what ROHE's files have under `data`.
    """

    nodes: dict[str, RoheNode]
    microservices: dict[str, dict[str, Microservice]]
    deployments: tuple[Deployment, ...]
    configmaps: tuple[ConfigMapData, ...]
