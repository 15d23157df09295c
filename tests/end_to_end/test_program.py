"""Who runs what and where, from a Compose file to the kernel, and what is said where it cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.conftest import containers
from tests.end_to_end.test_configuration import in_memory
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine

pytestmark = [pytest.mark.mosquitto, pytest.mark.root]

_REPORT = (
    "(grep -h Uid: /proc/self/status; pwd; hostname; cat /run/secrets/word) "
    "> /dev/shm/index.html; exec httpd -f -p 8080 -h /dev/shm"
)
COMPOSE: dict[str, Any] = {
    "services": {
        "detector": {
            "image": BUSYBOX,
            "entrypoint": ["/bin/sh", "-c"],
            "command": [
                _REPORT,
            ],
            "user": "1000:1000",
            "working_dir": "/www",
            "hostname": "cam-1",
            "init": False,
            "read_only": True,
            "stop_signal": "SIGKILL",
            "secrets": ["word"],
            "ports": [8080],
        }
    },
    "secrets": {"word": {"file": "word.txt"}},
}


@pytest.fixture(
    params=[
        pytest.param("dockerd", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ]
)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    found: RealEngine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def node(engine: RealEngine) -> Iterator[RealDaemon]:
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(engine.socket)}
    ) as made:
        in_memory(made)
        made.start()
        yield made
        for item in made.get("/api/v1/services")["services"]:
            made.delete(f"/api/v1/services/{item['service']['name']}")
        made.until(lambda: not containers(engine, made))


def apply(node: RealDaemon, folder: Path, **changes: object) -> None:
    service = {**COMPOSE["services"]["detector"], **changes}
    document = {**COMPOSE, "services": {"detector": service}}
    (folder / "compose.yaml").write_text(yaml.safe_dump(document))
    (folder / "word.txt").write_text("open sesame")
    done = node.cli("apply", "-f", str(folder / "compose.yaml"))
    assert done.returncode == 0, done.stderr


def page(node: RealDaemon, engine: RealEngine) -> list[str]:
    (instance,) = node.instances()
    port = instance["ports"][0]["host_port"]
    return engine.fetch(f"http://127.0.0.1:{port}/").splitlines()


def test_what_a_compose_file_says_of_a_program_is_so(
    node: RealDaemon, engine: RealEngine, tmp_path: Path
) -> None:
    apply(node, tmp_path)
    node.running(1)
    node.until(lambda: page(node, engine))
    uids, *rest = page(node, engine)
    assert uids.split() == ["Uid:", *["1000"] * 4]
    assert rest == ["/www", "cam-1", "open sesame"]
    (before,) = containers(engine, node).values()
    inspected = engine.inspect(before)
    assert inspected["HostConfig"]["ReadonlyRootfs"] is True
    assert not inspected["HostConfig"].get("Init")

    apply(node, tmp_path, user="1001:1000")
    node.until(lambda: [*containers(engine, node).values()] not in ([], [before]))
    node.until(lambda: page(node, engine)[:1] == ["Uid:\t1001\t1001\t1001\t1001"])
    assert page(node, engine)[-1] == "open sesame"


def test_a_user_that_the_image_lacks_is_the_reason_until_it_is_changed(
    node: RealDaemon, engine: RealEngine, tmp_path: Path
) -> None:
    apply(node, tmp_path, user="nosuch")
    node.until(lambda: "no such user" in node.cli("why", "detector").stdout)
    assert "unable to find user nosuch" in node.cli("why", "detector").stdout
    assert containers(engine, node) == {}
    apply(node, tmp_path)
    node.running(1)


def test_a_relative_working_directory_is_refused_by_its_line(
    node: RealDaemon, tmp_path: Path
) -> None:
    text = f"services:\n  detector:\n    image: {BUSYBOX}\n    working_dir: srv/app\n"
    (tmp_path / "compose.yaml").write_text(text)
    done = node.cli("apply", "-f", str(tmp_path / "compose.yaml"))
    assert done.returncode == 1
    assert "line 4: services.detector.working_dir: expected an absolute path" in done.stderr
