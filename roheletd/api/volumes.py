"""What is asked and answered about the named volumes that instances have left on nodes."""

from roheletd.api.views import Request, Response
from roheletd.cluster.volumes import Claim
from roheletd.fields import Name, VolumeName


class VolumesAsked(Request, frozen=True):
    """The volumes on one node; null: on all."""

    node: Name | None = None


class VolumeToRemove(Request, frozen=True):
    """One volume, by the engine's name for it, on the node where it is."""

    name: VolumeName
    node: Name


class VolumeView(Response, frozen=True):
    """One named volume. `volume` is the engine's name for it, `instance` whose it is.

    `claim` is `in use` while the instance is placed there, `kept` where one that has no place now
    would find its data there, and `orphaned` where nobody will look for it; `reason` says why.
    """

    volume: str
    node: str
    instance: str
    claim: Claim
    reason: str


class VolumeList(Response, frozen=True):
    """The named volumes, by node and name.

    `unanswered`: nodes that did not say what they have, and why. `without`: those that can have
    none, and why.
    """

    volumes: tuple[VolumeView, ...]
    unanswered: dict[str, str]
    without: dict[str, str]
