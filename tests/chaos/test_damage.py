"""A disk that is full or damaged: the node takes no part, keeps what runs, and says what to do."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from roheletd.raft import Entry, Save, Saved
from roheletd.store import Store
from tests.chaos.client import add
from tests.chaos.cluster import Cluster, cluster_of, service, site_of, view
from tests.chaos.writer import Writer

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with cluster_of(3, data_mib=8) as made:
        status, answer = add(made.hosts[0], service("keep", replicas=6))
        assert status == 200, answer
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.recovered()
    return shared


@pytest.mark.parametrize("who", ["voter", "leader"])
def test_a_full_disk_ends_one_nodes_part_and_the_others_go_on(cluster: Cluster, who: str) -> None:
    leader = cluster.led()
    host = leader if who == "leader" else cluster.others(leader)[0]
    others = cluster.others(host)
    ran = host.running()
    with Writer(cluster) as writer:
        host.fill_disk()
        cluster.site.until(lambda: (seen := view(host)) and seen["failure"])
        successor = cluster.led(others)
        writer.through(*others)
        enough = writer.acknowledged + 5
        cluster.site.until(lambda: writer.acknowledged >= enough)
    assert "cannot be written" in host.daemon.cli("cluster", "status").stdout
    assert host.running() == ran
    assert add(host, service("refused", replicas=0))[0] == 503
    assert successor is not host
    host.free_disk()
    host.daemon.terminate()
    host.daemon.start()
    writer.check(cluster.recovered()["services"])


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def altered(path: Path) -> None:
    """As flash forgets: one byte of an entry, which SQLite does not notice."""
    with sqlite3.connect(path) as connection:
        connection.execute("update entry set data = x'00' where position = 3")
    connection.close()


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 8192)


@pytest.mark.parametrize("damage", [truncated, altered, overwritten])
def test_a_damaged_log_ends_one_nodes_part_until_it_joins_anew(
    cluster: Cluster, damage: Callable[[Path], None]
) -> None:
    leader = cluster.led()
    host = cluster.others(leader)[0]
    ran = host.running()
    host.daemon.terminate()
    with sqlite3.connect(host.daemon.data_dir / "log.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    damage(host.daemon.data_dir / "log.db")
    host.daemon.start()
    assert (seen := view(host))
    assert "cluster join --force" in seen["failure"]
    assert seen["role"] != "leader"
    status, answer = add(leader, service("meanwhile", replicas=0))
    assert status == 200, answer
    assert host.running() == ran
    done = host.daemon.cli("cluster", "join", "--force", cluster.token(leader))
    assert done.returncode == 0, done.stderr
    cluster.recovered()


def test_an_entry_of_a_later_version_stops_the_log_and_not_the_node() -> None:
    with site_of(1) as made:
        (host,) = made.hosts
        host.daemon.start()
        status, answer = add(host, service("keep", replicas=2))
        assert status == 200, answer
        made.site.until(lambda: len(host.running()) == 2)
        host.daemon.terminate()
        index = asyncio.run(append_unknown(host.daemon.data_dir / "log.db"))
        host.daemon.start()
        made.site.until(lambda: (seen := view(host)) and seen["failure"])
        shown = " ".join(host.daemon.cli("cluster", "status").stdout.split())
        assert f"entry {index} is of a version that this one cannot read" in shown
        assert "update roheletd" in shown
        assert host.running() == {"keep.1": 1, "keep.2": 1}
        assert host.daemon.get("/api/v1/services")["services"]
        assert add(host, service("more", replicas=0))[0] == 503


async def append_unknown(path: Path) -> int:
    """What a later version might have committed; where it is."""
    store = await Store.open(path)
    try:
        saved: Saved = await store.load()
        last = saved.entries[-1]
        command = msgspec.msgpack.encode({"id": "x", "command": {"command": "sing"}})
        entry = Entry(last.index + 1, saved.term, command)
        await store.save(
            Save(term=saved.term, vote=saved.vote, commit=entry.index, entries=(entry,))
        )
    finally:
        await store.close()
    return entry.index
