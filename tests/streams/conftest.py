"""Two nodes that are one cluster, with a service on each; and how a person asks them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import yaml

from tests.testbed.daemon import RealDaemon, daemon


def ask(node: RealDaemon, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    """One command of the CLI; what follows `--` stays last."""
    program = [sys.executable, "-m", "roheletd", "--data-dir", str(node.data_dir)]
    done = subprocess.run(  # noqa: PLW1510
        [*program, *arguments], input=given, capture_output=True, timeout=60
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Followed:
    """`logs -f` beside a test."""

    def __init__(self, node: RealDaemon, *arguments: str) -> None:
        program = [sys.executable, "-m", "roheletd", "--data-dir", str(node.data_dir)]
        self.path = node.folder / f"followed{len(list(node.folder.iterdir()))}"
        with self.path.open("wb") as into:
            self.process = subprocess.Popen(
                [*program, "logs", "-f", *arguments], stdout=into, stderr=into
            )

    @property
    def text(self) -> str:
        return self.path.read_text(errors="replace")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def script(name: str, text: str, **more: Any) -> dict[str, Any]:
    base = {"name": name, "command": ["/bin/sh", "-c", text], "cores": [10], "memory_mib": 16}
    return {**base, **more}


def add(node: RealDaemon, *services: dict[str, Any]) -> None:
    node.post("/api/v1/services", {"services": services})
    wanted = {service["name"] for service in services}

    def run() -> bool:
        found = [it for it in node.instances() if it["service"] in wanted]
        return len(found) >= len(wanted) and all(it["state"] == "running" for it in found)

    node.until(run)


def joined(stack: ExitStack, name: str, first: RealDaemon | None, **config: Any) -> RealDaemon:
    """A node that is started, in the cluster of `first` if there is one."""
    sections: dict[str, Any] = {
        "node": {"name": name, "address": "127.0.0.1"},
        "engine": {"kind": "process"},
        "cluster": {"promote_after_s": 1.0} | ({"name": first.cluster} if first else {}),
        **config,
    }
    made = stack.enter_context(daemon(**sections))
    if first is None:
        made.start()
        return made
    token = first.post("/api/v1/cluster/token", {})["token"]
    first.until(lambda: is_shared(first))
    made.config_path.write_text(yaml.safe_dump(made.config))
    done = made.cli("cluster", "join", token, "--config", str(made.config_path))
    assert done.returncode == 0, done.stderr
    made.start()
    first.until(lambda: both_are_well(first))
    return made


def is_shared(node: RealDaemon) -> bool:
    """It begins another life for that, and may not answer meanwhile."""
    with suppress(OSError):
        return bool(node.get("/api/v1/cluster")["shared"])
    return False


def both_are_well(node: RealDaemon) -> bool:
    found = node.get("/api/v1/nodes")["nodes"]
    return len(found) == 2 and all(it["liveness"] == "alive" for it in found)


@pytest.fixture(scope="package")
def pair() -> Iterator[tuple[RealDaemon, RealDaemon]]:
    """`n1` and `n2`, each with a service of its name that says hello and stays."""
    with ExitStack() as stack:
        first = joined(stack, "n1", None)
        second = joined(stack, "n2", first)
        hello = "echo hello from $ROHE_NODE; echo oops >&2; sleep 1000"
        add(
            first,
            script("one", hello, constraints=["node.name == n1"]),
            script("two", hello, constraints=["node.name == n2"]),
        )
        yield first, second
