"""What an instance of a service needs from a node, and nothing else about the service.

Services with equal asks get equal answers from every filter and, but for `spread`, from every
score; so the answers are worked out once for all of them.
"""

from collections.abc import Mapping

from msgspec import Struct

from roheletd.allocation.constraints import Wanted, parse
from roheletd.architecture import architecture
from roheletd.image import short_name
from roheletd.model import Neighbour, Port, Service, accelerators, demand, is_cpu_sensitive


class Ask(Struct, frozen=True, kw_only=True):
    """The needs of one instance, hashable.

    `demand` is millicores per core, largest first, and `cores_millicores` their sum. `must_ports`
    are those of `ports` for which no other host port will do. `apart` are the services that must
    not be near, by our own wish or by theirs. `itself` is the service's name where it has affinity
    to itself. `tight` asks for the tightest cores that have room, and not for the freest. `home` is
    the node that has the data of this very instance, if any has. `failed_on` are the nodes that do
    not take it, with the reason. `container_field` is one that no process can be given.
    """

    image: str
    has_command: bool
    container_field: str
    cpu_millicores: int
    demand: tuple[int, ...]
    cores_millicores: int
    cpu_sensitive: bool
    memory_mib: int
    vms_mib: int
    accelerators: tuple[tuple[str, int], ...]
    gpu_memory_mib: int
    spread_devices: bool
    ports: tuple[Port, ...]
    must_ports: frozenset[tuple[int, str]]
    architectures: tuple[str, ...]
    constraints: tuple[Wanted, ...]
    affinity: tuple[Neighbour, ...]
    apart: tuple[Neighbour, ...]
    itself: str
    spread_over: str | None
    tight: bool
    host_paths: tuple[str, ...]
    has_volumes: bool
    home: str
    failed_on: tuple[tuple[str, str], ...] = ()


def ask_of(
    service: Service,
    shunned_by: Mapping[str, tuple[Neighbour, ...]],
    *,
    tight: bool = False,
    home: str = "",
    failed_on: Mapping[str, str] = {},
) -> Ask:
    """`shunned_by`: by service, those that want to be apart from it (see `Snapshot`)."""
    return Ask(
        image=short_name(service.image),
        has_command=bool(service.command or service.entrypoint),
        container_field=_container_field(service),
        cpu_millicores=cpu_need(service),
        demand=demand(service),
        cores_millicores=sum(demand(service)),
        cpu_sensitive=is_cpu_sensitive(service.sensitivity),
        memory_mib=service.memory_mib,
        vms_mib=service.vms_mib,
        accelerators=tuple(accelerators(service).items()),
        gpu_memory_mib=service.gpu_memory_mib,
        spread_devices=service.spread_devices,
        ports=service.ports,
        must_ports=frozenset(
            [(it.host_port, it.protocol) for it in service.ports if it.host_port and it.required]
        ),
        architectures=tuple(architecture(name) for name in service.architectures),
        constraints=tuple(parse(text) for text in service.constraints),
        affinity=service.affinity,
        apart=tuple(dict.fromkeys((*service.anti_affinity, *shunned_by.get(service.name, ())))),
        itself=service.name if any(it.service == service.name for it in service.affinity) else "",
        spread_over=service.spread_over,
        tight=tight,
        host_paths=tuple(it.host_path for it in service.volumes if it.host_path is not None),
        has_volumes=bool(service.volumes),
        home=home,
        failed_on=tuple(sorted(failed_on.items())),
    )


def _container_field(service: Service) -> str:
    if service.hostname is not None:
        return "hostname"
    return "read_only" if service.read_only else ""


def cpu_need(service: Service) -> int:
    """Millicores that a service takes from a node: what it names, or else the sum of its cores."""
    return service.cpu_millicores or sum(demand(service))
