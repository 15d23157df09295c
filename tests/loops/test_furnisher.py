"""What an instance includes becomes variables and files, and a refusal that repeats no value."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from roheletd.cluster.commands import AddServices, Place, SetConfigMap, SetSecret
from roheletd.cluster.container import Container
from roheletd.cluster.orders import specifications
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.engines import EngineError
from roheletd.engines.files import ValueFolders
from roheletd.loops.furnisher import VARIABLE_BYTES_MAX, Furnisher
from roheletd.model import Placement
from roheletd.upkeep import Inclusion
from roheletd.vault import Vault
from tests.builders import Driver, a_service, with_services

MARKER = "hunter2-5d1c"


class Stage:
    """A node `pi` with one instance of `web`, which includes what a test says."""

    def __init__(self, root: Path) -> None:
        self.vault = Vault(bytes(32))
        self.driver: Driver = with_services()
        self.folders = ValueFolders(root)
        self.furnisher = Furnisher(state=self.driver.state, vault=self.vault, folders=self.folders)

    def config_map(self, name: str, **values: bytes) -> None:
        self.driver.apply(SetConfigMap(name=name, values=values))

    def secret(self, name: str, **values: bytes) -> None:
        sealed = {key: self.vault.seal(name, key, value) for key, value in values.items()}
        self.driver.apply(SetSecret(name=name, values=sealed))

    def place(self, **service: object) -> InstanceSpec:
        self.driver.apply(AddServices(services=(a_service(**service),)))
        revision = self.driver.state.services["web"].revision
        at = Placement(instance="web.0", service="web", node="pi", revision=revision)
        self.driver.apply(Place(placements=(at,)))
        return self.spec()

    def spec(self) -> InstanceSpec:
        return specifications(self.driver.state, cluster="edge", node="pi")["web.0"]


@pytest.fixture
def stage() -> Iterator[Stage]:
    root = Path(mkdtemp(dir="/dev/shm"))
    yield Stage(root / "files")
    shutil.rmtree(root, ignore_errors=True)


def files_of(spec: InstanceSpec) -> dict[str, dict[str, bytes]]:
    return {
        it.path: {path.name: path.read_bytes() for path in Path(it.source).iterdir()}
        for it in spec.files
    }


def test_without_a_path_each_key_is_a_variable_and_the_service_s_own_word_counts_more(
    stage: Stage,
) -> None:
    stage.config_map("base", LEVEL=b"info", COLOUR=b"red", HOST=b"a")
    stage.secret("db", PASSWORD=MARKER.encode(), HOST=b"b")
    spec = stage.place(
        config_maps=(Inclusion(name="base"),),
        secrets=(Inclusion(name="db"),),
        env={"LEVEL": "debug"},
    )
    env = stage.furnisher.furnish(spec).env
    assert {key: env[key] for key in ("LEVEL", "COLOUR", "HOST", "PASSWORD")} == {
        "LEVEL": "debug",
        "COLOUR": "red",
        "HOST": "b",
        "PASSWORD": MARKER,
    }
    assert env["ROHE_INSTANCE"] == "web.0"


def test_with_a_path_each_key_is_a_file_and_what_has_one_path_is_one_folder(stage: Stage) -> None:
    stage.config_map("conf", **{"a.conf": b"1\n"})
    stage.secret("db", key=b"\xff\0")
    stage.secret("tls-1", cert=b"c")
    spec = stage.furnisher.furnish(
        stage.place(
            config_maps=(Inclusion(name="conf", path="/etc/web"),),
            secrets=(
                Inclusion(name="db", path="/run/secrets"),
                Inclusion(name="tls-1", path="/run/secrets/"),
            ),
        )
    )
    assert files_of(spec) == {
        "/etc/web": {"a.conf": b"1\n"},
        "/run/secrets": {"key": b"\xff\0", "cert": b"c"},
    }
    assert [it.variables for it in spec.files] == [
        ("ROHE_CONFIG_MAP_CONF",),
        ("ROHE_SECRET_DB", "ROHE_SECRET_TLS_1"),
    ]


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "owner"), [("1000", 1000), ("1000:5", 1000), ("app", 0), ("0", 0), (None, 0)]
)
def test_files_of_secrets_belong_to_a_user_that_is_a_number(
    stage: Stage, user: str | None, owner: int
) -> None:
    stage.secret("db", key=b"k")
    secrets = (Inclusion(name="db", path="/s"),)
    spec = stage.furnisher.furnish(stage.place(secrets=secrets, user=user))
    assert (Path(spec.files[0].source) / "key").stat().st_uid == owner


def test_a_specification_holds_no_value_and_changes_with_the_version(stage: Stage) -> None:
    stage.secret("db", PASSWORD=MARKER.encode())
    first = stage.place(secrets=(Inclusion(name="db"),))
    assert MARKER not in repr(first)
    stage.secret("db", PASSWORD=b"other")
    assert stage.spec() == first, "until the rollout comes to it"
    second = stage.place(secrets=(Inclusion(name="db"),))
    assert second.digest != first.digest
    assert stage.furnisher.furnish(second).env["PASSWORD"] == "other"
    assert stage.furnisher.furnish(first).env["PASSWORD"] == MARKER


def test_a_container_that_is_started_again_has_its_files_again(stage: Stage) -> None:
    stage.secret("db", key=b"k")
    spec = stage.place(secrets=(Inclusion(name="db", path="/s"),))
    furnished = stage.furnisher.furnish(spec)
    shutil.rmtree(furnished.files[0].source)  # the machine was restarted
    stage.furnisher.expect({"web.0": spec}, ())
    stage.furnisher.renew("web.0")
    assert files_of(furnished) == {"/s": {"key": b"k"}}
    stage.furnisher.renew("unknown.1")


def test_files_go_once_the_instance_is_neither_wanted_nor_there(stage: Stage) -> None:
    stage.secret("db", key=b"k")
    spec = stage.place(secrets=(Inclusion(name="db", path="/s"),))
    source = Path(stage.furnisher.furnish(spec).files[0].source)
    there = Container(id="c", instance="web.0", digest=spec.digest, state="running")
    stage.furnisher.expect({}, (there,))
    assert source.exists()
    stage.furnisher.expect({}, ())
    assert not source.exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MARKER.encode() + b"\xff", "secret db, key KEY: no text; give it a path"),
        (MARKER.encode() + b"\0", "secret db, key KEY: NUL cannot be in a variable"),
        (MARKER.encode() * (VARIABLE_BYTES_MAX // 10), "secret db, key KEY: too long"),
    ],
)
def test_what_cannot_be_a_variable_is_refused_without_showing_it(
    value: bytes, expected: str, stage: Stage
) -> None:
    stage.secret("db", KEY=value)
    spec = stage.place(secrets=(Inclusion(name="db"),))
    with pytest.raises(EngineError, match=expected) as refused:
        stage.furnisher.furnish(spec)
    assert MARKER not in str(refused.value)
    assert not refused.value.retry


def test_a_secret_of_another_cluster_key_is_refused_with_the_remedy(stage: Stage) -> None:
    stage.vault = Vault(b"x" * 32)
    stage.secret("db", KEY=b"k")
    spec = stage.place(secrets=(Inclusion(name="db"),))
    with pytest.raises(EngineError, match="secret db, key KEY: it was not encrypted with this"):
        stage.furnisher.furnish(spec)
