"""configmap and secret as processes: what is sent, what is shown, and what is never repeated."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from roheletd.api import views
from roheletd.api.configuration import Kept, Secrets, Values
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon

MARKER = "hunter2-5d1c"
DONE = views.Changes(changed={"db": "updated"}, notes=("service web is rolled out with it",))
SHOWN = Values(
    name="db",
    version=7,
    keys=("cert.pem", "host", "raw"),
    services=("web",),
    data={"host": "pi1", "cert.pem": "BEGIN\nEND\n"},
    binary={"raw": b"\xff\0"},
)


@pytest.fixture(params=["configmap", "secret"])
def family(request: pytest.FixtureRequest, daemon: FakeDaemon) -> str:
    name: str = request.param
    daemon.answers |= {
        f"POST /api/v1/{name}s": DONE,
        f"GET /api/v1/{name}s/db": SHOWN,
        f"DELETE /api/v1/{name}s/db": views.Changes(changed={"db": "removed"}),
    }
    return name


def test_values_come_from_words_files_and_lines(
    family: str, daemon: FakeDaemon, roheletd: Run, tmp_path: Path
) -> None:
    (tmp_path / "key.der").write_bytes(b"\xff\0")
    (tmp_path / "more.conf").write_text("a = 1\n")
    (tmp_path / "env").write_text("# of the shop\n\nLEVEL=a=b \n port=1\n")
    done = roheletd(
        *(family, "set", "db", "user=shop", "empty="),
        *("--file", f"tls={tmp_path / 'key.der'}", "--file", str(tmp_path / "more.conf")),
        *("--from-env-file", str(tmp_path / "env"), "--replace"),
    )
    assert done.returncode == 0, done.stderr
    assert daemon.requests[0].body == {
        "name": "db",
        "data": {
            "user": "shop",
            "empty": "",
            "more.conf": "a = 1\n",
            "LEVEL": "a=b ",
            "port": "1",
        },
        "binary": {"tls": "/wA="},
        "replace": True,
    }
    assert done.stdout == "db  updated\n  ! service web is rolled out with it\n"


@pytest.mark.parametrize("words", [["password", "-"], ["password"]])
def test_a_value_is_read_from_standard_input_less_the_last_newline(
    words: list[str], family: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    assert roheletd(family, "set", "db", *words, text=f"{MARKER}\n\n").returncode == 0
    assert daemon.requests[0].body["data"] == {"password": f"{MARKER}\n"}


def test_on_a_terminal_a_value_is_asked_for_and_not_shown(
    daemon: FakeDaemon, family: str, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "roheletd", family, "set", "db", "password"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "ROHELETD_DATA_DIR": str(tmp_path)},
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    deadline_s = time.monotonic() + 20
    while b"password: " not in seen and time.monotonic() < deadline_s:
        seen += os.read(ours, 1000)
    os.write(ours, f"{MARKER}\n".encode())
    assert child.wait(timeout=20) == 0
    try:
        while more := os.read(ours, 1000):
            seen += more
    except OSError:
        pass
    os.close(ours)
    assert MARKER.encode() not in seen
    assert daemon.requests[0].body["data"] == {"password": MARKER}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "at least one key"),
        ([f"a/b={MARKER}"], "expected letters, digits"),
        (["..=x"], "expected letters, digits"),
        ([f"a={MARKER}", "a=2"], "a: expected each key once"),
        (["--from-env-file", "ENV"], "line 2: expected KEY=VALUE"),
        (["--file", "k=/nowhere"], "/nowhere: expected a readable file"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line_without_the_value(
    words: list[str], expected: str, family: str, roheletd: Run, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text(f"A=1\n{MARKER}\n")
    asked = [word.replace("ENV", str(tmp_path / "env")) for word in words]
    done = roheletd(family, "set", "db", *asked)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert expected in done.stderr
    assert MARKER not in done.stderr


def test_one_key_is_printed_as_it_is(family: str, daemon: FakeDaemon, roheletd: Run) -> None:
    assert roheletd(family, "get", "db", "cert.pem").stdout == "BEGIN\nEND\n"
    assert roheletd(family, "get", "db", "host").stdout == "pi1"
    done = roheletd(family, "get", "db", "nope")
    assert done.returncode == 1
    assert "expected one of cert.pem, host, raw" in done.stderr


def test_all_keys_are_laid_out_for_people_and_given_whole_to_programs(
    family: str, daemon: FakeDaemon, roheletd: Run
) -> None:
    shown = roheletd(family, "get", "db").stdout
    assert shown == "cert.pem:\n  BEGIN\n  END\nhost: pi1\nraw: (2 bytes, no text)\n"
    answer = roheletd(family, "get", "db", "-o", "json").stdout
    assert msgspec.json.decode(answer, type=Values) == SHOWN


def test_they_are_listed_with_who_uses_them(daemon: FakeDaemon, roheletd: Run) -> None:
    kept = Kept(name="db", version=7, keys=("host", "password"), services=("shop", "web"))
    daemon.answers["GET /api/v1/secrets"] = Secrets(secrets=(kept,))
    shown = roheletd("secret", "list").stdout.split("\n")
    assert shown[0].split() == ["NAME", "KEYS", "SERVICES", "VERSION"]
    assert shown[1].split() == ["db", "host,", "password", "shop,", "web", "7"]
    daemon.answers["GET /api/v1/secrets"] = Secrets(secrets=())
    assert roheletd("secret", "list").stdout == "there is none\n"


def test_one_is_removed(family: str, daemon: FakeDaemon, roheletd: Run) -> None:
    assert roheletd(family, "remove", "db").stdout == "db  removed\n"
