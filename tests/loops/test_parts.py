"""What the parts of one node make of each other's news, put together as the daemon does it."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roheletd import config, identity, token
from roheletd.cluster import exchange
from roheletd.cluster.commands import AddNodes, AddServices, JoinNode, Place
from roheletd.collectors import address
from roheletd.frames import PROTOCOL, Framer
from roheletd.frames import Identity as FrameIdentity
from roheletd.messages import Topics
from roheletd.model import Placement
from roheletd.parts import Parts
from roheletd.raft.values import VoteRequest
from roheletd.startup import find
from tests.builders import a_node, a_service
from tests.testbed.requirements import need


@asynccontextmanager
async def parts_of(data_dir: Path, **sections: Any) -> AsyncIterator[Parts]:
    """A node that speaks to nobody: its broker is nowhere."""
    document = {
        "node": {"name": "pi"},
        "broker": {"mode": "external", "urls": ["mqtt://127.0.0.1:9"]},
        "engine": {"kind": "process"},
        **sections,
    }
    async with AsyncExitStack() as stack:
        parsed = config.parse(document)
        yield Parts(parsed, data_dir, await find(parsed, data_dir, stack))


@asynccontextmanager
async def leading(parts: Parts) -> AsyncIterator[None]:
    task = asyncio.create_task(parts.elector.run())
    try:
        await parts.elector.begun.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def frame(parts: Parts, *, epoch: int = 1) -> tuple[str, bytes]:
    """What a node `nano` of this cluster would say to us."""
    me = parts.found.identity
    topic = Topics(me.cluster).raft(me.node)
    of = FrameIdentity(cluster_id=me.cluster_id, epoch=epoch, member="nano.00000000", boot=1)
    question = VoteRequest(sender=of.member, to=me.member, term=1, last_index=0, last_term=0)
    return topic, Framer(parts.found.keys.cluster, of).seal(topic, exchange.encode(question))


async def test_one_that_hears_of_a_later_epoch_takes_no_part_any_more_and_says_why(
    tmp_path: Path,
) -> None:
    async with parts_of(tmp_path) as parts:
        parts._linking.receiver.receive(*frame(parts, epoch=2), 0)
        assert "was recovered by force as epoch 2" in parts.elector.failure
        assert "this node is of epoch 1" in parts.elector.failure
        assert "roheletd cluster join" in parts.elector.failure
        assert parts.control.view().failure == parts.elector.failure


async def test_those_of_an_earlier_epoch_are_not_heard_and_do_no_harm(tmp_path: Path) -> None:
    async with parts_of(tmp_path):
        pass
    identity.recover(tmp_path)
    async with parts_of(tmp_path) as parts:
        parts._linking.receiver.receive(*frame(parts, epoch=1), 0)
        assert parts.elector.failure == ""
        parts._linking.refresh()
        assert parts.control.view().dropped_messages["other epoch"] == 1


async def test_another_protocol_is_told_with_both_versions(tmp_path: Path) -> None:
    async with parts_of(tmp_path) as parts:
        topic, payload = frame(parts)
        parts._linking.receiver.receive(topic, bytes((PROTOCOL + 1,)) + payload[1:], 0)
        (notice,) = parts.soft.notices.values()
        assert f"protocol {PROTOCOL + 1}, where this version speaks {PROTOCOL}" in notice
        assert parts.elector.failure == ""


async def test_nothing_is_ordered_before_the_log_is_known_and_then_what_is_placed(
    tmp_path: Path,
) -> None:
    async with parts_of(tmp_path) as parts:
        assert parts._own_instances.orders() is None
        async with leading(parts):
            orders = parts._own_instances.orders()
            assert orders is not None
            assert orders.run == {}
            await place_one(parts)
            orders = parts._own_instances.orders()
            assert orders is not None
            assert list(orders.run) == ["web.1"]


async def place_one(parts: Parts) -> None:
    service = a_service(on_isolation="stop")
    state = parts._basis.state
    await parts.proposer.propose(AddServices(services=(service,)), command_id="1")
    await parts.proposer.propose(AddNodes(nodes=(a_node(),)), command_id="2")
    revision = state.services["web"].revision
    at = Placement(instance="web.1", service="web", node="pi", revision=revision)
    await parts.proposer.propose(Place(placements=(at,)), command_id="3")


def lose_log(data_dir: Path) -> None:
    for path in data_dir.glob("log.db*"):
        path.unlink()


async def test_a_member_that_starts_alone_goes_by_its_own_log(tmp_path: Path) -> None:
    async with parts_of(tmp_path) as parts, leading(parts):
        await place_one(parts)
    identity.share(tmp_path)
    identity.admitted(tmp_path)
    async with parts_of(tmp_path) as parts, leading(parts):
        orders = parts._own_instances.orders()
        assert orders is not None
        assert list(orders.run) == ["web.1"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    need("mount", "umount", root=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


async def test_a_member_that_starts_on_a_full_disk_orders_what_it_ran_and_takes_no_part(
    small_disk: Path,
) -> None:
    async with parts_of(small_disk) as parts, leading(parts):
        await place_one(parts)
    identity.share(small_disk)
    identity.admitted(small_disk)
    with contextlib.suppress(OSError):
        (small_disk / "filler").write_bytes(bytes(2 << 20))
    async with parts_of(small_disk) as parts, leading(parts):
        assert "make room and restart" in parts.elector.failure
        orders = parts._own_instances.orders()
        assert orders is not None
        assert list(orders.run) == ["web.1"]
        assert not parts.elector.leads


async def test_a_member_whose_log_is_lost_orders_nothing_and_so_stops_nothing(
    tmp_path: Path,
) -> None:
    async with parts_of(tmp_path) as parts, leading(parts):
        await place_one(parts)
    identity.share(tmp_path)
    identity.admitted(tmp_path)
    lose_log(tmp_path)
    async with parts_of(tmp_path) as parts, leading(parts):
        assert "the log is lost" in parts.elector.failure
        assert parts._own_instances.orders() is None
        assert not parts.elector.leads


async def test_a_newcomer_orders_nothing_while_it_has_nothing_to_go_by(tmp_path: Path) -> None:
    async with parts_of(tmp_path / "a") as founder:
        await founder.control.share()
        text = await founder.control.token(0)
    (tmp_path / "b").mkdir()
    identity.join(tmp_path / "b", token.decode(text), node="pi")
    async with parts_of(tmp_path / "b") as parts, leading(parts):
        assert parts._own_instances.orders() is None
        assert parts.control.view().membership == "joining"
        assert parts.elector.failure == ""


async def test_a_broker_of_our_own_is_told_to_others_once_they_may_join_and_where_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = {"broker": {"mode": "embedded", "port": 19471}}
    monkeypatch.setattr(address, "_on_default_route", lambda: "192.168.1.7")
    monkeypatch.setattr(address, "_is_ours", lambda _host: False)
    async with parts_of(tmp_path, **embedded) as parts:
        assert parts._basis.own_broker == ""
    identity.share(tmp_path)
    async with parts_of(tmp_path, **embedded) as parts, leading(parts):
        member = parts._registrar._member
        assert member().broker == "mqtt://192.168.1.7:19471"
        await parts.proposer.propose(JoinNode(member=member()), command_id="1")
        monkeypatch.setattr(address, "_on_default_route", lambda: "192.168.1.8")
        parts._basis.address._look_at_s = 0.0
        parts._look_around()
        assert member().broker == "mqtt://192.168.1.8:19471"
        assert parts.soft.addresses["pi"] == "192.168.1.8"
        parts._basis.address.host = ""  # as after a boot with no network
        assert member().broker == "mqtt://192.168.1.7:19471"
