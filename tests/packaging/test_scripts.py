"""The shell scripts: what they say where something is missing, and that they are plain sh."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT
from tests.testbed import requirements

SCRIPTS = sorted((ROOT / "packaging").glob("*.sh"))

# Nothing listens on port 9, and nothing else is asked.
NO_INDEX = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_RETRIES": "1",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts and what they read, in a folder of their own with a blank in its name."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "packaging", folder / "packaging")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the tools of a bare Debian and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("cat", "dirname", "grep", "id", "mkdir", "readlink", "rm", "sh", "sha256sum"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def python_that(folder: Path, *, does: str) -> None:
    """A `python3` in `folder`: a shell script, which has the real one as $real."""
    script = folder / "python3"
    script.write_text(f"#!/bin/sh\nreal='{sys.executable}'\n{does}\n")
    script.chmod(0o755)


def quickstart(checkout: Path, tools: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(checkout / "packaging/quickstart.sh"), *arguments],
        env={"PATH": str(tools)} | NO_INDEX,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def pretend_installed(checkout: Path, tools: Path) -> None:
    """A .venv that the scripts take for theirs, with a `roheletd` that prints its arguments."""
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("/bin/sh")
    program = venv / "bin/roheletd"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$@"\nexit 7\n')
    program.chmod(0o755)
    mark = '. ./packaging/common.sh; use_venv "$root/.venv"; state_of embedded'
    # $0 is what the scripts find their folder by.
    done = subprocess.run(
        ["/bin/sh", "-c", mark, "packaging/quickstart.sh"],
        cwd=checkout,
        env={"PATH": str(tools)},
        check=True,
        capture_output=True,
    )
    (venv / "installed-embedded").write_bytes(done.stdout)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_plain_shell_with_nothing_to_object_to(script):
    requirements.need("shellcheck")
    argv = ["shellcheck", "--external-sources", "--shell=sh", str(script)]
    done = subprocess.run(argv, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_without_python_the_quickstart_names_the_packages(checkout, tools):
    done = quickstart(checkout, tools)
    assert done.returncode == 1
    assert "python3 was not found" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert done.stdout == ""


def test_an_old_python_is_refused_with_its_version(checkout, tools):
    python_that(tools, does='[ "$1" != --version ] || echo "Python 3.9.2"; [ "$1" = --version ]')
    done = quickstart(checkout, tools)
    assert done.returncode == 1
    assert "python3 is Python 3.9.2 and 3.11 is the oldest" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_refused_with_the_name_of_the_package(checkout, tools):
    python_that(tools, does='case $2 in *ensurepip*) exit 1;; esac; exec "$real" "$@"')
    done = quickstart(checkout, tools)
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_a_package_index_the_reason_stands_below_what_pip_says(checkout, tools):
    python_that(tools, does='exec "$real" "$@"')
    done = quickstart(checkout, tools)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "It needs a package" in done.stderr.rpartition("pip could not install")[2]
    assert done.stdout == ""
    assert not list((checkout / ".venv").glob("installed-*")), "the next run must try again"


@pytest.mark.root
def test_a_checkout_of_somebody_else_is_refused_in_words(checkout):
    requirements.need("setpriv", root=True)
    with tempfile.TemporaryDirectory() as folder:  # unlike pytest's, one that others may enter
        Path(folder).chmod(0o755)
        theirs = shutil.copytree(checkout, Path(folder) / "checkout")
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "/bin/sh", "packaging/quickstart.sh"],
            cwd=theirs,
            env={"PATH": "/usr/bin:/bin", "PYTHON": "/usr/bin/python3"},
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert "is not writable for nobody" in done.stderr


def test_what_is_installed_starts_at_once_with_the_arguments_as_given(checkout, tools):
    pretend_installed(checkout, tools)
    done = quickstart(checkout, tools, "--once", "two words", "*")
    assert done.stdout == "<quickstart><--once><two words><*>"
    assert done.stderr == ""
    assert done.returncode == 7, "the exit code is that of the program"


@pytest.mark.parametrize("change", ["requirements", "place"])
def test_new_requirements_and_a_new_place_are_installed_anew(checkout, tools, change):
    pretend_installed(checkout, tools)
    if change == "requirements":
        with (checkout / "pyproject.toml").open("a") as file:
            file.write("# newer\n")
    else:
        checkout = checkout.rename(checkout.with_name("elsewhere"))
    done = quickstart(checkout, tools)
    assert "python3 was not found" in done.stderr, "which is asked only in order to install"


def test_all_that_tests_may_need_is_installed_by_the_test_script():
    script = (ROOT / "packaging/test.sh").read_text()
    for package in set(requirements.PACKAGES.values()) - {"util-linux"}:  # essential in Debian
        assert f"{package} " in script or f"{package}:" in script, package


def test_continuous_integration_runs_the_command_of_the_readme():
    assert "exec sh packaging/test.sh\n" in (ROOT / ".ci/run").read_text()
    assert "sh packaging/test.sh" in (ROOT / "README.md").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
