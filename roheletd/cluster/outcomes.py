"""What a command would do in a state, or why it is refused there; nothing is changed by asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Cordon,
    Found,
    JoinNode,
    Missing,
    Outcome,
    Place,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.cluster.registration import registered
from roheletd.model import Node, Placement, node_of

if TYPE_CHECKING:
    from roheletd.cluster.state import ClusterState

QUEUE_MAX = 10_000
"""How many services may lack placements before new ones are refused."""

TAKES_NOTHING = frozenset({"unchanged", "added", "overtaken"})
"""Changes that a decision need not know of: it is as if they came after it."""


def outcome_of(command: AnyCommand, state: ClusterState) -> Outcome:
    match command:
        case AddServices():
            return _of_services(command, state)
        case RemoveService(name=name) if name not in state.services:
            return Missing(reason=f"there is no service {name}")
        case RemoveNode(name=name) if name not in {*state.registrations, *state.members}:
            return Missing(reason=f"there is no node {name}")
        case RemoveService(name=name) | RemoveNode(name=name):
            return Applied(changed={name: "removed"})
        case AddNodes(nodes=nodes):
            return _of_nodes(nodes, state)
        case Cordon():
            return _of_cordon(command, state)
        case JoinNode():
            return _of_join(command, state)
        case Found():
            return _of_found(command, state)
        case Place():
            return _of_place(command, state)


def concerns_decisions(command: AnyCommand, outcome: Applied, state: ClusterState) -> bool:
    """Whether a decision of the allocator from before `command` may be wrong after it.

    New services and nodes take nothing from anyone: a decision made without them is one that could
    have come first. To count them would let a stream of them keep every decision from being taken.
    """
    if isinstance(command, AddNodes):
        return any(
            known.node != registered(known, node).node
            for node in command.nodes
            if (known := state.registrations.get(node.name)) is not None
        )
    return not TAKES_NOTHING.issuperset(outcome.changed.values())


def fits_state(at: Placement, state: ClusterState) -> bool:
    """Whether what the allocator saw is still so: it decided from an earlier state."""
    known = state.services.get(at.service)
    return known is not None and known.revision == at.revision and at.node in state.registrations


def _of_services(command: AddServices, state: ClusterState) -> Outcome:
    changed = {
        name: "removed" if name in state.services else "unchanged" for name in command.removed
    }
    for service in command.services:
        known = state.services.get(service.name)
        if service.name in command.removed:
            return Rejected(reason=f"service {service.name} is both defined and removed")
        if known is None:
            changed[service.name] = "added"
        elif known.service.application != service.application:
            return Rejected(
                reason=f"service {service.name} belongs to application "
                f"{known.service.application}: remove it there or choose another name"
            )
        else:
            changed[service.name] = "unchanged" if known.service == service else "updated"
    return _queue_is_full(command, state) or Applied(changed=changed)


def _queue_is_full(command: AddServices, state: ClusterState) -> Rejected | None:
    """Refuses new services only: what was taken in may always be corrected."""
    asked = {each.name for each in command.services if each.replicas}
    new = {name for name in asked if name not in state.services}
    waiting = len(state.unfilled) - len(state.unfilled & set(command.removed))
    if not new or waiting + len(new) <= QUEUE_MAX:
        return None
    return Rejected(
        reason=f"the queue is full: {waiting} services wait for a place, {len(new)} would come to "
        f"them, and at most {QUEUE_MAX} may wait: add nodes, or remove services that are not "
        "needed, and send it again"
    )


def _of_nodes(nodes: tuple[Node, ...], state: ClusterState) -> Outcome:
    """A machine registers itself as a member only: what is placed elsewhere never starts."""
    changed = {}
    for node in nodes:
        outsider = state.cluster_id and node.name not in state.members
        if outsider and node.source == "measured":
            return Rejected(reason=f"{node.name} is no member of this cluster: let it join")
        known = state.registrations.get(node.name)
        if known is None:
            changed[node.name] = "added"
        else:
            changed[node.name] = "unchanged" if known == registered(known, node) else "updated"
    return Applied(changed=changed)


def _of_cordon(command: Cordon, state: ClusterState) -> Outcome:
    name = command.name
    if name not in state.registrations:
        return Missing(reason=f"there is no node {name}")
    if command.cordoned == (name in state.cordoned):
        return Applied(changed={name: "unchanged"})
    return Applied(changed={name: "cordoned" if command.cordoned else "uncordoned"})


def _of_join(command: JoinNode, state: ClusterState) -> Outcome:
    member = command.member
    known = state.members.get(member.name)
    if node_of(member.id) != member.name:
        return Rejected(reason=f"the member id {member.id} is none of node {member.name}")
    if known is None:
        change = "joined"
    elif known.id == member.id:
        change = "unchanged" if known == member else "updated"
    elif known.id == command.previous:
        change = "rejoined"
    else:
        return Rejected(
            reason=f"the name {member.name} is taken by another machine: choose another "
            f"node.name, or `roheletd cluster remove {member.name}` if that one will not come "
            "back"
        )
    return Applied(changed={member.name: change})


def _of_found(command: Found, state: ClusterState) -> Outcome:
    if command.epoch <= state.epoch:
        return Rejected(reason=f"the cluster is in epoch {state.epoch} already")
    return Applied(changed={command.member.name: "founded"})


def _of_place(command: Place, state: ClusterState) -> Outcome:
    if command.basis is not None and command.basis < state.allocated_at:
        return Rejected(
            reason=f"placements were decided from an older state (entry {command.basis}), which "
            f"entry {state.allocated_at} has changed; decide again"
        )
    overtaken = [at.instance for at in command.placements if not fits_state(at, state)]
    if command.together and overtaken:
        return Rejected(
            reason="placements that belong together were overtaken by a change of the service or "
            f"the node of {', '.join(overtaken)}; decide again"
        )
    changed = {name: "released" for name in command.released if name in state.placements}
    changed |= {at.instance: "placed" for at in command.placements}
    return Applied(changed=changed | dict.fromkeys(overtaken, "overtaken"))
