"""What an engine's answers mean, where the suite's real engines cannot be made to give them."""

import pytest

from roheletd.cluster.reconcile import Surroundings
from roheletd.engines import PortTaken, docker_api
from roheletd.engines.docker_api import Refusal
from roheletd.model import Gpu, PortBinding
from tests.engines.conftest import make_spec

OURS = {
    "rohe.cluster": "edge",
    "rohe.node": "n1",
    "rohe.service": "web",
    "rohe.instance": "web.1",
    "rohe.digest": "d1",
}
LISTED = {
    "Id": "0123456789abcdef",
    "Names": ["/web.1.n1.edge"],
    "Labels": OURS,
    "State": "running",
    "Created": 1,
    "Ports": [],
    "NetworkSettings": None,
}


def body(*, host_address: str = "", **changes) -> dict:
    spec = make_spec("c", **changes)
    return docker_api.create_body(spec, unenforced=(), init=True, host_address=host_address)


def test_users_labels_cannot_take_our_names():
    labels = body(labels={"rohe.node": "other", "colour": "red"})["Labels"]
    assert (labels["rohe.node"], labels["colour"]) == ("n1", "red")


def test_limits_that_the_kernel_lacks_are_not_asked_for():
    spec = make_spec("c", cores=(1,), quota_millicores=500, memory_mib=64)
    asked = docker_api.create_body(spec, unenforced=("memory", "cores"), init=True)["HostConfig"]
    assert asked["CpuQuota"] == 50_000
    assert not {"Memory", "MemorySwap", "CpusetCpus"} & asked.keys()


def test_board_without_memory_cgroup_is_seen_in_info():
    info = {"CPUSet": True, "CpuCfsQuota": True, "MemoryLimit": False}
    assert docker_api.unenforced_limits(info) == ("memory",)


def test_limit_that_was_dropped_without_a_word_is_found():
    asked = body(memory_mib=64, cores=(0, 2))
    kept = {"HostConfig": {"Memory": 64 << 20, "CpusetCpus": ""}}
    assert docker_api.dropped(asked, kept) == "CpusetCpus 0,2 became "
    kept["HostConfig"]["CpusetCpus"] = "0,2"
    assert docker_api.dropped(asked, kept) == ""


def test_gpu_that_was_dropped_without_a_word_is_found():
    asked = body(gpus=(Gpu(id="GPU-1"),))
    assert asked["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["GPU-1"]
    assert docker_api.dropped(asked, {"HostConfig": {"DeviceRequests": None}})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "driver failed on endpoint x: Bind for 0.0.0.0:8081 failed: port is already allocated",
            "port 8081 of this node is in use by another program",
        ),
        (
            "cannot listen on the TCP port: listen tcp4 :8082: bind: address already in use",
            "port 8082 of this node is in use by another program",
        ),
        (
            "rootlessport address already in use",
            "one of the ports 8081, 8082 of this node is in use by another program",
        ),
        ("no such container", ""),
    ],
)
def test_taken_ports_are_read_from_the_message(message: str, expected: str):
    ports = tuple(PortBinding(container_port=port - 8000, host_port=port) for port in (8081, 8082))
    found = docker_api.taken_ports(message, make_spec("c", ports=ports))
    assert (str(PortTaken(found)) if found else "") == expected


@pytest.mark.parametrize(
    "message",
    [
        "connection error: dial unix /run/containerd/containerd.sock: connect: no such file",
        "connection closed: unavailable",
        "transport is closing: unavailable",
    ],
)
def test_whatever_docker_says_of_a_containerd_that_is_gone_the_remedy_is_named(message: str):
    assert "sudo systemctl restart containerd" in str(Refusal(500, message))


def test_refusal_keeps_what_the_engine_said():
    refusal = Refusal(500, "pull: lookup hub.example: no such host\n", of_pull=True)
    assert str(refusal) == "registry unreachable (pull: lookup hub.example: no such host)"
    assert str(Refusal(500, "dial plugin.sock: connection refused")).startswith("dial"), "no pull"
    assert Refusal(500, "something new\n").args == ("something new",)


@pytest.mark.parametrize("status", ["dead", "removing", "exited", "stopped"])
def test_what_runs_no_more_counts_as_exited(status: str):
    listed = LISTED | {"State": status}
    assert docker_api.container(listed).state == "exited"


def test_container_that_someone_paused_says_so():
    seen = docker_api.container(LISTED | {"State": "paused"})
    assert (seen.state, seen.paused) == ("running", True)


def test_a_container_with_all_our_labels_under_our_name_is_ours() -> None:
    assert docker_api.container(LISTED).stranger == ""
    assert docker_api.container(LISTED | {"Names": []}).stranger == "", "it is being removed"


@pytest.mark.parametrize(
    "change",
    [
        {"Names": ["/copy"]},
        {"Labels": OURS | {"rohe.digest": ""}},
        {"Labels": {"rohe.cluster": "edge", "rohe.node": "n1"}},
        {"Labels": OURS | {"rohe.instance": "web.2"}},
    ],
)
def test_a_container_that_only_has_labels_of_ours_is_a_strangers(change: dict) -> None:
    listed = LISTED | change
    assert docker_api.container(listed).stranger == listed["Names"][0].strip("/")


def test_only_a_docker_without_live_restore_takes_containers_with_it() -> None:
    assert docker_api.ends_containers("Docker", {"LiveRestoreEnabled": False})
    assert not docker_api.ends_containers("Docker", {"LiveRestoreEnabled": True})
    assert not docker_api.ends_containers("Podman", {"LiveRestoreEnabled": False})


def test_child_killed_for_memory_is_no_reason_for_an_end_without_error():
    inspected = {"State": {"ExitCode": 0, "OOMKilled": True}, "HostConfig": {"Memory": 1 << 24}}
    assert docker_api.exit_reason(inspected, "bye\n") == "ended with exit code 0"


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("busybox", "latest"),
        ("hub.example:5000/busybox", "latest"),
        ("hub.example:5000/busybox:1", None),
        ("busybox@sha256:00", None),
    ],
)
def test_image_without_tag_means_latest_and_not_every_tag(image: str, tag: str | None):
    assert docker_api.pull_parameters(image).get("tag") == tag


def test_error_of_a_pull_is_found_in_status_and_in_stream():
    said = docker_api.step_of_pull(200, b'{"status":"Downloading"}\n')
    assert said == {"status": "Downloading"}
    assert docker_api.step_of_pull(200, b"\n") == {}
    assert str(docker_api.step_of_pull(200, b'{"error":"x"}')) == "x"
    assert str(docker_api.step_of_pull(404, b'{"message":"y"}')) == "y"
    assert str(docker_api.step_of_pull(502, b"<html>bad gateway</html>")) == (
        "<html>bad gateway</html>"
    )
    assert str(docker_api.step_of_pull(500, b"[1]\xff")) == "[1]\ufffd"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b'{"status":"die","id":"c1","Type":"container","Actor":{}}\n', {"c1"}),
        (b'{"status":"died","id":"c1"}\n', {"c1"}),
        (b'{"status":"pause","id":"c1"}\n', {"c1"}),
        (b'{"status":"start","id":"c1"}\n', set()),
        (b'{"status":"die"', {"c1", "c2"}),
        (b"\xff\n", {"c1", "c2"}),
    ],
)
def test_an_event_tells_who_died_or_paused_and_one_that_is_cut_may_speak_of_anybody(
    event: bytes, expected: set[str]
):
    assert docker_api.unsettled(event, {"c1", "c2"}) == expected


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        ([{"IPAM": {"Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9"}]}}], "10.1.0.9"),
        ([{"IPAM": {"Config": [{"Subnet": "198.18.9.1/24"}]}}], "198.18.9.1"),
        (
            [{"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "10.88.0.0/16"}]}}],
            "10.88.0.1",
        ),
        ([{"IPAM": None}, {}], ""),
        ([], ""),
    ],
)
def test_this_machine_is_reached_at_the_gateway_of_the_bridge(
    networks: list[dict], address: str
) -> None:
    assert docker_api.host_address(networks) == address


def test_a_container_is_told_of_others_and_asks_this_node_for_names() -> None:
    around = Surroundings(variables={"ROHE_SERVICE_DB_PORT": "30001"}, search=("edge.rohe", "lan"))
    asked = body(surroundings=around, host_address="172.17.0.1")
    assert asked["HostConfig"]["Dns"] == ["172.17.0.1"]
    assert asked["HostConfig"]["DnsSearch"] == ["edge.rohe", "lan"]
    assert {"ROHE_HOST=172.17.0.1", "ROHE_SERVICE_DB_PORT=30001"} <= set(asked["Env"])


@pytest.mark.parametrize(("search", "address"), [((), "172.17.0.1"), (("edge.rohe",), "")])
def test_without_a_resolver_here_a_container_keeps_that_of_its_engine(
    search: tuple[str, ...], address: str
) -> None:
    around = Surroundings(search=search)
    asked = body(surroundings=around, host_address=address)
    assert "Dns" not in asked["HostConfig"]


def test_what_a_service_says_itself_goes_before_what_it_is_told_of_others() -> None:
    around = Surroundings(variables={"ROHE_SERVICE_DB_PORT": "30001"})
    asked = body(surroundings=around, env={"ROHE_SERVICE_DB_PORT": "5"})
    assert "ROHE_SERVICE_DB_PORT=5" in asked["Env"]
