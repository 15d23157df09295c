"""`roheletd export`: YAML that can be applied, comments for the rest, secrets only when asked."""

from pathlib import Path

import msgspec
import yaml

from roheletd.api.configuration import Values
from roheletd.api.exports import Manifests, RoheResources
from roheletd.kubernetes import Site, exported
from roheletd.upkeep import Inclusion
from tests.builders import a_service
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon

WEB = a_service("web", image="w:1", sensitivity=3, secrets=(Inclusion(name="My_Keys"),))
FOUND = exported(Site(services=(WEB,), secrets={"My_Keys": ("key",)}))
ANSWER = Manifests(manifests=FOUND.manifests, notes=FOUND.notes, secrets=FOUND.secrets)
PATH = "GET /api/v1/export/kubernetes"


def test_manifests_are_yaml_documents_with_comments(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = ANSWER
    done = roheletd("export", "kubernetes")
    documents = list(yaml.safe_load_all(done.stdout))
    assert documents == [msgspec.to_builtins(it.object) for it in ANSWER.manifests]
    assert "# left out: `sensitivity`" in done.stdout
    assert "note: needed before: kubectl create secret generic my-keys-" in done.stderr


def test_a_selection_and_pinning_are_asked_for(daemon: FakeDaemon, roheletd: Run) -> None:
    query = "services=web%2Ccache&application=shop&pin=true"
    daemon.answers[f"{PATH}?{query}"] = ANSWER
    done = roheletd("export", "kubernetes", "web", "cache", "--application", "shop", "--pin")
    assert done.returncode == 0, done.stderr


def test_secrets_are_written_only_where_somebody_asks(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = ANSWER
    daemon.answers["GET /api/v1/secrets/My_Keys"] = Values(
        name="My_Keys", version=1, keys=("b", "key"), services=(), data={"key": "x"}, binary={}
    )
    done = roheletd("export", "kubernetes", "--with-secrets")
    secret, *_ = yaml.safe_load_all(done.stdout)
    assert (secret["kind"], secret["data"]) == ("Secret", {"key": "eA=="})
    assert "kubectl create secret" not in done.stderr


def test_json_is_the_daemons_own_answer(daemon: FakeDaemon, roheletd: Run) -> None:
    daemon.answers[PATH] = ANSWER
    done = roheletd("export", "kubernetes", "-o", "json")
    assert done.stdout.encode() == msgspec.json.encode(ANSWER) + b"\n"


def test_rohes_resources_are_one_yaml_document(daemon: FakeDaemon, roheletd: Run) -> None:
    empty = RoheResources(nodes={}, microservices={}, deployments=(), configmaps=())
    daemon.answers["GET /api/v1/export/rohe"] = empty
    done = roheletd("export", "rohe")
    assert yaml.safe_load(done.stdout) == msgspec.to_builtins(empty, builtin_types=()) | {
        "deployments": [],
        "configmaps": [],
    }


def test_an_unknown_service_is_told(daemon: FakeDaemon, roheletd: Run, tmp_path: Path) -> None:
    problem = (404, b'{"error": "not found", "reason": "there is no service gone"}')
    daemon.answers[f"{PATH}?services=gone"] = problem
    done = roheletd("export", "kubernetes", "gone")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no service gone" in done.stderr
