"""A private image registry, where an engine of the test bed can reach it."""

import base64
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.testbed.engines import RealEngine
from tests.testbed.network import free_port
from tests.testbed.requirements import need

_READY_S = 20.0
_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
USER, PASSWORD = "pi", "open sesame"
_AUTH = """\
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""
_HTPASSWD = f"{USER}:$2b$04$ckuJSFwBvJh8fQMDfxD8AOPz6myKzkc1POg5Nzl6hxZVOb0NYcYFq\n"


_PUT = """
import sys, urllib.request
_, url, kind, body = sys.argv
asked = urllib.request.Request(url, body.encode(), {"Content-Type": kind}, method="PUT")
urllib.request.urlopen(asked, timeout=5).close()
"""
_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Plain HTTP on 127.0.0.1, which engines take as insecure by themselves or as configured."""

    def __init__(self, engine: RealEngine, process: subprocess.Popen[bytes], port: int) -> None:
        self._engine = engine
        self._process = process
        self.address = f"127.0.0.1:{port}"

    def offer(self, repository: str, tag: str, digest: str, architecture: str) -> None:
        """Something that was pushed is, under this tag, for one kind of processor only."""
        platform = {"architecture": architecture, "os": "linux"}
        of_it = {"mediaType": _MANIFEST, "size": 500, "digest": digest, "platform": platform}
        body = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [of_it]})
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        argv = [*self._engine.prefix, sys.executable, "-I", "-c", _PUT, url, _INDEX, body]
        subprocess.run(argv, check=True)

    def freeze(self) -> None:
        """It still accepts connections, and says nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def registry(engine: RealEngine, *, closed: bool = False) -> Iterator[Registry]:
    """A registry in the network of `engine`, and gone with this context.

    A `closed` one lets in only `USER` with `PASSWORD`.
    """
    need("docker-registry")
    port = free_port()
    config = engine.folder / "registry.yml"
    text = _CONFIG + _AUTH if closed else _CONFIG
    config.write_text(text.format(folder=engine.folder, port=port))
    (engine.folder / "htpasswd").write_text(_HTPASSWD)
    argv = [*engine.prefix, "docker-registry", "serve", str(config)]
    with (engine.folder / "registry.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(engine, process, port)
        yield Registry(engine, process, port)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(engine: RealEngine, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _READY_S
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    while not engine.fetch(f"http://127.0.0.1:{port}/v2/", f"Basic {basic}"):
        if process.poll() is not None or time.monotonic() > deadline:
            log = Path(engine.folder / "registry.log").read_text()
            raise RuntimeError(f"the registry does not answer:\n{log[-2000:]}")
