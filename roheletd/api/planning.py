"""The verbs that look ahead: where would it go, what would change, and then do it."""

import asyncio
from hashlib import blake2b
from random import Random
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.rebalance import Better, Rebalancing
from roheletd.allocation.what_if import Forecast, what_if
from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.api.sense import declared, refuse_contradictions, refuse_twins
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    Place,
    Rejected,
    SetConfigMap,
    SetSecret,
)
from roheletd.cluster.configuration import Sealed
from roheletd.cluster.difference import Difference, after, missing_from, of_nodes, of_services
from roheletd.cluster.state import ClusterState
from roheletd.errors import InvalidInput, Refused
from roheletd.model import Node, Service
from roheletd.rohe import services_from

_FINGERPRINT_BYTES = 8
_SEED = 0
"""Asked twice, the same answer: a dry run shows what is done without it."""


class _Wanted(Struct, frozen=True, kw_only=True):
    """What a request asks to be so, as commands; `left` is what it neither names nor removes."""

    services: tuple[Service, ...]
    nodes: tuple[Node, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    config_maps: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def before(self) -> tuple[SetConfigMap | SetSecret, ...]:
        """What is to be there by then, with a value that stands for those that it will have."""
        nothing = Sealed(box=b"", mark=b"")
        return (
            *(SetConfigMap(name=name, values={"value": b""}) for name in self.config_maps),
            *(SetSecret(name=name, values={"value": nothing}) for name in self.secrets),
        )

    @property
    def commands(self) -> tuple[AddNodes | AddServices, ...]:
        """Nodes first, for services are placed on them. All of the services are one entry."""
        nodes = (AddNodes(nodes=self.nodes),) if self.nodes else ()
        if not (self.services or self.removed):
            return nodes
        return (*nodes, AddServices(services=self.services, removed=self.removed))


class Planning(Grounds):
    """What would come of a change that is not made yet, and making it."""

    async def what_if(self, request: views.WhatIfAsked, _id: str) -> views.WhatIf:
        """Where services would go, and what each node would refuse; nothing is changed."""
        wanted = self._services_of(request)
        if not wanted.services:
            raise InvalidInput("$.services", "expected at least one service")
        return views.WhatIf(
            forecast=self._forecast(wanted, self._after(wanted)), notes=wanted.notes
        )

    async def plan(self, request: views.PlanAsked, _id: str) -> views.Plan:
        """What would change if things were as described, and where it would go."""
        return self._planned(self._wanted(request))

    async def apply(self, request: views.PlanToApply, command_id: str) -> views.AppliedPlan:
        """Make things as described, in one entry of the log; the answer says what was done."""
        wanted = self._wanted(request)
        plan = self._planned(wanted)
        if not plan.changes:
            # It may be the second sending of what was done: under its id it is another command now.
            command_id = uuid4().hex
        elif request.fingerprint not in ("", plan.fingerprint):
            raise Refused("what would change is no longer what was shown: plan it again")
        changed: dict[str, str] = {}
        for command in wanted.commands:
            if isinstance(command, AddNodes):
                done = await self._commit(command, _id_for_nodes(command_id))
                changed |= {f"node {name}": what for name, what in done.changed.items()}
            else:
                changed |= (await self._commit(command, command_id)).changed
        return views.AppliedPlan(changed=changed, **msgspec.structs.asdict(plan))

    async def rebalance(self, request: views.Rebalancing, command_id: str) -> views.Rebalanced:
        """Move instances to where they sit clearly better; all of the moves or none."""
        # Whatever changes from here on may be what a move rests on.
        basis = self._state.applied_index
        found = await self._better_places(request.moves)
        if found and not request.dry_run:
            placements = tuple(better.placement for better in found)
            await self._commit(Place(placements=placements, basis=basis), command_id)
        return views.Rebalanced(
            moves=tuple(_better_place(better) for better in found), dry_run=request.dry_run
        )

    async def _better_places(self, moves: int) -> tuple[Better, ...]:
        this = Rebalancing(
            self._state,
            self._view(),
            self._profile,
            Random(_SEED),
            moves=moves,
            hooks=self._algorithm.hooks(),
        )
        for _ in this.pieces():
            await asyncio.sleep(0)
        return this.chosen

    def _wanted(self, request: views.PlanAsked) -> _Wanted:
        wanted = self._services_of(request)
        refuse_twins(request.nodes, "$.nodes")
        if not (wanted.services or request.nodes):
            raise InvalidInput("$.services", "expected at least one service or node")
        others = missing_from(wanted.services, self._state)
        return replace(
            wanted,
            nodes=declared(request.nodes),
            removed=others if request.prune else (),
            left=() if request.prune else others,
        )

    def _services_of(self, request: views.WhatIfAsked) -> _Wanted:
        known = self._state.configuration
        maps, secrets = known.names("config map"), known.names("secret")
        return replace(
            _services_of(request),
            config_maps=tuple(name for name in request.config_maps if name not in maps),
            secrets=tuple(name for name in request.secrets if name not in secrets),
        )

    def _after(self, wanted: _Wanted) -> ClusterState:
        found = after(self._state, (*wanted.before, *wanted.commands))
        if isinstance(found, Rejected):
            raise Refused(found.reason)
        return found

    def _planned(self, wanted: _Wanted) -> views.Plan:
        then = self._after(wanted)
        names = [service.name for service in wanted.services]
        services = of_services(self._state, then, names, left=wanted.left)
        nodes = of_nodes(self._state, then, [node.name for node in wanted.nodes])
        return views.Plan(
            changes=services.count + nodes.count,
            services=services,
            nodes=nodes,
            forecast=self._forecast(wanted, then),
            fingerprint=_fingerprint(services, nodes),
            notes=wanted.notes,
        )

    def _forecast(self, wanted: _Wanted, then: ClusterState) -> Forecast:
        asked = {*(service.name for service in wanted.services), *wanted.removed}
        return what_if(
            self._state,
            then,
            asked,
            view=self._view(),
            profile=self._profile,
            hooks=self._algorithm.hooks(),
        )


def _services_of(request: views.WhatIfAsked) -> _Wanted:
    """Those of our own list and those of a ROHE file, as one."""
    refuse_twins(request.services, "$.services")
    refuse_contradictions(request.services, field="$.services")
    if request.document is None:
        return _Wanted(services=request.services)
    imported = services_from(request.document)
    refuse_contradictions(imported.items, field="$.document")
    services = (*request.services, *imported.items)
    refuse_twins(services, "$.document")
    return _Wanted(services=services, notes=imported.notes)


def _better_place(better: Better) -> views.BetterPlace:
    at = better.placement
    return views.BetterPlace(
        instance=at.instance,
        service=at.service,
        source=better.source,
        target=at.node,
        cores=at.cores,
        gpus=at.gpus,
        gain=better.gain,
        reason=better.reason,
    )


def _fingerprint(*differences: Difference) -> str:
    """The same for the same changes; what stays as it is may become more or less."""
    changes = [(it.added, it.changed, it.removed) for it in differences]
    digest = blake2b(msgspec.json.encode(changes), digest_size=_FINGERPRINT_BYTES)
    return digest.hexdigest()


def _id_for_nodes(command_id: str) -> str:
    """Another id for another command; the same one if all is sent again."""
    return blake2b(command_id.encode(), digest_size=16).hexdigest()
