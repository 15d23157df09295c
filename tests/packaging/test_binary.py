"""The frozen binaries do what the installed program does, with no Python around."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from roheletd import __version__
from tests.packaging.conftest import ROOT
from tests.testbed.engines import RealEngine
from tests.testbed.requirements import need

pytestmark = pytest.mark.binary

QUICKSTART = ("quickstart", "--once", "--output", "json")


def run(
    binary: Path, *arguments: str, home: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """With an environment that has nothing of this one's, least of all its Python."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "TMPDIR": str(home)}
    return subprocess.run(
        [binary, *arguments],
        cwd=home,
        env=environment | dict(env or {}),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def processes_of(folder: Path) -> list[bytes]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes() + (entry / "environ").read_bytes())
            except OSError:
                continue
    return [text for text in found if os.fsencode(folder) in text]


def test_it_names_its_version(binary, tmp_path):
    done = run(binary, "version", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"roheletd {__version__}\n"), done.stderr


@pytest.mark.parametrize("preset", sorted(path.name for path in (ROOT / "configs").iterdir()))
def test_it_accepts_every_preset(binary, preset, tmp_path):
    done = run(binary, "config-check", "--config", str(ROOT / "configs" / preset), home=tmp_path)
    assert done.returncode == 0, done.stderr


def test_it_refuses_an_unknown_key_in_one_line(binary, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("broker: {prot: 1883}\n")
    done = run(binary, "config-check", "--config", str(config), home=tmp_path)
    assert done.returncode == 1
    assert "$.broker.prot" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_writes_shell_completion(binary, tmp_path):
    done = run(binary, "completion", "bash", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


@pytest.mark.parametrize("broker", ["managed", "embedded"])
def test_quickstart_runs_the_sample_as_processes_and_leaves_nothing(binary, broker, tmp_path):
    if broker == "managed":
        need("mosquitto")
    done = run(binary, *QUICKSTART, "--engine", "process", "--broker", broker, home=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["engine"], facts["broker"]) == ("process", broker)
    assert [item["answer"]["service"] for item in facts["instances"]] == ["sample", "sample"]
    assert not Path(facts["data_dir"]).exists()
    assert processes_of(tmp_path) == []
    assert list(tmp_path.glob("_MEI*")) == []


@pytest.mark.docker
@pytest.mark.root
def test_quickstart_packs_itself_into_an_image_and_runs_that_on_docker(
    binary, dockerd: RealEngine, tmp_path
):
    env = {"DOCKER_HOST": f"unix://{dockerd.socket}"}
    done = run(binary, *QUICKSTART, "--engine", "docker", home=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["engine"] == "docker"
    assert [item["answer"]["service"] for item in facts["instances"]] == ["sample", "sample"]


def test_a_cluster_that_is_kept_outlives_the_program_that_started_it(binary, tmp_path):
    """A onefile binary deletes what it unpacked when it ends: the daemon must have its own."""
    kept = run(binary, *QUICKSTART, "--engine", "process", "--keep", home=tmp_path)
    try:
        assert kept.returncode == 0, kept.stderr
        facts = json.loads(kept.stdout)
        done = run(binary, "status", "--data-dir", facts["data_dir"], "-o", "json", home=tmp_path)
        assert done.returncode == 0, done.stderr
        with urllib.request.urlopen(facts["urls"][0], timeout=10) as answer:
            assert json.load(answer)["service"] == "sample"
    finally:
        stopped = run(binary, "quickstart", "--stop", home=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert processes_of(tmp_path) == []


def test_it_has_the_library_that_encrypts_secrets(onedir, tmp_path):
    kept = run(onedir, *QUICKSTART, "--engine", "process", "--keep", home=tmp_path)
    try:
        assert kept.returncode == 0, kept.stderr
        asked = ("--data-dir", json.loads(kept.stdout)["data_dir"])
        done = run(onedir, "secret", "set", "db", "password=hunter2", *asked, home=tmp_path)
        assert done.returncode == 0, done.stderr
        shown = run(onedir, "secret", "get", "db", "password", *asked, home=tmp_path)
        assert shown.stdout == "hunter2"
    finally:
        run(onedir, "quickstart", "--stop", home=tmp_path)


def test_no_library_of_another_licence_or_use_is_in_it(onedir):
    names = {path.name for path in (onedir.parent / "_internal").rglob("*")}
    for unwanted in ("pydantic_core", "libreadline.so.8", "libtinfo.so.6", "libtcl8.6.so"):
        assert unwanted not in names
