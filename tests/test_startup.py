"""What a start makes of its disk: go on, found, recover, or take no part and say why."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from roheletd import config, identity, startup
from roheletd.cluster.commands import AddServices, Found, JoinNode, Proposal, encode
from roheletd.cluster.state import ClusterState, decode
from roheletd.errors import Refused
from roheletd.identity import LOG, Identity
from roheletd.messages import Topics
from roheletd.model import Member
from roheletd.raft import Configuration, Entry, Kind, Save, Saved, encode_configuration, founding
from roheletd.startup import Memory, find
from roheletd.store import Store
from tests.builders import a_service
from tests.testbed.requirements import need

ME, OTHER = "pi.00000000", "nano.00000000"
CLUSTER_ID = "0123456789abcdef"
FOUNDER = Identity(cluster="edge", cluster_id=CLUSTER_ID, member=ME, founded=True, boot=1)
MEMBER = replace(FOUNDER, founded=False, joined=True, shared=True)
JOINER = replace(MEMBER, joined=False)


@asynccontextmanager
async def started(data_dir: Path, me: Identity) -> AsyncIterator[Memory]:
    async with AsyncExitStack() as stack:
        yield await startup._remember(data_dir, me, stack)


async def written(data_dir: Path, *saves: Save) -> Saved:
    store = await Store.open(data_dir / LOG)
    for save in saves:
        await store.save(save)
    saved = await store.load()
    await store.close()
    return saved


def command(index: int, content: Any, *, term: int = 1) -> Entry:
    return Entry(index, term, encode(Proposal(id=f"{index}", command=content)))


def member(name: str) -> Member:
    return Member(name=name, id=f"{name}.00000000")


def of_two() -> Save:
    """The log of a cluster of two voters, with a service."""
    first = Entry(1, 1, encode_configuration(Configuration((OTHER, ME))), Kind.CONFIGURATION)
    entries = (
        first,
        command(2, Found(cluster_id=CLUSTER_ID, epoch=1, member=member("pi"))),
        command(3, JoinNode(member=member("nano"))),
        command(4, AddServices(services=(a_service(),))),
    )
    return Save(term=1, vote=None, commit=4, entries=entries)


def state_of(memory: Memory) -> ClusterState:
    assert memory.saved.snapshot is not None
    return ClusterState(decode(memory.saved.snapshot.data))


async def test_a_founder_begins_with_a_log_of_which_it_is_the_voter(tmp_path: Path) -> None:
    async with started(tmp_path, FOUNDER) as memory:
        assert (memory.failure, memory.store is None) == ("", False)
        assert memory.saved.entries == founding(ME).entries
    assert await written(tmp_path) == memory.saved, "it is on the disk"


async def test_a_founder_goes_on_with_the_log_that_it_has(tmp_path: Path) -> None:
    before = await written(tmp_path, of_two())
    async with started(tmp_path, replace(FOUNDER, joined=True, shared=True)) as memory:
        assert memory.saved == before


async def test_a_founder_alone_that_lost_its_log_founds_again(tmp_path: Path) -> None:
    """Nobody else was ever promised anything."""
    async with started(tmp_path, replace(FOUNDER, joined=True)) as memory:
        assert memory.saved.entries == founding(ME).entries


async def test_one_with_a_token_begins_with_nothing(tmp_path: Path) -> None:
    async with started(tmp_path, JOINER) as memory:
        assert memory.saved == Saved()
        assert (memory.failure, memory.store is None) == ("", False)


async def test_a_member_goes_on_with_its_log(tmp_path: Path) -> None:
    before = await written(tmp_path, of_two())
    async with started(tmp_path, MEMBER) as memory:
        assert memory.saved == before


@pytest.mark.parametrize("me", [MEMBER, replace(FOUNDER, joined=True, shared=True)])
async def test_a_member_whose_log_is_lost_takes_no_part_and_says_how_to_come_back(
    tmp_path: Path, me: Identity
) -> None:
    for _ in range(2):  # nor does it at the next start
        async with started(tmp_path, me) as memory:
            assert memory.store is None
            assert f"{tmp_path / LOG} is empty" in memory.failure
            assert "its instances keep running" in memory.failure
            assert "roheletd cluster join --force TOKEN" in memory.failure


def garbled(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(range(256)) * 32 + whole[4096 + 8192 :])


def beheaded(path: Path) -> None:
    path.write_bytes(b"no database at all, but a text of some length" + path.read_bytes()[45:])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize("damage", [garbled, beheaded, cut_short])
async def test_a_damaged_log_is_left_as_it_is_and_not_gone_on_with(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await written(tmp_path, of_two())
    path = tmp_path / LOG
    damage(path)
    before = path.read_bytes()
    async with started(tmp_path, MEMBER) as memory:
        assert memory.store is None
        assert memory.saved == Saved()
        assert str(path) in memory.failure
        assert "roheletd cluster join --force TOKEN" in memory.failure
    assert path.read_bytes() == before


async def test_a_survivor_goes_on_alone_with_all_that_it_has(tmp_path: Path) -> None:
    before = await written(tmp_path, of_two())
    survivor = replace(MEMBER, epoch=2)
    for _ in range(2):  # a crash before the new epoch is in the log changes nothing
        async with started(tmp_path, survivor) as memory:
            assert memory.saved.snapshot is not None
            assert memory.saved.snapshot.configuration == Configuration((ME,))
            assert set(state_of(memory).services) == {"web"}
            assert memory.saved.term >= before.term
            assert memory.saved.entries == ()


async def test_an_epoch_that_is_in_the_log_is_not_begun_again(tmp_path: Path) -> None:
    again = command(5, Found(cluster_id=CLUSTER_ID, epoch=2, member=member("pi")))
    before = await written(tmp_path, of_two(), Save(term=1, vote=None, commit=5, entries=(again,)))
    async with started(tmp_path, replace(MEMBER, epoch=2)) as memory:
        assert memory.saved == before


async def test_what_cannot_be_read_is_not_recovered_from(tmp_path: Path) -> None:
    strange = Entry(5, 1, b"\x81\xa1x\x01")
    before = await written(
        tmp_path, of_two(), Save(term=1, vote=None, commit=4, entries=(strange,))
    )
    async with started(tmp_path, replace(MEMBER, epoch=2)) as memory:
        assert memory.store is None
        assert memory.failure.startswith("entry 5 is of a version")
    assert await written(tmp_path) == before


def configuration(**sections: Any) -> config.Config:
    nowhere = {"mode": "external", "urls": ["mqtt://127.0.0.1:9"]}
    node = {"name": "pi", "address": "192.168.1.7"}
    return config.parse({"node": node, "broker": nowhere, "engine": {"kind": "none"}, **sections})


async def test_each_start_counts_and_two_at_once_are_refused(tmp_path: Path) -> None:
    for boot in (1, 2):
        async with AsyncExitStack() as stack:
            found = await find(configuration(), tmp_path, stack)
            assert (found.identity.boot, found.node) == (boot, "pi")
            with pytest.raises(Refused, match="in use by another roheletd"):
                async with AsyncExitStack() as second:
                    await find(configuration(), tmp_path, second)
    known = identity.load(tmp_path)
    assert known is not None
    assert known.boot == 2


async def test_two_machines_with_one_name_do_not_end_the_links_of_each_other(
    tmp_path: Path,
) -> None:
    clients = set()
    for folder in ("a", "b"):
        async with AsyncExitStack() as stack:
            found = await find(configuration(), tmp_path / folder, stack)
            clients.add(found.access.client_id)
    assert len(clients) == 2


async def test_a_witness_runs_nothing_whatever_engine_there_is(tmp_path: Path) -> None:
    config = configuration(cluster={"role": "witness"}, engine={"kind": "process"})
    async with AsyncExitStack() as stack:
        found = await find(config, tmp_path, stack)
        assert found.engine.engine is None


async def test_whoever_has_a_broker_of_its_own_is_let_in_by_those_of_others(tmp_path: Path) -> None:
    embedded = configuration(broker={"mode": "embedded", "port": 19471})
    async with AsyncExitStack() as stack:
        assert (await find(embedded, tmp_path, stack)).access.username == "rohe"


async def test_brokers_of_others_are_spoken_to_as_the_configuration_says(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\nmore\n")
    broker = {
        "mode": "external",
        "urls": ["mqtt://one:1883", "mqtt://two:1883"],
        "username": "me",
        "password_file": str(secret),
    }
    async with AsyncExitStack() as stack:
        found = await find(configuration(broker=broker), tmp_path / "data", stack)
    assert (found.access.username, found.access.password) == ("me", "s3cret")
    assert found.urls == ("mqtt://one:1883", "mqtt://two:1883")
    assert found.keeper is None


def test_only_who_may_come_to_lead_hears_the_reports_of_all() -> None:
    topics = Topics("edge")
    some = startup.subscriptions(topics, "pi", takes_part=False)
    all_ = startup.subscriptions(topics, "pi", takes_part=True)
    assert set(all_) - set(some) == {topics.all_telemetry}
    assert {topics.log, topics.raft("pi"), topics.command, topics.all_status} <= set(some)


def test_a_machine_without_an_address_has_no_broker_for_others() -> None:
    assert startup.url_for_others("192.168.1.7", 9471) == "mqtt://192.168.1.7:9471"
    assert startup.url_for_others("", 9471) == ""


def test_a_disk_that_is_full_at_the_start_costs_no_more_than_the_part_in_the_log(
    tmp_path: Path,
) -> None:
    need("mount", "umount", root=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)], check=True)
    try:
        settings = config.parse({"node": {"name": "pi"}, "engine": {"kind": "none"}})
        me = startup._begin(settings, tmp_path, "pi")[0]
        with contextlib.suppress(OSError):
            (tmp_path / "filler").write_bytes(bytes(1 << 20))
        known, failure = startup._begin(settings, tmp_path, "pi")
        assert known == me
        assert failure.endswith("cannot be written: No space left on device; make room and restart")
        (tmp_path / "filler").unlink()
        assert startup._begin(settings, tmp_path, "pi") == (replace(me, boot=me.boot + 1), "")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
