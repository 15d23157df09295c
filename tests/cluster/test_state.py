"""The agreed state: what each command changes, and what it refuses."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.cluster import commands, outcomes, state
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Cordon,
    Found,
    JoinNode,
    Missing,
    Place,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
    Restart,
    RollBack,
)
from roheletd.cluster.remembered import REMEMBERED_COMMANDS
from roheletd.model import Neighbour, Placement, Port, Service
from roheletd.upkeep import Dependency
from tests.builders import Driver, a_member, a_node, a_service, founded, with_services


def placed(instance: str, *, node: str = "pi", revision: int = 2) -> Placement:
    service = instance.rpartition(".")[0]
    return Placement(instance=instance, service=service, node=node, revision=revision)


def test_a_new_service_is_added_and_the_same_again_is_unchanged() -> None:
    cluster = Driver()
    assert cluster.apply(AddServices(services=(a_service(),))) == Applied(changed={"web": "added"})
    again = cluster.apply(AddServices(services=(a_service(),)))
    assert again == Applied(changed={"web": "unchanged"})


def test_adding_a_service_again_keeps_its_placements() -> None:
    cluster = with_services(a_service())
    cluster.apply(Place(placements=(placed("web.1"),)))
    cluster.apply(AddServices(services=(a_service(replicas=3),)))
    assert set(cluster.state.placements) == {"web.1"}


def test_a_change_of_replicas_alone_keeps_the_revision() -> None:
    cluster = with_services(a_service())
    cluster.apply(AddServices(services=(a_service(replicas=5),)))
    assert cluster.state.services["web"].revision == 2
    assert cluster.state.services["web"].service.replicas == 5


@pytest.mark.parametrize(
    "change",
    [
        {"reschedule_after_s": 60.0},
        {"on_isolation": "stop"},
        {"priority": 7},
        {"all_or_nothing": True},
        {"strategy": "best_fit"},
        {"spread_over": "zone"},
    ],
)
def test_what_is_said_of_lost_nodes_and_of_the_queue_is_changed_without_a_new_revision(
    change: dict[str, object],
) -> None:
    cluster = with_services(a_service())
    outcome = cluster.apply(AddServices(services=(a_service(**change),)))
    assert outcome == Applied(changed={"web": "updated"})
    assert cluster.state.services["web"].revision == 2
    assert cluster.state.services["web"].service == a_service(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "web:2"},
        {"constraints": ("node.arch == arm64",)},
        {"architectures": ("arm64",)},
        {"affinity": (Neighbour(service="api"),)},
        {"anti_affinity": (Neighbour(service="api"),)},
        {"spread_devices": True},
    ],
)
def test_any_other_change_makes_a_new_revision(change: dict[str, object]) -> None:
    cluster = with_services(a_service())
    cluster.apply(AddServices(services=(a_service(**change),)))
    assert cluster.state.services["web"].revision == 3
    assert cluster.state.services["web"].created_at == 2


def test_a_name_that_another_application_holds_is_refused_and_nothing_of_the_command_is_done() -> (
    None
):
    cluster = with_services(a_service(application="shop"))
    outcome = cluster.apply(AddServices(services=(a_service("new"), a_service())))
    assert isinstance(outcome, Rejected)
    assert "belongs to application shop" in outcome.reason
    assert set(cluster.state.services) == {"web"}


def test_removing_a_service_releases_its_placements() -> None:
    cluster = with_services(a_service(), a_service("other"))
    cluster.apply(Place(placements=(placed("web.1"), placed("other.1"))))
    cluster.apply(RemoveService(name="web"))
    assert set(cluster.state.placements) == {"other.1"}


def test_removing_a_node_releases_what_was_placed_on_it() -> None:
    cluster = with_services(a_service(), nodes=(a_node("a"), a_node("b")))
    cluster.apply(Place(placements=(placed("web.1", node="a"), placed("web.2", node="b"))))
    cluster.apply(RemoveNode(name="a"))
    assert set(cluster.state.placements) == {"web.2"}


def test_removing_what_is_not_there_is_refused_with_its_name() -> None:
    assert Driver().apply(RemoveService(name="web")) == Missing(reason="there is no service web")
    assert Driver().apply(RemoveNode(name="pi")) == Missing(reason="there is no node pi")


def test_a_placement_decided_from_an_older_revision_is_overtaken() -> None:
    cluster = with_services(a_service())
    cluster.apply(AddServices(services=(a_service(image="web:2"),)))
    outcome = cluster.apply(Place(placements=(placed("web.1", revision=2),)))
    assert outcome == Applied(changed={"web.1": "overtaken"})
    assert not cluster.state.placements


def test_a_placement_carries_the_index_of_the_entry_that_committed_it() -> None:
    cluster = with_services(a_service())
    cluster.apply(Place(placements=(placed("web.1"),)))
    assert cluster.state.placements["web.1"].placed_at == 3


def test_a_command_sent_twice_is_applied_once() -> None:
    cluster = with_services(a_service())
    cluster.apply(RemoveService(name="web"), command_id="same")
    cluster.apply(AddServices(services=(a_service(),)))
    assert cluster.apply(RemoveService(name="web"), command_id="same") == Applied(
        changed={"web": "removed"}
    )
    assert set(cluster.state.services) == {"web"}


def test_an_id_that_was_used_for_another_command_is_refused_and_does_nothing() -> None:
    cluster = with_services(a_service())
    cluster.apply(AddServices(services=(a_service("api"),)), command_id="same")
    outcome = cluster.apply(RemoveService(name="web"), command_id="same")
    assert outcome == Rejected(reason="the id same was used for another command before")
    assert set(cluster.state.services) == {"web", "api"}


def test_the_memory_of_command_ids_is_bounded_and_forgets_the_oldest() -> None:
    cluster = Driver()
    for number in range(REMEMBERED_COMMANDS + 10):
        cluster.apply(RemoveService(name="nobody"), command_id=f"c{number}")
    kept = cluster.state.saved().outcomes
    assert len(kept) == REMEMBERED_COMMANDS
    assert "c9" not in kept
    assert "c10" in kept


def test_commands_that_touch_many_things_are_forgotten_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roheletd.cluster.remembered.REMEMBERED_CHANGES", 5)
    cluster = with_services()
    names = tuple(a_service(name) for name in ("a", "b", "c", "d"))
    cluster.apply(AddServices(services=names), command_id="four")
    cluster.apply(RemoveService(name="a"), command_id="one")
    assert "four" in cluster.state.saved().outcomes
    cluster.apply(RemoveService(name="b"), command_id="another")
    assert list(cluster.state.saved().outcomes) == ["one", "another"]
    cluster.state.restore(cluster.state.saved())
    cluster.apply(AddServices(services=(*map(a_service, "efghijk"),)), command_id="seven")
    assert list(cluster.state.saved().outcomes) == ["seven"]


def test_what_changes_nothing_needs_no_entry() -> None:
    cluster = with_services(a_service())
    same = Proposal(id="x", command=AddServices(services=(a_service(),)))
    refused = Proposal(id="y", command=RemoveService(name="nobody"))
    news = Proposal(id="z", command=AddServices(services=(a_service("new"),)))
    assert cluster.state.foresee(same) == Applied(changed={"web": "unchanged"})
    assert isinstance(cluster.state.foresee(refused), Rejected)
    assert cluster.state.foresee(news) is None


def test_measured_hardware_stands_over_declared_and_labels_of_both_stay() -> None:
    declared = a_node(cores=8, source="declared", labels={"room": "hall"})
    measured = a_node(cores=4, labels={"kind": "pi4"})
    for order in ((declared, measured), (measured, declared)):
        cluster = Driver(*(AddNodes(nodes=(node,)) for node in order))
        node = cluster.state.nodes["pi"]
        assert len(node.capacity.cores) == 4
        assert node.labels == {"kind": "pi4", "room": "hall"}


def test_a_daemon_that_registers_again_changes_nothing() -> None:
    cluster = Driver(
        AddNodes(nodes=(a_node(source="declared", labels={"room": "hall"}),)),
        AddNodes(nodes=(a_node(),)),
    )
    again = Proposal(id="again", command=AddNodes(nodes=(a_node(),)))
    assert cluster.state.foresee(again) == Applied(changed={"pi": "unchanged"})


def test_a_cluster_is_founded_with_one_member() -> None:
    cluster = Driver()
    outcome = cluster.apply(Found(cluster_id="c1", epoch=1, member=a_member("pi")))
    assert outcome == Applied(changed={"pi": "founded"})
    assert (cluster.state.cluster_id, cluster.state.epoch) == ("c1", 1)
    assert cluster.state.members == {"pi": a_member("pi")}


def test_a_new_epoch_forgets_the_other_members_and_keeps_nodes_and_placements() -> None:
    cluster = founded("a", "b")
    cluster.apply(AddServices(services=(a_service(),)))
    revision = cluster.state.services["web"].revision
    cluster.apply(Place(placements=(placed("web.1", node="b", revision=revision),)))
    cluster.apply(Found(cluster_id="c1", epoch=2, member=a_member("a")))
    assert set(cluster.state.members) == {"a"}
    assert set(cluster.state.registrations) == {"a", "b"}
    assert set(cluster.state.placements) == {"web.1"}
    assert cluster.state.expected == {"a", "b"}


def test_an_epoch_that_began_before_is_not_founded_again() -> None:
    cluster = founded("a", "b")
    outcome = cluster.apply(Found(cluster_id="c1", epoch=1, member=a_member("b")))
    assert outcome == Rejected(reason="the cluster is in epoch 1 already")
    assert set(cluster.state.members) == {"a", "b"}


def test_a_machine_joins_once_and_what_is_known_of_it_can_be_corrected() -> None:
    cluster = founded("a")
    at_first, later = a_member("b"), a_member("b", broker="mqtt://b:1883", voter="never")
    assert cluster.apply(JoinNode(member=at_first)) == Applied(changed={"b": "joined"})
    assert cluster.apply(JoinNode(member=at_first)) == Applied(changed={"b": "unchanged"})
    assert cluster.apply(JoinNode(member=later)) == Applied(changed={"b": "updated"})
    assert cluster.state.members["b"] == later


def test_a_name_that_another_machine_holds_is_refused_with_what_to_do() -> None:
    cluster = founded("a", "pi2")
    for previous in ("", "pi2.0000aaaa"):
        other = JoinNode(member=a_member("pi2", digits="deadbeef"), previous=previous)
        assert cluster.apply(other) == Rejected(
            reason="the name pi2 is taken by another machine: choose another node.name, or "
            "`roheletd cluster remove pi2` if that one will not come back"
        )
    assert cluster.state.members["pi2"] == a_member("pi2")


def test_a_machine_that_lost_its_membership_rejoins_and_keeps_its_placements() -> None:
    cluster = founded("a", "b")
    cluster.apply(AddServices(services=(a_service(),)))
    revision = cluster.state.services["web"].revision
    cluster.apply(Place(placements=(placed("web.1", node="b", revision=revision),)))
    new = a_member("b", digits="deadbeef")
    outcome = cluster.apply(JoinNode(member=new, previous=a_member("b").id))
    assert outcome == Applied(changed={"b": "rejoined"})
    assert cluster.state.member_by_id(new.id) == new
    assert cluster.state.member_by_id(a_member("b").id) is None
    assert "b" in cluster.state.registrations
    assert "web.1" in cluster.state.placements


def test_a_member_id_of_another_name_is_refused() -> None:
    odd = a_member("b", id="c.00000000")
    assert isinstance(founded("a").apply(JoinNode(member=odd)), Rejected)


def test_removing_a_node_forgets_its_membership_with_or_without_a_registration() -> None:
    cluster = founded("a", "b")
    cluster.apply(JoinNode(member=a_member("witness", witness=True)))
    for name in ("b", "witness"):
        assert cluster.apply(RemoveNode(name=name)) == Applied(changed={name: "removed"})
    assert set(cluster.state.members) == set(cluster.state.registrations) == {"a"}
    assert isinstance(cluster.apply(RemoveNode(name="b")), Missing)


def test_a_machine_that_was_removed_cannot_register_itself_again_before_it_joins() -> None:
    cluster = founded("a", "b")
    cluster.apply(RemoveNode(name="b"))
    refused = cluster.apply(AddNodes(nodes=(a_node("b"),)))
    assert refused == Rejected(reason="b is no member of this cluster: let it join")
    cluster.apply(AddNodes(nodes=(a_node("b", source="declared"),)))
    assert cluster.state.expected == {"a"}


def test_the_brokers_of_members_are_listed_in_the_order_asked_for() -> None:
    cluster = founded("a")
    cluster.apply(JoinNode(member=a_member("b", broker="mqtt://b:1883")))
    cluster.apply(JoinNode(member=a_member("c", broker="mqtt://c:1883")))
    cluster.apply(JoinNode(member=a_member("d", broker="mqtt://c:1883")))
    ids = [a_member(name).id for name in ("d", "a", "b", "c", "nobody")]
    assert cluster.state.brokers(ids) == ("mqtt://c:1883", "mqtt://b:1883")


def test_an_entry_that_is_no_command_moves_the_index_and_nothing_else() -> None:
    cluster = founded("a")
    before = cluster.state.saved()
    cluster.state.advance(before.index + 1, 7)
    after = cluster.state.saved()
    assert (after.index, after.term) == (before.index + 1, 7)
    assert replace(after, index=before.index, term=before.term) == before


def test_placements_are_found_by_service_in_the_order_of_slots_and_by_node() -> None:
    cluster = with_services(a_service(), a_service("api"), nodes=(a_node("a"), a_node("b")))
    at = [placed("web.10", node="a"), placed("web.2", node="b"), placed("api.1", node="a")]
    cluster.apply(Place(placements=tuple(at)))
    found = cluster.state
    assert [it.instance for it in found.placements_of("web")] == ["web.2", "web.10"]
    assert set(found.placements_on("a")) == {"web.10", "api.1"}
    assert found.placements_on("nobody") == {}
    assert found.placements_of("nothing") == []


def test_an_instance_that_is_placed_elsewhere_leaves_where_it_was() -> None:
    cluster = with_services(a_service(), nodes=(a_node("a"), a_node("b")))
    cluster.apply(Place(placements=(placed("web.1", node="a"), placed("web.2", node="a"))))
    cluster.apply(Place(placements=(placed("web.1", node="b"),)))
    assert set(cluster.state.placements_on("a")) == {"web.2"}
    assert set(cluster.state.placements_on("b")) == {"web.1"}
    assert [at.node for at in cluster.state.placements_of("web")] == ["b", "a"]


def test_a_service_is_unfilled_while_it_has_fewer_placements_than_replicas() -> None:
    cluster = with_services(a_service(replicas=2), a_service("none", replicas=0))
    assert cluster.state.unfilled == {"web"}
    cluster.apply(Place(placements=(placed("web.1"), placed("web.2"))))
    assert cluster.state.unfilled == set()
    cluster.apply(AddServices(services=(a_service(replicas=3),)))
    assert cluster.state.unfilled == {"web"}
    cluster.apply(AddServices(services=(a_service(replicas=1),)))
    assert cluster.state.unfilled == set()
    cluster.apply(RemoveNode(name="pi"))
    assert cluster.state.unfilled == {"web"}
    cluster.apply(RemoveService(name="web"))
    assert cluster.state.unfilled == set()


def test_an_instance_that_is_released_twice_in_one_entry_is_released() -> None:
    cluster = with_services(a_service())
    cluster.apply(Place(placements=(placed("web.1"),)))
    cluster.apply(Place(released=("web.1", "web.1", "web.9")))
    assert not cluster.state.placements


# --- decisions made from an older state


def test_of_two_deciders_from_the_same_state_the_second_is_refused_and_told_to_decide_again() -> (
    None
):
    cluster = with_services(a_service(replicas=2))
    basis = cluster.state.applied_index
    cluster.apply(Place(placements=(placed("web.1"),), basis=basis))
    late = Place(placements=(placed("web.2"),), basis=basis)
    assert cluster.apply(late) == Rejected(
        reason="placements were decided from an older state (entry 2), which entry 3 has changed; "
        "decide again"
    )
    assert set(cluster.state.placements) == {"web.1"}
    cluster.apply(replace(late, basis=cluster.state.applied_index))
    assert set(cluster.state.placements) == {"web.1", "web.2"}


ZONED = a_node(source="declared", labels={"zone": "hall"})


@pytest.mark.parametrize(
    "change",
    [
        Place(released=("web.1",)),
        Place(placements=(placed("web.3"),)),
        AddServices(services=(a_service(replicas=7),)),
        AddServices(services=(a_service(cores=(900,)),)),
        AddServices(removed=("web",)),
        RemoveService(name="web"),
        AddNodes(nodes=(a_node(cores=1),)),
        AddNodes(nodes=(ZONED,)),
        RemoveNode(name="pi"),
        Cordon(name="pi", cordoned=True),
    ],
    ids=str,
)
def test_what_a_decision_may_rest_on_ends_it_when_it_changes(change: AnyCommand) -> None:
    cluster = with_services(a_service(replicas=3), a_service("api"), nodes=(a_node(), a_node("b")))
    cluster.apply(Place(placements=(placed("web.1"),)))
    basis = cluster.state.applied_index
    assert isinstance(cluster.apply(change), Applied)
    assert cluster.state.allocated_at == cluster.state.applied_index
    decided = Place(placements=(placed("api.1", node="b"),), basis=basis)
    assert isinstance(cluster.apply(decided), Rejected)
    assert isinstance(cluster.apply(replace(decided, basis=None)), Applied)


@pytest.mark.parametrize(
    "change",
    [
        AddServices(services=(a_service("new"),)),
        AddServices(services=(a_service(replicas=3),)),
        AddServices(removed=("nobody",)),
        AddNodes(nodes=(a_node("new"),)),
        AddNodes(nodes=(a_node(),)),
        AddNodes(nodes=(a_node(source="declared"),)),
        AddNodes(nodes=(a_node(source="declared", cores=64),)),
        RemoveService(name="nobody"),
        Cordon(name="pi", cordoned=False),
        Place(placements=(placed("web.9", revision=1),)),
        Place(released=("web.9",)),
        Place(placements=(placed("web.9"),), basis=0),
    ],
    ids=str,
)
def test_what_takes_nothing_from_anyone_leaves_a_decision_as_it_is(change: AnyCommand) -> None:
    cluster = with_services(a_service(replicas=3))
    cluster.apply(Place(placements=(placed("web.1"),)))
    basis = cluster.state.applied_index
    cluster.apply(change)
    assert cluster.state.allocated_at == basis
    cluster.apply(Place(placements=(placed("web.2"),), basis=basis))
    assert set(cluster.state.placements) == {"web.1", "web.2"}


def test_a_decision_that_is_sent_twice_keeps_its_first_outcome() -> None:
    cluster = with_services(a_service(replicas=2))
    decided = Place(placements=(placed("web.1"),), basis=2)
    done = Applied(changed={"web.1": "placed"})
    assert cluster.apply(decided, command_id="same") == done
    assert cluster.apply(decided, command_id="same") == done
    late = Place(placements=(placed("web.2"),), basis=2)
    refused = cluster.apply(late, command_id="late")
    assert isinstance(refused, Rejected)
    assert cluster.apply(late, command_id="late") == refused


def test_a_decision_that_is_too_old_already_needs_no_entry() -> None:
    cluster = with_services(a_service(replicas=2))
    cluster.apply(Place(placements=(placed("web.1"),), basis=2))
    late = Proposal(id="late", command=Place(placements=(placed("web.2"),), basis=2))
    assert isinstance(cluster.state.foresee(late), Rejected)


def test_placements_that_belong_together_are_all_taken_or_none_of_them() -> None:
    cluster = with_services(a_service(replicas=3), a_service("api"))
    cluster.apply(Place(placements=(placed("web.1"),)))
    good, bad = placed("web.2"), placed("api.1", node="gone")
    both = Place(placements=(good, bad), released=("web.1",), together=True)
    assert cluster.apply(both) == Rejected(
        reason="placements that belong together were overtaken by a change of the service or the "
        "node of api.1; decide again"
    )
    assert set(cluster.state.placements) == {"web.1"}
    whole = Place(placements=(good, placed("api.1")), released=("web.1",), together=True)
    changed = {"web.1": "released", "web.2": "placed", "api.1": "placed"}
    assert cluster.apply(whole) == Applied(changed=changed)
    assert set(cluster.state.placements) == {"web.2", "api.1"}


# --- cordons


def test_a_node_is_cordoned_and_uncordoned_and_keeps_what_is_placed_on_it() -> None:
    cluster = with_services(a_service())
    cluster.apply(Place(placements=(placed("web.1"),)))
    on, off = Cordon(name="pi", cordoned=True), Cordon(name="pi", cordoned=False)
    for command, change, now in (
        (off, "unchanged", set()),
        (on, "cordoned", {"pi"}),
        (on, "unchanged", {"pi"}),
        (off, "uncordoned", set()),
    ):
        assert cluster.apply(command) == Applied(changed={"pi": change})
        assert cluster.state.cordoned == now
        assert set(cluster.state.placements) == {"web.1"}


def test_a_cordon_of_a_node_that_is_not_there_is_refused_with_its_name() -> None:
    for cordoned in (True, False):
        outcome = Driver().apply(Cordon(name="pi", cordoned=cordoned))
        assert outcome == Missing(reason="there is no node pi")


def test_a_node_that_was_removed_comes_back_without_its_cordon() -> None:
    cluster = with_services(a_service())
    cluster.apply(Cordon(name="pi", cordoned=True))
    cluster.apply(AddNodes(nodes=(a_node(cores=2),)))
    assert cluster.state.cordoned == {"pi"}
    cluster.apply(RemoveNode(name="pi"))
    cluster.apply(AddNodes(nodes=(a_node(),)))
    assert cluster.state.cordoned == set()


# --- defining and removing in one entry


def test_services_are_defined_and_removed_in_one_entry() -> None:
    cluster = with_services(a_service("old"), a_service("same"), a_service("web"))
    cluster.apply(Place(placements=(placed("old.1"), placed("web.1"))))
    new, same, web = a_service("new"), a_service("same"), a_service("web", image="web:2")
    apply = AddServices(services=(new, same, web), removed=("old", "nobody"))
    changed = {"old": "removed", "nobody": "unchanged"}
    changed |= {"new": "added", "same": "unchanged", "web": "updated"}
    assert cluster.apply(apply) == Applied(changed=changed)
    assert set(cluster.state.services) == {"new", "same", "web"}
    assert set(cluster.state.placements) == {"web.1"}
    again = cluster.state.foresee(Proposal(id="again", command=apply))
    assert again == Applied(changed=dict.fromkeys(changed, "unchanged"))


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service("old"), "service old is both defined and removed"),
        (a_service("web", application="shop"), "service web belongs to application default"),
    ],
)
def test_where_one_service_of_an_entry_is_refused_nothing_is_removed(
    service: Service, reason: str
) -> None:
    cluster = with_services(a_service("old"), a_service("web"))
    outcome = cluster.apply(AddServices(services=(a_service("new"), service), removed=("old",)))
    assert isinstance(outcome, Rejected)
    assert reason in outcome.reason
    assert set(cluster.state.services) == {"old", "web"}


# --- the queue


def test_a_full_queue_refuses_new_services_and_says_how_many_wait_and_what_to_do() -> None:
    waiting = tuple(a_service(f"s{number}") for number in range(outcomes.QUEUE_MAX))
    cluster = with_services(*waiting)
    assert len(cluster.state.unfilled) == outcomes.QUEUE_MAX
    assert cluster.apply(AddServices(services=(a_service("new"),))) == Rejected(
        reason="the queue is full: 10000 services wait for a place, 1 would come to them, and at "
        "most 10000 may wait: add nodes, or remove services that are not needed, and send it again"
    )
    assert "new" not in cluster.state.services


def test_what_is_no_new_waiting_service_passes_a_full_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "QUEUE_MAX", 2)
    cluster = with_services(a_service("a"), a_service("b"))
    for passes in (
        AddServices(services=(a_service("a", replicas=3), a_service("b", image="b:2"))),
        AddServices(services=(a_service("idle", replicas=0),)),
        AddServices(services=(a_service("c"),), removed=("a",)),
    ):
        assert isinstance(cluster.apply(passes), Applied)
    assert isinstance(cluster.apply(AddServices(services=(a_service("d"),))), Rejected)
    cluster.apply(Place(placements=(placed("c.1", revision=5),)))
    assert isinstance(cluster.apply(AddServices(services=(a_service("d"),))), Applied)


def test_the_services_of_one_entry_are_taken_into_the_queue_together_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "QUEUE_MAX", 2)
    cluster = with_services(a_service("a"))
    outcome = cluster.apply(AddServices(services=(a_service("b"), a_service("c"))))
    assert isinstance(outcome, Rejected)
    assert "1 services wait for a place, 2 would come to them" in outcome.reason
    assert set(cluster.state.services) == {"a"}


# --- rollouts, restarts and the way back


def begun() -> Driver:
    """`web` with an instance, and its second edition rolled out."""
    cluster = with_services(a_service(ports=(Port(container_port=80, service_port=31_000),)))
    cluster.apply(Place(placements=(placed("web.1"),)))
    cluster.apply(AddServices(services=(a_service(image="web:2"),)))
    target = cluster.state.services["web"].revision
    cluster.apply(Place(placements=(placed("web.1", revision=target),)))
    cluster.apply(cluster.end_of_rollout(succeeded=True))
    return cluster


def test_the_way_back_takes_no_port_that_another_service_has_by_now() -> None:
    cluster = begun()
    port = Port(container_port=80, service_port=31_000)
    cluster.apply(AddServices(services=(a_service("other", ports=(port,)),)))
    outcome = cluster.apply(RollBack(name="web"))
    assert isinstance(outcome, Rejected)
    assert "31000 over tcp is that of service other" in outcome.reason
    cluster.apply(RemoveService(name="other"))
    assert cluster.apply(RollBack(name="web")) == Applied(
        changed={"web": "rolling back to revision 2"}
    )


def test_the_way_back_closes_no_circle() -> None:
    cluster = with_services(
        a_service(depends_on=(Dependency(service="db"),)), a_service("db", image="db:1")
    )
    cluster.apply(AddServices(services=(a_service(image="web:2"),)))
    waiting = a_service("db", image="db:2", depends_on=(Dependency(service="web"),))
    cluster.apply(AddServices(services=(waiting,)))
    outcome = cluster.apply(RollBack(name="web"))
    assert isinstance(outcome, Rejected)
    assert "web -> db -> web (depends_on)" in outcome.reason


@pytest.mark.parametrize("command", [Restart(name="web"), RollBack(name="web")])
def test_where_no_instance_is_placed_there_is_nothing_to_replace(command: AnyCommand) -> None:
    cluster = begun()
    cluster.apply(Place(released=("web.1",)))
    assert isinstance(cluster.apply(command), Applied)
    known = cluster.state.services["web"]
    assert known.rollout is None
    assert known.service.image == ("web:2" if isinstance(command, Restart) else "web:1")
    assert known.before is not None


def test_an_end_that_comes_late_ends_no_later_rollout_to_the_same_revision() -> None:
    cluster = begun()
    ends = []
    for image in ("web:3", "web:2", "web:3", "web:2"):  # and back, twice
        cluster.apply(AddServices(services=(a_service(image=image),)))
        ends.append(cluster.end_of_rollout(succeeded=True))
    assert isinstance(cluster.apply(ends[1]), Rejected)
    assert cluster.state.services["web"].is_changing


def test_what_is_removed_in_the_middle_of_a_rollout_comes_back_as_a_new_service() -> None:
    cluster = begun()
    cluster.apply(Restart(name="web"))
    end = cluster.end_of_rollout(succeeded=False)
    cluster.apply(RemoveService(name="web"))
    assert isinstance(cluster.apply(end), Missing)
    cluster.apply(AddServices(services=(a_service(),)))
    assert isinstance(cluster.apply(end), Rejected)
    known = cluster.state.services["web"]
    assert (known.rollout, known.before, known.old) == (None, None, ())


# --- what an earlier version wrote


def test_entries_of_an_earlier_version_mean_what_they_meant() -> None:
    at = {"instance": "web.1", "service": "web", "node": "pi", "revision": 2}
    for old, new in (
        ({"command": "place", "placements": [at]}, Place(placements=(placed("web.1"),))),
        ({"command": "place", "released": ["web.1"]}, Place(released=("web.1",))),
        (
            {"command": "add-services", "services": [{"name": "web", "image": "web:1"}]},
            AddServices(services=(a_service(),)),
        ),
    ):
        data = msgspec.msgpack.encode({"id": "1", "command": old})
        assert commands.decode(data) == Proposal(id="1", command=new)


def test_a_snapshot_of_an_earlier_version_is_restored_with_its_indexes() -> None:
    at = {"instance": "web.1", "service": "web", "node": "pi", "revision": 2, "placed_at": 3}
    service = {"name": "web", "image": "web:1", "replicas": 2}
    node = msgspec.to_builtins(a_node(), str_keys=False)
    old = {
        "index": 3,
        "term": 1,
        "services": {"web": {"service": service, "created_at": 2, "revision": 2}},
        "registrations": {"pi": {"node": node, "declared": None, "measured": node}},
        "placements": {"web.1": at},
        "outcomes": {"x": {"outcome": {"type": "rejected", "reason": "r"}, "digest": b"12345678"}},
        "members": {},
        "cluster_id": "",
        "epoch": 0,
    }
    cluster = Driver()
    cluster.state.restore(state.decode(msgspec.msgpack.encode(old)))
    cluster.state.check()
    assert (cluster.state.cordoned, cluster.state.allocated_at) == (frozenset(), 0)
    assert set(cluster.state.placements_on("pi")) == {"web.1"}
    assert cluster.state.unfilled == {"web"}
    decided = Place(placements=(placed("web.2"),), basis=3)
    assert cluster.apply(decided) == Applied(changed={"web.2": "placed"})


names = some.sampled_from(["a", "b", "c"])
some_instances = some.builds("{}.{}".format, names, some.integers(1, 3))
some_placements = some.builds(
    lambda instance, node, revision: placed(instance, node=node, revision=revision),
    some_instances,
    names,
    some.integers(1, 20),
)
some_commands: some.SearchStrategy[AnyCommand] = some.one_of(
    some.builds(
        lambda name, replicas, image: AddServices(
            services=(a_service(name, replicas=replicas, image=image),)
        ),
        names,
        some.integers(0, 3),
        some.sampled_from(["x:1", "x:2"]),
    ),
    some.builds(
        lambda name, replicas, removed: AddServices(
            services=(a_service(name, replicas=replicas),), removed=tuple(removed)
        ),
        names,
        some.integers(0, 3),
        some.lists(names, max_size=2),
    ),
    some.builds(RemoveService, name=names),
    some.builds(
        lambda name, cores, source: AddNodes(nodes=(a_node(name, cores=cores, source=source),)),
        names,
        some.integers(1, 2),
        some.sampled_from(["measured", "declared"]),
    ),
    some.builds(RemoveNode, name=names),
    some.builds(Cordon, name=names, cordoned=some.booleans()),
    some.builds(
        lambda name, digits, previous, voter: JoinNode(
            member=a_member(name, digits=digits, voter=voter), previous=f"{name}.{previous}"
        ),
        names,
        some.sampled_from(["00000000", "deadbeef"]),
        some.sampled_from(["00000000", "deadbeef"]),
        some.sampled_from(["auto", "never"]),
    ),
    some.builds(
        lambda name, epoch: Found(cluster_id="c1", epoch=epoch, member=a_member(name)),
        names,
        some.integers(1, 3),
    ),
    some.builds(
        Place,
        placements=some.lists(some_placements, max_size=3).map(tuple),
        released=some.lists(some_instances, max_size=2).map(tuple),
        basis=some.none() | some.integers(0, 30),
        together=some.booleans(),
    ),
)


@given(some.lists(some_commands, max_size=30))
def test_any_commands_keep_the_invariants_and_survive_a_snapshot(
    history: list[AnyCommand],
) -> None:
    cluster = Driver(*history)
    saved = cluster.state.saved()
    assert state.decode(state.encode(saved)) == saved
    everything = list(cluster.state.placements.values())
    for name in ("a", "b", "c"):
        of_service = [at for at in everything if at.service == name]
        assert cluster.state.placements_on(name) == {
            at.instance: at for at in everything if at.node == name
        }
        assert cluster.state.placements_of(name) == sorted(of_service, key=lambda at: at.instance)


@given(some.lists(some_commands, max_size=5), some.lists(some_commands, max_size=2))
def test_a_decision_is_taken_only_where_all_that_it_may_rest_on_is_as_it_was(
    history: list[AnyCommand], between: list[AnyCommand]
) -> None:
    all_of_them = ("a", "b", "c")
    cluster = with_services(*map(a_service, all_of_them), nodes=tuple(map(a_node, all_of_them)))
    for command in history:
        cluster.apply(command)
    then = cluster.state.saved()
    for command in between:
        cluster.apply(command)
    now = cluster.state.saved()
    outcome = cluster.apply(Place(released=("a.1",), basis=then.index))
    as_it_was = (
        then.placements == now.placements
        and then.cordoned == now.cordoned
        and then.services.items() <= now.services.items()
        and all(
            name in now.registrations and now.registrations[name].node == known.node
            for name, known in then.registrations.items()
        )
    )
    assert as_it_was or isinstance(outcome, Rejected)


@given(some.lists(some_commands, max_size=20), some.integers(0, 20))
def test_a_snapshot_and_the_rest_of_the_log_lead_to_the_same_state(
    history: list[AnyCommand], cut: int
) -> None:
    whole = Driver(*history)
    restored = Driver(*history[:cut])
    restored.state = state.ClusterState(state.decode(state.encode(restored.state.saved())))
    for command in history[cut:]:
        restored.apply(command)
    assert restored.state.saved() == whole.state.saved()


@given(some_commands)
def test_a_proposal_survives_its_encoding(command: AnyCommand) -> None:
    proposal = Proposal(id="p", command=command)
    assert commands.decode(commands.encode(proposal)) == proposal
