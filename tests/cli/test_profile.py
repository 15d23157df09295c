"""`roheletd profile` as a user runs it: what goes where, and how it ends early."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roheletd.allocation.requirement import Need, proposed, remarks
from roheletd.api import views
from roheletd.cli import profile_page
from roheletd.cli.tables import Style
from roheletd.documents import load
from roheletd.instance_use import InstanceUse
from roheletd.model import Service
from tests.builders import a_service
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon
from tests.cli.test_pages import NARROW, WIDE, golden

PATH = "GET /api/v1/use/web"
DECLARED = a_service(
    replicas=2, cpu_millicores=300, memory_mib=64, accelerators={"gpu": 20}, env={"A": "b"}
)


def use(
    at_s: float, *cores: int, service: Service = DECLARED, state: str = "running"
) -> views.ServiceUse:
    """What the daemon says at one moment of two instances, the second of which does little."""
    busy = InstanceUse(
        instance="web.1",
        state=state,
        cpu_millicores=sum(cores),
        cores_millicores=cores,
        memory_mib=30,
    )
    idle = InstanceUse(instance="web.2", state=state, cores_millicores=(5,), memory_mib=20)
    return views.ServiceUse(
        service=service,
        instances=tuple(views.MeasuredUse(node="pi", at_s=at_s, use=it) for it in (busy, idle)),
    )


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command as a process of its own, which asks a hundred times a second."""
    (tmp_path / "sitecustomize.py").write_text(
        "import roheletd.cli.profile as p; p._ASK_S = 0.01\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("fast")
def test_the_proposal_is_a_file_that_add_service_takes(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = [use(float(at), 480, 40) for at in range(30)]
    done = roheletd("profile", "web", "--for", "1s", "-o", "yaml")
    assert done.returncode == 0, done.stderr
    (service,) = load(done.stdout.encode(), name="web.yaml")["services"]  # type: ignore[index, call-overload]
    assert service == {
        "name": "web",
        "image": "web:1",
        "env": {"A": "b"},
        "replicas": 2,
        "cores": [480, 40],
        "memory_mib": 36,
        "accelerators": {"gpu": 20},
    }
    assert "note: it used all of the 300 m" in done.stderr
    assert "accelerators is not known" in done.stderr
    as_json = roheletd("profile", "web", "--for", "1s", "-o", "json")
    assert as_json.returncode == 1, "the daemon said the same all the time: one sample"
    daemon.answers["POST /api/v1/services"] = views.Changes(changed={"web": "updated"})
    assert roheletd("orchestration", "add-service", "--conf", "-", text=done.stdout).returncode == 0
    assert daemon.requests[-1].body == {"services": [service]}


@pytest.mark.usefixtures("fast")
def test_for_people_it_stands_beside_what_is_declared(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = [use(float(at), 480, 40) for at in range(30)]
    done = roheletd("profile", "web", "--for", "1s")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "web: 60 samples of 2 instances in 1 s"
    assert " ".join(lines[2].split()) == "cores 300 m 480 m, 40 m 480 m, 40 m"
    assert " ".join(lines[3].split()) == "memory 64 MiB 30 MiB 36 MiB"


@pytest.mark.usefixtures("fast")
def test_the_same_report_is_one_sample_and_too_few_are_refused(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    daemon.answers[PATH] = [use(float(at), 480) for at in range(7)]
    done = roheletd("profile", "web", "--for", "1s", "-o", "json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "20 samples of one instance are needed, and there are 7 of web.2" in done.stderr


@pytest.mark.usefixtures("fast")
def test_what_does_not_run_and_what_was_redefined_gives_no_samples(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    waits = [use(float(at), 480, state="waiting") for at in range(20)]
    before = [use(float(at), 480, service=a_service(replicas=3)) for at in range(20, 40)]
    daemon.answers[PATH] = [*waits, *before, *(use(float(at), 480) for at in range(40, 45))]
    done = roheletd("profile", "web", "--for", "1s")
    assert done.returncode == 1
    assert "there are 5 of" in done.stderr


@pytest.mark.parametrize(("form", "style"), [("wide", WIDE), ("narrow", NARROW)])
def test_the_page_reads_as_its_golden_text(form: str, style: Style) -> None:
    found = Need(
        samples=118, instances=2, cores=(480, 40), memory_mib=36, memory_p95_mib=29, gpu_percent=34
    )
    page = profile_page.Profile(
        before=DECLARED,
        after=proposed(DECLARED, found),
        found=found,
        remarks=remarks(DECLARED, found),
        watched_s=60.0,
    )
    golden(f"profile-{form}", profile_page.profile(page, style))
    if style.width:
        plain = profile_page.profile(page, style._replace(colour=False))
        assert max(map(len, plain)) <= style.width


def test_a_service_that_is_unknown_is_told_at_once(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = (404, views.Problem(error="not found", reason="there is no service web"))
    begun_s = time.monotonic()
    done = roheletd("profile", "web")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no service web" in done.stderr
    assert time.monotonic() - begun_s < 10


@pytest.mark.parametrize("text", ["0", "soon", "-5s", "8d"])
def test_a_time_that_is_none_is_wrong_usage(text: str, roheletd: Run) -> None:
    done = roheletd("profile", "web", f"--for={text}")
    assert done.returncode == 2
    assert "expected a time such as 90s" in done.stderr


@pytest.mark.usefixtures("fast")
def test_ctrl_c_shows_what_was_seen_so_far(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.answers[PATH] = [use(float(at), 480) for at in range(500)]
    argv = [sys.executable, "-m", "roheletd", "profile", "web", "--for", "1h", "-o", "json"]
    watching = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROHELETD_DATA_DIR": str(tmp_path)},
    )
    for _ in itertools.takewhile(lambda _: len(daemon.requests) < 40, range(3000)):
        time.sleep(0.01)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == 0, err
    assert json.loads(out)["services"][0]["cores"] == [480]


@pytest.mark.usefixtures("fast")
def test_a_daemon_that_ends_while_it_is_watched_does_not_take_the_samples_along(
    daemon: FakeDaemon, roheletd: Run
) -> None:
    broken = b"this is no JSON"
    daemon.answers[PATH] = [*(use(float(at), 480) for at in range(25)), broken]
    done = roheletd("profile", "web", "--for", "1h", "-o", "json")
    assert done.returncode == 0
    assert "note: watched until" in done.stderr
