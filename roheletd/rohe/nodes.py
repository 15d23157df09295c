"""A node file: `{data: {key: node}}`."""

from roheletd.errors import InvalidInput
from roheletd.model import MILLICORES_PER_CORE, Capacity, Gpu, Node
from roheletd.rohe.envelope import data_to_add
from roheletd.rohe.fields import Field, Mapping
from roheletd.rohe.notes import Imported, Notes
from roheletd.rohe.units import UNIT_NAMES, core_unit, have

_SHAPE = "{key: node}"
_STATE = ("status", "services")
_CORES_MAX = 1024
_CORE_MAX = 1_000_000
_CPU_MAX = _CORES_MAX * MILLICORES_PER_CORE
_MEMORY_MAX = 1_000_000_000
_ACCELERATORS_MAX = 64
_MAC_MAX = 64
_ID_MAX = 128


def nodes_from(document: object) -> Imported[Node]:
    """The nodes of a ROHE command file. Raises `InvalidInput`; then nothing was read."""
    notes = Notes()
    nodes: list[Node] = []
    seen: dict[tuple[str, str], str] = {}
    for entry in data_to_add(document, noun="node", shape=_SHAPE).fields():
        node = _node(entry, notes)
        # ROHE told nodes apart by the MAC address, and this program does by the name.
        for kind, mark in (("name", node.name), ("MAC address", node.mac_address.lower())):
            if mark and (kind, mark) in seen:
                expected = f"expected each {kind} once, {seen[kind, mark]} has `{mark}` too"
                raise InvalidInput(entry.path, expected)
            seen[kind, mark] = entry.path
        nodes.append(node)
    if not nodes:
        raise InvalidInput("$.data", "expected at least one node, got none")
    return Imported(tuple(nodes), notes.sentences(len(nodes)))


class _Reading:
    """What is collected while one node is read: its name and what is to be said about it."""

    def __init__(self, name: str, notes: Notes) -> None:
        self.name = name
        self.older = False
        self.dropped: list[str] = []
        self._notes = notes

    def say(self, remark: str) -> None:
        self._notes.add(remark, self.name)

    def done_with(self, fields: Mapping, *state: str, within: str = "") -> None:
        """Leave out the run-time state in these fields; any other left over is refused."""
        self.dropped += [f"{within}{key}" for key in fields.drop(*state)]
        fields.finish()
        self.older = self.older or bool(fields.older)


def _node(entry: Field, notes: Notes) -> Node:
    fields = entry.mapping(expected="a node")
    _refuse_services(fields)
    name = fields.require("node_name", expected="the node's name").name()
    reading = _Reading(name, notes)
    mac = fields.take("mac_address", "MAC")
    frequency = fields.take("frequency")
    node = Node(
        name=name,
        capacity=_capacity(fields, reading),
        mac_address="" if mac is None else mac.text(longest=_MAC_MAX),
        frequency_ghz=0.0 if frequency is None else frequency.number(most=100),
        source="declared",
    )
    reading.done_with(fields, *_STATE)
    generation = "older" if reading.older else "newer"
    reading.say(f"field names of ROHE's {generation} generation")
    if reading.dropped:
        kept_out = ", ".join(dict.fromkeys(reading.dropped))
        reading.say(f"left out, as it is ROHE's own run-time state: {kept_out}")
    return node


def _refuse_services(fields: Mapping) -> None:
    for field in fields.fields():
        if isinstance(field.value, dict) and "service_name" in field.value:
            expected = "expected a node, got services, which `add-service` reads"
            raise InvalidInput(fields.path, expected)


def _capacity(fields: Mapping, reading: _Reading) -> Capacity:
    memory = fields.require("memory", expected="{capacity: {rss: MB, vms: MB}}").mapping()
    sizes = memory.require("capacity", expected="{rss: MB, vms: MB}").mapping()
    rss = sizes.require("rss", expected="a size in MB").number(most=_MEMORY_MAX)
    vms = _optional(sizes.take("vms"), most=_MEMORY_MAX)
    reading.done_with(sizes)
    reading.done_with(memory, "used", within="memory.")
    reading.say("memory in MB is taken as MiB")
    return Capacity(
        cores=_cores(fields, reading),
        memory_mib=have(rss),
        vms_mib=have(vms or 0.0),
        gpus=_gpus(fields, reading),
    )


def _optional(field: Field | None, *, most: int) -> float | None:
    return None if field is None else field.number(most=most)


def _cores(fields: Mapping, reading: _Reading) -> dict[int, int]:
    cpu = _cpu(fields, reading)
    field = fields.take("cores", "processor")
    if field is None:
        return _whole_cores(fields, cpu, reading)
    vector = field.mapping(expected="{capacity: [...]}")
    capacity = vector.require("capacity", expected="a list with one number per core")
    given = [item.number(most=_CORE_MAX) for item in capacity.items(most=_CORES_MAX)]
    if not given:
        raise InvalidInput(capacity.path, "expected at least one core, got none")
    reading.done_with(vector, "used", within=f"{field.key}.")
    unit, why = core_unit(given, cpu)
    reading.say(f"cores read as {unit} per core ({UNIT_NAMES[unit]}): {why}")
    cores = {core: have(value * MILLICORES_PER_CORE / unit) for core, value in enumerate(given)}
    total = sum(cores.values())
    if cpu is not None and total != have(cpu):
        reading.say(f"the cores count ({total} millicores), not the CPU figure of {cpu:g}")
    return cores


def _cpu(fields: Mapping, reading: _Reading) -> float | None:
    field = fields.take("cpu")
    if field is None:
        return None
    figures = field.mapping(expected="{capacity: millicores}")
    capacity = _optional(figures.take("capacity"), most=_CPU_MAX)
    reading.done_with(figures, "used", within="cpu.")
    return capacity


def _whole_cores(fields: Mapping, cpu: float | None, reading: _Reading) -> dict[int, int]:
    if not cpu:
        raise InvalidInput(f"{fields.path}.cores", "expected {capacity: [...]}, got nothing")
    reading.say("no cores are given: the CPU figure is cut into whole ones")
    whole, rest = divmod(have(cpu), MILLICORES_PER_CORE)
    return dict(enumerate([MILLICORES_PER_CORE] * whole + ([rest] if rest else [])))


def _gpus(fields: Mapping, reading: _Reading) -> tuple[Gpu, ...]:
    field = fields.take("accelerator")
    if field is None:
        return ()
    devices = field.mapping(expected="{device: {accelerator_type, capacity}}").fields()
    if len(devices) > _ACCELERATORS_MAX:
        field.refuse(f"at most {_ACCELERATORS_MAX} devices")
    return tuple(_gpu(device, reading) for device in devices)


def _gpu(device: Field, reading: _Reading) -> Gpu:
    fields = device.mapping(expected="{accelerator_type: TYPE, capacity: percent}")
    kind = fields.require("accelerator_type", "type", expected="a type, e.g. gpu").name()
    percent = fields.require("capacity", expected="percent").number(most=100)
    if unused := fields.drop("core", "mode"):
        reading.say(f"left out, nothing asks for it: accelerator {', '.join(unused)}")
    reading.say("the accelerators' own memory is unknown")
    reading.done_with(fields, "used", within="accelerator.")
    return Gpu(
        id=Field(device.key, device.path).text(longest=_ID_MAX), kind=kind, percent=have(percent)
    )
