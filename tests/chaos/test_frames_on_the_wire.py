"""Somebody who has the broker's password and not the key, and repeats, alters and invents."""

import subprocess
from collections.abc import Iterator

import pytest

from roheletd.frames import Framer, Identity
from roheletd.keys import BROKER_USER
from tests.chaos.client import add
from tests.chaos.cluster import Cluster, cluster_of, service, view
from tests.testbed.hosts import BROKER_PORT, Host
from tests.testbed.requirements import need

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need("mosquitto_pub")
    with cluster_of(3) as made:
        yield made


def wire(host: Host, program: str, topic: str, *more: str) -> list[str]:
    """A command line at a host, to its own broker, with the password that is in its data."""
    password = (host.daemon.data_dir / "broker.password").read_text().strip()
    to = ("-h", "127.0.0.1", "-p", str(BROKER_PORT), "-u", BROKER_USER, "-P", password)
    return [*host.prefix, program, *to, "-t", f"rohe/{host.daemon.cluster}/{topic}", *more]


def captured(host: Host, topic: str) -> bytes:
    argv = wire(host, "mosquitto_sub", topic, "-C", "1", "-W", "10", "-F", "%x")
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return bytes.fromhex(done.stdout.strip())


def said(host: Host, topic: str, payload: bytes) -> None:
    subprocess.run(wire(host, "mosquitto_pub", topic, "-s"), check=True, input=payload)


def dropped(host: Host, reason: str) -> int:
    seen = view(host)
    assert seen is not None
    return int(seen["dropped_messages"].get(reason, 0))


def expect_dropped(cluster: Cluster, payload: bytes, reason: str, *, topic: str = "log") -> None:
    """Each node that hears it counts it; nothing else comes of it."""
    leader, term = cluster.led(), cluster.term()
    listening = [host for host in cluster.hosts if linked_to(host, leader)]
    assert listening
    before = {host.name: dropped(host, reason) for host in listening}
    said(leader, topic, payload)
    cluster.site.until(lambda: any(dropped(host, reason) > before[host.name] for host in listening))
    assert (cluster.led(), cluster.term()) == (leader, term)
    shown = [host.daemon.cli("cluster", "status").stdout for host in listening]
    assert any(reason in text for text in shown), shown
    status, answer = add(leader, service("still", replicas=0))
    assert status == 200, answer


def linked_to(host: Host, other: Host) -> bool:
    own = "127.0.0.1" if host is other else other.address
    links = host.daemon.get("/api/v1/cluster")["links"]
    return any(own in link["url"] and link["connected"] for link in links)


def test_a_frame_that_is_repeated_is_dropped(cluster: Cluster) -> None:
    expect_dropped(cluster, captured(cluster.led(), "log"), "replayed")


def test_a_frame_that_was_altered_is_dropped(cluster: Cluster) -> None:
    frame = bytearray(captured(cluster.led(), "log"))
    frame[-20] ^= 1
    expect_dropped(cluster, bytes(frame), "wrong MAC")


def test_a_frame_for_one_topic_is_none_for_another(cluster: Cluster) -> None:
    leader = cluster.led()
    other = cluster.others(leader)[0]
    frame = captured(leader, "log")
    before = dropped(other, "wrong MAC")
    said(leader, f"raft/{other.name}", frame)
    cluster.site.until(lambda: dropped(other, "wrong MAC") > before)


def test_a_frame_of_another_key_is_dropped(cluster: Cluster) -> None:
    expect_dropped(cluster, forged(cluster, key=bytes(32)), "wrong MAC")


def test_a_frame_of_a_member_from_before_its_last_start_is_dropped(cluster: Cluster) -> None:
    leader = cluster.led()
    key = bytes.fromhex((leader.daemon.data_dir / "cluster.key").read_text())
    expect_dropped(cluster, forged(cluster, key=key, boot=1), "old boot")


def test_a_node_of_another_protocol_is_refused_with_both_versions_named(cluster: Cluster) -> None:
    frame = bytearray(captured(cluster.led(), "log"))
    frame[0] = 2
    expect_dropped(cluster, bytes(frame), "other protocol")
    told = [warning for host in cluster.hosts for warning in host.daemon.get("/status")["warnings"]]
    assert any("protocol 2, where this version speaks 1" in warning for warning in told), told


def forged(cluster: Cluster, *, key: bytes, boot: int = 1_000_000) -> bytes:
    """What says that it is of the leader."""
    leader = cluster.led()
    seen = view(leader)
    assert seen is not None
    identity = Identity(
        cluster_id=seen["cluster_id"], epoch=seen["epoch"], member=seen["member"], boot=boot
    )
    return Framer(key, identity).seal(f"rohe/{leader.daemon.cluster}/log", b"nonsense")
