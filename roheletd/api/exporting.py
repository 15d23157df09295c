"""The verbs that write what is agreed in the formats of other systems."""

from collections import Counter

from roheletd.api.exports import ConfigMapData, Manifests, ManifestsAsked, RoheResources, Selection
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.configuration import Sealed
from roheletd.kubernetes import Site, exported
from roheletd.model import Node, Service
from roheletd.rohe.resources import deployments_of, microservices_of, nodes_of


class Exporting(Grounds):
    """Manifests for Kubernetes, resources of ROHE."""

    async def export_kubernetes(self, request: ManifestsAsked, _id: str) -> Manifests:
        """Services as Kubernetes manifests, with limits, selectors, probes and node pinning."""
        services = self._selected(request)
        names = self._state.configuration.names("secret")
        site = Site(
            services=services,
            nodes=self._sorted_nodes(),
            places={
                it.name: tuple(sorted({at.node for at in self._state.placements_of(it.name)}))
                for it in services
            },
            config_maps=self._config_map_values(),
            secrets={name: self._keys_of_secret(name) for name in names},
        )
        found = exported(site, pin=request.pin)
        return Manifests(manifests=found.manifests, notes=found.notes, secrets=found.secrets)

    async def export_rohe(self, request: Selection, _id: str) -> RoheResources:
        """Nodes, microservices, deployments and config maps as ROHE names and measures them."""
        services = self._selected(request)
        nodes = self._sorted_nodes()
        placements = [at for it in services for at in self._state.placements_of(it.name)]
        running = Counter(
            self._state.placements[instance].service
            for instance, use in self._uses().items()
            if use.state == "running"
        )
        macs = {node.name: node.mac_address for node in nodes}
        return RoheResources(
            nodes=nodes_of(nodes, self._state.placements.values()),
            microservices=microservices_of(services, placements, running, macs),
            deployments=deployments_of(services, placements),
            configmaps=tuple(
                ConfigMapData(name=name, data=_texts(values))
                for name, values in self._config_map_values().items()
            ),
        )

    def _selected(self, request: Selection) -> tuple[Service, ...]:
        known = {name: it.service for name, it in sorted(self._state.services.items())}
        names = dict.fromkeys(request.services.split(",")) if request.services else known
        for name in names:
            if name not in known:
                raise NotFound(f"there is no service {name}")
        found = [known[name] for name in names]
        if request.application is None:
            return tuple(found)
        chosen = tuple(it for it in found if it.application == request.application)
        if not chosen:
            raise NotFound(f"there is no service of the application {request.application}")
        return chosen

    def _sorted_nodes(self) -> tuple[Node, ...]:
        return tuple(node for _, node in sorted(self._state.nodes.items()))

    def _config_map_values(self) -> dict[str, dict[str, bytes]]:
        configuration = self._state.configuration
        return {
            name: {key: it for key, it in newest.values.items() if not isinstance(it, Sealed)}
            for name in configuration.names("config map")
            if (newest := configuration.newest("config map", name)) is not None
        }

    def _keys_of_secret(self, name: str) -> tuple[str, ...]:
        newest = self._state.configuration.newest("secret", name)
        return tuple(sorted(newest.values)) if newest else ()


def _texts(values: dict[str, bytes]) -> dict[str, str]:
    found = {}
    for key, value in sorted(values.items()):
        try:
            found[key] = value.decode()
        except UnicodeDecodeError:
            continue
    return found
