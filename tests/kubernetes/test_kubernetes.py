"""Manifests for Kubernetes: valid by its published schemas, and true to what is agreed here."""

import re
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.fields import HOST_NAME_PATTERN, USER_PATTERN, WORKING_DIR_PATTERN
from roheletd.kubernetes import Export, Site, exported
from roheletd.kubernetes.names import name_of
from roheletd.model import Neighbour, Port, Service
from roheletd.upkeep import (
    ExecCheck,
    HealthCheck,
    HttpCheck,
    Inclusion,
    TcpCheck,
    UpdatePolicy,
    Volume,
)
from tests.builders import a_node, a_service

VERSIONS = ("1.28", "1.37")
"""The oldest that K3s sites are likely to run, and the newest that is published."""
RFC_1035 = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
RFC_1123 = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

FULL = a_service(
    "Web_1",
    application="shop",
    image="w:1",
    command=("serve", "$(HOME)"),
    env={"A": "1", "B": "$(A)"},
    replicas=3,
    cores=(500, 250),
    memory_mib=64,
    accelerators={"gpu": 30},
    architectures=("aarch64",),
    constraints=("node.labels.zone == hall", "node.labels.rack >= 3", "node.name != pi3"),
    affinity=(Neighbour(service="cache"),),
    anti_affinity=(Neighbour(service="batch", over="zone"),),
    spread_over="rack",
    ports=(Port(container_port=80, service_port=8080), Port(container_port=53, protocol="udp")),
    labels={"team": "a", "note": "two words", "/": "x"},
    health=HealthCheck(http=HttpCheck(port=80, path="/ok"), interval_s=5.0, healthy_after=2),
    update=UpdatePolicy(parallel=2, order="start-first", healthy_for_s=3.0, deadline_s=60.0),
    min_available=2,
    volumes=(
        Volume(path="/host", host_path="/srv/x", read_only=True),
        Volume(path="/tmp", tmpfs_mib=16),
    ),
    config_maps=(Inclusion(name="conf", path="/etc/web"), Inclusion(name="env")),
    secrets=(Inclusion(name="keys", path="/run/secrets"),),
    reschedule_after_s=7.5,
)
SITE = Site(
    services=(FULL,),
    nodes=(a_node("pi1", labels={"zone": "hall", "rack": "3", "other": "x"}), a_node("pi2")),
    places={"Web_1": ("pi1", "pi2")},
    config_maps={"conf": {"web.ini": b"[web]\n", "logo": b"\xff"}, "env": {"C": b"d"}},
    secrets={"keys": ("cert", "key")},
)


def valid(found: Export, *versions: str) -> Export:
    for manifest in found.manifests:
        for version in versions or VERSIONS:
            kubernetes_validate.validate(manifest.object, version, strict=True)
        assert RFC_1123.fullmatch(manifest.object["metadata"]["name"])
    return found


def of(service: Service, *, pin: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The objects of one service by kind, and what is said about them."""
    site = Site(services=(service,), places={service.name: ("pi1",)})
    found = valid(exported(site, pin=pin))
    notes = [note for manifest in found.manifests for note in manifest.notes]
    return {it.object["kind"]: it.object for it in found.manifests}, [*found.notes, *notes]


def pod_of(service: Service, *, pin: bool = False) -> dict[str, Any]:
    objects, _ = of(service, pin=pin)
    pod: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return pod


def test_a_full_service_becomes_these_objects() -> None:
    found = valid(exported(SITE, pin=True))
    kinds = [it.object["kind"] for it in found.manifests]
    assert kinds == ["ConfigMap", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget"]
    assert found.secrets == {"keys": "keys"}
    create = "kubectl create secret generic keys --from-literal=cert=... --from-literal=key=..."
    label = "kubectl label node pi1 rack=3 zone=hall"
    assert found.notes == (f"needed before: {create}", f"needed before: {label}")


def test_limits_requests_and_selector_are_there_which_rohes_lacked() -> None:
    objects, _ = of(FULL)
    deployment, service = objects["Deployment"], objects["Service"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    resources = {"cpu": "750m", "memory": "64Mi", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"limits": resources, "requests": resources}
    selector = {"app.kubernetes.io/name": name_of("Web_1")}
    assert deployment["spec"]["selector"]["matchLabels"] == selector
    assert service["spec"]["selector"] == selector
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_an_update_keeps_its_order_its_width_and_its_patience() -> None:
    spec = of(FULL)[0]["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 0}
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"]) == (3, 60)
    plain = of(a_service("w", image="w"))[0]["Deployment"]["spec"]
    assert plain["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert of(FULL)[0]["PodDisruptionBudget"]["spec"]["minAvailable"] == 2


def test_a_port_of_every_node_is_that_of_a_load_balancer() -> None:
    spec = of(FULL)[0]["Service"]["spec"]
    assert spec["type"] == "LoadBalancer"
    assert [(it["port"], it["targetPort"], it["protocol"]) for it in spec["ports"]] == [
        (8080, 80, "TCP"),
        (53, 53, "UDP"),
    ]
    quiet = a_service("w", image="w", ports=(Port(container_port=80),))
    assert of(quiet)[0]["Service"]["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize(
    ("check", "asked"),
    [
        (HealthCheck(http=HttpCheck(port=80)), {"httpGet": {"path": "/", "port": 80}}),
        (HealthCheck(tcp=TcpCheck(port=80)), {"tcpSocket": {"port": 80}}),
        (HealthCheck(exec=ExecCheck(command=("ok",))), {"exec": {"command": ["ok"]}}),
    ],
)
def test_a_health_check_becomes_probes(check: HealthCheck, asked: dict[str, Any]) -> None:
    (container,) = pod_of(a_service("w", image="w", health=check))["containers"]
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert asked.items() <= container[probe].items()
    # Failures do not count for 30 s.
    assert container["startupProbe"]["periodSeconds"] == 1
    assert container["startupProbe"]["failureThreshold"] == 30


def test_the_pod_goes_where_the_service_may_go() -> None:
    affinity = pod_of(FULL)["affinity"]
    (terms,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert terms["matchExpressions"] == [
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
        {"key": "zone", "operator": "In", "values": ["hall"]},
        {"key": "rack", "operator": "Gt", "values": ["2"]},
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["pi3"]},
    ]
    (near,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["topologyKey"] == "kubernetes.io/hostname"
    (apart,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert (apart["topologyKey"], apart["labelSelector"]["matchLabels"]) == (
        "zone",
        {"app.kubernetes.io/name": "batch"},
    )
    (spread,) = pod_of(FULL)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "rack"


def test_pinned_it_runs_only_where_it_is_now() -> None:
    expected = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["pi1"]}
    service = a_service("w", image="w")
    (terms,) = pod_of(service, pin=True)["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert terms["matchExpressions"] == [expected]
    assert "affinity" not in pod_of(service)


def test_a_lost_nodes_pods_are_moved_as_soon_as_here() -> None:
    tolerations = pod_of(FULL)["tolerations"]
    assert {it["tolerationSeconds"] for it in tolerations} == {8}


def test_files_and_variables_come_from_config_maps_and_secrets() -> None:
    pod = pod_of(FULL)
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "env"}}]
    volumes = {it["name"]: it for it in pod["volumes"]}
    at = {it["mountPath"]: volumes[it["name"]] for it in container["volumeMounts"]}
    assert at["/host"]["hostPath"] == {"path": "/srv/x"}
    assert at["/tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Mi"}
    assert at["/run/secrets"]["projected"] == {
        "sources": [{"secret": {"name": "keys"}}],
        "defaultMode": 0o400,
    }
    assert at["/etc/web"]["projected"]["sources"] == [{"configMap": {"name": "conf"}}]


def test_one_folder_is_one_mount_however_it_is_written() -> None:
    secrets = (
        Inclusion(name="a", path="/run/secrets"),
        Inclusion(name="b", path="//run/./secrets/"),
        Inclusion(name="c", path="/etc/c"),
    )
    pod = pod_of(a_service(secrets=secrets, config_maps=(Inclusion(name="c", path="/etc/c/"),)))
    mounts = {it["mountPath"]: it["name"] for it in pod["containers"][0]["volumeMounts"]}
    assert [*mounts] == ["/etc/c", "/run/secrets"]
    projected = {it["name"]: it["projected"] for it in pod["volumes"]}
    assert len(projected[mounts["/run/secrets"]]["sources"]) == 2
    assert projected[mounts["/run/secrets"]]["defaultMode"] == 0o400
    assert projected[mounts["/etc/c"]]["defaultMode"] == 0o444


def test_two_ports_of_one_number_are_not_both_in_a_service_there() -> None:
    ports = (Port(container_port=80, service_port=8080), Port(container_port=8080))
    objects, notes = of(a_service(ports=ports))
    assert [it["targetPort"] for it in objects["Service"]["spec"]["ports"]] == [80]
    assert "left out: a way to its port 8080, which is that of another one there" in notes


def test_what_is_no_text_in_a_config_map_is_binary_data() -> None:
    conf = valid(exported(SITE)).manifests[0].object
    assert (conf["data"], conf["binaryData"]) == ({"web.ini": "[web]\n"}, {"logo": "/w=="})


def test_a_dollar_and_a_parenthesis_stay_text() -> None:
    (container,) = pod_of(FULL)["containers"]
    assert container["args"] == ["serve", "$$(HOME)"]
    assert container["env"][1] == {"name": "B", "value": "$$(A)"}


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, (), {}),
        (None, ("a",), {"args": ["a"]}),
        (("run", "$(X)"), (), {"command": ["run", "$$(X)"]}),
        (("run",), ("a", "b"), {"command": ["run"], "args": ["a", "b"]}),
        ((), ("a", "b"), {"command": ["a", "b"]}),
    ],
)
def test_an_entrypoint_is_the_command_there_and_a_command_its_arguments(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], expected: dict[str, Any]
) -> None:
    (container,) = pod_of(a_service(entrypoint=entrypoint, command=command))["containers"]
    assert {key: container[key] for key in ("command", "args") if key in container} == expected


def test_a_user_by_number_reads_its_secrets_there_as_well() -> None:
    secrets = (Inclusion(name="keys", path="/run/secrets"),)
    pod = pod_of(a_service(user="1000:50", read_only=True, working_dir="/srv", secrets=secrets))
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "runAsUser": 1000,
        "runAsGroup": 50,
    }
    assert container["workingDir"] == "/srv"
    assert pod["securityContext"] == {"fsGroup": 50}
    alone = pod_of(a_service(user="1000", secrets=secrets))
    assert alone["containers"][0]["securityContext"] == {"runAsUser": 1000}
    assert alone["securityContext"] == {"fsGroup": 1000}
    for other in (
        a_service(user="1000"),
        a_service(user="0", secrets=secrets),
        a_service(user="1000", secrets=(Inclusion(name="keys", path="/s", any_user=True),)),
        a_service(user="1000", secrets=(Inclusion(name="keys"),)),
    ):
        assert "securityContext" not in pod_of(other)


@pytest.mark.parametrize("user", ["app", "app:5", "1000:video"])
def test_a_user_by_name_is_left_out_and_said(user: str) -> None:
    objects, notes = of(a_service(user=user))
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "securityContext" not in container
    assert any(f"left out: `user: {user}`, for users and groups are numbers" in it for it in notes)


def test_a_host_name_is_that_of_the_pod_where_it_can_be() -> None:
    assert pod_of(a_service(hostname="cam-1"))["hostname"] == "cam-1"
    data = (Volume(path="/data", name="data"),)
    for service, why in (
        (a_service(hostname="Cam.hall"), "`hostname: Cam.hall`, which is no name of a pod"),
        (a_service(hostname="cam", replicas=2, volumes=data), "a StatefulSet names its pods"),
    ):
        objects, notes = of(service)
        kind = "Deployment" if "Deployment" in objects else "StatefulSet"
        assert "hostname" not in objects[kind]["spec"]["template"]["spec"]
        assert any(why in note for note in notes)


def test_volumes_of_several_instances_make_a_stateful_set() -> None:
    data = (Volume(path="/data", name="data"),)
    one, _ = of(a_service("db", image="d", volumes=data))
    assert one["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "Deployment" in one
    several, notes = of(a_service("db", image="d", replicas=2, volumes=data))
    (claim,) = several["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data-data"
    assert "is a StatefulSet there, for each instance has volumes of its own" in notes


def test_what_kubernetes_has_no_word_for_is_said() -> None:
    service = a_service(
        "w",
        image="w",
        accelerators={"gpu": 30, "tpu": 10},
        sensitivity=3,
        warm_spare=True,
        stop_signal="SIGINT",
        constraints=("node.memory_mib >= 2048", "node.labels.v >= 1.5"),
    )
    _, notes = of(service)
    said = "\n".join(notes)
    for expected in (
        "needs 30 percent of a GPU here, and gets a whole one there",
        "left out: 10 percent of an accelerator `tpu`",
        "`sensitivity`",
        "`warm_spare`",
        "`stop_signal`",
        "knows no such fact of a node: `node.memory_mib >= 2048`",
        "compares whole numbers only: `node.labels.v >= 1.5`",
        "kubectl rollout undo",
    ):
        assert expected in said


def test_a_service_of_the_process_engine_is_left_out_and_said() -> None:
    found = exported(Site(services=(a_service("p", image="", command=("sleep", "1")),)))
    assert found.manifests == ()
    assert found.notes == ("service p has no image, and is left out",)


def test_names_that_differ_here_differ_there() -> None:
    names = ["web", "Web", "web_1", "web-1", "x" * 63, "X" * 63, "a-", "_", "9", "x9", "9" * 63]
    assert len({name_of(name) for name in names}) == len(names)
    assert all(RFC_1035.fullmatch(name_of(name)) for name in names)
    assert (name_of("web-1"), name_of("x" * 63)) == ("web-1", "x" * 63)


# --- whatever the service

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True)
_LABELS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,80}", fullmatch=True)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_PATHS = st.from_regex(r"/[a-z]{1,9}(/[a-z]{1,9}){0,2}", fullmatch=True)
_INCLUSIONS = st.builds(Inclusion, name=_NAMES, path=st.none() | _PATHS, any_user=st.booleans())
_VOLUMES = st.builds(Volume, path=_PATHS, name=_NAMES) | st.builds(
    Volume, path=_PATHS, tmpfs_mib=st.integers(1, 99)
)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


_SERVICES = st.builds(
    Service,
    name=_NAMES,
    application=_NAMES,
    image=st.just("w:1"),
    command=lists(_TEXT),
    entrypoint=st.none() | lists(_TEXT),
    user=st.none() | st.from_regex(USER_PATTERN, fullmatch=True),
    working_dir=st.none() | st.from_regex(WORKING_DIR_PATTERN, fullmatch=True),
    hostname=st.none() | st.from_regex(HOST_NAME_PATTERN, fullmatch=True),
    read_only=st.booleans(),
    env=st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), _TEXT, max_size=3),
    replicas=st.integers(0, 5),
    cpu_millicores=st.integers(0, 9000),
    memory_mib=st.integers(0, 9000),
    accelerators=st.dictionaries(st.sampled_from(["gpu", "tpu"]), st.integers(0, 100)),
    architectures=lists(_NAMES),
    constraints=lists(
        st.builds(
            "node.labels.{} {} {}".format,
            _LABELS,
            st.sampled_from(["==", "!=", "<", ">="]),
            st.sampled_from(["1", "a b", "x", "-3", "é"]),
        )
    ),
    affinity=lists(st.builds(Neighbour, service=_NAMES, over=st.none() | _LABELS)),
    spread_over=st.none() | _LABELS,
    ports=lists(st.builds(Port, container_port=st.integers(1, 65535))),
    labels=st.dictionaries(_TEXT | _LABELS, _TEXT, max_size=3),
    min_available=st.none() | st.integers(0, 5),
    volumes=lists(_VOLUMES),
    config_maps=lists(_INCLUSIONS),
    secrets=lists(_INCLUSIONS),
    stop_grace_s=st.floats(0, 3600),
)


@settings(max_examples=25, deadline=None)
@given(_SERVICES)
def test_whatever_the_service_its_manifests_are_valid(service: Service) -> None:
    site = Site(services=(service,), places={service.name: ("pi1",)})
    valid(exported(site, pin=True), VERSIONS[-1])
