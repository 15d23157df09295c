"""The named volumes that instances have left on nodes: whose each one is, and who still needs it.

An engine knows a volume by a name that says it all, `edge.web.1.data`: the cluster, the instance,
and what its service calls it. It outlives its instance, and its service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from roheletd.cluster.state import ClusterState
    from roheletd.model import Service

Claim = Literal["in use", "kept", "orphaned"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_NAMED = re.compile(rf"(?P<cluster>{_NAME})\.(?P<instance>{_NAME}\.[0-9]{{1,5}})\.(?P<own>{_NAME})")


class StoredVolume(Struct, frozen=True, array_like=True):
    """A volume on a node, by its engine's name. Its service calls it `own`; empty: nobody knows."""

    name: str
    instance: str
    own: str = ""

    @property
    def service(self) -> str:
        return self.instance.rpartition(".")[0]


class Need(Struct, frozen=True, kw_only=True):
    """Who needs a volume where it is.

    `in use`: an instance that is placed there has it. `kept`: one that has no place now would find
    its data there. `orphaned`: nobody will look for it there.
    """

    claim: Claim
    reason: str


def name_of(cluster: str, instance: str, own: str) -> str:
    """What an engine knows a volume by."""
    return f"{cluster}.{instance}.{own}"


def stored_volume(cluster: str, name: str, *, labelled: str = "") -> StoredVolume | None:
    """Whose a volume is: that of the instance in its labels, or of the one that its name says.

    None: it is nobody's of this cluster.
    """
    found = _NAMED.fullmatch(name)
    if found is None or found["cluster"] != cluster:
        return StoredVolume(name, labelled) if labelled else None
    instance = labelled or found["instance"]
    return StoredVolume(name, instance, found["own"] if instance == found["instance"] else "")


def need_of(it: StoredVolume, node: str, state: ClusterState) -> Need:
    """Who needs a volume that is on `node`, as far as it was agreed."""
    instance, service = it.instance, it.service
    known = state.services.get(service)
    if known is None:
        return Need(claim="orphaned", reason=f"there is no service {service} any more")
    at = state.placements.get(instance)
    if at is not None and at.node != node:
        return Need(claim="orphaned", reason=f"{instance} is on {at.node} now")
    if at is not None and _has(state.edition_of(at).service, it):
        return Need(claim="in use", reason=f"{instance} is placed there")
    if not any(_has(edition.service, it) for edition in known.editions):
        return Need(claim="orphaned", reason=f"{service} has no such volume any more")
    if at is not None:
        return Need(claim="kept", reason=f"an earlier revision of {service} had it")
    home = state.home_of(instance)
    if home == node:
        return Need(claim="kept", reason=f"{instance} has no place now")
    if home:
        return Need(claim="orphaned", reason=f"{instance} was on {home} since")
    return Need(claim="orphaned", reason=f"an earlier {instance} has left it")


def _has(service: Service, it: StoredVolume) -> bool:
    return any(volume.name == it.own for volume in service.volumes if volume.name is not None)
