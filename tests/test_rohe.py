"""ROHE's command files: what each field becomes, and which sentence refuses a wrong one."""

import copy
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.documents import load
from roheletd.errors import InvalidInput
from roheletd.model import Gpu, Node, Port, Service
from roheletd.rohe import Selection, nodes_from, selection_from, services_from
from roheletd.rohe.units import core_unit

DATA = Path(__file__).parents[2] / "shared" / "data" / "rohe"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="ROHE's command files are not there: ../shared/data/rohe"
)


def data_file(name: str) -> object:
    return load((DATA / name).read_bytes(), name=name)


def service(**fields: object) -> dict[str, object]:
    return {"service_name": "web", "image": "rdsea/web:1", **fields}


def node(**fields: object) -> dict[str, object]:
    return {
        "node_name": "pi",
        "cpu": {"capacity": 2000, "used": 0},
        "memory": {"capacity": {"rss": 1024, "vms": 512}, "used": {"rss": 0, "vms": 0}},
        "cores": {"capacity": [100, 100], "used": [0, 0]},
        **fields,
    }


def only_service(**fields: object) -> Service:
    (found,) = services_from({"data": {"app": {"one": service(**fields)}}}).items
    return found


def only_node(**fields: object) -> Node:
    (found,) = nodes_from({"data": {"one": node(**fields)}}).items
    return found


# --- ROHE's own files


@needs_data
def test_the_nine_services_of_the_template_have_these_values() -> None:
    imported = services_from(data_file("add_service.yaml"))
    read = {
        item.name.removesuffix("_service"): (
            item.application,
            item.image,
            item.cores,
            item.cpu_millicores,
            item.memory_mib,
            item.vms_mib,
            item.accelerators,
            item.replicas,
        )
        for item in imported.items
    }
    detect, kpi, bts = "object_detection", "kpi", "bts"
    assert read == {
        "object_detection_web": (detect, "rdsea/od_web:2.0", (500, 50), 424, 200, 500, {}, 2),
        "object_detection_imgproc": (detect, "rdsea/od_proc:2.0", (900, 50), 933, 300, 500, {}, 2),
        "object_detection_inference": (
            *(detect, "rdsea/od_inf:2.0", (500,), 500, 600, 200, {"gpu": 15}, 1),
        ),
        "kpi_web": (kpi, "rdsea/kpi_web:2.0", (400, 50), 400, 200, 500, {}, 1),
        "kpi_minio": (kpi, "minio/minio", (1000,), 1000, 300, 500, {}, 2),
        "kpi_database": (
            *(kpi, "rdsea/kpi_database:2.0", (200, 200, 100, 100), 500, 500, 500, {}, 1),
        ),
        "kpi_inference": (
            *(kpi, "rdsea/kpi_forecast:2.0", (1000, 800, 800, 800), 4000, 400, 500, {}, 1),
        ),
        "bts_dataproc": (
            *(bts, "rdsea/bts_data_proc:2.0", (1000, 50, 50, 50), 1000, 300, 500, {}, 2),
        ),
        "bts_inference": (
            *(bts, "rdsea/bts_ml_proc:2.0", (1000, 50, 50, 50), 1000, 2500, 500, {}, 3),
        ),
    }
    wishes = tuple(
        Port(container_port=port, host_port=port, required=False) for port in (4002, 4003)
    )
    assert {item.ports for item in imported.items} == {wishes}
    assert {item.sensitivity for item in imported.items} == {0}


@needs_data
def test_the_notes_on_the_template_say_what_was_decided() -> None:
    notes = services_from(data_file("add_service.yaml")).notes
    assert (
        "cores read as 100 per core (percent): their sum is then nearest to the CPU figure "
        "beside them (all 9)" in notes
    )
    assert "field names of ROHE's older generation (all 9)" in notes
    assert "host ports are wishes, another is given where one is taken (all 9)" in notes
    assert "memory in MB is taken as MiB (all 9)" in notes
    assert "left out, as it is ROHE's own run-time state: service_id, status (all 9)" in notes
    assert any(note.startswith("accelerator gpu at 0 percent: none asked (") for note in notes)
    assert len(notes) == 6


@needs_data
def test_the_nine_nodes_of_the_template_have_these_values() -> None:
    imported = nodes_from(data_file("add_node.json"))
    gpu = (Gpu(id="GPU0", kind="gpu", percent=100, memory_mib=0),)
    assert [
        (
            item.name,
            item.mac_address,
            len(item.capacity.cores),
            item.capacity.memory_mib,
            item.capacity.vms_mib,
            item.capacity.gpus,
            item.frequency_ghz,
        )
        for item in imported.items
    ] == [
        ("RaspberryPi_02", "dc:a6:32:07:ab:92", 4, 4096, 4096, (), 1.5),
        ("RaspberryPi_03", "dc:a6:32:07:ad:03", 4, 4096, 4096, (), 1.5),
        ("RaspberryPi_04", "dc:a6:32:07:de:14", 4, 4096, 4096, (), 1.5),
        ("RaspberryPi_05", "dc:a6:32:07:dd:f6", 4, 4096, 4096, (), 1.5),
        ("Jetson_nano_01", "00:e0:4c:68:00:01", 4, 4096, 2048, gpu, 1.5),
        ("Jetson_nano_02", "00:e0:4c:68:00:02", 4, 4096, 2048, gpu, 1.5),
        ("Jetson_nano_03", "00:e0:4c:68:00:03", 4, 4096, 2048, gpu, 1.5),
        ("Jetson_nano_04", "00:04:4b:e5:31:c5", 4, 4096, 2048, gpu, 1.5),
        ("Jetson_xavier_06", "00:04:4b:cb:a0:6a", 8, 16384, 16384, gpu, 2.3),
    ]
    for item in imported.items:
        cores = item.capacity.cores
        assert cores == dict.fromkeys(range(len(cores)), 1000)
        assert item.source == "declared"
    assert "field names of ROHE's newer generation (all 9)" in imported.notes


@needs_data
@pytest.mark.parametrize(
    ("name", "verb", "noun"),
    [
        ("get_node.yaml", "get", "node"),
        ("get_service.yaml", "get", "service"),
        ("remove_node.yaml", "remove", "node"),
    ],
)
def test_a_command_file_with_all_selects_everything(name: str, verb: str, noun: str) -> None:
    selected = selection_from(data_file(name), verb=verb, noun=noun)  # type: ignore[arg-type]
    assert selected == Selection(everything=True)


@needs_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("get_node.yaml", '$.command: expected "ADD SERVICE", got "GET ALL NODES"'),
        ("start_orchestration.yaml", '$.command: expected "ADD SERVICE", got "START AGENT"'),
        ("stop_orchestration.yaml", '$.command: expected "ADD SERVICE", got "STOP AGENT"'),
        ("add_node.json", "$.data.node1: expected {key: service}, got a node, which `add-node`"),
    ],
)
def test_another_commands_file_is_named_as_what_it_is(name: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        services_from(data_file(name))
    assert str(caught.value).startswith(message)


# --- generations, units, ports


def test_both_generations_of_field_names_mean_the_same_service() -> None:
    resources: dict[str, object] = {"cpu": 400, "memory": {"rss": 7, "vms": 8}}
    older = {**resources, "accelerator": {"gpu": 30}, "processor": [40, 5]}
    newer = {f"{key}_required": value for key, value in older.items() if key != "processor"}
    newer["cores_required"] = [40, 5]
    assert only_service(**older) == only_service(**newer)
    assert only_service(**older).cores == (400, 50)
    assert only_service(**older).accelerators == {"gpu": 30}


def test_the_readmes_name_for_a_service_is_read() -> None:
    document = {"data": {"app": {"one": {"microservice_name": "old", "image": "i"}}}}
    imported = services_from(document)
    assert imported.items[0].name == "old"
    assert "field names of ROHE's older generation (old)" in imported.notes


def test_both_generations_of_field_names_mean_the_same_node() -> None:
    device = {"capacity": 80, "used": 0, "core": 128, "mode": "pre-emptive"}
    newer = node(mac_address="aa:bb", accelerator={"G": {**device, "accelerator_type": "gpu"}})
    older = node(MAC="aa:bb", accelerator={"G": {**device, "type": "gpu"}})
    older["processor"] = older.pop("cores")
    read_newer = nodes_from({"data": {"one": newer}})
    read_older = nodes_from({"data": {"one": older}})
    assert read_newer.items == read_older.items
    assert read_older.items[0].capacity.gpus == (Gpu(id="G", kind="gpu", percent=80),)
    assert "field names of ROHE's older generation (pi)" in read_older.notes
    assert "left out, nothing asks for it: accelerator core, mode (pi)" in read_older.notes


@pytest.mark.parametrize(
    ("cores", "cpu", "unit"),
    [
        ([50.0, 5.0], 424.0, 100),
        ([424.0], 424.0, 1000),
        ([1000.0] * 4, 4000.0, 1000),
        ([100.0] * 4, 4000.0, 100),
        ([400.0, 40.0], 424.0, 1000),
        ([0.0], 500.0, 100),
        ([], 500.0, 100),
        ([100.0], None, 100),
        ([100.0], 0.0, 100),
        ([101.0], None, 1000),
    ],
)
def test_the_unit_of_cores_is_the_one_nearest_to_the_cpu_figure(
    cores: list[float], cpu: float | None, unit: int
) -> None:
    assert core_unit(cores, cpu)[0] == unit


def test_a_core_vector_in_millicores_is_kept_as_it_is() -> None:
    imported = services_from(
        {"data": {"app": {"one": service(cpu_required=550, cores_required=[500, 50])}}}
    )
    assert imported.items[0].cores == (500, 50)
    assert any(
        note.startswith("cores read as 1000 per core (millicores)") for note in imported.notes
    )


def test_cores_far_from_the_cpu_figure_are_remarked_on() -> None:
    document = {"data": {"app": {"one": service(cpu_required=4000, cores_required=[1])}}}
    assert "cores add up to 10 millicores beside a CPU figure of 4000 (web)" in (
        services_from(document).notes
    )


def test_what_is_needed_is_rounded_up_and_what_is_there_is_rounded_down() -> None:
    needing = only_service(
        cpu_required=10.2, memory_required={"rss": 1.5}, accelerator_required={"gpu": 0.4}
    )
    assert (needing.cpu_millicores, needing.memory_mib, needing.accelerators) == (11, 2, {"gpu": 1})
    having = only_node(
        cores={"capacity": [99.99, 100]}, memory={"capacity": {"rss": 10.9, "vms": 0.5}}
    ).capacity
    assert (having.cores, having.memory_mib, having.vms_mib) == ({0: 999, 1: 1000}, 10, 0)


def test_decimal_fractions_of_a_core_do_not_gain_a_millicore() -> None:
    assert only_service(cpu_required=11, cores_required=[1.1]).cores == (11,)


def test_a_listed_port_without_a_mapping_gets_any_host_port() -> None:
    ports = only_service(ports=[80, 443, 80], port_mapping=[{"con_port": 443, "phy_port": 8443}])
    assert ports.ports == (
        Port(container_port=443, host_port=8443, required=False),
        Port(container_port=80),
    )


def test_a_service_of_name_and_image_alone_asks_for_nothing() -> None:
    assert only_service() == Service(name="web", application="app", image="rdsea/web:1")


@pytest.mark.parametrize("nothing", [None, {}, [], 0, "", {"a": [0, {}]}])
def test_empty_run_time_state_is_not_worth_a_remark(nothing: object) -> None:
    document = {"data": {"app": {"one": service(node=nothing, instance_ids=nothing)}}}
    assert services_from(document).notes == ("field names of ROHE's newer generation (web)",)


def test_run_time_state_is_left_out_and_said_to_be() -> None:
    running = node(cpu={"capacity": 2000, "used": 5}, services={"x": 1}, status="running")
    imported = nodes_from({"data": {"one": running}})
    assert imported.items[0] == only_node()
    note = "left out, as it is ROHE's own run-time state: cpu.used, status, services (pi)"
    assert note in imported.notes


def test_a_node_without_a_core_vector_has_the_whole_cores_of_its_cpu_figure() -> None:
    assert only_node(cores=None, cpu={"capacity": 2500}).capacity.cores == {
        0: 1000,
        1: 1000,
        2: 500,
    }


def test_unequal_cores_keep_their_places_and_the_difference_is_said() -> None:
    document = {
        "data": {
            "one": node(cores={"capacity": [50, 100, 100, 200]}, cpu={"capacity": 4000}),
        }
    }
    imported = nodes_from(document)
    assert imported.items[0].capacity.cores == {0: 500, 1: 1000, 2: 1000, 3: 2000}
    assert "the cores count (4500 millicores), not the CPU figure of 4000 (pi)" in imported.notes


def test_notes_about_many_name_a_few_and_never_grow_without_bound() -> None:
    entries = {
        f"k{n}": service(service_name=f"s{n}", cpu_required=4000 + n, cores_required=[1])
        for n in range(200)
    }
    notes = services_from({"data": {"app": entries}}).notes
    assert len(notes) == 51
    assert notes[-1] == "and 152 more remarks"
    assert max(map(len, notes)) < 200


# --- refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"service_name": None}, ".service_name: expected the service's name, got nothing"),
        ({"service_name": "a b"}, ".service_name: expected a name (letters, digits"),
        ({"service_name": "a\n"}, ".service_name: expected a name (letters, digits"),
        ({"service_name": "a" * 64}, ".service_name: expected a name (letters, digits"),
        ({"service_name": 5}, "1 to 63 characters), got 5"),
        ({"microservice_name": "b"}, ".microservice_name: expected one name, got `service_name`"),
        ({"image": None}, ".image: expected a container image, got nothing"),
        ({"image": "  "}, '.image: expected text, got "  "'),
        ({"image": "i" * 5000}, ".image: expected at most 4096 letters, got 5000"),
        ({"cpu_required": "abc"}, '.cpu_required: expected a number >= 0, got "abc"'),
        ({"cpu": -1}, ".cpu: expected a number >= 0, got -1"),
        ({"cpu": True}, ".cpu: expected a number >= 0, got true"),
        ({"cpu": math.nan}, ".cpu: expected a finite number >= 0, got nan"),
        ({"cpu": math.inf}, ".cpu: expected a finite number >= 0, got inf"),
        ({"cpu": 10**400}, ".cpu: expected a number <= 10000000, got a huge number"),
        ({"cpu": 1, "cpu_required": 1}, ".cpu: expected one name, got `cpu_required` too"),
        ({"memory": 5}, ".memory: expected {rss: MB, vms: MB}, got 5"),
        ({"memory": {"rss": []}}, ".memory.rss: expected a number >= 0, got a list"),
        ({"memory": {"ram": 5}}, ".memory.ram: unknown field; known here: rss, vms"),
        ({"cores_required": 5}, ".cores_required: expected a list, got 5"),
        ({"processor": [1] * 2000}, ".processor: expected at most 1024 entries, got 2000"),
        ({"processor": [1, "x"]}, '.processor[1]: expected a number >= 0, got "x"'),
        ({"accelerator": {"gpu": 101}}, ".accelerator.gpu: expected a number <= 100, got 101"),
        ({"accelerator": {"g p": 1}}, '.accelerator["g p"]: expected a name'),
        ({"accelerator": ["gpu"]}, ".accelerator: expected {type: percent}, got a list"),
        (
            {"accelerator": {f"a{n}": 1 for n in range(17)}},
            ".accelerator: expected at most 16 accelerators",
        ),
        ({"replicas": 1.5}, ".replicas: expected a whole number from 0 to 10000, got 1.5"),
        ({"replicas": -1}, ".replicas: expected a whole number from 0 to 10000, got -1"),
        ({"sensitivity": 4}, ".sensitivity: expected a whole number from 0 to 3, got 4"),
        ({"ports": [0]}, ".ports[0]: expected a whole number from 1 to 65535, got 0"),
        ({"ports": [70000]}, ".ports[0]: expected a whole number from 1 to 65535, got 70000"),
        ({"ports": list(range(1, 130))}, ".ports: expected at most 128 entries, got 129"),
        ({"port_mapping": [{"phy_port": 1}]}, ".port_mapping[0].con_port: expected a port, got"),
        (
            {"port_mapping": [{"con_port": 1, "phy_port": 65536}]},
            ".port_mapping[0].phy_port: expected a whole number from 0 to 65535, got 65536",
        ),
        ({"replica": 3}, ".replica: unknown field; known here: accelerator, accelerator_required"),
    ],
)
def test_a_wrong_field_of_a_service_is_named_with_what_was_expected(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        only_service(**fields)
    assert str(caught.value).startswith("$.data.app.one")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"node_name": "über"}, ".node_name: expected a name"),
        ({"node_name": None}, ".node_name: expected the node's name, got nothing"),
        ({"cores": None, "cpu": None}, ".cores: expected {capacity: [...]}, got nothing"),
        ({"cores": {"capacity": []}}, ".cores.capacity: expected at least one core, got none"),
        ({"cores": {"capacity": [-1]}}, ".cores.capacity[0]: expected a number >= 0, got -1"),
        ({"cores": {"capacity": [1] * 2000}}, ".cores.capacity: expected at most 1024 entries"),
        ({"processor": {"capacity": [1]}}, ".processor: expected one name, got `cores` too"),
        ({"cpu": 4000}, ".cpu: expected {capacity: millicores}, got 4000"),
        ({"memory": None}, ".memory: expected {capacity: {rss: MB, vms: MB}}, got nothing"),
        ({"memory": {"capacity": {}}}, ".memory.capacity.rss: expected a size in MB, got nothing"),
        ({"frequency": 500}, ".frequency: expected a number <= 100, got 500"),
        ({"mac_address": 5}, ".mac_address: expected text, got 5"),
        ({"accelerator": {"G": {"capacity": 1}}}, ".accelerator.G.accelerator_type: expected a"),
        (
            {"accelerator": {"G": {"type": "gpu", "capacity": 101}}},
            ".accelerator.G.capacity: expected a number <= 100, got 101",
        ),
        ({"speed": 1}, ".speed: unknown field; known here:"),
    ],
)
def test_a_wrong_field_of_a_node_is_named_with_what_was_expected(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        only_node(**fields)
    assert str(caught.value).startswith("$.data.one")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "$: expected a mapping with the key `data`, got nothing"),
        ([], "$: expected a mapping with the key `data`, got a list"),
        ({}, "$.data: expected {application: {key: service}}, got nothing"),
        ({"data": 5}, "$.data: expected {application: {key: service}}, got 5"),
        ({"data": {}}, "$.data: expected at least one service, got none"),
        ({"data": {"app": {}}}, "$.data: expected at least one service, got none"),
        ({"data": {"app": 5}}, "$.data.app: expected {key: service}, got 5"),
        ({"data": {"a b": {}}}, '$.data["a b"]: expected a name'),
        ({"data": {"app": {"k": 5}}}, "$.data.app.k: expected a service, got 5"),
        ({"data": {5: {}}}, "$.data: expected keys that are text, got 5"),
        ({"dat": {}, "data": {"a": {}}}, "$.dat: unknown field; known here: application"),
        ({"command": 5}, "$.command: expected text, got 5"),
        ({"command": "ADD NODE"}, '$.command: expected "ADD SERVICE", got "ADD NODE"'),
    ],
)
def test_a_document_of_another_shape_is_refused_with_its_path(
    document: object, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        services_from(document)
    assert str(caught.value).startswith(message)


def test_two_services_with_one_name_in_one_file_are_refused_and_both_are_named() -> None:
    document = {"data": {"a": {"one": service()}, "b": {"two": service(image="other")}}}
    with pytest.raises(InvalidInput) as caught:
        services_from(document)
    assert str(caught.value) == "$.data.b.two: expected each name once, $.data.a.one has `web` too"


def test_two_nodes_with_one_name_or_one_mac_address_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\$.data.two: expected each name once, \$.data.one"):
        nodes_from({"data": {"one": node(), "two": node()}})
    twins = {"one": node(MAC="AA:BB"), "two": node(node_name="other", mac_address="aa:bb")}
    with pytest.raises(InvalidInput, match="expected each MAC address once"):
        nodes_from({"data": twins})


def test_a_service_file_given_as_nodes_is_named_as_what_it_is() -> None:
    with pytest.raises(InvalidInput, match="expected a node, got services, which `add-service`"):
        nodes_from({"data": {"app": {"one": service()}}})


# --- selections


def test_a_selection_names_nodes_by_name_or_mac_address() -> None:
    document = {"data": {"a": {"mac_address": "aa:bb"}, "b": {"node_name": "pi"}}}
    assert selection_from(document, verb="remove", noun="node") == Selection(
        names=("pi",), mac_addresses=("aa:bb",)
    )


def test_a_file_that_added_services_can_remove_the_same_ones() -> None:
    document = {"data": {"app": {"one": service()}}}
    assert selection_from(document, verb="remove", noun="service") == Selection(names=("web",))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "$.data: expected the nodes meant, or a command with ALL, got nothing"),
        ({"command": "REMOVE NODE"}, "$.data: expected the nodes meant"),
        ({"command": "GET ALL NODES"}, '$.command: expected "REMOVE ALL NODES", got "GET ALL'),
        ({"data": {}}, "$.data: expected at least one node"),
        ({"data": {"a": {}}}, "$.data.a.node_name: expected the node's name, got nothing"),
    ],
)
def test_a_file_that_names_nothing_removes_nothing(document: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        selection_from(document, verb="remove", noun="node")
    assert str(caught.value).startswith(message)


# --- properties

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["web", "pi", "gpu", 0, 1, 100, 4000, 65535])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                ["rss", "vms", "gpu", "capacity", "used", "type", "con_port", "phy_port"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
SERVICE_KEYS = [
    *("service_name", "microservice_name", "service_id", "node", "status", "instance_ids"),
    *("running", "image", "ports", "port_mapping", "cpu", "cpu_required", "accelerator"),
    *("accelerator_required", "memory", "memory_required", "processor", "cores_required"),
    *("sensitivity", "replicas"),
]
NODE_KEYS = [
    *("node_name", "mac_address", "MAC", "status", "frequency", "accelerator", "cpu", "memory"),
    *("cores", "processor", "services"),
]


@settings(max_examples=500, deadline=None)
@given(document=VALUES | st.fixed_dictionaries({"data": VALUES}))
def test_random_documents_raise_nothing_but_invalid_input(document: object) -> None:
    for read in (services_from, nodes_from):
        with pytest.raises(InvalidInput):
            read(document)


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(SERVICE_KEYS), VALUES, max_size=3))
def test_every_service_that_is_read_is_a_valid_one(changes: dict[str, object]) -> None:
    before = copy.deepcopy(changes)
    try:
        read = only_service(**changes)
    except InvalidInput as error:
        assert str(error).startswith("$.data.app.one")  # noqa: PT017 - both outcomes are right
    else:
        assert msgspec.convert(msgspec.to_builtins(read), Service) == read
    assert repr(changes) == repr(before)


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(NODE_KEYS), VALUES, max_size=2))
def test_every_node_that_is_read_is_a_valid_one(changes: dict[str, object]) -> None:
    try:
        read = only_node(**changes)
    except InvalidInput as error:
        assert str(error).startswith("$.data.one")  # noqa: PT017 - both outcomes are right
    else:
        assert msgspec.convert(msgspec.to_builtins(read, str_keys=True), Node, strict=False) == read
