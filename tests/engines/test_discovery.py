"""Which socket is used, and what a person is told of those that are not."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from roheletd.engines.discovery import find_socket
from roheletd.engines.docker import DockerEngine
from roheletd.errors import Unavailable
from tests.engines.conftest import BOTH


@pytest.fixture(params=BOTH)
def real(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


async def test_configured_socket_that_answers_is_found(real):
    for name in (str(real.socket), f"unix://{real.socket}"):
        found = await find_socket(name, {})
        assert (found.path, found.refusals) == (str(real.socket), ())


async def test_docker_host_is_followed(real):
    found = await find_socket(None, {"DOCKER_HOST": f"unix://{real.socket}"})
    assert found.path == str(real.socket)


async def test_configuration_wins_over_docker_host(real):
    found = await find_socket(str(real.socket), {"DOCKER_HOST": "unix:///nonesuch"})
    assert found.path == str(real.socket)


async def test_rootless_podman_is_found_in_the_users_folder(real, tmp_path: Path):
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").symlink_to(real.socket)
    found = await find_socket(None, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found.path is not None
    if found.path.startswith(str(tmp_path)):
        assert len(found.refusals) == 4, "each place before it was tried and says why not"


async def test_named_socket_that_is_not_there_is_not_replaced_by_another():
    found = await find_socket("/nonesuch.sock", {})
    assert found.path is None
    assert found.refusals == ("/nonesuch.sock: No such file or directory",)


async def test_tcp_is_refused_with_the_reason():
    found = await find_socket(None, {"DOCKER_HOST": "tcp://10.0.0.1:2375"})
    assert found.refusals == (
        "tcp://10.0.0.1:2375: only unix sockets are used, since instances must run on this node",
    )


async def test_socket_of_a_dead_engine_is_told_so(tmp_path: Path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    found = await find_socket(str(path), {})
    assert found.refusals == (f"{path}: Connection refused",)


async def test_socket_of_something_else_is_not_an_engine(tmp_path: Path):
    path = tmp_path / "other.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        found = await find_socket(str(path), {})
    assert found.refusals == (f"{path}: not a Docker-compatible engine",)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become someone without rights")
async def test_permission_is_told_with_the_remedy(tmp_path: Path):
    path = tmp_path / "closed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        # Only this thread's rights as to files: the kernel asks for no more here.
        os.setegid(65534)
        os.seteuid(65534)
        try:
            found = await find_socket(str(path), {})
        finally:
            os.seteuid(0)
            os.setegid(0)
    (refusal,) = found.refusals
    assert refusal.startswith(f"{path}: permission denied")
    assert "usermod -aG docker" in refusal


async def test_engine_that_is_nowhere_is_unavailable_with_every_reason():
    engine = DockerEngine("/nonesuch.sock", cluster="c", node="n", pull_stall_s=1)
    with pytest.raises(Unavailable, match=r"/nonesuch\.sock: No such file"):
        await engine.open()
    with pytest.raises(Unavailable, match="not connected"):
        await engine.list()
    assert engine.usage() == {}
