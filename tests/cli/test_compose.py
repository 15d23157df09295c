"""Compose files on the command line: what is sent, in which order, and what is told."""

import json
from pathlib import Path

import pytest

from roheletd.api import views
from tests.builders import a_service
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon
from tests.cli.test_planning import on_terminal

COMPOSE = """\
x-common: &common
  restart: always
services:
  web:
    <<: *common
    image: nginx:${TAG:-1}
    env_file: web.env
    ports: ["8080:80"]
    configs: [{source: pages, target: /etc/web/pages.ini}]
    secrets: [key]
configs: {pages: {file: pages.ini}}
secrets: {key: {file: key.bin}}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder `shop` with a Compose file and what it refers to."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "web.env").write_text("A=${FROM_DOT_ENV}\n")
    (folder / ".env").write_text("TAG=2\nFROM_DOT_ENV=x\n")
    (folder / "pages.ini").write_text("[pages]\n")
    (folder / "key.bin").write_bytes(b"\xff")
    (folder / "compose.yaml").write_text(COMPOSE)
    return folder / "compose.yaml"


def answers(daemon: FakeDaemon) -> None:
    daemon.answers |= {
        "GET /api/v1/services": views.Services(services=()),
        "POST /api/v1/configmaps": views.Changes(
            changed={"shop_pages": "updated"}, notes=("service web is rolled out with it",)
        ),
        "POST /api/v1/secrets": views.Changes(changed={"shop_key": "added"}),
        "POST /api/v1/plan": samples.PLAN,
        "POST /api/v1/apply": samples.APPLIED,
        "POST /api/v1/what-if": samples.WHAT_IF,
    }


def test_values_are_set_before_the_services_that_are_given_them(
    daemon: FakeDaemon, roheletd: Run, shop: Path
) -> None:
    answers(daemon)
    done = roheletd("apply", "-f", str(shop))
    assert done.returncode == 0, done.stderr
    _listing, maps, secrets, applied = daemon.requests
    assert maps.body == {
        "name": "shop_pages",
        "data": {"pages.ini": "[pages]\n"},
        "binary": {},
        "replace": True,
    }
    assert (secrets.path, secrets.body["binary"]) == ("/api/v1/secrets", {"key": "/w=="})
    (web,) = applied.body["services"]
    assert (web["application"], web["image"], web["env"]) == ("shop", "nginx:2", {"A": "x"})
    assert "note: config map shop_pages: updated" in done.stderr
    assert "note: service web is rolled out with it" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "what-if"])
def test_looking_ahead_sets_nothing_and_names_what_will_be_there(
    verb: str, daemon: FakeDaemon, roheletd: Run, shop: Path
) -> None:
    answers(daemon)
    done = roheletd(verb, "-f", str(shop))
    assert done.returncode == 0, done.stderr
    *_, request = daemon.requests
    assert {it.path for it in daemon.requests} <= {f"/api/v1/{verb}", "/api/v1/services"}
    assert (request.body["config_maps"], request.body["secrets"]) == (["shop_pages"], ["shop_key"])


def test_the_environment_goes_before_the_file_of_variables(
    daemon: FakeDaemon, roheletd: Run, shop: Path
) -> None:
    answers(daemon)
    roheletd("what-if", "-f", str(shop), TAG="3")
    assert daemon.requests[0].body["services"][0]["image"] == "nginx:3"


def test_a_compose_file_may_come_from_standard_input(daemon: FakeDaemon, roheletd: Run) -> None:
    answers(daemon)
    done = roheletd("what-if", "-f", "-", text="services: {web: {image: w}}")
    assert done.returncode == 0, done.stderr
    assert daemon.requests[0].body["services"][0]["name"] == "web"


def test_what_is_not_supported_refuses_the_file_unless_it_may_be_left_out(
    daemon: FakeDaemon, roheletd: Run, tmp_path: Path
) -> None:
    answers(daemon)
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  web:\n    image: w\n    privileged: true\n    ipc: host\n")
    refused = roheletd("apply", "-f", str(file))
    assert (refused.returncode, daemon.requests) == (1, [])
    assert "\n  line 4: services.web.privileged is not supported: containers" in refused.stderr
    assert "\n  line 5: services.web.ipc is not supported" in refused.stderr
    assert "--ignore-unsupported" in refused.stderr
    done = roheletd("apply", "-f", str(file), "--ignore-unsupported")
    assert done.returncode == 0
    assert "note: line 4: services.web.privileged is not supported" in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("services: {web: {image: '${GONE}'}}", "line 1: services.web.image: variable GONE"),
        ("services: {web: {image: w, env_file: gone}}", "expected a file that is there, got gone"),
        ("services: {web: {image: w, env_file: /}}", "/: expected a readable file"),
        ("services: &a {web: *a}", "expected an anchor that ends before here"),
        ("services:\n\tweb: w", "line 2, column 1: expected YAML"),
        ("services: {web: {image: w}} #" + "x" * 10_000_000, "expected at most 1048576 bytes"),
        ("services: [{name: w, <<: {a: b}}]", "merge keys are not read"),
    ],
)
def test_a_file_that_is_wrong_reaches_no_daemon(
    text: str, reason: str, daemon: FakeDaemon, roheletd: Run, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    done = roheletd("apply", "-f", str(file))
    assert (done.returncode, daemon.requests) == (1, [])
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_nothing_is_set_before_somebody_says_yes(
    daemon: FakeDaemon, shop: Path, tmp_path: Path
) -> None:
    answers(daemon)
    done = on_terminal("apply", "-f", str(shop), tmp_path=tmp_path, typed="n\n")
    assert done.code == 1
    assert "6 changes, and config map shop_pages and secret shop_key to set" in done.seen
    paths = [request.path for request in daemon.requests]
    assert paths == ["/api/v1/services", "/api/v1/plan"]


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_service_of_another_application_is_not_overwritten(
    verb: str, daemon: FakeDaemon, roheletd: Run, shop: Path
) -> None:
    answers(daemon)
    other = views.ServiceView(
        service=a_service("web", application="blog"), revision=1, placed=0, running=0
    )
    daemon.answers["GET /api/v1/services"] = views.Services(services=(other,))
    done = roheletd(verb, "-f", str(shop))
    assert (done.returncode, len(daemon.requests)) == (1, 1)
    assert "there is a service web of the application blog already" in done.stderr


def test_the_table_of_what_is_supported_needs_no_daemon(roheletd: Run) -> None:
    as_text = roheletd("compose", "support").stdout
    assert "| `deploy.update_config.order` | yes |" in as_text
    found = {it["key"]: it for it in json.loads(roheletd("compose", "support", "-ojson").stdout)}
    assert found["services.*.privileged"]["supported"] == "no"
    assert found["services.*.networks"]["supported"] == "no effect"
