"""What is said to a Docker-compatible engine and what its answers mean; pure.

Docker and Podman differ in status codes and words, and Podman's API accepts some requests and
drops parts of them without a word. All of that knowledge is on this page.
"""

import ipaddress
import re
import signal
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from msgspec import UNSET, Struct

from roheletd.cluster.container import Container
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.engines import (
    EngineError,
    Limit,
    file_variables,
    gpus,
    port_variables,
    surrounding_variables,
)
from roheletd.image import short_name
from roheletd.model import PortBinding

if TYPE_CHECKING:
    from aiodocker import Docker

Json = Mapping[str, Any]


class Fields(Protocol):
    """What can be asked by name: a dict, or aiodocker's own container."""

    def __getitem__(self, key: str, /) -> Any: ...


CLUSTER = "rohe.cluster"
NODE = "rohe.node"
SERVICE = "rohe.service"
INSTANCE = "rohe.instance"
DIGEST = "rohe.digest"
PORTS = "rohe.ports"

NOT_FOUND = HTTPStatus.NOT_FOUND

IMAGE_NAMES_MAX = 200
"""They travel in reports: some 8 KB when all are tags."""

_PERIOD_US = 100_000
_MILLICORES_SHORT_PERIOD_MIN = 10  # a quota is 1 ms or more
_LAST_LINE_CHARS_MAX = 200
_FOREIGN_CHARS_MAX = 500
_KILLED = 128 + signal.SIGKILL
_NO_ENTRYPOINT = [""]
_OWN_INIT = " (an image with an init of its own needs `init: false`)"

# A crash loop that prints must not fill the node's flash.
_LOG = {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}

_STATES: dict[str, Literal["created", "running", "exited"]] = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "paused": "running",
    "restarting": "running",
    "stopping": "running",
}

_NO_CONTAINERD = "containerd does not answer: sudo systemctl restart containerd"

# Words in an engine's message -> what to tell a person, and whether trying again can help.
_EXPLANATIONS: tuple[tuple[str, str, bool], ...] = (
    ("invalid reference format", "the image name is not valid", False),
    ("executable file not found", "the image has no such command", False),
    ("command that was not found", "the image has no such command", False),
    ("unable to find user", "the image has no such user: name one of its own, or a uid", False),
    ("unable to find group", "the image has no such group: name one of its own, or a gid", False),
    (
        "could not select device driver",
        "the engine cannot pass GPUs to containers: install the NVIDIA container toolkit",
        True,
    ),
    ("containerd.sock: connect:", _NO_CONTAINERD, True),
    ("connection closed: unavailable", _NO_CONTAINERD, True),
    ("transport is closing: unavailable", _NO_CONTAINERD, True),
    ("nvidia-container-cli: device error", "the GPU is not there now: see nvidia-smi -L", True),
    ("no space left on device", "the disk is full", True),
    ("already allocated", "a host port of it is in use by another program", True),
    ("address already in use", "a host port of it is in use by another program", True),
    ("volume is in use", "a container has it", True),
    ("volume is being used", "a container has it", True),
    ("no matching manifest", "the image is not made for this node's processor", True),
    ("for architecture", "the image is not made for this node's processor", True),
    ("xec format error", "the image is not made for this node's processor", True),
)

# The same of a pull; elsewhere they would speak of something else than a registry.
_OF_PULLS: tuple[tuple[str, str, bool], ...] = (
    ("manifest unknown", "image not found in its registry", True),
    ("repository does not exist", "image not found in its registry", True),
    ("name unknown", "image not found in its registry", True),
    ("pull access denied", "image not found in its registry, or it needs a login", True),
    ("unauthorized", "the registry wants a login", True),
    ("no basic auth credentials", "the registry wants a login", True),
    ("no such host", "registry unreachable", True),
    ("unreachable", "registry unreachable", True),
    ("connection refused", "registry unreachable", True),
    ("i/o timeout", "registry unreachable", True),
    ("unexpected EOF", "the connection to the registry broke", True),
    ("Client.Timeout", "registry unreachable", True),
)


class Refusal(EngineError):  # noqa: N818 - what the engine did
    """An HTTP answer that is an error; `status` is 0 for an error within a stream."""

    def __init__(self, status: int, message: str, *, of_pull: bool = False) -> None:
        text = message.strip()
        for words, meaning, retry in (*_EXPLANATIONS, *(_OF_PULLS if of_pull else ())):
            if words in text:
                super().__init__(f"{meaning} ({text})", retry=retry)
                break
        else:
            super().__init__(text)
        self.status = status
        self.message = text


def url(client: "Docker", path: str) -> str:
    """For what aiodocker has no call for, or one that does not do."""
    return f"{client.docker_host}/{client.api_version}/{path}"


def container_name(spec: InstanceSpec) -> str:
    return f"{spec.instance}.{spec.node}.{spec.cluster}"


def ours(cluster: str, node: str) -> dict[str, list[str]]:
    """The label filter for the containers of one node of one cluster."""
    return {"label": [f"{CLUSTER}={cluster}", f"{NODE}={node}"]}


def create_body(
    spec: InstanceSpec,
    *,
    unenforced: tuple[Limit, ...],
    init: bool,
    render_nodes: Mapping[str, tuple[str, ...]] = {},
    host_address: str = "",
) -> dict[str, Any]:
    """The request that creates `spec`, less the limits that this engine cannot hold."""
    host = _host_config(
        spec,
        unenforced=unenforced,
        init=init and spec.init is not False,
        render_nodes=render_nodes,
    )
    host |= _resolver(spec, host_address)
    variables = {**surrounding_variables(spec, host_address), **environment(spec)}
    return {
        "Image": spec.image,
        "Env": [f"{key}={value}" for key, value in sorted(variables.items())],
        "Labels": {
            **spec.labels,
            **identity_labels(spec),
            NODE: spec.node,
            DIGEST: spec.digest,
            PORTS: ",".join(str(port.host_port) for port in spec.ports),
        },
        "ExposedPorts": {_port(port): {} for port in spec.ports},
        # An image's own check writes its result to flash each time; roheletd probes by itself.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
        **_program(spec),
    }


def _program(spec: InstanceSpec) -> dict[str, Any]:
    """What is run, by whom and where, as far as it is not as the image has it."""
    asked: dict[str, Any] = {"Cmd": list(spec.command)} if spec.command else {}
    if spec.entrypoint is not UNSET:
        # Podman drops an empty list without a word, and both take one empty word for none.
        asked["Entrypoint"] = list(spec.entrypoint) or _NO_ENTRYPOINT
    more = {
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Hostname": spec.hostname,
        "StopSignal": spec.stop_signal,
    }
    return asked | {key: value for key, value in more.items() if value is not UNSET}


def identity_labels(spec: InstanceSpec) -> dict[str, str]:
    """Whose something is, wherever it is."""
    return {CLUSTER: spec.cluster, SERVICE: spec.service, INSTANCE: spec.instance}


def environment(spec: InstanceSpec) -> dict[str, str]:
    """In a container an instance binds the container's port; the engine leads the host's to it."""
    bound = {port.container_port: port.container_port for port in spec.ports}
    files = file_variables(spec.files, mounted=True)
    return {**files, **spec.env, **port_variables(bound), **gpus.variables(spec.gpus)}


def _port(port: PortBinding) -> str:
    return f"{port.container_port}/{port.protocol}"


def _host_config(
    spec: InstanceSpec,
    *,
    unenforced: tuple[Limit, ...],
    init: bool,
    render_nodes: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "LogConfig": _LOG,
        # roheletd restarts by itself, with a back-off and a reason.
        "RestartPolicy": {"Name": "no"},
        # Without an init, PID 1 ignores SIGTERM and every stop takes the whole grace period.
        "Init": init,
        # HostIp must be empty: with 0.0.0.0 netavark 1.4 writes a rule that matches nothing.
        "PortBindings": {
            _port(port): [{"HostIp": "", "HostPort": str(port.host_port)}] for port in spec.ports
        },
    }
    if spec.cores and "cores" not in unenforced:
        config["CpusetCpus"] = ",".join(str(core) for core in spec.cores)
    if spec.quota_millicores and "quota" not in unenforced:
        config |= _quota(spec.quota_millicores)
    if spec.memory_mib and "memory" not in unenforced:
        config["Memory"] = spec.memory_mib * 2**20
        config["MemorySwap"] = config["Memory"]  # the same figure: no swap beside it
    if spec.read_only:
        config["ReadonlyRootfs"] = True
    return config | gpus.host_config(spec.gpus, render_nodes)


def _resolver(spec: InstanceSpec, host_address: str) -> dict[str, list[str]]:
    """That of this node, alone: with others beside it, some C libraries ask all and take the first.

    It passes on what it does not know.
    """
    if not (host_address and spec.surroundings.search):
        return {}
    return {"Dns": [host_address], "DnsSearch": list(spec.surroundings.search)}


def host_address(networks: Iterable[Json]) -> str:
    """The gateway of the network that containers are put into; empty where none is known."""
    for network in networks:
        ipam = network.get("IPAM") or {}
        for config in ipam.get("Config") or ():
            subnet = config.get("Subnet") or ""
            if ":" in subnet:
                continue
            if gateway := config.get("Gateway"):
                return str(gateway)
            # Docker leaves it out where it chose the subnet itself: it is its first address.
            if subnet:
                return str(next(ipaddress.ip_network(subnet, strict=False).hosts()))
    return ""


def _quota(millicores: int) -> dict[str, int]:
    """CFS quota and period; a tiny quota needs a longer period to reach the 1 ms minimum."""
    period = _PERIOD_US if millicores >= _MILLICORES_SHORT_PERIOD_MIN else 10 * _PERIOD_US
    return {"CpuPeriod": period, "CpuQuota": millicores * period // 1000}


def unenforced_limits(info: Json) -> tuple[Limit, ...]:
    """The limits that `/info` says the kernel or the engine cannot hold."""
    keys: dict[Limit, str] = {"cores": "CPUSet", "quota": "CpuCfsQuota", "memory": "MemoryLimit"}
    return tuple(limit for limit, key in keys.items() if not info.get(key, True))


def dropped(asked: Json, inspected: Json) -> str:
    """The first of our limits that the engine accepted and then did not keep; empty if none."""
    kept = inspected["HostConfig"]
    for key in ("CpusetCpus", "CpuQuota", "Memory", "ReadonlyRootfs"):
        if key in asked["HostConfig"] and kept.get(key) != asked["HostConfig"][key]:
            return f"{key} {asked['HostConfig'][key]} became {kept.get(key)}"
    return _dropped_of_program(asked, inspected) or gpus.dropped(asked["HostConfig"], kept)


def _dropped_of_program(asked: Json, inspected: Json) -> str:
    """Whoever asks for a user must not run as root, nor run another program."""
    own = inspected.get("Config") or {}
    if "User" in asked and own.get("User") != asked["User"]:
        return f"User {asked['User']} became {own.get('User') or 'that of the image'}"
    kept = own.get("Entrypoint") or _NO_ENTRYPOINT
    if "Entrypoint" in asked and kept != asked["Entrypoint"]:
        return f"Entrypoint {asked['Entrypoint']} became {kept}"
    return ""


def pull_parameters(image: str) -> dict[str, str]:
    """With neither tag nor digest, `latest`: an engine asked for no tag fetches them all."""
    name = image.rpartition("/")[2]
    bare = ":" not in name and "@" not in name
    return {"fromImage": image} | ({"tag": "latest"} if bare else {})


def step_of_pull(status: int, line: bytes) -> Json | Refusal:
    """One line of a pull; an error is said by Docker with the status and by Podman in the line."""
    told = said(line) if line.strip() else {}
    if status >= HTTPStatus.BAD_REQUEST:
        return Refusal(status, told.get("message", ""), of_pull=True)
    return Refusal(0, told["error"], of_pull=True) if "error" in told else told


def said(body: bytes) -> Json:
    """What an answer says; what is none of an engine's own, as a page of a proxy, is a message."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {"message": body.decode(errors="replace")[:_FOREIGN_CHARS_MAX]}


def ends_containers(name: str, info: Json) -> bool:
    """Whether a restart of the engine ends them all; those of Podman have nothing to do with it."""
    return name == "Docker" and not info.get("LiveRestoreEnabled", True)


def engine_name(version: Json) -> str:
    components = (part.get("Name", "") for part in version.get("Components") or ())
    return "Podman" if any("Podman" in name for name in components) else "Docker"


def container(listed: Fields) -> Container:
    """A container as it is listed; why one has ended is known from inspecting it alone."""
    return Container(
        id=listed["Id"],
        instance=listed["Labels"].get(INSTANCE, ""),
        digest=listed["Labels"].get(DIGEST, ""),
        state=_STATES.get(listed["State"], "exited"),
        created_s=float(listed["Created"]),
        paused=listed["State"] == "paused",
        address=_own_address(listed),
        stranger=_stranger(listed),
        host_ports=_host_ports(listed),
    )


def _host_ports(listed: Fields) -> tuple[int, ...]:
    """Podman's list has the first alone of ports that stand side by side; the label has all."""
    found = {port.get("PublicPort") for port in listed["Ports"] or ()}
    found |= {port for port in listed["Labels"].get(PORTS, "").split(",") if port.isdecimal()}
    return tuple(sorted({int(port) for port in found if port}))


def _stranger(listed: Fields) -> str:
    """The name of a container with our labels that we did not make; empty for one of ours.

    Labels travel: with an image that was committed from a container, with a copied Compose file.
    A name does not, for there is only one of each; a container that is being removed has none.
    """
    labels = listed["Labels"]
    names = [name.strip("/") for name in listed["Names"] or ()]
    ours = f"{labels.get(INSTANCE)}.{labels.get(NODE)}.{labels.get(CLUSTER)}"
    is_ours = labels.get(SERVICE) and labels.get(DIGEST) and (not names or ours in names)
    return "" if is_ours else (names or [listed["Id"][:12]])[0]


def _own_address(listed: Fields) -> str:
    """That of a container with a network of its own; empty for one that shares the machine's."""
    networks = (listed["NetworkSettings"] or {}).get("Networks") or {}
    found = (network.get("IPAddress") for network in networks.values() if network)
    return next((str(address) for address in found if address), "")


def exit_reason(inspected: Json, last_line: str, *, out_of_memory: bool = False) -> str:
    """Why a container ended, in the words of whoever knows best.

    `out_of_memory`: the kernel has just said so.
    """
    state = inspected["State"]
    code = state["ExitCode"]
    limit_mib = (inspected["HostConfig"].get("Memory") or 0) // 2**20
    if (state.get("OOMKilled") or out_of_memory) and code:
        return f"out of memory (limit {limit_mib} MiB)" if limit_mib else "out of memory"
    if state.get("Error"):
        return str(state["Error"])
    if code == _KILLED:
        # Podman does not say whether the kernel did it for want of memory.
        return "killed (137)" + (", possibly out of memory" if limit_mib else "")
    said = f": {last_line.strip()[:_LAST_LINE_CHARS_MAX]}" if code and last_line.strip() else ""
    remedy = _OWN_INIT if "pid 1" in said.lower() else ""
    return f"ended with exit code {code}{said}{remedy}"


def taken_ports(message: str, spec: InstanceSpec) -> tuple[int, ...]:
    """Which host ports may be in use, if that is what the message says; empty if it is not."""
    if "already allocated" not in message and "address already in use" not in message:
        return ()
    ports = tuple(port.host_port for port in spec.ports)
    named = {int(found) for found in re.findall(r":(\d{1,5})\b", message)}
    return tuple(port for port in ports if port in named) or ports


def is_not_executable(message: str) -> bool:
    """The kernel's word for a program of another processor, as a runtime without an init says it.

    So does it of a script without a first line, which no node could run either.
    """
    return "exec format error" in message.lower()


def init_gave_up(reason: str) -> bool:
    """Whether a container ended because its init, tini or catatonit, could not run the program.

    That does not say why: faced with a program of another processor they try a shell instead, and
    complain of that one, which is not there or is of another processor as well.
    """
    return ("tini" in reason and "exec" in reason) or "failed to exec pid1" in reason


def image_names(listed: Iterable[Json]) -> tuple[str, ...]:
    """What images can be asked for by: tags and digests, of at most `IMAGE_NAMES_MAX` the newest.

    Newest by when they were made, for no engine tells when it got them.
    """
    newest = sorted(listed, key=lambda image: -image["Created"])
    names = (name for image in newest for name in names_of(image))
    return tuple(islice(dict.fromkeys(names), IMAGE_NAMES_MAX))


def names_of(image: Json) -> tuple[str, ...]:
    """Its tags and digests as they are asked for by."""
    found = (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))
    return tuple(short_name(name) for name in found if "<none>" not in name)


class _Event(Struct, frozen=True):
    id: str
    status: str


def unsettled(event: bytes, known: set[str]) -> set[str]:
    """Whose state an event has changed before the list shows it: all `known` where it is cut."""
    try:
        told = msgspec.json.decode(event, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return known
    return {told.id} if told.status in {"die", "died", "pause", "unpause"} else set()


def is_going(inspected: Fields) -> bool:
    """Whether somebody is removing a container, which Docker takes a while for."""
    return bool(inspected["State"]["Status"] == "removing")


def is_name_taken(refusal: Refusal) -> bool:
    return refusal.status == HTTPStatus.CONFLICT or "name is already in use" in refusal.message


def lacks_init(message: str) -> bool:
    """Podman without catatonit says so at create, Docker without tini at start."""
    return "catatonit" in message or "docker-init" in message
