"""The agreed state: what each command changes, and what it refuses."""

from hypothesis import given
from hypothesis import strategies as some

from roheletd.cluster import commands, state
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Missing,
    Place,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.model import Placement
from tests.builders import Driver, a_node, a_service, with_services


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
