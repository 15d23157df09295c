"""`deploy`: how many, where, with how much, and how they are replaced."""

import re

from roheletd.compose.draft import Draft
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, group, idle, no, partly, walk, yes
from roheletd.compose.quantities import mebibytes, millicores, seconds

_REPLICAS_MAX = 10_000
_CONSTRAINT = re.compile(r"\s*(?P<fact>[\w./-]+)\s*(?P<sign>==|!=)\s*(?P<value>\S.*?)\s*")
_SPREAD = re.compile(r"node\.labels\.(?P<label>\S+)")
_WHOLE_DEVICE = 100


def _mode(field: Field, _draft: Draft) -> None:
    if field.text() != "replicated":
        field.unsupported("a service has a number of replicas, not one on each node")


def read_replicas(field: Field, draft: Draft) -> None:
    draft.put("replicas", field.whole(least=0, most=_REPLICAS_MAX), field)


def read_labels(field: Field, draft: Draft) -> None:
    for pair in field.pairs():
        draft.labels[pair.key] = "" if pair.value is None else pair.text()
        draft.origins.setdefault("labels", field)


# --- resources: what is promised is also the limit


def read_cpu_limit(field: Field, draft: Draft) -> None:
    draft.put("cpu_millicores", millicores(field), field)


def read_memory_limit(field: Field, draft: Draft) -> None:
    draft.put("memory_mib", mebibytes(field), field)


def _cpu_reserved(field: Field, draft: Draft) -> None:
    _reserved("cpu_millicores", millicores(field), field, draft)


def read_memory_reserved(field: Field, draft: Draft) -> None:
    _reserved("memory_mib", mebibytes(field), field, draft)


def _reserved(name: str, value: int, field: Field, draft: Draft) -> None:
    """Where there is a limit as well, that is what is promised: nothing is given twice."""
    draft.seen[name] = field
    if name not in draft.values:
        draft.reserved[name] = value


def settle_reservations(draft: Draft) -> None:
    for name, value in draft.reserved.items():
        origin = draft.seen[name]
        if name in draft.values:
            if draft.values[name] != value:
                origin.note("has no effect: the limit is what is promised")
        else:
            draft.put(name, value, origin)
            origin.note("is the limit as well: what is promised and what is allowed are one")


def _devices(field: Field, draft: Draft) -> None:
    for item in field.items():
        walk(item, DEVICE, Draft(item, draft.project))
        kinds = {it.text() for it in item.members().get("capabilities", _none(item)).one_or_more()}
        if "gpu" not in kinds:
            item.unsupported("a device without the capability `gpu`")
        else:
            read_gpu(item, draft)


def _none(item: Field) -> Field:
    return Field(item.source, [], item.path, item.key, item.line)


def read_gpu(field: Field, draft: Draft) -> None:
    draft.put("accelerators", {"gpu": _WHOLE_DEVICE}, field)


def settle_runtime(draft: Draft) -> None:
    """With NVIDIA's runtime a container sees GPUs though no key asks for one: so do Jetsons."""
    if (field := draft.seen.get("runtime")) is None:
        return
    if "accelerators" in draft.values:
        field.note("has no effect: the node chooses it for services that ask for a GPU")
    else:
        read_gpu(field, draft)
        field.note("is one whole GPU: x-rohe.accelerators says how much of one is needed")


def _count(field: Field, _draft: Draft) -> None:
    if field.value == "all":
        field.note("is one whole GPU: x-rohe.accelerators says how much of one is needed")
    elif field.whole(least=1, most=1024) > 1:
        field.unsupported("an instance gets one GPU, or a part of it")


def _device_ids(field: Field, _draft: Draft) -> None:
    if len(field.items()) > 1:
        field.unsupported("an instance gets one GPU, or a part of it")
    else:
        field.note("has no effect: the allocator chooses among a node's GPUs")


def _capabilities(field: Field, _draft: Draft) -> None:
    for item in field.items():
        if item.text() not in ("gpu", "nvidia", "compute", "utility"):
            item.unsupported(f"the capability {item.text()[:40]}; gpu, compute and utility are")


def _driver(field: Field, _draft: Draft) -> None:
    if field.text() != "nvidia":
        field.unsupported("GPUs are NVIDIA's")


DEVICE: dict[str, Key] = {
    "capabilities": partly(_capabilities, "`gpu` is one whole device"),
    "count": partly(_count, "1, or `all`, which is one as well"),
    "device_ids": partly(_device_ids, "one, and the allocator chooses which"),
    "driver": partly(_driver, "nvidia"),
    "options": no("a device is given as it is"),
}

# --- placement


def _constraints(field: Field, draft: Draft) -> None:
    for item in field.items():
        found = _CONSTRAINT.fullmatch(item.text("a constraint such as node.labels.zone == hall"))
        if found is None:
            item.refuse("a constraint such as node.labels.zone == hall")
        fact, sign, value = found["fact"], found["sign"], found["value"]
        if fact == "node.platform.os":
            if (sign == "==") != (value == "linux"):
                item.unsupported("all nodes run Linux")
        elif fact in _FACTS or fact.startswith("node.labels."):
            draft.extend("constraints", f"{_FACTS.get(fact, fact)} {sign} {value}", item)
        else:
            item.unsupported("constraints are on node.hostname, node.platform and node.labels")


_FACTS = {"node.hostname": "node.name", "node.platform.arch": "node.arch"}


def _preferences(field: Field, draft: Draft) -> None:
    for item in field.items():
        for key, member in item.members().items():
            found = _SPREAD.fullmatch(member.text()) if key == "spread" else None
            if found is None:
                member.unsupported("the only preference is `spread: node.labels.KEY`")
            elif "spread_over" in draft.values:
                member.unsupported("replicas are spread over one label")
            else:
                draft.put("spread_over", found["label"], member)


# --- updates


def read_update(field: Field, draft: Draft) -> None:
    part = Draft(field, draft.project)
    walk(field, UPDATE, part)
    waits = [value for name in ("delay", "monitor") if (value := part.values.pop(name, None))]
    if waits:
        part.values["healthy_for_s"] = max(float(str(value)) for value in waits)
    ratio = part.values.pop("ratio", None)
    if ratio is not None:
        draft.failure_ratio = float(str(ratio))
    draft.put("update", part.values, field)


def settle_update(draft: Draft) -> None:
    """What depends on the number of replicas, which may stand further down."""
    update = draft.values.get("update")
    if not isinstance(update, dict):
        return
    replicas = int(str(draft.values.get("replicas", 1)))
    if update.get("parallel") == 0:
        update["parallel"] = max(1, replicas)
    if draft.failure_ratio:
        update["max_failures"] = int(draft.failure_ratio * replicas)


def _parallelism(field: Field, part: Draft) -> None:
    part.put("parallel", field.whole(least=0, most=_REPLICAS_MAX), field)


def _order(field: Field, part: Draft) -> None:
    if field.text() not in ("start-first", "stop-first"):
        field.refuse("start-first or stop-first")
    part.put("order", field.text(), field)


def _delay(field: Field, part: Draft) -> None:
    part.put("delay", seconds(field), field)


def _monitor(field: Field, part: Draft) -> None:
    part.put("monitor", seconds(field), field)


def _ratio(field: Field, part: Draft) -> None:
    text = field.text("a number from 0 to 1")
    if not re.fullmatch(r"(?:0(?:\.\d{1,9})?|1(?:\.0{1,9})?)", text):
        field.refuse("a number from 0 to 1")
    part.put("ratio", float(text), field)


def _failure_action(field: Field, part: Draft) -> None:
    if field.text() == "continue":
        field.unsupported("an update that fails does not go on; pause and rollback are supported")
    elif field.text() not in ("pause", "rollback"):
        field.refuse("pause or rollback")
    else:
        part.put("on_failure", field.text(), field)


def _condition(field: Field, _draft: Draft) -> None:
    condition = field.text()
    if condition == "none":
        field.unsupported("an instance that ends is started again: nothing runs only once")
    elif condition == "on-failure":
        field.note("is as `any`: an instance that ends with 0 is started again, too")
    elif condition != "any":
        field.refuse("any, on-failure or none")


def read_restart(field: Field, _draft: Draft) -> None:
    policy = "no" if field.value is False else field.text()
    if policy == "no":
        field.unsupported("an instance that ends is started again: nothing runs only once")
    elif policy.startswith("on-failure"):
        field.note("is as `always`: an instance that ends with 0 is started again, too")
    elif policy not in ("always", "unless-stopped"):
        field.refuse("always, unless-stopped, on-failure or no")


_BACK_OFF = "the pause between restarts is the daemon's own: 1 s, doubled up to 60 s"

UPDATE: dict[str, Key] = {
    "parallelism": yes(_parallelism, "0 is all at once"),
    "order": yes(_order, ""),
    "delay": partly(_delay, "how long a new instance is healthy before the next one's turn"),
    "monitor": partly(_monitor, "as `delay`; of both, the longer"),
    "failure_action": partly(_failure_action, "pause or rollback; rollback where not given"),
    "max_failure_ratio": yes(_ratio, "that part of the replicas, rounded down"),
}

KEYS: dict[str, Key] = {
    "mode": partly(_mode, "replicated"),
    "replicas": yes(read_replicas, ""),
    "labels": yes(read_labels, "labels of the service"),
    "resources": group(
        {
            "limits": group(
                {
                    "cpus": yes(read_cpu_limit, "promised, and the limit"),
                    "memory": yes(read_memory_limit, "promised, and the limit"),
                    "pids": no("the number of processes is not limited"),
                }
            ),
            "reservations": group(
                {
                    "cpus": partly(_cpu_reserved, "where there is no limit: as one"),
                    "memory": partly(read_memory_reserved, "where there is no limit: as one"),
                    "devices": partly(_devices, "one GPU"),
                    "generic_resources": no("x-rohe.accelerators asks for what nodes have"),
                }
            ),
        }
    ),
    "placement": group(
        {
            "constraints": partly(
                _constraints, "on node.hostname, node.platform.arch, node.platform.os, node.labels"
            ),
            "preferences": partly(_preferences, "one `spread` over a label"),
            "max_replicas_per_node": no("spread and resources say where replicas go"),
        }
    ),
    "update_config": Key("in part", "see below", read_update, UPDATE),
    "rollback_config": no("a rollback goes as the update did: x-rohe.update"),
    "restart_policy": group(
        {
            "condition": partly(_condition, "any"),
            "delay": idle(_BACK_OFF),
            "max_attempts": idle("there is no last attempt; x-rohe.move_after tries another node"),
            "window": idle(_BACK_OFF),
        }
    ),
    "endpoint_mode": idle("a service's name leads to its healthy instances"),
}
