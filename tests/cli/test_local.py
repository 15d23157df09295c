"""The commands that need no daemon."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from roheletd import __version__
from roheletd.cli.parser import build
from tests.cli.conftest import Run
from tests.testbed.requirements import need


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_one_line(argv: list[str], roheletd: Run) -> None:
    assert roheletd(*argv).stdout == f"roheletd {__version__}\n"


def test_the_version_for_machines(roheletd: Run) -> None:
    assert json.loads(roheletd("version", "-o", "json").stdout)["version"] == __version__
    assert yaml.safe_load(roheletd("version", "-o", "yaml").stdout)["version"] == __version__


def test_a_valid_configuration_is_shown_with_every_default(roheletd: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {name: pi1}\n")
    assert roheletd("config-check", "--config", str(path)).stdout == f"{path}: valid\n"
    shown = json.loads(roheletd("config-check", "--config", str(path), "-o", "json").stdout)
    assert shown["node"]["name"] == "pi1"
    assert shown["telemetry"]["interval_s"] == 1.0
    as_yaml = roheletd("config-check", "--config", str(path), "-o", "yaml").stdout
    assert yaml.safe_load(as_yaml) == shown


def test_an_unknown_key_is_named_with_its_path(roheletd: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("telemetry: {intervall_s: 1}\n")
    done = roheletd("config-check", "--config", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "intervall_s" in done.stderr
    assert "telemetry" in done.stderr


def test_the_explanation_is_itself_a_valid_configuration(roheletd: Run) -> None:
    explained = roheletd("config-check", "--explain").stdout
    assert "interval_s" in explained
    checked = roheletd("config-check", "--config", "-", text=explained)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_completion_script_is_one(shell: str, roheletd: Run, tmp_path: Path) -> None:
    script = roheletd("completion", shell).stdout
    assert "quickstart" in script
    assert "remove-service" in script
    if shell == "bash":
        need("bash")
        path = tmp_path / "completion"
        path.write_text(script)
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_bash_completes_commands_and_options(roheletd: Run, tmp_path: Path) -> None:
    path = tmp_path / "completion"
    path.write_text(roheletd("completion", "bash").stdout)
    ask = (
        f"source {path}; COMP_WORDS=(roheletd orchestration remove-s); COMP_CWORD=2; "
        "_shtab_roheletd roheletd remove-s orchestration; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["remove-service"]


def test_the_hidden_command_is_not_in_the_help() -> None:
    assert "sample" not in build().format_help().replace("sample service", "")
