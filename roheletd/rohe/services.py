"""A service file: `{data: {application: {key: service}}}`."""

from roheletd.errors import InvalidInput
from roheletd.model import MILLICORES_PER_CORE, Port, Service
from roheletd.rohe.envelope import data_to_add
from roheletd.rohe.fields import Field, Mapping
from roheletd.rohe.notes import Imported, Notes
from roheletd.rohe.units import UNIT_NAMES, core_unit, need

_SHAPE = "{application: {key: service}}"
_STATE = ("service_id", "status", "running", "instance_ids", "node")
_CORES_MAX = 1024
_CORE_MAX = 1_000_000
_CPU_MAX = 10_000_000
_MEMORY_MAX = 1_000_000_000
_ACCELERATORS_MAX = 16
_PORTS_MAX = 128
_REPLICAS_MAX = 10_000
_IMAGE_MAX = 4096
_PORT_MAX = 65_535
_FAR_APART = 2  # times that the two CPU figures of one service may differ without a remark


def services_from(document: object) -> Imported[Service]:
    """The services of a ROHE command file. Raises `InvalidInput`; then nothing was read."""
    notes = Notes()
    services: list[Service] = []
    paths: dict[str, str] = {}
    for application in data_to_add(document, noun="service", shape=_SHAPE).fields():
        label = Field(application.key, application.path).name()
        entries = application.mapping(expected="{key: service}")
        if entries.has("node_name"):
            expected = "expected {key: service}, got a node, which `add-node` reads"
            raise InvalidInput(application.path, expected)
        for entry in entries.fields():
            service = _service(entry, label, notes)
            if service.name in paths:
                expected = (
                    f"expected each name once, {paths[service.name]} has `{service.name}` too"
                )
                raise InvalidInput(entry.path, expected)
            paths[service.name] = entry.path
            services.append(service)
    if not services:
        raise InvalidInput("$.data", "expected at least one service, got none")
    return Imported(tuple(services), notes.sentences(len(services)))


def _service(entry: Field, application: str, notes: Notes) -> Service:
    fields = entry.mapping(expected="a service")
    name = fields.require("service_name", "microservice_name", expected="the service's name").name()
    image = fields.require("image", expected="a container image").text(longest=_IMAGE_MAX)
    cpu = _number(fields.take("cpu_required", "cpu"), most=_CPU_MAX)
    memory = _memory(fields)
    service = Service(
        name=name,
        application=application,
        image=image,
        replicas=_whole(fields.take("replicas"), most=_REPLICAS_MAX, default=1),
        cpu_millicores=need(cpu),
        cores=_cores(fields, cpu, name, notes),
        memory_mib=memory["rss"],
        vms_mib=memory["vms"],
        accelerators=_accelerators(fields, name, notes),
        sensitivity=_whole(fields.take("sensitivity"), most=3, default=0),
        ports=_ports(fields, name, notes),
    )
    dropped = fields.drop(*_STATE)
    fields.finish()
    _remark(fields, dropped, service, notes)
    return service


def _remark(fields: Mapping, dropped: list[str], service: Service, notes: Notes) -> None:
    name = service.name
    generation = "older" if fields.older else "newer"
    notes.add(f"field names of ROHE's {generation} generation", name)
    if service.memory_mib or service.vms_mib:
        notes.add("memory in MB is taken as MiB", name)
    if dropped:
        notes.add(f"left out, as it is ROHE's own run-time state: {', '.join(dropped)}", name)


def _number(field: Field | None, *, most: int) -> float:
    return 0.0 if field is None else field.number(most=most)


def _whole(field: Field | None, *, most: int, default: int) -> int:
    return default if field is None else field.whole(least=0, most=most)


def _memory(fields: Mapping) -> dict[str, int]:
    field = fields.take("memory_required", "memory")
    if field is None:
        return {"rss": 0, "vms": 0}
    given = field.mapping(expected="{rss: MB, vms: MB}")
    sizes = {key: need(_number(given.take(key), most=_MEMORY_MAX)) for key in ("rss", "vms")}
    given.finish()
    return sizes


def _cores(fields: Mapping, cpu: float, name: str, notes: Notes) -> tuple[int, ...]:
    field = fields.take("cores_required", "processor")
    if field is None:
        return ()
    given = [item.number(most=_CORE_MAX) for item in field.items(most=_CORES_MAX)]
    if not given:
        return ()
    unit, why = core_unit(given, cpu)
    notes.add(f"cores read as {unit} per core ({UNIT_NAMES[unit]}): {why}", name)
    cores = tuple(need(value * MILLICORES_PER_CORE / unit) for value in given)
    total = sum(cores)
    if cpu and not cpu / _FAR_APART <= total <= cpu * _FAR_APART:
        notes.add(f"cores add up to {total} millicores beside a CPU figure of {cpu:g}", name)
    return cores


def _accelerators(fields: Mapping, name: str, notes: Notes) -> dict[str, int]:
    field = fields.take("accelerator_required", "accelerator")
    if field is None:
        return {}
    wanted: dict[str, int] = {}
    for given in field.mapping(expected="{type: percent}").fields():
        kind = Field(given.key, given.path).name()
        percent = 0 if given.value is None else need(given.number(most=100))
        if percent:
            wanted[kind] = percent
        else:
            notes.add(f"accelerator {kind} at 0 percent: none asked", name)
    if len(wanted) > _ACCELERATORS_MAX:
        field.refuse(f"at most {_ACCELERATORS_MAX} accelerators")
    return wanted


def _ports(fields: Mapping, name: str, notes: Notes) -> tuple[Port, ...]:
    mapped = [_mapped(item) for item in _items(fields.take("port_mapping"))]
    named = {port.container_port for port in mapped}
    listed = [item.whole(least=1, most=_PORT_MAX) for item in _items(fields.take("ports"))]
    free = [Port(container_port=port) for port in dict.fromkeys(listed) if port not in named]
    if any(port.host_port for port in mapped):
        notes.add("host ports are wishes, another is given where one is taken", name)
    return (*dict.fromkeys(mapped), *free)


def _items(field: Field | None) -> list[Field]:
    return [] if field is None else field.items(most=_PORTS_MAX)


def _mapped(item: Field) -> Port:
    given = item.mapping(expected="{con_port: PORT, phy_port: PORT}")
    container = given.require("con_port", expected="a port").whole(least=1, most=_PORT_MAX)
    host = _whole(given.take("phy_port"), most=_PORT_MAX, default=0)
    given.finish()
    return Port(container_port=container, host_port=host, required=False)
