"""Who is let into a cluster, who is not and is told why, and who goes and comes back."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from roheletd.engines import procfs
from tests.chaos.client import add, ask
from tests.chaos.cluster import Cluster, agreed_by, join, placed_on, service, site_of, view
from tests.testbed.hosts import Host

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def site() -> Iterator[Cluster]:
    """Two that are a cluster, and two that are none yet."""
    with site_of(4) as made:
        made.hosts = made.site.hosts[:2]
        made.found()
        made.whole(voters=2)
        yield made


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """The one line that says why."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("roheletd: ")]
    assert all(word in line for word in words), line
    return line


def test_a_token_that_was_cut_short_is_refused_before_anything_is_given_up(site: Cluster) -> None:
    host = site.site.hosts[2]
    host.daemon.start()
    token = site.token(site.hosts[0])
    refused(host.daemon.cli("cluster", "join", token[:-3]), "cut short")
    refused(host.daemon.cli("cluster", "join", "rohe1"), "cluster token")
    refused(host.daemon.cli("cluster", "join", token.replace("rohe1.", "rohe9.")), "9", "1")
    assert (seen := view(host))
    assert seen["role"] == "leader"


def test_a_member_is_not_lured_into_another_cluster(site: Cluster) -> None:
    host, member = site.site.hosts[2], site.hosts[1]
    other = site.token(host)
    refused(member.daemon.cli("cluster", "join", other), "another cluster", "cluster leave")
    refused(host.daemon.cli("cluster", "join", site.token(member)), "--force gives it up")
    add(host, service("own", replicas=0))
    refused(host.daemon.cli("cluster", "join", site.token(member)), "1 service")
    assert (seen := view(member))
    assert seen["membership"] == "joined"


def test_an_expired_token_lets_nobody_in_and_a_new_one_does(site: Cluster) -> None:
    host, (asked, _) = site.site.hosts[3], site.hosts
    made = asked.daemon.cli("cluster", "token", "--valid-for", "1s")
    token = made.stdout.strip()
    host.daemon.start()
    subprocess.run(["sleep", "1.1"], check=True)
    refused(host.daemon.cli("cluster", "join", token), "expired", "roheletd cluster token")
    assert (seen := view(host))
    assert (seen["membership"], seen["role"]) == ("refused", "not a member")
    done = host.daemon.cli("cluster", "join", site.token(asked))
    assert done.returncode == 0, done.stderr
    site.hosts = (*site.hosts, host)
    site.whole(voters=3)


def test_a_taken_name_is_refused_and_another_one_is_not(site: Cluster) -> None:
    host = site.site.hosts[2]
    host.daemon.terminate()
    host.daemon.config["node"]["name"] = "n1"
    shutil.rmtree(host.daemon.data_dir)
    host.daemon.start()
    refused(host.daemon.cli("cluster", "join", site.token(site.hosts[0])), "n1", "taken")
    host.daemon.terminate()
    host.daemon.config["node"]["name"] = "n3"
    host.daemon.start()
    site.hosts = site.site.hosts
    site.whole(voters=3)


def test_a_node_that_lost_its_disk_joins_anew_and_keeps_what_runs(site: Cluster) -> None:
    status, answer = add(site.hosts[0], service("kept", replicas=8))
    assert status == 200, answer
    site.site.until(site.runs_as_wanted)
    leader = site.led()
    host = site.others(leader)[0]
    ran, before = processes(host), agreed_by(leader)["members"][host.name]
    assert ran
    host.kill()
    (host.daemon.data_dir / "log.db").unlink()
    for part in ("-wal", "-shm"):
        (host.daemon.data_dir / f"log.db{part}").unlink(missing_ok=True)
    host.daemon.start()
    assert (seen := view(host))
    assert "cluster join --force" in seen["failure"]
    assert processes(host) == ran
    done = host.daemon.cli("cluster", "join", "--force", site.token(leader))
    assert done.returncode == 0, done.stderr
    site.recovered(voters=3)
    assert agreed_by(leader)["members"][host.name] != before
    assert processes(host) == ran


def processes(host: Host) -> set[tuple[str, int]]:
    """Which instances run, by process: a copy that was started anew is another one."""
    markers = {"ROHE_CLUSTER": host.daemon.cluster, "ROHE_NODE": host.name}
    with procfs.marked(markers) as found:
        return {(it.instance, it.pid) for it in found}


def test_a_removed_node_is_told_when_it_comes_back_and_stops_what_it_ran(site: Cluster) -> None:
    leader = site.led()
    host = site.others(leader)[0]
    assert placed_on(leader, host)
    refused(leader.daemon.cli("cluster", "remove", host.name), "alive", "cluster leave")
    host.kill()
    site.site.until(lambda: liveness(leader, host) != "alive")
    done = leader.daemon.cli("cluster", "remove", host.name)
    assert done.returncode == 0, done.stderr
    others = site.others(host)
    site.site.until(lambda: len(agreed_by(leader)["placements"]) == 8)
    host.daemon.start()
    site.site.until(lambda: (seen := view(host)) and seen["membership"] == "refused")
    assert "was removed" in host.daemon.cli("cluster", "status").stdout
    site.site.until(lambda: not host.running())
    status, answer = ask(host, "DELETE", "/api/v1/services/kept")
    assert status >= 400, answer
    site.site.until(lambda: site.runs_as_wanted(others))
    done = host.daemon.cli("cluster", "join", "--force", site.token(leader))
    assert done.returncode == 0, done.stderr
    site.recovered(voters=3)


def liveness(asked: Host, host: Host) -> str:
    members = asked.daemon.get("/api/v1/cluster")["members"]
    return next(str(it["liveness"]) for it in members if it["name"] == host.name)


def test_a_survivor_begins_a_new_epoch_and_the_others_are_told(site: Cluster) -> None:
    survivor, *others = site.hosts
    for host in others:
        host.kill()
    site.site.until(lambda: (seen := view(survivor)) and not seen["leader"])
    asked = survivor.daemon.cli("cluster", "recover")
    assert asked.returncode == 1
    assert "What was acknowledged and has not reached this node is lost" in asked.stderr
    done = survivor.daemon.cli("cluster", "recover", "--force")
    assert done.returncode == 0, done.stderr
    site.led([survivor])
    status, answer = add(survivor, service("later", replicas=0))
    assert status == 200, answer
    for host in others:
        host.daemon.start()
    site.site.until(lambda: all(map(outlived, others)))
    for host in others:
        assert "cluster join" in host.daemon.cli("cluster", "status").stdout
        assert add(host, service("refused", replicas=0))[0] == 503
    token = site.token(survivor)
    for host in others:
        done = host.daemon.cli("cluster", "join", token)
        assert done.returncode == 0, done.stderr
    state = site.recovered(voters=3)
    assert state["epoch"] == 2
    assert "later" in state["services"]


def outlived(host: Host) -> bool:
    return (seen := view(host)) is not None and "epoch 2" in seen["failure"]


def test_a_machine_can_be_prepared_before_its_first_start(site: Cluster) -> None:
    """With a token that is of no use, it says so once it runs."""
    host = site.site.hosts[3]
    left = host.daemon.cli("cluster", "leave")
    assert left.returncode == 0, left.stderr
    site.site.until(lambda: (seen := view(host)) and seen["role"] == "leader")
    host.daemon.terminate()
    shutil.rmtree(host.daemon.data_dir)
    join(host, site.token(site.hosts[0]))
    host.daemon.start()
    site.recovered(voters=3)
