"""The command line against the daemon itself: every verb, both doors, and MQTT."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.requirements import need

pytestmark = pytest.mark.mosquitto

READS = {
    "status": "/status",
    "nodes": "/api/v1/nodes",
    "services": "/api/v1/services",
    "instances": "/api/v1/instances",
    "leader": "/api/v1/leader",
    "why web": "/api/v1/why/web",
}
CHANGING = {"uptime_s", "used_cpu_millicores", "used_memory_mib"} | {
    "waiting_for_s",
    "tried_again_in_s",
}


@pytest.fixture(scope="module")
def node() -> Iterator[RealDaemon]:
    need("mosquitto", "mosquitto_pub")
    with daemon(broker={"mode": "managed"}, engine={"kind": "process"}) as found:
        found.start()
        found.until(lambda: found.get("/status")["broker"]["connected"])
        found.until(lambda: found.get("/status")["nodes"] == 1)
        yield found


@pytest.fixture
def web(node: RealDaemon, tmp_path: Path) -> Iterator[Path]:
    """A service that waits, since it asks for more memory than there is."""
    conf = tmp_path / "services.yaml"
    conf.write_text("services: [{name: web, command: [sleep, '9'], memory_mib: 900000000}]\n")
    added = node.cli("orchestration", "add-service", "--conf", str(conf))
    assert added.returncode == 0, added.stderr
    node.until(lambda: node.get("/api/v1/services")["services"][0]["waiting"])
    yield conf
    if node.get("/api/v1/services")["services"]:
        node.delete("/api/v1/services/web")


@pytest.mark.parametrize("command", READS)
def test_json_is_what_the_daemon_says(command: str, node: RealDaemon, web: Path) -> None:
    done = node.cli(*command.split(), "-o", "json")
    assert done.returncode == 0, done.stderr
    said, known = json.loads(done.stdout), node.get(READS[command])
    assert said.keys() == known.keys()
    for key in said.keys() - CHANGING:
        if key not in ("nodes", "verdicts"):
            assert said[key] == known[key]


@pytest.mark.parametrize("command", READS)
def test_every_page_can_show_what_the_daemon_says(
    command: str, node: RealDaemon, web: Path
) -> None:
    done = node.cli(*command.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_why_names_the_refusal_in_words(node: RealDaemon, web: Path) -> None:
    said = node.cli("why", "web").stdout
    assert "needs 900000000 MiB of memory" in said
    assert "1 waits for a place (for " in said
    assert "tried again" in said


SHOP = """\
services:
- {name: front, application: shop, command: [sleep, '60'], cores: [10], replicas: 2}
- {name: back, application: shop, command: [sleep, '60'], memory_mib: 8}
"""


def test_a_file_is_planned_applied_explained_and_changed(node: RealDaemon, tmp_path: Path) -> None:
    """The whole way of a file, as its owner walks it."""

    def said(*args: str) -> str:
        done = node.cli(*args)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    conf = tmp_path / "shop.yaml"
    conf.write_text(SHOP)
    planned = said("plan", "-f", str(conf))
    assert "+ service back\n+ service front" in planned
    assert "front.2" in planned
    assert node.get("/api/v1/services")["services"] == []

    assert "Done: 2 added." in said("apply", "-f", str(conf))
    node.until(lambda: "all 2 instances run" in said("why", "front"))
    assert "contention x 8 " in said("why", "front")
    assert "n1 (here)" in said("why", "front.2")
    asked = node.cli("why", "frnt")
    assert "there is no service frnt; did you mean front?" in asked.stderr
    assert "There is nothing to do." in said("apply", "-f", str(conf))

    assert said("cordon", "n1") == "n1  cordoned\n"
    assert "cordoned" in said("nodes")
    big = tmp_path / "big.json"
    big.write_text(json.dumps({"services": [{"name": "big", "command": ["true"]}]}))
    seen = said("what-if", "--conf", str(big))
    assert "1 instance of big would have to wait" in seen
    assert "is cordoned" in seen
    assert "Nothing was changed." in seen
    assert said("uncordon", "n1") == "n1  uncordoned\n"

    conf.write_text(SHOP.replace("replicas: 2", "replicas: 1").replace("name: back", "name: side"))
    planned = said("plan", "-f", str(conf), "--prune")
    assert "replicas  2 -> 1" in planned
    assert "- service back" in planned
    assert "1 stays where it is" in planned
    left = json.loads(said("plan", "-f", str(conf), "-o", "json"))
    assert (left["services"]["left"], left["services"]["removed"]) == (["back"], [])
    assert "Done: 1 added, 1 changed, 1 removed." in said("apply", "-f", str(conf), "--prune")
    node.until(
        lambda: (
            sorted(it["instance"] for it in node.get("/api/v1/instances")["instances"])
            == ["front.1", "side.1"]
        )
    )
    assert "No instance would sit clearly better elsewhere." in said("rebalance", "--dry-run")
    for name in ("front", "side"):
        node.delete(f"/api/v1/services/{name}")


def test_over_tcp_a_change_needs_the_token(node: RealDaemon, web: Path, tmp_path: Path) -> None:
    remove = ("orchestration", "remove-service", "web")
    url = f"http://127.0.0.1:{node.api_port}/management/remove-service"
    empty = tmp_path / "no-token"
    empty.write_text("\n")
    refused = node.cli(*remove, "--url", url, "--token-file", str(empty))
    assert refused.returncode == 1
    assert "Authorization" in refused.stderr
    assert node.cli(*remove, "--url", url).returncode == 0  # the token is in --data-dir
    assert node.cli(*remove).returncode == 1
    assert "there is no service web" in node.cli(*remove).stderr


def test_a_bad_service_is_refused_with_its_path(node: RealDaemon, tmp_path: Path) -> None:
    conf = tmp_path / "bad.yaml"
    conf.write_text("services: [{name: web, memory_mib: -1}]\n")
    done = node.cli("orchestration", "add-service", "--conf", str(conf))
    assert (done.returncode, done.stdout) == (1, "")
    assert "services[0].memory_mib" in done.stderr


def test_a_node_that_is_alive_is_not_forgotten(node: RealDaemon) -> None:
    done = node.cli("orchestration", "remove-node", "n1")
    assert done.returncode == 1
    assert "alive" in done.stderr


def test_a_signed_command_takes_the_road_of_mqtt(node: RealDaemon, web: Path) -> None:
    signed = node.cli("sign", "remove-service", "--json", '{"name": "web"}')
    assert signed.returncode == 0, signed.stderr
    password = (node.data_dir / "broker.password").read_text().strip()
    login = ["-h", "127.0.0.1", "-p", str(node.broker_port), "-u", "rohe", "-P", password]
    publish = ["mosquitto_pub", *login, "-t", f"rohe/{node.cluster}/command", "-s"]
    subprocess.run(publish, input=signed.stdout.encode(), check=True, timeout=30)
    node.until(lambda: not node.get("/api/v1/services")["services"])
    subprocess.run(publish, input=signed.stdout.encode(), check=True, timeout=30)
    node.until(lambda: node.get("/status")["dropped_messages"].get("replayed") == 1)


def test_events_can_be_followed_while_they_happen(node: RealDaemon, tmp_path: Path) -> None:
    last = node.get("/api/v1/events")["last"]
    following = subprocess.Popen(
        [
            *(sys.executable, "-c", "import sys; from roheletd.cli import main; sys.exit(main())"),
            *("events", "--follow", "--node", "n1", "--after", str(last), "-o", "json"),
            *("--data-dir", str(node.data_dir)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        node.post("/api/v1/services", {"services": [{"name": "quick", "command": ["true"]}]})
        assert following.stdout is not None
        event = json.loads(following.stdout.readline())
        assert event["seq"] > last
    finally:
        following.kill()
        following.communicate()
        node.delete("/api/v1/services/quick")
