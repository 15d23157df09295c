"""All of a site, or some of its services, as manifests."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from roheletd.kubernetes.drawing import Drawing, Object
from roheletd.kubernetes.names import host_of, is_label, name_of
from roheletd.kubernetes.workloads import objects_of
from roheletd.model import Node, Service


class Site(Struct, frozen=True, kw_only=True):
    """What is agreed. `places` are the nodes of each service's instances."""

    services: tuple[Service, ...]
    nodes: tuple[Node, ...] = ()
    places: Mapping[str, tuple[str, ...]] = {}
    config_maps: Mapping[str, Mapping[str, bytes]] = {}
    secrets: Mapping[str, tuple[str, ...]] = {}


class Manifest(Struct, frozen=True, kw_only=True):
    """One object, and what of the service it belongs to it does not say."""

    object: dict[str, Any]
    notes: tuple[str, ...] = ()


class Export(Struct, frozen=True, kw_only=True):
    """Manifests in the order to apply them; `notes` are about what has to be there before.

    `secrets` are those that the manifests name, by their name there.
    """

    manifests: tuple[Manifest, ...]
    notes: tuple[str, ...]
    secrets: dict[str, str]


def exported(site: Site, *, pin: bool = False) -> Export:
    """`pin`: to the nodes where the instances are now."""
    drawings = [
        Drawing(service, site.places.get(service.name, ()) if pin else ())
        for service in site.services
        if service.image
    ]
    manifests = [*_config_maps(site, drawings)]
    for drawing in drawings:
        if pin and not drawing.pinned_to:
            drawing.note("is on no node now, and so pinned to none")
        first, *others = list(objects_of(drawing))
        manifests.append(Manifest(object=first, notes=tuple(drawing.notes)))
        manifests += [Manifest(object=it) for it in others]
    return Export(
        manifests=tuple(manifests),
        notes=tuple(_before(site, drawings)),
        secrets={name_of(name): name for name in _included(drawings, "secrets")},
    )


def _included(drawings: Iterable[Drawing], field: str) -> list[str]:
    return sorted({it.name for drawing in drawings for it in getattr(drawing.service, field)})


def _config_maps(site: Site, drawings: Iterable[Drawing]) -> Iterator[Manifest]:
    for name in _included(drawings, "config_maps"):
        found = site.config_maps.get(name)
        if found is not None:
            yield Manifest(object=_config_map(name_of(name), found))


def _config_map(name: str, values: Mapping[str, bytes]) -> Object:
    text, binary = {}, {}
    for key, value in sorted(values.items()):
        try:
            text[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = b64encode(value).decode()
    parts: Object = {"data": text} if text or not binary else {}
    parts |= {"binaryData": binary} if binary else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **parts}


def _before(site: Site, drawings: Iterable[Drawing]) -> Iterator[str]:
    """What has to be so before these manifests can run."""
    for service in site.services:
        if not service.image:
            yield f"service {service.name} has no image, and is left out"
    for name in _included(drawings, "config_maps"):
        if name not in site.config_maps:
            yield f"config map {name} is not there, and some service needs it"
    for name in _included(drawings, "secrets"):
        keys = " ".join(f"--from-literal={key}=..." for key in site.secrets.get(name, ("KEY",)))
        yield f"needed before: kubectl create secret generic {name_of(name)} {keys}"
    used = {label for drawing in drawings for label in drawing.labels_used}
    for node in site.nodes:
        pairs = [
            f"{key}={value}"
            for key, value in sorted(node.labels.items())
            if key in used and is_label(key, value)
        ]
        if pairs:
            yield f"needed before: kubectl label node {host_of(node.name)} {' '.join(pairs)}"
