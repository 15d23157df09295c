"""What no sane service asks for: refused by the name of its field, and the queue goes on."""

import pytest

from roheletd.allocation.scores import WEIGHTS
from roheletd.api import views
from roheletd.api.requests import convert, request_of
from roheletd.api.sense import refuse_contradictions
from roheletd.config import parse
from roheletd.errors import InvalidInput
from roheletd.model import Neighbour, Service
from roheletd.upkeep import Volume
from tests.allocation.passes import run_pass
from tests.builders import a_service, with_services

OTHER = a_service("other", cores=(100,))


def refused(field: str, value: object) -> InvalidInput:
    service = {"name": "web", "image": "web:1", field: value}
    with pytest.raises(InvalidInput) as caught:
        convert({"services": [service]}, views.ServicesToAdd)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cores", [-1]),
        ("cores", [10_000_001]),
        ("cores", [0.5]),
        ("cores", [1] * 1025),
        ("cpu_millicores", -1),
        ("cpu_millicores", 10**30),
        ("memory_mib", -64),
        ("memory_mib", 10**12),
        ("accelerators", {"gpu": 101}),
        ("accelerators", {"gpu": -1}),
        ("gpu_memory_mib", -1),
        ("replicas", -1),
        ("replicas", 10_001),
        ("sensitivity", 4),
        ("priority", 1001),
        ("priority", -1),
        ("constraints", ["node.labels.zone"]),
        ("constraints", ["node.colour == red"]),
        ("constraints", ["labels.zone == hall"]),
        ("spread_over", ""),
        ("affinity", [{"service": "web", "over": "a b"}]),
        ("affinity", [{"over": "zone"}]),
        ("architectures", ["arm 64"]),
        ("user", ""),
        ("user", "app:"),
        ("user", "a b"),
        ("user", "-1"),
        ("user", "a:b:c"),
        ("user", "app\n"),
        ("working_dir", "srv/app"),
        ("working_dir", ""),
        ("working_dir", "/a\0"),
        ("hostname", "-a"),
        ("hostname", "a..b"),
        ("hostname", "a" * 64),
        ("stop_signal", "SIGFOO"),
        ("entrypoint", "sh"),
        ("entrypoint", ["a\0"]),
        ("init", None),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(
    field: str, value: object
) -> None:
    assert refused(field, value).field.startswith(f"$.services[0].{field}")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str) -> None:
    body = '{"services": [{"name": "web", "image": "w", "stop_grace_s": ' + number + "}]}"
    with pytest.raises(InvalidInput):
        request_of(views.ServicesToAdd, {}, body.encode())


def test_a_constraint_that_cannot_be_read_says_what_one_looks_like() -> None:
    assert "`node.FACT OPERATOR VALUE`" in refused("constraints", ["zone = hall"]).expected


@pytest.mark.parametrize(
    ("near", "apart"),
    [
        (Neighbour(service="db"), Neighbour(service="db")),
        (Neighbour(service="db", over="zone"), Neighbour(service="db", over="zone")),
        (Neighbour(service="db"), Neighbour(service="db", over="zone")),
    ],
)
def test_to_be_near_and_apart_is_refused(near: Neighbour, apart: Neighbour) -> None:
    service = a_service(affinity=(near,), anti_affinity=(apart,))
    with pytest.raises(InvalidInput) as caught:
        refuse_contradictions((service,), field="$.services")
    assert caught.value.field == "$.services[0].anti_affinity[0].service"


@pytest.mark.parametrize(
    ("service", "field", "expected"),
    [
        (a_service(entrypoint=()), "entrypoint", "a `command` beside []"),
        (a_service(entrypoint=("", "x")), "entrypoint[0]", "a program"),
        (a_service(entrypoint=("",), command=("x",)), "entrypoint[0]", "[] leaves out"),
        (a_service(user="2147483648"), "user", "at most 2147483647"),
        (a_service(user="app:2147483648"), "user", "at most 2147483647"),
    ],
)
def test_a_program_that_cannot_be_run_is_refused(
    service: Service, field: str, expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_contradictions((service,), field="$.services")
    assert caught.value.field == f"$.services[0].{field}"
    assert expected in caught.value.expected


def test_an_entrypoint_is_a_program_by_itself_and_none_leaves_the_command() -> None:
    usual = a_service(entrypoint=("run", ""), user="2147483647", working_dir="/", hostname="A.b-1")
    refuse_contradictions((usual, a_service(entrypoint=(), command=("run",))), field="$.services")


@pytest.mark.parametrize(
    ("volumes", "field", "expected"),
    [
        ([Volume(path="/a")], "", "exactly one of name, host_path and tmpfs_mib"),
        ([Volume(path="/a", name="a", tmpfs_mib=1)], "", "exactly one of"),
        ([Volume(path="/a", name="a", host_path="/a")], "", "exactly one of"),
        ([Volume(path="/.", name="a")], ".path", "a path below /"),
        ([Volume(path="/proc/sys", name="a")], ".path", "not in /proc"),
        ([Volume(path="/a", host_path="//")], ".host_path", "a path below /"),
        ([Volume(path="/a", tmpfs_mib=1, read_only=True)], ".read_only", "false"),
        ([Volume(path="/a", host_path="/a", movable=True)], ".movable", "false"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(
    volumes: list[Volume], field: str, expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_contradictions((a_service(volumes=tuple(volumes)),), field="$.services")
    assert caught.value.field == f"$.services[0].volumes[0]{field}"
    assert expected in caught.value.expected


@pytest.mark.parametrize("other", ["/data", "/data/", "//data", "/data/."])
def test_two_volumes_at_one_path_are_refused_however_it_is_written(other: str) -> None:
    volumes = (Volume(path="/data", name="a"), Volume(path=other, tmpfs_mib=1))
    with pytest.raises(InvalidInput) as caught:
        refuse_contradictions((a_service(volumes=volumes),), field="$.services")
    assert caught.value.field == "$.services[0].volumes[1].path"


def test_a_volume_below_another_one_is_not_refused() -> None:
    volumes = (Volume(path="/data", name="a"), Volume(path="/data/tmp", tmpfs_mib=1))
    refuse_contradictions((a_service(volumes=volumes),), field="$.services")


@pytest.mark.parametrize("path", ["data", "/data/../etc", "/..", "../x", "/a:/b", "", "/", "/a\0"])
@pytest.mark.parametrize("field", ["path", "host_path"])
def test_a_path_that_is_none_or_leads_up_again_is_refused(path: str, field: str) -> None:
    volume = {"path": "/data", "host_path": "/srv", field: path}
    assert refused("volumes", [volume]).field == f"$.services[0].volumes[0].{field}"


def test_to_be_in_one_zone_on_different_nodes_is_not_refused() -> None:
    service = a_service(
        affinity=(Neighbour(service="db", over="zone"),), anti_affinity=(Neighbour(service="db"),)
    )
    refuse_contradictions((service,), field="$.services")


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service(cores=(10,) * 9), "needs 9 cores, it has 4"),
        (a_service(memory_mib=1_000_000_000), "needs 1000000000 MiB of memory"),
        (a_service(constraints=("node.labels.zone == hall",)), "has no label zone"),
        (a_service(affinity=(Neighbour(service="nobody"),)), "must be near nobody"),
        (a_service(spread_over="zone", constraints=("node.cores > 64",)), "node.cores > 64"),
    ],
)
def test_what_fits_nowhere_waits_with_its_reason_and_holds_nobody_up(
    service: Service, reason: str
) -> None:
    cluster = with_services(service, OTHER)
    found = run_pass(cluster)
    assert [at.instance for at in found.place.placements] == ["other.1"]
    assert reason in found.unplaceable["web"].reason


def test_a_service_that_asks_for_nothing_is_placed() -> None:
    cluster = with_services(a_service(cores=(0, 0), memory_mib=0, accelerators={"gpu": 0}))
    found = run_pass(cluster)
    assert [at.cores for at in found.place.placements] == [{}]


def test_zeros_for_cores_leave_the_cpu_figure_to_say_it() -> None:
    cluster = with_services(a_service(cores=(0,), cpu_millicores=1500))
    (at,) = run_pass(cluster).place.placements
    assert sorted(at.cores.values()) == [500, 1000]


@pytest.mark.parametrize("weight", [-1, 1001, float("nan"), float("inf"), "much"])
def test_a_weight_that_is_none_is_refused(weight: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse({"allocation": {"weights": {"cpu": weight}}})
    assert caught.value.field == "$.allocation.weights.cpu"


def test_weights_that_are_all_zero_are_refused() -> None:
    nothing = dict.fromkeys(WEIGHTS.keys() - {"user"}, 0)
    with pytest.raises(InvalidInput) as caught:
        parse({"allocation": {"weights": nothing}})
    assert caught.value.field == "$.allocation.weights"
