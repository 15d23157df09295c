"""What is run, by whom and where: what a service says of it, on each engine that can do it."""

import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec import UNSET

from roheletd.engines import EngineError, docker_api, podman_api
from roheletd.engines.archive import ImageFile, image_archive
from roheletd.engines.signals import signal_number
from roheletd.model import Gpu
from tests.engines.conftest import Machine, make_spec, open_machine
from tests.engines.test_streams import collected, said, wanted
from tests.testbed import engines
from tests.testbed.engines import RealEngine
from tests.testbed.unix_http import request

PLAIN = "localhost/people:test"
WITH_ENTRYPOINT = "localhost/entrypoint:test"
_PASSWD = b"root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"
_GROUP = b"root:x:0:\napp:x:1001:\nvideo:x:44:app\n"
_APPLETS = ("cat", "echo", "id", "pwd", "sh", "sleep", "touch", "hostname")
ONE = Gpu(id="GPU-one")


def load_images(real: RealEngine) -> None:
    """busybox with users in it, and the same with an entrypoint that repeats what it is told."""
    binary = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    files = [
        ImageFile(path="bin/busybox", data=binary, mode=0o755),
        *(ImageFile(path=f"bin/{applet}", link="busybox") for applet in _APPLETS),
        ImageFile(path="etc/passwd", data=_PASSWD),
        ImageFile(path="etc/group", data=_GROUP),
    ]
    real.load(image_archive(PLAIN, files, command=("sleep", "1000"), env={"PATH": "/bin"}))
    real.create("with-entrypoint", {"Image": PLAIN})
    changes = "&".join(
        f"changes={quote(change)}"
        for change in ('ENTRYPOINT ["/bin/echo", "own"]', 'CMD ["command"]')
    )
    repository, _, tag = WITH_ENTRYPOINT.rpartition(":")
    target = f"/commit?container=with-entrypoint&repo={quote(repository)}&tag={tag}&{changes}"
    request(real.socket, "POST", target, body=b"{}")  # Podman wants one
    request(real.socket, "DELETE", "/containers/with-entrypoint?force=1")


@pytest.fixture
def people(machine: Machine) -> Machine:
    load_images(machine.real)
    return machine


async def output(machine: Machine, *command: str, **changes: object) -> list[str]:
    """The lines that an instance of an image with users says, to its end."""
    await machine.engine.run(machine.spec(*command, **({"image": PLAIN} | changes)))
    container = await machine.only()
    lines = await collected(machine.engine.logs(container.id, follow=True))
    await machine.engine.remove(container.id, 0)
    return [line.text for line in lines]


@pytest.mark.parametrize(
    ("entrypoint", "command", "line"),
    [
        (UNSET, (), "own command"),
        (UNSET, ("mine",), "own mine"),
        (("/bin/echo", "other"), (), "other"),
        (("/bin/echo", "other"), ("mine",), "other mine"),
        ((), ("/bin/echo", "bare"), "bare"),
    ],
)
async def test_an_entrypoint_takes_the_place_of_that_of_the_image(
    people: Machine, entrypoint: object, command: tuple[str, ...], line: str
) -> None:
    found = await output(people, *command, image=WITH_ENTRYPOINT, entrypoint=entrypoint)
    assert found == [line]


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("app", "uid=1000(app) gid=1001(app) groups=44(video),1001(app)"),
        ("1000", "uid=1000(app) gid=1001(app) groups=44(video),1001(app)"),
        ("app:video", "uid=1000(app) gid=44(video) groups=44(video)"),
        ("1000:44", "uid=1000(app) gid=44(video) groups=44(video)"),
    ],
)
async def test_a_user_runs_it_with_its_groups(people: Machine, user: str, identity: str) -> None:
    assert await output(people, "id", user=user) == [identity]


async def test_a_user_need_not_be_in_the_image_where_it_is_a_number(people: Machine) -> None:
    (identity,) = await output(people, "id", user="4242:77")
    assert identity.startswith("uid=4242")
    assert "gid=77" in identity


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("nosuch", r"the image has no such user.*unable to find user nosuch"),
        ("app:nosuch", r"the image has no such group.*unable to find group nosuch"),
    ],
)
async def test_a_user_that_the_image_lacks_is_the_reason_and_leaves_nothing(
    people: Machine, user: str, reason: str
) -> None:
    with pytest.raises(EngineError, match=reason) as refused:
        await people.engine.run(people.spec("id", image=PLAIN, user=user))
    assert not refused.value.retry
    assert await people.engine.list() == []


async def test_it_begins_in_its_working_directory_which_is_made_where_it_is_missing(
    people: Machine,
) -> None:
    assert await output(people, "pwd", working_dir="/etc") == ["/etc"]
    assert await output(people, "pwd", working_dir="/srv/app/") in (["/srv/app"], ["/srv/app/"])


async def test_a_working_directory_that_is_a_file_is_refused(people: Machine) -> None:
    with pytest.raises(EngineError, match="not a directory"):
        await people.engine.run(people.spec("pwd", image=PLAIN, working_dir="/etc/passwd"))
    assert await people.engine.list() == []


async def test_it_has_the_host_name_that_it_is_given(people: Machine) -> None:
    assert await output(people, "hostname", hostname="cam-1.hall") == ["cam-1.hall"]


async def test_what_is_read_only_writes_to_its_volumes_alone(people: Machine) -> None:
    script = "touch /own && echo wrote; touch /dev/shm/there && echo there"
    lines = await output(people, "sh", "-c", script, read_only=True)
    assert "there" in lines
    assert "wrote" not in lines
    assert any("Read-only file system" in line for line in lines)


async def test_an_image_with_an_init_of_its_own_is_process_1(people: Machine) -> None:
    look = ("sh", "-c", "cat /proc/1/cmdline; true")
    assert (await output(people, *look, init=False))[0].startswith("sh\0")
    assert "init" in (await output(people, *look))[0]


async def test_it_is_stopped_with_its_own_signal(people: Machine) -> None:
    script = "trap 'exit 3' INT; trap '' TERM; echo ready; while true; do sleep 0.1; done"
    spec = people.spec("sh", "-c", script, image=PLAIN, stop_signal="SIGINT")
    await people.engine.run(spec)
    container = await people.only()
    async for batch in people.engine.logs(container.id, follow=True):
        assert [line.text for line in batch] == ["ready"]
        break
    begun_s = time.monotonic()
    await people.engine.stop(container.id, 20)
    assert time.monotonic() - begun_s < 10, "it heard another signal"
    assert (await people.only()).exit_code == 3


async def test_a_command_within_it_runs_as_the_same_user_in_the_same_place(
    people: Machine,
) -> None:
    await people.engine.run(people.spec(image=PLAIN, user="1000:1001", working_dir="/etc"))
    container = await people.only()
    look = wanted("sh", "-c", "id -u; pwd")
    written, _errors, _end = await said(await people.engine.exec_session(container.id, look))
    assert written == b"1000\n/etc\n"


@pytest.fixture(scope="module")
def podman_gpus() -> Iterator[RealEngine]:
    with engines.podman_with_gpus() as engine:
        load_images(engine)
        yield engine


@pytest.fixture
async def with_gpus(podman_gpus: RealEngine) -> AsyncIterator[Machine]:
    async for opened in open_machine(podman_gpus):
        yield opened


@pytest.mark.podman
@pytest.mark.root
async def test_podmans_own_api_is_told_the_same(with_gpus: Machine) -> None:
    look = "id; pwd; hostname; cat /proc/1/cmdline; echo; touch /own && echo wrote"
    lines = await output(
        with_gpus,
        look,
        image=WITH_ENTRYPOINT,
        gpus=(ONE,),
        entrypoint=("sh", "-c"),
        user="app:video",
        working_dir="/srv/app",
        hostname="cam-1",
        init=False,
        read_only=True,
        stop_signal="SIGINT",
    )
    assert lines[:3] == ["uid=1000(app) gid=44(video) groups=44(video)", "/srv/app", "cam-1"]
    assert lines[3].startswith("sh\0")
    assert "wrote" not in lines
    bare = await output(
        with_gpus, "/bin/echo", "bare", image=WITH_ENTRYPOINT, gpus=(ONE,), entrypoint=()
    )
    assert bare == ["bare"]


# --- what is said to the engines


def test_what_a_service_does_not_say_is_not_said_to_the_engine() -> None:
    body = docker_api.create_body(make_spec("c"), unenforced=(), init=True)
    assert not {"Cmd", "Entrypoint", "User", "WorkingDir", "Hostname", "StopSignal"} & body.keys()
    assert "ReadonlyRootfs" not in body["HostConfig"]
    assert body["HostConfig"]["Init"] is True


def test_a_user_or_an_entrypoint_that_was_dropped_without_a_word_is_found() -> None:
    spec = make_spec("c", user="app", entrypoint=(), read_only=True)
    asked = docker_api.create_body(spec, unenforced=(), init=True)
    kept = {"HostConfig": {"ReadonlyRootfs": True}, "Config": {"User": "", "Entrypoint": None}}
    assert docker_api.dropped(asked, kept) == "User app became that of the image"
    kept["Config"] = {"User": "app", "Entrypoint": ["/init"]}
    assert docker_api.dropped(asked, kept) == "Entrypoint [''] became ['/init']"
    kept["Config"]["Entrypoint"] = [""]
    assert docker_api.dropped(asked, kept) == ""
    kept["HostConfig"]["ReadonlyRootfs"] = False
    assert docker_api.dropped(asked, kept) == "ReadonlyRootfs True became False"


def test_every_stop_signal_has_a_number_for_podmans_own_api() -> None:
    assert [signal_number(name) for name in ("SIGINT", "SIGTERM", "SIGRTMIN+3")] == [2, 15, 37]
    said = podman_api.create_body({"StopSignal": "SIGQUIT", "HostConfig": {}}, name="x")
    assert json.loads(json.dumps(said))["stop_signal"] == 3


def test_an_image_that_wants_to_be_process_1_is_told_how() -> None:
    inspected = {"State": {"ExitCode": 100}, "HostConfig": {}}
    last = "s6-overlay-suexec: fatal: can only run as pid 1\n"
    assert docker_api.exit_reason(inspected, last) == (
        "ended with exit code 100: s6-overlay-suexec: fatal: can only run as pid 1 "
        "(an image with an init of its own needs `init: false`)"
    )
