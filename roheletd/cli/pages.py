"""The daemon's answers as text for people. Pure: one function per answer, values in, lines out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roheletd.cli.tables import (
    Cell,
    Column,
    Style,
    clean,
    heat,
    level,
    pairs,
    plural,
    remarked,
    table,
    wrapped,
)

Value = Mapping[str, Any]

_STATE_COLOURS = {
    "alive": "green",
    "running": "green",
    "healthy": "green",
    "placed": "yellow",
    "starting": "yellow",
    "waiting": "yellow",
    "suspect": "yellow",
    "failed": "red",
    "unhealthy": "red",
    "lost": "red",
}


def status(answer: Value, style: Style) -> list[str]:
    head = f"roheletd {answer['version']} on {answer['node']}, cluster {answer['cluster']}"
    lines = [
        style.paint(clean(head), "bold"),
        *pairs(
            [
                ("up", duration(answer["uptime_s"])),
                ("role", _role(answer)),
                ("broker", broker(answer["broker"])),
                ("engine", engine(answer["engine"])),
                ("nodes", str(answer["nodes"])),
                ("services", str(answer["services"])),
                ("instances", _running(answer["instances_running"], answer["instances_wanted"])),
                *_dropped(answer.get("dropped_messages", {})),
            ],
            style,
        ),
    ]
    warnings = answer.get("warnings", ())
    if not warnings:
        return [*lines, *_no_warnings(answer, style)]
    lines.append(style.paint("needs attention:", "yellow"))
    return [*lines, *(line for warning in warnings for line in remarked(warning, style))]


def _no_warnings(answer: Value, style: Style) -> list[str]:
    missing = answer["instances_wanted"] - answer["instances_running"]
    if missing > 0:
        some = plural(missing, "instance does", "instances do")
        return [style.paint(f"{missing} {some} not run: `roheletd instances` says why", "yellow")]
    return [style.paint("all is well", "green")]


def nodes(answer: Value, style: Style) -> list[str]:
    columns = (
        Column("NODE"),
        Column("STATE"),
        Column("ENGINE", spare=True),
        Column("CORES"),
        Column("CPU FREE", right=True),
        Column("MEMORY FREE", right=True),
        Column("INSTANCES", right=True, spare=True),
    )
    found = answer["nodes"]
    rows = [
        (
            view["node"]["name"],
            _liveness(view),
            view["node"].get("engine", ""),
            core_levels(view["node"]["capacity"]["cores"], view["free_cores"], style),
            f"{view['free_cpu_millicores']} of {sum(view['node']['capacity']['cores'].values())} m",
            f"{view['free_memory_mib']} of {view['node']['capacity']['memory_mib']} MiB",
            str(view["instances"]),
        )
        for view in found
    ]
    lines = table(columns, rows, style)
    if not found:
        return [*lines, "no node is registered yet"]
    lines += _explained(_CORES_LEGEND, style)
    if any(view.get("cordoned") for view in found):
        lines += _explained("cordoned: takes no new instances; `roheletd uncordon` ends it", style)
    return lines


def _liveness(view: Value) -> Cell:
    if not view.get("cordoned"):
        return state(view["liveness"])
    alive = view["liveness"] == "alive"
    closed = "draining" if view.get("draining") else "cordoned"
    return Cell(closed if alive else f"{view['liveness']}, {closed}", "yellow")


_CORES_LEGEND = "CORES: a bar for each core, what is promised or in use of it; m: millicores"


def services(answer: Value, style: Style) -> list[str]:
    columns = (
        Column("SERVICE"),
        Column("APPLICATION", spare=True),
        Column("RUNNING", right=True),
        Column("PLACED", right=True),
        Column("CORES"),
        Column("MEMORY", right=True, spare=True),
        Column("IMAGE", spare=True),
    )
    rows = [_service_row(view) for view in answer["services"]]
    if not rows:
        return [*table(columns, rows, style), "no service; `roheletd orchestration add-service`"]
    waiting = [
        f"waits: {why}" if (why := view.get("waiting")) else "" for view in answer["services"]
    ]
    return table(columns, rows, style, waiting)


def _service_row(view: Value) -> tuple[str | Cell, ...]:
    service = view["service"]
    wanted = service.get("replicas", 1)
    well = "green" if view["running"] == wanted else "yellow"
    cores = service.get("cores") or [service.get("cpu_millicores", 0)]
    memory_mib = service.get("memory_mib", 0)
    return (
        service["name"],
        service.get("application", "default"),
        Cell(f"{view['running']}/{wanted}", well),
        f"{view['placed']}/{wanted}",
        ", ".join(f"{need} m" for need in cores if need) or "-",
        f"{memory_mib} MiB" if memory_mib else "-",
        service.get("image") or " ".join(service.get("command", ())),
    )


def instances(answer: Value, style: Style) -> list[str]:
    found = answer["instances"]
    if not found:
        return [*table(_INSTANCE_COLUMNS, (), style), "no instance is placed"]
    return instance_table(found, style)


def instance_table(found: Sequence[Value], style: Style) -> list[str]:
    reasons = [trouble(view) for view in found]
    return table(_INSTANCE_COLUMNS, [_instance_row(view) for view in found], style, reasons)


def instance_state(view: Value) -> Cell:
    """That of its health, where it runs and is checked or is not well."""
    word, health = view["state"], view.get("health")
    if word == "running" and health and (health != "healthy" or view.get("checked")):
        word = health
    return state(word)


def trouble(view: Value) -> str:
    """What is wrong with an instance, or was until lately."""
    failures, last = view.get("failures", 0), view.get("last_failure", "")
    if view.get("reason") or not (failures and last):
        return str(view.get("reason", ""))
    return f"failed {in_a_row(failures)} lately: {last}"


def in_a_row(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


_INSTANCE_COLUMNS = (
    Column("INSTANCE"),
    Column("NODE"),
    Column("STATE"),
    Column("CORES"),
    Column("PORTS", spare=True),
    Column("SCORE", right=True, spare=True),
    Column("CPU", right=True, spare=True),
    Column("MEMORY", right=True, spare=True),
    Column("RESTARTS", right=True, spare=True),
)


def _instance_row(view: Value) -> tuple[str | Cell, ...]:
    return (
        view["instance"],
        view["node"],
        instance_state(view),
        cores(view["cores"]),
        ports(view["ports"]),
        f"{view['score']:.2f}",
        _amount(view.get("used_cpu_millicores"), "m"),
        _amount(view.get("used_memory_mib"), "MiB"),
        str(view.get("restarts", 0)),
    )


def leader(answer: Value, style: Style) -> list[str]:
    name = answer["leader"] or Cell("none: no change is possible until one is elected", "red")
    return pairs([("leader", name), ("term", str(answer["term"]))], style)


def changes(answer: Value, style: Style) -> list[str]:
    rows = sorted(answer["changed"].items())
    lines = pairs([(clean(name), what) for name, what in rows], style)
    notes = (line for text in answer.get("notes", ()) for line in remarked(text, style))
    return [*(lines or ["nothing changed"]), *notes]


def duration(seconds: float) -> str:
    """Whole units, the two largest: 3 d 4 h, 12 min 5 s, 7 s."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length_s)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def broker(link: Value) -> str:
    url, mode = link.get("url", ""), link["mode"]
    if link["connected"]:
        return " ".join(part for part in (url, f"({mode}, connected)") if part)
    return (
        f"{' '.join(part for part in (url, f'({mode})') if part)} not connected: {link['reason']}"
    )


def engine(link: Value) -> str:
    if link["kind"] == "none":
        return "none: this node runs no instances"
    limits = " and ".join(link.get("unenforced", ()))
    without = f" ({limits} not enforced)" if limits else ""
    if link["kind"] == "process" and link["reachable"]:
        return (str(link.get("address", "")) or "local processes") + without
    name = " ".join(
        part for part in (link.get("name") or link["kind"], link.get("version")) if part
    )
    address = link.get("address", "")
    where = f" at {address}" if address else ""
    return (
        f"{name}{where}{without}"
        if link["reachable"]
        else f"{name}{where} does not answer: {link['reason']}"
    )


def cores(promised: Mapping[str, int]) -> str:
    """Core id and what is promised on it."""
    return ", ".join(f"{core}: {need} m" for core, need in _by_core(promised)) or "-"


def ports(bindings: Iterable[Value]) -> str:
    """Port of the node and the port of the instance behind it, as `docker ps` shows them."""
    shown = (
        f"{port['host_port']}->{port['container_port']}"
        + ("/udp" if port.get("protocol") == "udp" else "")
        for port in bindings
    )
    return ", ".join(shown) or "-"


def core_levels(capacity: Mapping[str, int], free: Mapping[str, int], style: Style) -> str:
    """One character for each core, by core id."""
    return "".join(
        level(1.0 - free.get(core, 0) / whole if whole else 1.0, style)
        for core, whole in _by_core(capacity)
    )


def core_shares(telemetry: Value) -> list[tuple[str, float]]:
    """Core id and how busy it is, 0 to 1."""
    used = (telemetry.get("cpu") or {}).get("used_millicores", {})
    return [(core, value / 1000) for core, value in _by_core(used)]


def hottest(telemetry: Value) -> Cell | None:
    """The hottest thermal zone, and whether the machine slows itself down."""
    zones = [zone for zone in telemetry.get("thermal", ()) if zone.get("celsius") is not None]
    if not zones:
        return None
    zone = max(zones, key=lambda found: found["celsius"])
    throttled = telemetry.get("throttled", ())
    text = f"{zone['celsius']:.0f} °C ({zone['name']})" + "".join(f", {why}" for why in throttled)
    return Cell(text, "red" if throttled else heat(zone["celsius"] / 100))


def _by_core(values: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(values.items(), key=lambda item: int(item[0]))


def _role(answer: Value) -> str | Cell:
    at = f"term {answer['term']}, applied {answer['applied_index']}"
    if answer["role"] == "leader":
        return f"leader ({at})"
    if not answer["leader"]:
        return Cell(f"there is no leader ({at})", "red")
    return f"follower of {answer['leader']} ({at})"


def _dropped(messages: Mapping[str, int]) -> list[tuple[str, str | Cell]]:
    shown = ", ".join(f"{count} {reason}" for reason, count in messages.items() if count)
    return [("dropped", Cell(f"MQTT messages: {shown}", "yellow"))] if shown else []


def _running(running: int, wanted: int) -> Cell:
    return Cell(f"{running} of {wanted} running", "green" if running == wanted else "yellow")


def state(word: str) -> Cell:
    return Cell(word, _STATE_COLOURS.get(word, ""))


def _amount(value: int | None, unit: str) -> str:
    return "-" if value is None else f"{value} {unit}"


def _explained(text: str, style: Style) -> list[str]:
    return [style.paint(line, "dim") for line in wrapped(text, style.width)]
