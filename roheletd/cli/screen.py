"""The live screen of quickstart. Pure: what is known now -> lines that fit the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from roheletd.cli.pages import broker, core_shares, duration, engine, hottest, instance_table
from roheletd.cli.tables import Cell, Style, bar, clean, cut, heat, level, pairs

_CELL_NARROWEST = 24
_LABEL = 8
_GAP = 2


class Picked(NamedTuple):
    """Why this broker and this engine."""

    broker: str
    engine: str


class View(NamedTuple):
    """All that the screen shows. `telemetry` is None before the first report."""

    picked: Picked
    data_dir: str
    status: Mapping[str, Any]
    instances: Sequence[Mapping[str, Any]]
    telemetry: Mapping[str, Any] | None


def screen(view: View, style: Style, height: int) -> list[str]:
    """The lines; in a low terminal the cores become one strip, and then the end is left out."""
    lines = _screen(view, style, _core_bars)
    if len(lines) > height:
        lines = _screen(view, style, _core_strip)
    return lines[:height]


def urls(instances: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where each instance answers HTTP."""
    return [
        f"http://127.0.0.1:{port['host_port']}/" for view in instances for port in view["ports"]
    ]


def watch_command(status: Mapping[str, Any], data_dir: str) -> str:
    """What shows the cluster's MQTT messages, ready to be copied into a shell."""
    at = urlsplit(status["broker"]["url"])
    password = shlex.quote(f"{data_dir}/broker.password")
    return (
        f"mosquitto_sub -h {at.hostname} -p {at.port} -u rohe "
        f"""-P "$(cat {password})" -t 'rohe/#' -v"""
    )


def _screen(view: View, style: Style, cores: Any) -> list[str]:
    status = view.status
    title = f"roheletd quickstart: {status['node']}, up {duration(status['uptime_s'])}"
    closing = "q ends it and leaves nothing behind"
    room = style.width - len(title) - _GAP
    head = f"{title}{closing:>{room}}" if room > len(closing) + 1 else title
    return [
        style.paint(cut(clean(head), style.width), "bold"),
        *pairs(_facts(view), style),
        "",
        *cores(core_shares(view.telemetry or {}), style),
        *(_gauge(*gauge, style) for gauge in _gauges(view.telemetry or {})),
        *_heat(view.telemetry, style),
        "",
        *instance_table(view.instances, style),
        "",
        *_hints(view, style),
    ]


def _facts(view: View) -> list[tuple[str, str | Cell]]:
    status = view.status
    leader = status["leader"] or Cell("none", "red")
    link = status["broker"]
    connected = f"{link['url']} connected" if link["connected"] else broker(link)
    rows: list[tuple[str, str | Cell]] = [
        ("cluster", status["cluster"]),
        ("leader", leader),
        ("broker", f"{connected}; {view.picked.broker}"),
        ("engine", f"{engine(status['engine'])}; {view.picked.engine}"),
    ]
    rows += [("warning", Cell(text, "yellow")) for text in status.get("warnings", ())]
    return rows


def _hints(view: View, style: Style) -> list[str]:
    """Commands stay whole, however long: they are there to be copied."""
    address = next(iter(urls(view.instances)), None)
    lines = [f"{'try':<{_LABEL}}curl {address}"] if address else []
    if view.status["broker"]["connected"]:
        lines += ["watch the telemetry:", watch_command(view.status, view.data_dir)]
    lines += ["ask the daemon:", f"roheletd --data-dir {shlex.quote(view.data_dir)} nodes"]
    return [part for line in lines for part in _folded(line, style.width)]


def _folded(line: str, width: int) -> list[str]:
    """`line` in pieces as a terminal would break it: a mark would be copied along."""
    return [line[at : at + width] for at in range(0, len(line), width)] if width else [line]


def _core_bars(shares: Sequence[tuple[str, float]], style: Style) -> list[str]:
    """A bar per core, in as many columns as have room, numbered downwards."""
    if not shares:
        return [f"{'cores':<{_LABEL}}first report in a moment"]
    columns = max(1, min(len(shares), (style.width + _GAP) // (_CELL_NARROWEST + _GAP), 4))
    width = (style.width + _GAP) // columns - _GAP
    rows = -(-len(shares) // columns)
    cells = [_gauge(f"core {core}", share, f"{share:4.0%}", style, width) for core, share in shares]
    return [(" " * _GAP).join(cells[at::rows]) for at in range(rows)]


def _core_strip(shares: Sequence[tuple[str, float]], style: Style) -> list[str]:
    """One character per core, for machines with many and terminals with little."""
    busy = sum(share for _, share in shares)
    strip = "".join(level(share, style) for _, share in shares)
    room = style.width - _LABEL
    return [
        f"{'cores':<{_LABEL}}{busy:.1f} of {len(shares)} busy",
        *(" " * _LABEL + strip[at : at + room] for at in range(0, len(strip), room)),
    ]


def _gauges(telemetry: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    memory = telemetry.get("memory")
    found = []
    if memory:
        used_mib = memory["total_mib"] - memory["available_mib"]
        share = used_mib / memory["total_mib"] if memory["total_mib"] else 0.0
        found.append(("memory", share, f"{used_mib} of {memory['total_mib']} MiB"))
    for gpu in telemetry.get("gpus", ()):
        percent = gpu.get("used_percent")
        text = "use unknown" if percent is None else f"{percent:.0f}%"
        found.append((f"gpu {gpu['id']}", (percent or 0.0) / 100, f"{text} {gpu.get('model', '')}"))
    return found


def _gauge(name: str, share: float, text: str, style: Style, width: int = 0) -> str:
    """Name, bar and figure in exactly `width` columns."""
    width = width or style.width
    label = f"{cut(name, _LABEL - 1):<{_LABEL}}"
    figure = cut(clean(text).strip(), max(6, width // 2))
    room = max(4, width - len(label) - 1 - max(5, len(figure)))
    drawn = style.paint(bar(share, room, style), heat(share))
    return f"{label}{drawn} {figure:>{max(5, len(figure))}}"


def _heat(telemetry: Mapping[str, Any] | None, style: Style) -> list[str]:
    found = hottest(telemetry or {})
    return [f"{'heat':<{_LABEL}}{style.paint(clean(found.text), found.colour)}"] if found else []
