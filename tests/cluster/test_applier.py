"""From entries to state and from state to a snapshot, up to the end of what can be read."""

from typing import Any

import msgspec
import pytest

from roheletd.cluster import applier as module
from roheletd.cluster.applier import Applier, UnknownEntry
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Found,
    Outcome,
    Place,
    Proposal,
    RemoveService,
    SetConfigMap,
    encode,
)
from roheletd.cluster.state import ClusterState, decode
from roheletd.model import Placement
from roheletd.raft import Configuration, Entry, Kind, Snapshot
from tests.builders import a_member, a_node, a_service

ADD = AddServices(services=(a_service(),))
LATER = b"\x82\xa2id\xa11\xa7command\x81\xa7command\xa4soar"


class Bench:
    """An applier, its state, and what it told."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.applier = Applier(self.state)
        self.told: list[tuple[str, Outcome]] = []
        self.applier.on_outcome = lambda proposal, outcome: self.told.append((proposal.id, outcome))

    def apply(self, *entries: Entry, restored: Snapshot | None = None) -> None:
        self.applier.apply(restored, entries)
        self.state.check()

    def snapshot(self) -> Snapshot:
        data, index = self.applier.take_snapshot()
        return Snapshot(index, 1, Configuration(), data)


def entry(index: int, command: AnyCommand, command_id: str = "") -> Entry:
    return Entry(index, 1, encode(Proposal(id=command_id or f"{index}", command=command)))


def test_commands_are_applied_in_order_and_what_became_of_each_is_told() -> None:
    bench = Bench()
    bench.apply(entry(1, ADD), entry(2, RemoveService(name="web")), entry(3, ADD, "1"))
    assert bench.told == [
        ("1", Applied(changed={"web": "added"})),
        ("2", Applied(changed={"web": "removed"})),
        ("1", Applied(changed={"web": "added"})),  # the id of the first: told, not done
    ]
    assert bench.state.services == {}
    assert bench.applier.applied_index == 3


def test_entries_that_are_no_commands_are_only_passed() -> None:
    bench = Bench()
    command = Entry(3, 2, entry(3, ADD).data)
    bench.apply(Entry(1, 1, b"", Kind.NOOP), Entry(2, 2, b"?", Kind.CONFIGURATION), command)
    assert (bench.state.applied_index, bench.state.applied_term) == (3, 2)
    assert list(bench.state.services) == ["web"]


@pytest.mark.parametrize("data", [b"", LATER, b"\x81\xa2id\xa1\x80", b"\x81" * 9999])
def test_whatever_is_in_an_entry_it_is_one_of_a_version_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(UnknownEntry, match="entry 1"):
        Bench().apply(Entry(1, 1, data))


def test_what_stands_before_an_unknown_entry_is_applied_and_nothing_after() -> None:
    bench = Bench()
    with pytest.raises(UnknownEntry, match=r"entry 2 is of a version.*update roheletd"):
        bench.apply(entry(1, ADD), Entry(2, 1, LATER), entry(3, RemoveService(name="web")))
    assert bench.state.applied_index == 1
    assert list(bench.state.services) == ["web"]


def test_a_snapshot_becomes_the_whole_state() -> None:
    first, second = Bench(), Bench()
    first.apply(entry(1, ADD))
    second.apply(entry(1, AddServices(services=(a_service("other"),))))
    second.apply(entry(2, RemoveService(name="web")), restored=first.snapshot())
    assert second.state.services == {}
    assert second.state.applied_index == 2


def test_the_snapshot_of_a_founding_has_no_data_and_changes_nothing() -> None:
    bench = Bench()
    bench.apply(restored=Snapshot(0, 0, Configuration(), b""))
    assert bench.state.applied_index == 0


def test_a_snapshot_of_a_later_version_is_not_guessed_at() -> None:
    bench = Bench()
    bench.apply(entry(1, ADD))
    strange = Snapshot(9, 2, Configuration(), msgspec.msgpack.encode({"index": "nine"}))
    with pytest.raises(UnknownEntry, match="the snapshot at entry 9 is of a version"):
        bench.apply(restored=strange)
    assert list(bench.state.services) == ["web"]


@pytest.mark.parametrize(
    "path", [(), ("command",), ("command", "services", 0)], ids=["proposal", "command", "value"]
)
def test_an_entry_with_a_field_of_a_later_version_is_not_read_without_it(
    path: tuple[str | int, ...],
) -> None:
    value = msgspec.msgpack.decode(entry(1, ADD).data)
    within(value, path)["later"] = True
    with pytest.raises(UnknownEntry, match=r"unknown field `later`.*update roheletd"):
        Bench().apply(Entry(1, 1, msgspec.msgpack.encode(value)))


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("configuration",),
        ("configuration", "config_maps", "page", 0),
        ("registrations", "pi"),
        ("services", "web"),
        ("services", "web", "before"),
        ("services", "web", "rollout"),
        ("placements", "web.1"),
        ("members", "pi"),
    ],
    ids=lambda path: path[-1] if path else "state",
)
def test_a_snapshot_with_a_field_of_a_later_version_is_not_read_without_it(
    path: tuple[str | int, ...],
) -> None:
    bench = Bench()
    at = Placement(instance="web.1", service="web", node="pi", revision=1)
    commands: tuple[AnyCommand, ...] = (
        ADD,
        Found(cluster_id="c1", epoch=1, member=a_member()),
        AddNodes(nodes=(a_node(),)),
        Place(placements=(at,)),
        AddServices(services=(a_service(image="web:2"),)),
        SetConfigMap(name="page", values={"index.html": b"hello"}),
    )
    bench.apply(*(entry(index, command) for index, command in enumerate(commands, 1)))
    snapshot = bench.snapshot()
    value = msgspec.msgpack.decode(snapshot.data)
    within(value, path)["later"] = True
    later = Snapshot(snapshot.index, 1, Configuration(), msgspec.msgpack.encode(value))
    with pytest.raises(UnknownEntry, match=r"unknown field `later`.*update roheletd"):
        Bench().apply(restored=later)


def within(value: Any, path: tuple[str | int, ...]) -> dict[str, object]:
    for key in path:
        value = value[key]
    assert isinstance(value, dict)
    return value


def test_a_snapshot_is_due_after_many_entries_or_many_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_AFTER_ENTRIES", 3)
    bench = Bench()
    bench.apply(entry(1, ADD), Entry(2, 1, b"", Kind.NOOP))
    assert not bench.applier.snapshot_is_due
    bench.apply(entry(3, RemoveService(name="web")))
    assert bench.applier.snapshot_is_due
    data, index = bench.applier.take_snapshot()
    assert (index, decode(data).index) == (3, 3)
    assert not bench.applier.snapshot_is_due
    large = {f"x{number}": "y" * 120_000 for number in range(9)}
    bench.apply(entry(4, AddServices(services=(a_service(env=large),))))
    assert bench.applier.snapshot_is_due
