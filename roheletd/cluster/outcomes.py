"""What a command would do in a state, or why it is refused there; nothing is changed by asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roheletd.cluster.circles import circle
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Configure,
    Cordon,
    Drain,
    EndRollout,
    ForgetHome,
    Found,
    JoinNode,
    LabelNode,
    Missing,
    OfNode,
    OfService,
    Outcome,
    Place,
    Rejected,
    RemoveNode,
    RemoveService,
    Restart,
    RollBack,
    Scale,
)
from roheletd.cluster.configuring import outcome_of_configuring, refusal_of_missing
from roheletd.cluster.definition import Definition, ended
from roheletd.cluster.registration import registered, relabelled
from roheletd.model import Node, Placement, Service, node_of

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
        case RemoveNode(name=name):
            known = name in state.registrations or name in state.members
            return Applied(changed={name: "removed"}) if known else _no_node(name)
        case OfService():
            return _of_service(command, state)
        case AddNodes(nodes=nodes):
            return _of_nodes(nodes, state)
        case OfNode():
            return _of_node(command, state)
        case Configure():
            return outcome_of_configuring(command, state)
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
    refusal = _clash(command.services, state, leaving=command.removed)
    return refusal or _queue_is_full(command, state) or Applied(changed=changed)


def _clash(
    services: tuple[Service, ...], state: ClusterState, *, leaving: tuple[str, ...] = ()
) -> Rejected | None:
    """What there is already that these cannot be beside, or what is not there that they need."""
    if waiting := _waits_for_itself(services, state):
        return Rejected(reason=waiting)
    if taken := state.service_ports.conflict(services, leaving=leaving):
        return Rejected(reason=taken)
    return refusal_of_missing(services, state)


def _waits_for_itself(new: tuple[Service, ...], state: ClusterState) -> str:
    """Whatever is added may close a circle only if it waits for something itself."""
    if not any(service.depends_on for service in new):
        return ""
    services = {name: known.service for name, known in state.services.items()}
    found = circle(services | {service.name: service for service in new})
    way = " -> ".join(found)
    return way and f"none of these would ever start, as each waits for the next: {way} (depends_on)"


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


def _of_service(command: OfService, state: ClusterState) -> Outcome:
    name = command.name
    known = state.services.get(name)
    if known is None:
        return Missing(reason=f"there is no service {name}")
    match command:
        case RemoveService():
            return Applied(changed={name: "removed"})
        case Scale(replicas=replicas):
            same = known.service.replicas == replicas
            return Applied(changed={name: "unchanged" if same else f"scaled to {replicas}"})
        case Restart():
            return Applied(changed={name: "restarting"})
        case RollBack():
            return _of_rollback(known, state)
        case EndRollout():
            return _of_end(command, known)
    raise AssertionError(command)


def _of_rollback(known: Definition, state: ClusterState) -> Outcome:
    name, rollout = known.service.name, known.rollout
    if rollout is not None and rollout.state == "rolling back":
        return Rejected(reason=f"service {name} is being rolled back already")
    if known.before is None:
        return Rejected(
            reason=f"service {name} has nothing to go back to: it was not changed, or what it was "
            "changed from had failed"
        )
    if (refusal := _clash((known.before.service,), state)) is not None:
        return refusal
    return Applied(changed={name: f"rolling back to revision {known.before.revision}"})


def _of_end(command: EndRollout, known: Definition) -> Outcome:
    rollout = known.rollout
    may_end = known.is_changing or (known.is_paused and command.succeeded)
    if rollout is None or not may_end or rollout.begun_at != command.begun_at:
        return Rejected(reason=f"service {known.service.name} has no such rollout any more")
    after = ended(known, rollout.begun_at, succeeded=command.succeeded, reason=command.reason)
    assert after.rollout is not None, "it has ended, and is remembered"
    return Applied(changed={known.service.name: f"rollout: {after.rollout.state}"})


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


def _no_node(name: str) -> Missing:
    return Missing(reason=f"there is no node {name}")


def _of_node(command: OfNode, state: ClusterState) -> Outcome:
    name = command.name
    if name not in state.registrations:
        return _no_node(name)
    match command:
        case ForgetHome(instance=instance):
            return _of_home(instance, name, state)
        case Cordon(cordoned=False) if name in state.draining:
            return Rejected(
                reason=f"node {name} is being drained: `roheletd undrain {name}` ends that"
            )
        case Cordon(cordoned=cordoned):
            same = cordoned == (name in state.cordoned)
            change = "cordoned" if cordoned else "uncordoned"
        case Drain(draining=draining):
            same = draining == (name in state.draining)
            change = "draining" if draining else "undrained"
        case LabelNode():
            known = state.registrations[name]
            same, change = relabelled(known, command) == known, "labelled"
        case _:
            raise AssertionError(command)
    return Applied(changed={name: "unchanged" if same else change})


def _of_home(instance: str, node: str, state: ClusterState) -> Outcome:
    at = state.placements.get(instance)
    if at is not None and at.node == node:
        return Rejected(reason=f"{instance} is placed on {node}: it has its data there")
    same = state.home_of(instance) != node
    return Applied(changed={instance: "unchanged" if same else "may go elsewhere"})


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
