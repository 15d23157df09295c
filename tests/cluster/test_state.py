"""The agreed state: what each command changes, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from roheletd.cluster import commands, state
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Found,
    JoinNode,
    Missing,
    Place,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.model import Placement
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


@pytest.mark.parametrize("change", [{"reschedule_after_s": 60.0}, {"on_isolation": "stop"}])
def test_what_is_said_of_a_lost_node_is_changed_without_a_new_revision(
    change: dict[str, object],
) -> None:
    cluster = with_services(a_service())
    outcome = cluster.apply(AddServices(services=(a_service(**change),)))
    assert outcome == Applied(changed={"web": "updated"})
    assert cluster.state.services["web"].revision == 2
    assert cluster.state.services["web"].service == a_service(**change)


def test_any_other_change_makes_a_new_revision() -> None:
    cluster = with_services(a_service())
    cluster.apply(AddServices(services=(a_service(image="web:2"),)))
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
    for number in range(state.REMEMBERED_COMMANDS + 10):
        cluster.apply(RemoveService(name="nobody"), command_id=f"c{number}")
    kept = cluster.state.saved().outcomes
    assert len(kept) == state.REMEMBERED_COMMANDS
    assert "c9" not in kept
    assert "c10" in kept


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


names = some.sampled_from(["a", "b", "c"])
some_commands: some.SearchStrategy[AnyCommand] = some.one_of(
    some.builds(
        lambda name, replicas, image: AddServices(
            services=(a_service(name, replicas=replicas, image=image),)
        ),
        names,
        some.integers(0, 3),
        some.sampled_from(["x:1", "x:2"]),
    ),
    some.builds(RemoveService, name=names),
    some.builds(lambda name: AddNodes(nodes=(a_node(name),)), names),
    some.builds(RemoveNode, name=names),
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
        lambda service, node, slot, revision: Place(
            placements=(placed(f"{service}.{slot}", node=node, revision=revision),)
        ),
        names,
        names,
        some.integers(1, 3),
        some.integers(1, 20),
    ),
)


@given(some.lists(some_commands, max_size=30))
def test_any_commands_keep_the_invariants_and_survive_a_snapshot(
    history: list[AnyCommand],
) -> None:
    cluster = Driver(*history)
    saved = cluster.state.saved()
    assert state.decode(state.encode(saved)) == saved


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
