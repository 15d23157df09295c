"""The image made of this very program runs on real engines, with no registry and no network."""

import asyncio
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from roheletd.engines import EngineError
from roheletd.engines.archive import ImageFile, image_archive, program_image
from tests.engines.conftest import Machine
from tests.engines.waiting import fetched

TAG = "localhost/roheletd-sample:test"
SYSTEM_PYTHON = Path("/usr/bin/python3")
REPOSITORY = Path(__file__).parent.parent.parent


def layer_of(archive: bytes) -> tarfile.TarFile:
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))
        layer = outer.extractfile(manifest[0]["Layers"][0])
        return tarfile.open(fileobj=io.BytesIO(layer.read()))


def test_same_program_gives_the_same_bytes():
    assert program_image(TAG) == program_image(TAG)


def test_order_of_files_does_not_matter():
    files = [ImageFile(path="b/x", data=b"1"), ImageFile(path="a", link="b/x")]
    archives = {image_archive("t:1", order, command=("a",)) for order in (files, files[::-1])}
    assert len(archives) == 1


def test_folders_come_before_what_is_in_them():
    archive = image_archive("t:1", [ImageFile(path="/a/b/c", data=b"1")], command=("a",))
    names = layer_of(archive).getnames()
    assert names.index("a") < names.index("a/b") < names.index("a/b/c")


async def run_sample(machine: Machine, archive: bytes) -> dict:
    await machine.engine.load_image(archive)
    port = machine.port(8080)
    spec = machine.spec(
        image=TAG,
        env={"ROHE_INSTANCE": "sample-1", "ROHE_SERVICE": "sample", "ROHE_NODE": "n1"},
        cores=(0,),
        memory_mib=64,
        ports=(port,),
    )
    await machine.engine.run(spec)
    facts = json.loads(await fetched(machine, port.host_port))
    (container,) = await machine.engine.list()
    assert container.state == "running"
    changed = machine.real.changed_files(container.id)
    assert not [path for path in changed if path.endswith(".pyc")], "bytecode written to disk"
    await machine.engine.remove(container.id, 5)
    return facts


EXPECTED = {
    "service": "sample",
    "instance": "sample-1",
    "node": "n1",
    "cores": [0],
    "served": 1,
}


async def test_sample_of_this_interpreter_answers_from_its_image(machine: Machine):
    archive = await asyncio.to_thread(program_image, TAG)
    assert await run_sample(machine, archive) == EXPECTED
    assert await machine.engine.has_image(TAG)
    await machine.engine.remove_image(TAG)
    await machine.engine.remove_image(TAG)
    assert not await machine.engine.has_image(TAG)


@pytest.mark.skipif(
    not SYSTEM_PYTHON.exists() or SYSTEM_PYTHON.resolve() == Path(sys._base_executable).resolve(),
    reason=f"needs a second interpreter at {SYSTEM_PYTHON}",
)
async def test_sample_of_the_systems_interpreter_answers_from_its_image(machine: Machine):
    assert await run_sample(machine, packed_by(str(SYSTEM_PYTHON), sys.path)) == EXPECTED


def packed_by(python: str, path: list[str]) -> bytes:
    """The image as another interpreter makes it; msgspec is all it needs from elsewhere."""
    code = (
        f"import sys; sys.path += {path[1:]!r}\n"
        f"from roheletd.engines.archive import program_image\n"
        f"sys.stdout.buffer.write(program_image({TAG!r}))"
    )
    argv = [python, "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, cwd=REPOSITORY).stdout


BUNDLED = f"""
import sys
if sys.argv[1:] == ["sample"]:
    from roheletd import sample
    sample.main()
else:
    from roheletd.engines.archive import program_image
    sys.stdout.buffer.write(program_image({TAG!r}))
"""


@pytest.fixture(scope="session", params=["--onedir", "--onefile"])
def binary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("PyInstaller", reason="needs pyinstaller: pip install roheletd[build]")
    folder = tmp_path_factory.mktemp("bundle")
    script = folder / "bundled.py"
    script.write_text(BUNDLED)
    argv = [sys.executable, "-m", "PyInstaller", request.param, "--noconfirm", "--log-level=WARN"]
    argv += ["--paths", str(REPOSITORY), str(script)]
    subprocess.run(argv, check=True, cwd=folder)
    found = folder / "dist" / "bundled"
    return found / "bundled" if found.is_dir() else found


async def test_sample_of_a_shipped_binary_answers_from_its_image(machine: Machine, binary: Path):
    made = await asyncio.to_thread(subprocess.run, [binary], check=True, capture_output=True)
    assert await run_sample(machine, made.stdout) == EXPECTED


def test_interpreter_that_cannot_be_packed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "_base_executable", shutil.which("false"))
    with pytest.raises(EngineError, match="cannot pack the sample"):
        program_image(TAG)
