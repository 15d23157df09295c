"""Every preset loads, says why it differs, and differs."""

from pathlib import Path

import msgspec
import pytest

from roheletd.config import Config, parse
from roheletd.documents import load

CONFIGS = Path(__file__).parents[1] / "configs"
PRESETS = sorted(CONFIGS.glob("*"))


def preset(name: str) -> Config:
    return parse(load((CONFIGS / name).read_bytes(), name=name))


def leaves(value: object, path: str = "$") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        at: leaf
        for key, inner in value.items()
        for at, leaf in leaves(inner, f"{path}.{key}").items()
    }


def test_each_kind_of_machine_has_a_preset() -> None:
    names = [path.stem for path in PRESETS]
    assert names == ["edge-node", "jetson", "laptop", "witness"]


def test_a_witness_votes_and_runs_nothing() -> None:
    witness = preset("witness.yaml")
    assert (witness.cluster.role, witness.cluster.voter) == ("witness", "auto")
    assert witness.engine.kind == "none"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_a_preset_writes_only_what_differs_from_the_defaults(path: Path) -> None:
    document = load(path.read_bytes(), name=path.name)
    parse(document)
    defaults = leaves(msgspec.to_builtins(Config()))
    written = leaves(document)
    assert written
    assert [at for at, value in written.items() if defaults.get(at) == value] == []


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_a_preset_says_how_to_start_with_it(path: Path) -> None:
    assert f"roheletd run --config configs/{path.name}" in path.read_text(encoding="utf-8")


def test_edge_nodes_and_jetsons_never_take_work_without_a_container_engine() -> None:
    assert preset("edge-node.yaml").engine.kind == "docker"
    assert preset("jetson.yaml").engine.kind == "docker"


def test_a_laptop_needs_no_root_for_its_data() -> None:
    assert not Path(preset("laptop.yaml").data_dir).is_absolute()
