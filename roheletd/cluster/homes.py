"""Where the data of instances is: the node on which each one last had its named volumes.

An instance with such a volume goes nowhere else: on another node it would find an empty one. It
waits for its node, unless its service lets it leave its data behind (`movable`). What is known is
kept until the service or the node is forgotten or the data is deleted, also while the slot is
empty: a service that is scaled up again finds its data.
"""

from collections.abc import Collection, Mapping

from roheletd.model import Placement, Service


class Homes:
    """Instance to the node that has its data, as it was agreed."""

    def __init__(self, saved: Mapping[str, str]) -> None:
        self.by_instance = dict(saved)

    def placed(self, at: Placement, service: Service) -> None:
        """`service` as the instance runs it. One without data says nothing of where some was."""
        if any(volume.name is not None for volume in service.volumes):
            self.by_instance[at.instance] = at.node

    def bound(self, services: Mapping[str, Service]) -> dict[str, str]:
        """Those that may not leave, by what their services say now."""
        return {
            instance: node
            for instance, node in self.by_instance.items()
            if is_bound(services[_service_of(instance)])
        }

    def forget_services(self, names: Collection[str]) -> None:
        for instance in [it for it in self.by_instance if _service_of(it) in names]:
            del self.by_instance[instance]

    def forget_node(self, name: str) -> None:
        """It does not come back, and neither does the data."""
        for instance in [it for it, node in self.by_instance.items() if node == name]:
            del self.by_instance[instance]

    def forget(self, instance: str, node: str) -> None:
        """Its data is not on `node` any more, if it was."""
        if self.by_instance.get(instance) == node:
            del self.by_instance[instance]

    def check(self, services: Collection[str], nodes: Collection[str]) -> None:
        for instance, node in self.by_instance.items():
            assert _service_of(instance) in services, f"{instance} belongs to no service"
            assert node in nodes, f"the data of {instance} is on no node"


def is_bound(service: Service) -> bool:
    """Whether its instances stay where their data is."""
    return any(volume.name is not None and not volume.movable for volume in service.volumes)


def _service_of(instance: str) -> str:
    return instance.rpartition(".")[0]
