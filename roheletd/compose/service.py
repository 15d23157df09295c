"""One service: each of its keys, and what of ours it becomes."""

from msgspec.structs import fields as fields_of

from roheletd.compose import deploy, health, networks, ports, program, stores, volumes
from roheletd.compose.draft import Draft, Project
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, group, idle, no, partly, walk, yes
from roheletd.compose.quantities import mebibytes, seconds
from roheletd.compose.variables import variables_from
from roheletd.model import Service

EXTENSION = "x-rohe"
_OURS = frozenset(field.name for field in fields_of(Service)) - {"name", "application"}
_PULLS = {"missing": "missing", "if_not_present": "missing", "always": "always", "never": "never"}


def draft_of(field: Field, project: Project) -> Draft:
    """One service of the file; what it does not support is left out and stands in the source."""
    draft = Draft(field, project)
    walk(field, KEYS, draft)
    deploy.settle_reservations(draft)
    deploy.settle_update(draft)
    deploy.settle_runtime(draft)
    if "image" not in draft.values:
        field.wrong("expected `image`, since images are pulled and not built")
    return draft


def _image(field: Field, draft: Draft) -> None:
    draft.put("image", field.text(), field)


def _environment(field: Field, draft: Draft) -> None:
    draft.origins["env"] = field
    for pair in field.pairs():
        if pair.value is not None:
            draft.env[pair.key] = pair.text()
        elif pair.key in field.source.variables:
            draft.env[pair.key] = field.source.variables[pair.key]
        else:
            pair.note("is not set: it has no value here, and the command's environment has none")


def _env_file(field: Field, draft: Draft) -> None:
    draft.origins.setdefault("env", field)
    for item in field.one_or_more():
        path, required = item, True
        if item.is_mapping():
            part = Draft(item, draft.project)
            walk(item, ENV_FILE, part)
            if "path" not in part.values:
                item.wrong("expected `path`")
            path, required = part.origins["path"], bool(part.values.get("required", True))
        text = draft.read_file(path, path.text("the path of a file"), required=required)
        draft.file_env |= variables_from(
            text, name=path.text(), variables={**field.source.variables, **draft.file_env}
        )


def _path(field: Field, part: Draft) -> None:
    part.put("path", field.text(), field)


def _required(field: Field, part: Draft) -> None:
    part.put("required", field.flag(), field)


def _depends_on(field: Field, draft: Draft) -> None:
    if field.is_list():
        for item in field.items():
            _depend(item, item.text(), "started", draft)
        return
    for name, entry in field.members("a list of services, or a mapping").items():
        part = Draft(entry, draft.project)
        walk(entry, DEPENDENCY, part)
        _depend(entry, name, str(part.values.get("condition", "started")), draft)


def _depend(field: Field, name: str, condition: str, draft: Draft) -> None:
    if name not in draft.project.services:
        field.wrong(f"expected a service of this file, got {name[:60]}")
    if name == draft.name:
        field.wrong("expected another service, got this one")
    draft.extend("depends_on", {"service": name, "condition": condition}, field)


def _condition(field: Field, part: Draft) -> None:
    match field.text():
        case "service_started":
            part.put("condition", "started", field)
        case "service_healthy":
            part.put("condition", "healthy", field)
        case "service_completed_successfully":
            field.unsupported("nothing runs only once")
        case _:
            field.refuse("service_started or service_healthy")


def _platform(field: Field, draft: Draft) -> None:
    system, _, machine = field.text().partition("/")
    if system != "linux" or not machine:
        field.unsupported("a platform is linux/ARCHITECTURE")
    else:
        draft.put("architectures", [machine.partition("/")[0]], field)


def _pull_policy(field: Field, draft: Draft) -> None:
    policy = field.text()
    if policy in _PULLS:
        draft.put("pull", _PULLS[policy], field)
    else:
        field.unsupported("an image is pulled when it is missing, always or never")


def _stop_grace(field: Field, draft: Draft) -> None:
    draft.put("stop_grace_s", seconds(field), field)


def _gpus(field: Field, draft: Draft) -> None:
    if field.value == "all":
        deploy.read_gpu(field, draft)
        field.note("is one whole GPU: x-rohe.accelerators says how much of one is needed")
        return
    for item in field.items("all, or a list of devices"):
        walk(item, deploy.DEVICE, Draft(item, draft.project))
        deploy.read_gpu(item, draft)


def _runtime(field: Field, draft: Draft) -> None:
    if field.text() == "nvidia":
        draft.seen["runtime"] = field
    elif field.text() != "runc":
        field.unsupported("containers run with the engine's own runtime")


def _shm_size(field: Field, draft: Draft) -> None:
    size_mib = max(1, mebibytes(field))
    draft.extend("volumes", {"path": "/dev/shm", "tmpfs_mib": size_mib}, field)  # noqa: S108


def _extension(field: Field, draft: Draft) -> None:
    """Fields of ours for which Compose has no key."""
    for name, member in field.members().items():
        if name not in _OURS:
            member.wrong(f"unknown field; known here: {', '.join(sorted(_OURS))}")
        elif name == "env":
            draft.origins.setdefault("env", member)
            draft.env |= {pair.key: pair.text() for pair in member.pairs()}
        elif name == "labels":
            deploy.read_labels(member, draft)
        elif name == "ports" and draft.ports:
            member.wrong("expected once, this service has `ports` or `expose` as well")
        else:
            draft.put(name, member.plain(), member)


_RIGHTS = "containers have the rights that the engine gives to all"

ENV_FILE: dict[str, Key] = {
    "path": yes(_path, "read where the command runs, relative to the Compose file"),
    "required": yes(_required, ""),
    "format": no("env files are read in one way"),
}
DEPENDENCY: dict[str, Key] = {
    "condition": partly(_condition, "service_started or service_healthy"),
    "restart": no("a service that others depend on is updated without them"),
    "required": idle("a service of the file is always there"),
}

KEYS: dict[str, Key] = {
    # what runs
    "image": yes(_image, ""),
    "command": yes(program.read_command, "text is cut as a shell would"),
    "entrypoint": yes(
        program.read_entrypoint,
        "in the place of the image's own and its command; [] leaves them out, for `command` alone",
    ),
    "user": yes(program.read_user, "by name or number, with a group or without"),
    "working_dir": yes(program.read_working_dir, "made where it is missing"),
    "hostname": yes(program.read_hostname, "that of all replicas"),
    "init": yes(program.read_init, "true where it is not given; false: the image brings its own"),
    "read_only": yes(program.read_read_only, ""),
    "environment": Key(
        "yes", "a name alone takes its value from where the command runs", _environment
    ),
    "env_file": Key("yes", "see below", _env_file, ENV_FILE),
    "platform": yes(_platform, "architectures"),
    "pull_policy": partly(_pull_policy, "missing, always or never"),
    "stop_signal": partly(program.read_stop_signal, "the usual ones, by name"),
    "stop_grace_period": yes(_stop_grace, ""),
    "labels": yes(deploy.read_labels, "labels of the service"),
    "depends_on": Key("yes", "see below", _depends_on, DEPENDENCY),
    "healthcheck": Key(
        "yes", "asked by the daemon, never by the engine", health.read_health, health.KEYS
    ),
    "restart": partly(deploy.read_restart, "always or unless-stopped"),
    # with what
    "ports": Key("yes", "8080:80, ranges, /udp; or see below", ports.read_ports, ports.LONG),
    "expose": yes(
        ports.read_exposed, "ports that other services reach, at the same number of every node"
    ),
    "volumes": Key(
        "in part",
        "named volumes and absolute paths of the nodes, with :ro; or see below",
        volumes.read_volumes,
        volumes.LONG,
    ),
    "tmpfs": partly(volumes.read_tmpfs, "with :size=64m"),
    "shm_size": yes(_shm_size, "a tmpfs at /dev/shm"),
    "configs": Key("yes", "see below", stores.read_configs, stores.LONG),
    "secrets": Key(
        "yes",
        "in /run/secrets where no target is given; or see below",
        stores.read_secrets,
        stores.LONG,
    ),
    # how much, how many, where
    "deploy": group(deploy.KEYS),
    "scale": yes(deploy.read_replicas, "as deploy.replicas"),
    "cpus": yes(deploy.read_cpu_limit, "as deploy.resources.limits.cpus"),
    "mem_limit": yes(deploy.read_memory_limit, "as deploy.resources.limits.memory"),
    "mem_reservation": partly(deploy.read_memory_reserved, "where there is no limit: as one"),
    "gpus": partly(_gpus, "one GPU"),
    "runtime": partly(_runtime, "nvidia, which is one GPU where no other key asks for any"),
    EXTENSION: yes(
        _extension,
        "fields of a service for which Compose has no key: cores, "
        "sensitivity, priority, accelerators, affinity, warm_spare, ...",
    ),
    # accepted, for it is so anyway or does not matter here
    "networks": Key("no effect", networks.FLAT, networks.read_networks, networks.IN_SERVICE),
    "container_name": idle("an instance is named after its service: web.1"),
    "links": Key("no effect", networks.FLAT, networks.read_links),
    "annotations": idle("labels are for people and tools; the engine is told nothing more"),
    "attach": idle("nothing is attached to"),
    # not supported
    "blkio_config": no("the speed of disks is not shared out"),
    "build": no("images are pulled and not built: build it, push it, and name it as `image`"),
    "cap_add": no(_RIGHTS),
    "cap_drop": no(_RIGHTS),
    "cgroup": no(_RIGHTS),
    "cgroup_parent": no("the engine's own setting holds"),
    "cpu_count": no("deploy.resources.limits.cpus says how much"),
    "cpu_percent": no("deploy.resources.limits.cpus says how much"),
    "cpu_period": no("deploy.resources.limits.cpus says how much"),
    "cpu_quota": no("deploy.resources.limits.cpus says how much"),
    "cpu_rt_period": no(_RIGHTS),
    "cpu_rt_runtime": no(_RIGHTS),
    "cpu_shares": no("deploy.resources.limits.cpus says how much"),
    "cpuset": no("the allocator chooses the cores: x-rohe.cores says how many and how much"),
    "credential_spec": no("all nodes run Linux"),
    "develop": no("a cluster is no place to develop in"),
    "device_cgroup_rules": no(_RIGHTS),
    "devices": no("of devices, only GPUs are given to containers"),
    "dns": no("the node's own answers, which know the services, are used"),
    "dns_opt": no("the node's own answers, which know the services, are used"),
    "dns_search": no("the node's own answers, which know the services, are used"),
    "domainname": no("`hostname` may have dots"),
    "extends": no("YAML's anchors and `<<` do the same within one file"),
    "external_links": no(networks.FLAT),
    "extra_hosts": no("services are found by their names"),
    "group_add": no(_RIGHTS),
    "ipc": no(_RIGHTS),
    "isolation": no("all nodes run Linux"),
    "label_file": no("use `labels`"),
    "logging": no("logs are read and bounded by the daemon"),
    "mac_address": no(networks.FLAT),
    "mem_swappiness": no("there is one limit, deploy.resources.limits.memory"),
    "memswap_limit": no("there is one limit, deploy.resources.limits.memory"),
    "models": no("services are containers"),
    "network_mode": no(networks.FLAT),
    "oom_kill_disable": no("an instance ends at its limit, and is started again"),
    "oom_score_adj": no("x-rohe.priority says what matters more"),
    "pid": no(_RIGHTS),
    "pids_limit": no("the number of processes is not limited"),
    "post_start": no("nothing runs beside the command"),
    "pre_stop": no("nothing runs beside the command"),
    "privileged": no(_RIGHTS),
    "profiles": no("all services of a file are applied: use one file for each profile"),
    "provider": no("services are containers"),
    "security_opt": no(_RIGHTS),
    "stdin_open": no("an instance has no terminal"),
    "storage_opt": no("the engine's own setting holds"),
    "sysctls": no(_RIGHTS),
    "tty": no("an instance has no terminal"),
    "ulimits": no("the engine's own setting holds"),
    "use_api_socket": no(_RIGHTS),
    "userns_mode": no(_RIGHTS),
    "uts": no(_RIGHTS),
    "volumes_from": no("each instance has volumes of its own"),
}
