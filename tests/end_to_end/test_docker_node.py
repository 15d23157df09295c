"""One node with dockerd and mosquitto: place, pin, survive every kill, tell the truth."""

import subprocess
import time
from typing import Any

import pytest

from tests.end_to_end.conftest import containers
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.unix_http import request

pytestmark = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]


def web(**more: Any) -> dict[str, Any]:
    base = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"],
        "replicas": 2,
        "cores": [200],
        "memory_mib": 32,
        "update": {"healthy_for_s": 0},
        "ports": [{"container_port": 80}],
    }
    return {**base, **more}


def submit(node: RealDaemon, *services: dict[str, Any]) -> dict[str, str]:
    changed: dict[str, str] = node.post("/api/v1/services", {"services": services})["changed"]
    return changed


def test_a_submitted_service_runs_pinned_limited_and_answers(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    assert submit(on_docker, web()) == {"web": "added"}
    first, second = on_docker.running(2)
    ports = {item["ports"][0]["host_port"] for item in (first, second)}
    assert len(ports) == 2
    for item in (first, second):
        (core,) = item["cores"]
        assert item["cores"] == {core: 200}
        host = dockerd.inspect(on_docker.container(item["instance"]))["HostConfig"]
        assert host["CpusetCpus"] == core
        assert host["CpuQuota"] / host["CpuPeriod"] == pytest.approx(0.2)
        assert host["Memory"] == 32 << 20
    for port in ports:
        assert dockerd.fetch(f"http://127.0.0.1:{port}/") == "ok\n"


def test_kill_9_and_restart_keep_the_very_same_containers(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web())
    on_docker.running(2)
    before = containers(dockerd, on_docker)
    on_docker.kill()
    assert containers(dockerd, on_docker) == before
    on_docker.start()
    on_docker.running(2)
    assert containers(dockerd, on_docker) == before


def test_killed_at_any_moment_of_a_deployment_it_ends_with_exactly_the_replicas(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    """The moments differ with each round: right after the answer, during create, after start."""
    on_docker.start()
    for round_number, delay_s in enumerate((0.0, 0.05, 0.15, 0.3, 0.6)):
        name = f"web{round_number}"
        submit(on_docker, web(name=name, cores=[10], ports=[]))
        time.sleep(delay_s)
        on_docker.kill()
        on_docker.start()
        on_docker.running(2 * (round_number + 1))
    assert len(containers(dockerd, on_docker)) == 10


def test_removed_while_the_daemon_was_dead_the_containers_go_at_the_next_start(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web(stop_grace_s=1))
    on_docker.running(2)
    on_docker.delete("/api/v1/services/web")
    on_docker.kill()
    on_docker.start()
    on_docker.until(lambda: not containers(dockerd, on_docker))


def test_a_container_removed_behind_our_back_comes_back(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web(replicas=1))
    on_docker.running(1)
    before = containers(dockerd, on_docker)
    subprocess.run(
        ["/usr/bin/docker", "-H", f"unix://{dockerd.socket}", "rm", "-f", *before],
        check=True,
        capture_output=True,
    )
    on_docker.until(
        lambda: containers(dockerd, on_docker) and containers(dockerd, on_docker) != before
    )
    on_docker.running(1)


def test_a_changed_definition_replaces_the_containers(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web())
    on_docker.running(2)
    before = set(containers(dockerd, on_docker).values())
    assert submit(on_docker, web(env={"COLOUR": "blue"})) == {"web": "updated"}
    on_docker.until(lambda: not before & set(containers(dockerd, on_docker).values()))
    on_docker.running(2)
    environment = dockerd.inspect(on_docker.container("web.1"))["Config"]["Env"]
    assert "COLOUR=blue" in environment


def test_scaling_goes_both_ways_and_keeps_what_stays(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web(replicas=1))
    on_docker.running(1)
    first = set(containers(dockerd, on_docker).values())
    submit(on_docker, web(replicas=3))
    on_docker.running(3)
    assert first < set(containers(dockerd, on_docker).values())
    submit(on_docker, web(replicas=1))
    on_docker.running(1)
    on_docker.until(lambda: len(containers(dockerd, on_docker)) == 1)


def test_what_cannot_run_now_is_accepted_and_why_says_the_reason(on_docker: RealDaemon) -> None:
    on_docker.start()
    assert submit(on_docker, web(name="wide", cores=[10] * 500)) == {"wide": "added"}
    on_docker.until(lambda: "needs 500 cores" in on_docker.get("/api/v1/why/wide")["waiting"])
    why = on_docker.get("/api/v1/why/wide")
    assert "needs 500 cores" in why["verdicts"][0]["refusals"]["cores"]
    assert any("wide waits" in warning for warning in on_docker.get("/status")["warnings"])


def test_what_waits_is_placed_as_soon_as_there_is_room(on_docker: RealDaemon) -> None:
    on_docker.start()
    on_docker.until(lambda: on_docker.get("/api/v1/nodes")["nodes"])
    memory_mib = on_docker.get("/api/v1/nodes")["nodes"][0]["free_memory_mib"] - 512
    submit(on_docker, web(name="large", replicas=1, memory_mib=memory_mib, ports=[]))
    on_docker.running(1)
    submit(on_docker, web(name="next", replicas=1, memory_mib=memory_mib, ports=[]))
    on_docker.until(lambda: on_docker.get("/api/v1/why/next")["waiting"])
    on_docker.delete("/api/v1/services/large")
    (only,) = on_docker.running(1)
    assert only["service"] == "next"


def test_an_image_that_is_nowhere_is_a_reason_and_no_storm(on_docker: RealDaemon) -> None:
    on_docker.start()
    submit(on_docker, web(name="ghost", replicas=1, image="127.0.0.1:9/ghost:1"))
    on_docker.until(lambda: any(item["restarts"] >= 2 for item in on_docker.instances()))
    (instance,) = on_docker.instances()
    assert instance["state"] in {"waiting", "starting"}
    assert "ghost" in instance["reason"]
    refused = [
        event
        for event in on_docker.get("/api/v1/events")["events"]
        if event["kind"] == "engine refused"
    ]
    assert len(refused) <= 4


def test_a_container_that_ends_is_restarted_with_its_reason_told(on_docker: RealDaemon) -> None:
    on_docker.start()
    submit(on_docker, web(replicas=1, command=["/bin/sh", "-c", "exit 7"], ports=[]))
    on_docker.until(lambda: any(item["restarts"] >= 2 for item in on_docker.instances()))
    assert "7" in on_docker.instances()[0]["reason"]


def test_sigterm_stops_in_under_two_seconds_and_leaves_the_containers(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web())
    on_docker.running(2)
    before = containers(dockerd, on_docker)
    code, took_s = on_docker.terminate()
    assert code == 0, on_docker.log()
    assert took_s < 2.0
    assert containers(dockerd, on_docker) == before


def test_the_dying_and_returning_engine_is_survived(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    submit(on_docker, web())
    on_docker.running(2)
    before = containers(dockerd, on_docker)
    dockerd.kill()
    on_docker.until(lambda: not on_docker.get("/status")["engine"]["reachable"])
    assert any("engine" in warning for warning in on_docker.get("/status")["warnings"])
    dockerd.start()
    on_docker.until(lambda: on_docker.get("/status")["engine"]["reachable"])
    on_docker.running(2)
    assert containers(dockerd, on_docker) == before


def test_telemetry_of_instances_shows_memory_and_cpu(on_docker: RealDaemon) -> None:
    on_docker.start()
    busy = ["/bin/sh", "-c", "while true; do true; done"]
    submit(on_docker, web(replicas=1, command=busy, cores=[300], ports=[]))
    on_docker.running(1)

    def measured() -> bool:
        (instance,) = on_docker.instances()
        return (instance["used_cpu_millicores"] or 0) > 150

    on_docker.until(measured)
    (instance,) = on_docker.instances()
    assert instance["used_cpu_millicores"] < 450
    assert instance["used_memory_mib"] >= 0


def test_labels_name_the_owner_in_the_engine(on_docker: RealDaemon, dockerd: RealEngine) -> None:
    on_docker.start()
    submit(on_docker, web(replicas=1))
    on_docker.running(1)
    labels = dockerd.inspect(on_docker.container("web.1"))["Config"]["Labels"]
    assert labels["rohe.cluster"] == on_docker.cluster
    assert labels["rohe.instance"] == "web.1"


def test_a_port_that_is_taken_behind_the_sensors_back_is_replaced_by_another(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    """A container that nobody listens in yet holds its port in the engine alone."""
    on_docker.start()
    first = on_docker.config.get("allocation", {}).get("port_min", 20_000)
    sensed = set(on_docker.get("/api/v1/telemetry")["telemetry"][0]["taken_ports"])
    free = next(port for port in range(first, first + 100) if port not in sensed)
    body = {"80/tcp": [{"HostPort": str(free)}]}
    dockerd.create(
        "squatter",
        {"Image": BUSYBOX, "HostConfig": {"PortBindings": body}, "ExposedPorts": {"80/tcp": {}}},
    )
    request(dockerd.socket, "POST", "/containers/squatter/start")
    try:
        submit(on_docker, web(replicas=1))
        (instance,) = on_docker.running(1)
        assert instance["ports"][0]["host_port"] != free
    finally:
        request(dockerd.socket, "DELETE", "/containers/squatter?force=1")
