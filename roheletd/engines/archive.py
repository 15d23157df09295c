"""Container images made here, with no registry, no build tool and no network.

`image_archive` packs files into the format of `docker save`, which every engine loads.
`program_image` packs this very program: the interpreter that runs it, the shared libraries and the
standard modules that the sample service needs, and the sample. Every file keeps the path that it
has on this machine, so the interpreter finds its own parts in the image as it does here. The
bytes depend on the files alone (no times, no owners, sorted), so that loading the same program
twice is one image.
"""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from roheletd.architecture import architecture
from roheletd.engines import EngineError

_SAMPLE = Path(__file__).parent.parent / "sample.py"
_EXECUTABLE = 0o755
_PLAIN = 0o644
_MOUNT_POINTS = ("dev", "etc", "proc", "sys", "tmp")
_ANSWER_S = 60.0
_LIBRARY = re.compile(r"(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# Run in a fresh interpreter with an empty environment, as in the container: answers one request,
# so that whatever is imported late is imported, and then names what it took. Modules are compiled
# here, because without ready bytecode each start would compile and write its own, to flash.
_PROBE = """
import sys
sys.path.append(sys.argv[1])
import sample
sample.answer(1)
taken = {module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)}
import importlib.util, json, marshal
def bytecode(path):
    with open(path, "rb") as file:
        source = file.read()
    code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
    # Flag 1: valid whatever lies beside it, so neither source nor time stamp is needed.
    flag = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flag + importlib.util.source_hash(source) + code
sources = sorted(path for path in taken if path.endswith(".py"))
json.dump({
    "bytecode": {path: bytecode(path).hex() for path in sources},
    "extensions": sorted(taken.difference(sources)),
}, sys.stdout)
"""


class ImageFile(Struct, frozen=True, kw_only=True):
    """One file of an image; `link` makes it a symbolic link and its data is ignored."""

    path: str
    data: bytes = b""
    mode: int = _PLAIN
    link: str = ""


def image_archive(
    tag: str,
    files: Iterable[ImageFile],
    *,
    command: tuple[str, ...],
    env: Mapping[str, str] | None = None,
) -> bytes:
    """One layer of files as the archive that `POST /images/load` takes."""
    layer = _layer(files)
    layer_id = hashlib.sha256(layer).hexdigest()
    config = _json(
        {
            "architecture": architecture(platform.machine()),
            "os": "linux",
            "config": {
                "Cmd": list(command),
                "Env": [f"{key}={value}" for key, value in sorted((env or {}).items())],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        }
    )
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{layer_id}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [layer_name]}]
    return _tar(
        [
            (config_name, ImageFile(path=config_name, data=config)),
            (layer_name, ImageFile(path=layer_name, data=layer)),
            ("manifest.json", ImageFile(path="manifest.json", data=_json(manifest))),
        ]
    )


def program_image(tag: str) -> bytes:
    """The image of this program, running the bundled sample service. Blocks: call it in a thread.

    Inside a PyInstaller binary it holds the binary itself, started as `roheletd sample`.
    """
    frozen = getattr(sys, "frozen", False)
    files, command = _bundle() if frozen else _interpreter()
    folders = {str(Path(file.path).parent) for file in files if ".so" in Path(file.path).name}
    env = {"LD_LIBRARY_PATH": ":".join(sorted(folders)), "PATH": "/usr/bin:/bin"}
    return image_archive(tag, files, command=command, env=env)


def _interpreter() -> tuple[list[ImageFile], tuple[str, ...]]:
    """This Python without its virtual environment, and what the sample imports."""
    # No public name tells the interpreter that a virtual environment was made from.
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # noqa: SLF001
    probed = _run(str(python), "-I", "-S", "-B", "-c", _PROBE, str(_SAMPLE.parent))
    found = json.loads(probed)
    command = (str(python), "-I", "-S", f"{_SAMPLE}c")
    modules = [
        ImageFile(path=f"{path}c", data=bytes.fromhex(code))
        for path, code in found["bytecode"].items()
    ]
    extensions = [Path(path) for path in found["extensions"]]
    binaries = [python, *extensions, *_libraries(python, extensions)]
    # Where this folder is missing, Python complains at each start.
    place = Path(sysconfig.get_path("platstdlib"), "lib-dynload", ".present")
    return [*modules, ImageFile(path=str(place)), *map(_copied, binaries)], command


def _bundle() -> tuple[list[ImageFile], tuple[str, ...]]:
    """This binary, the folder of a onedir build beside it, and the system libraries of both."""
    binary = Path(sys.executable).resolve()
    unpacked = Path(sys._MEIPASS).resolve()  # type: ignore[attr-defined]  # noqa: SLF001
    parts = sorted(path for path in unpacked.rglob("*") if not path.is_dir() or path.is_symlink())
    links = [part for part in parts if part.is_symlink()]
    shared = [part for part in parts if ".so" in part.name and part not in links]
    needed = _libraries(binary, shared, search=str(unpacked))
    beside = binary.parent in (unpacked, *unpacked.parents)  # a onefile binary brings its parts
    libraries = [path for path in needed if unpacked not in path.parents]
    files = [_copied(path) for path in (binary, *libraries, *(parts if beside else ()))]
    if beside:  # later entries win: a link stays a link
        files += [ImageFile(path=str(link), link=str(link.readlink())) for link in links]
    return files, (str(binary), "sample")


def _libraries(program: Path, modules: Iterable[Path], *, search: str = "") -> list[Path]:
    """What the dynamic loader would load, by the paths it says, and the loader itself."""
    # Without `search`: the binary of a bundle starts before it has unpacked anything.
    found = set(_LIBRARY.findall(_run(str(program), LD_TRACE_LOADED_OBJECTS="1")))
    loader = next((path for path in found if Path(path).name.startswith("ld")), None)
    if loader is None:
        raise EngineError(f"cannot tell which libraries {program} needs", retry=False)
    for module in modules:
        listed = _run(loader, "--list", str(module), LD_LIBRARY_PATH=search)
        found |= set(_LIBRARY.findall(listed))
    return [Path(path.strip()) for path in sorted(found)]


def _run(*argv: str, **env: str) -> str:
    """The output of a child that sees no other environment than this."""
    try:
        done = subprocess.run(
            argv, check=True, capture_output=True, text=True, env=env, timeout=_ANSWER_S
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or "").strip()
        raise EngineError(f"cannot pack the sample: {error} {said}", retry=False) from error
    return done.stdout


def _copied(path: Path) -> ImageFile:
    mode = _EXECUTABLE if os.access(path, os.X_OK) else _PLAIN
    return ImageFile(path=str(path), data=path.read_bytes(), mode=mode)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _layer(files: Iterable[ImageFile]) -> bytes:
    """The root file system: parents before children, each path once, in order."""
    by_path = {file.path.strip("/"): file for file in files}
    folders = {str(parent) for path in by_path for parent in Path(path).parents} - {"."}
    entries: dict[str, ImageFile | None] = dict.fromkeys((*folders, *_MOUNT_POINTS))
    return _tar(sorted((entries | by_path).items()))


def _tar(entries: Iterable[tuple[str, ImageFile | None]]) -> bytes:
    """A tar of files and, where there is no file, folders; the same entries give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, file in entries:
            header = tarfile.TarInfo(path)
            header.mode = _EXECUTABLE
            if file is None:
                header.type = tarfile.DIRTYPE
                header.mode = 0o1777 if path == "tmp" else _EXECUTABLE
                tar.addfile(header)
            elif file.link:
                header.type, header.linkname = tarfile.SYMTYPE, file.link
                tar.addfile(header)
            else:
                header.size, header.mode = len(file.data), file.mode
                tar.addfile(header, io.BytesIO(file.data))
    return buffer.getvalue()
