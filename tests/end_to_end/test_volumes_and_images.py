"""One node with dockerd: what a service mounts, what its image costs, and what it says of both."""

from typing import Any

import pytest

from roheletd.engines.archive import ImageFile, image_archive
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.registry import registry
from tests.testbed.unix_http import request

pytestmark = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]


def submit(node: RealDaemon, **more: Any) -> None:
    service = {"name": "web", "image": BUSYBOX, "stop_grace_s": 0, **more}
    node.post("/api/v1/services", {"services": [service]})


def test_a_service_finds_its_data_again_and_only_what_the_node_allows_it(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    allowed = on_docker.folder / "allowed"
    allowed.mkdir()
    on_docker.config["node"]["host_paths"] = [str(allowed)]
    on_docker.start()
    volumes = [
        {"path": "/data", "name": "data"},
        {"path": "/host", "host_path": str(allowed)},
    ]
    script = "cat /data/f >>/host/seen; echo once >>/data/f; sleep 1000"
    command = ["/bin/sh", "-c", script]
    submit(on_docker, volumes=volumes, command=command, labels={"edition": "1"})
    on_docker.running(1)
    on_docker.until((allowed / "seen").exists)
    submit(on_docker, volumes=volumes, command=command, labels={"edition": "2"})
    on_docker.until(lambda: (allowed / "seen").read_text() == "once\n")

    submit(on_docker, name="thief", volumes=[{"path": "/etc", "host_path": "/etc"}])
    on_docker.until(lambda: "thief" in waiting(on_docker))
    said = on_docker.get("/api/v1/why/thief")["verdicts"][0]["refusals"]
    assert said == {
        "volumes": "does not allow host path /etc (`node.host_paths` in its configuration)"
    }
    on_docker.delete("/api/v1/services/web")
    on_docker.until(lambda: not on_docker.instances())
    name = f"{on_docker.cluster}.web.1.data"
    assert request(dockerd.socket, "GET", f"/volumes/{name}")["Labels"]["rohe.service"] == "web"
    on_docker.until(lambda: deleted(dockerd, f"/volumes/{name}"))


def waiting(node: RealDaemon) -> str:
    return str(node.get("/api/v1/events")["events"])


def deleted(engine: RealEngine, target: str) -> bool:
    try:
        request(engine.socket, "DELETE", target)
    except RuntimeError:  # its container is on its way out
        return False
    return True


def test_a_pull_tells_how_far_it_is_and_what_came_with_it_is_remembered(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.config["images"] = {"keep_unused_s": 0, "disk_free_min_mib": 1}
    with registry(dockerd) as hub:
        image = f"{hub.address}/own:1"
        own = ImageFile(path="own", data=hub.address.encode())
        dockerd.load(image_archive(image, [own], command=("/own",)))
        dockerd.push(image, image)
        on_docker.start()
        hub.freeze()
        submit(on_docker, image=image)
        on_docker.until(lambda: [it["reason"] for it in on_docker.instances()] == ["pulling"])
        hub.thaw()
        on_docker.until(lambda: kinds(on_docker) >= {"pulling image", "pulled image"})
        remembered = on_docker.data_dir / "pulled-images"
        on_docker.until(remembered.exists)
        (pulled,) = remembered.read_text().split()
        on_docker.delete("/api/v1/services/web")
        on_docker.until(lambda: not on_docker.instances())
    on_docker.until(lambda: deleted(dockerd, f"/images/{pulled}?force=1"))


def test_a_misspelt_image_does_not_hold_back_the_one_that_was_meant(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    with registry(dockerd) as hub:
        meant = f"{hub.address}/meant:1"
        dockerd.push(BUSYBOX, meant)
        on_docker.start()
        submit(on_docker, image=f"{hub.address}/meant:l", command=["sleep", "1000"])
        on_docker.until(lambda: "meant:l" in str([it["reason"] for it in on_docker.instances()]))
        submit(on_docker, image=meant, command=["sleep", "1000"])
        on_docker.running(1)
        on_docker.delete("/api/v1/services/web")
        on_docker.until(lambda: not on_docker.instances())
    on_docker.until(lambda: deleted(dockerd, f"/images/{meant}?force=1"))


def kinds(node: RealDaemon) -> set[str]:
    return {event["kind"] for event in node.get("/api/v1/events")["events"]}
