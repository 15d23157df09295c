"""The verbs that change what all agree on: services and nodes. Each ends in one log entry."""

import msgspec

from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.api.sense import declared, refuse_contradictions, refuse_twins
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    Cordon,
    Drain,
    LabelNode,
    RemoveNode,
    RemoveService,
)
from roheletd.errors import InvalidInput, Refused
from roheletd.model import Service
from roheletd.rohe import nodes_from, services_from


class Changing(Grounds):
    """Define and forget services and nodes."""

    async def add_services(self, request: views.ServicesToAdd, command_id: str) -> views.Changes:
        """Define services, or redefine those that exist: all of them or none."""
        refuse_twins(request.services, "$.services")
        return await self._define(request.services, command_id, field="$.services")

    async def add_nodes(self, request: views.NodesToAdd, command_id: str) -> views.Changes:
        """Register nodes by hand, or correct what is known of them: all of them or none."""
        refuse_twins(request.nodes, "$.nodes")
        return await self._commit(AddNodes(nodes=declared(request.nodes)), command_id)

    async def import_services(self, request: views.Document, command_id: str) -> views.Changes:
        """Define the services of a ROHE command file (`add-service`), given as JSON."""
        imported = services_from(request.document)
        changes = await self._define(imported.items, command_id, field="$.document")
        return msgspec.structs.replace(changes, notes=imported.notes)

    async def import_nodes(self, request: views.Document, command_id: str) -> views.Changes:
        """Register the nodes of a ROHE command file (`add-node`), given as JSON."""
        imported = nodes_from(request.document)
        changes = await self._commit(AddNodes(nodes=imported.items), command_id)
        return msgspec.structs.replace(changes, notes=imported.notes)

    async def remove_service(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a service and stop its instances."""
        return await self._commit(RemoveService(name=request.name), command_id)

    async def remove_node(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a node that is gone; what was placed on it is placed elsewhere."""
        if self._membership.liveness(request.name, self._clock.now_s()) == "alive":
            raise Refused(
                f"node {request.name} is alive and would register itself again: stop its roheletd "
                "first"
            )
        return await self._commit(RemoveNode(name=request.name), command_id)

    async def cordon(self, request: views.ByName, command_id: str) -> views.Changes:
        """Keep new instances away from a node; what runs there goes on."""
        return await self._commit(Cordon(name=request.name, cordoned=True), command_id)

    async def uncordon(self, request: views.ByName, command_id: str) -> views.Changes:
        """Let new instances onto a node again."""
        return await self._commit(Cordon(name=request.name, cordoned=False), command_id)

    async def drain(self, request: views.ByName, command_id: str) -> views.Changes:
        """Cordon a node and move its instances elsewhere, one after the other."""
        return await self._commit(Drain(name=request.name, draining=True), command_id)

    async def undrain(self, request: views.ByName, command_id: str) -> views.Changes:
        """End a drain, and let new instances onto the node again."""
        return await self._commit(Drain(name=request.name, draining=False), command_id)

    async def label_node(self, request: views.Labelling, command_id: str) -> views.Changes:
        """Set labels of a node, and take others away; they stand over those of its own file."""
        for label in request.labels.keys() & set(request.removed):
            raise InvalidInput("$.removed", f"expected labels that are not set, got {label}")
        command = LabelNode(name=request.name, labels=request.labels, removed=request.removed)
        return await self._commit(command, command_id)

    async def _define(
        self, services: tuple[Service, ...], command_id: str, *, field: str
    ) -> views.Changes:
        refuse_contradictions(services, field=field)
        return await self._commit(AddServices(services=services), command_id)
