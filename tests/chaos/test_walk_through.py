"""The README's way from join to rollout to drain, run as it is written, on three hosts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed.engines import busybox_archive
from tests.testbed.hosts import Host, Site, hosts
from tests.testbed.requirements import need

pytestmark = [
    pytest.mark.docker,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(240),
]

README = Path(__file__).parents[2] / "README.md"
IMAGES = ("busybox:1.36", "busybox:1.37")


def blocks() -> tuple[str, list[str]]:
    """The file and the commands of the section."""
    section = README.read_text().partition("## Running a site")[2].partition("\n## ")[0]
    (service,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return service, [line.partition(" #")[0].strip() for line in commands.splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need("curl")

    def config(host: Host) -> dict[str, dict[str, object]]:
        name = host.name.replace("n", "h")
        return {
            "node": {"name": name, "address": host.address},
            "cluster": {"promote_after_s": 1.0},
        }

    with hosts(3, engines=True, config=config) as made:
        for host in made.hosts:
            assert host.engine is not None
            for image in IMAGES:
                host.engine.load(busybox_archive(image))
        yield made


def test_the_readme_leads_from_join_to_rollout_to_drain(site: Site, tmp_path: Path) -> None:
    service, lines = blocks()
    assert len(lines) == 10
    (tmp_path / "web.yaml").write_text(service)
    program = tmp_path / "bin" / "roheletd"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m roheletd "$@"\n')
    program.chmod(0o755)

    def shell(host: Host, line: str) -> str:
        done = subprocess.run(
            [*host.prefix, "/bin/sh", "-c", line],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(README.parent),
                "ROHELETD_DATA_DIR": str(host.daemon.data_dir),
            },
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}\n{host.daemon.log()}"
        return done.stdout

    first, second, third = site.hosts
    token, join, configmap, apply, registry, curl, update, rollout, logs, drain = lines
    secret = shell(first, token).split()[0]
    for host in (second, third):
        shell(host, join.replace("TOKEN", secret))
    site.until(lambda: len(first.daemon.get("/api/v1/nodes")["nodes"]) == 3)
    shell(second, configmap)
    assert "1 added" in shell(third, apply)
    site.until(lambda: "31080" in shell(first, registry))
    for host in site.hosts:
        assert shell(host, curl) == "hello"
    shell(second, update)
    assert shell(first, rollout).splitlines()[-1] == "completed: 3 of 3 new and healthy"
    assert shell(third, logs).strip()
    assert shell(second, drain).splitlines()[-1] == "h3 is empty, and takes nothing new"
    for host in site.hosts:
        assert shell(host, curl) == "hello"
    shutil.rmtree(program.parent)
