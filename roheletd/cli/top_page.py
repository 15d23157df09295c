"""What all nodes and instances use now. Pure: the daemon's answers in, lines out."""

from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli.pages import core_shares, hottest
from roheletd.cli.tables import Cell, Column, Style, bar, heat, level, table

_BAR = 10
_CORES_DRAWN_MAX = 8

_NODES = (
    Column("NODE"),
    Column("CORES"),
    Column("CPU", right=True),
    Column("MEMORY", right=True),
    Column("GPU", spare=True),
    Column("HEAT", spare=True),
)
_INSTANCES = (
    Column("INSTANCE"),
    Column("NODE"),
    Column("STATE"),
    Column("BY CORE", wraps=True),
    Column("CPU", right=True),
    Column("MEMORY", right=True),
)

Value = Mapping[str, Any]


def top(value: Value, style: Style) -> list[str]:
    """Nodes by name, instances by their use."""
    reports = {report["node"]: report for report in value["telemetry"]}
    nodes = sorted(value["nodes"], key=lambda node: str(node["node"]["name"]))
    lines = table(_NODES, [_node(node, reports, style) for node in nodes], style)
    uses = {
        use["instance"]: use for report in value["telemetry"] for use in report.get("instances", ())
    }
    instances = sorted(value["instances"], key=_busiest)
    if not instances:
        return [*lines, "", "no instances"]
    rows = [_instance(view, uses.get(view["instance"], {})) for view in instances]
    return [*lines, "", *table(_INSTANCES, rows, style)]


def _node(node: Value, reports: Mapping[str, Value], style: Style) -> list[str | Cell]:
    name = node["node"]["name"]
    report = reports.get(name)
    if node["liveness"] != "alive" or report is None:
        return [name, Cell(node["liveness"], "red"), "", "", "", ""]
    shares = core_shares(report)
    busy = sum(share for _, share in shares)
    memory = report.get("memory")
    return [
        name,
        Cell(_cores(shares, style), heat(busy / len(shares)) if shares else ""),
        f"{busy:.2f} of {len(shares)}" if shares else "",
        _of(memory["total_mib"] - memory["available_mib"], memory["total_mib"]) if memory else "",
        " ".join(map(_gpu, report.get("gpus", ()))),
        hottest(report) or "",
    ]


def _cores(shares: Sequence[tuple[str, float]], style: Style) -> str:
    """A bar for each core, or where there are many a character for each."""
    if len(shares) > _CORES_DRAWN_MAX:
        return "".join(level(share, style) for _, share in shares)
    width = max(3, _BAR * 4 // max(4, len(shares)))
    return " ".join(f"{core}:{bar(share, width, style)}" for core, share in shares)


def _gpu(gpu: Value) -> str:
    percent = gpu.get("used_percent")
    return f"{gpu['id']} {'?' if percent is None else f'{percent:.0f}%'}"


def _of(used_mib: int, total_mib: int) -> str:
    return f"{used_mib} of {total_mib} MiB"


def _busiest(view: Value) -> tuple[float, str]:
    return -(view.get("used_cpu_millicores") or 0), view["instance"]


def _instance(view: Value, use: Value) -> list[str | Cell]:
    cpu, memory = view.get("used_cpu_millicores"), view.get("used_memory_mib")
    promised = sum(view["cores"].values())
    share = (cpu or 0) / promised if promised else 0.0
    return [
        view["instance"],
        view["node"],
        view["state"],
        _by_core(view["cores"], use.get("cores_millicores")),
        Cell("" if cpu is None else f"{cpu} of {promised}", heat(share)),
        "" if memory is None else f"{memory} MiB",
    ]


def _by_core(promised: Mapping[str, int], used: Sequence[int] | None) -> str:
    """Use by core, largest first, on the cores that it may use; which is on which is not known."""
    cores = ",".join(sorted(promised, key=int))
    if used is None:
        return f"on {cores}" if cores else ""
    return f"{' '.join(map(str, used)) or '0'} on {cores}"
