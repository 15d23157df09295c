"""`roheletd registry`: who serves what, where."""

import argparse
from collections.abc import Iterator

from roheletd.cli.client import quoted
from roheletd.cli.options import Command
from roheletd.cli.pages import Value
from roheletd.cli.reading import reads
from roheletd.cli.tables import Cell, Column, Style, table

_COLUMNS = (
    Column("SERVICE"),
    Column("PORT"),
    Column("EVERY NODE", right=True),
    Column("INSTANCE"),
    Column("NODE", spare=True),
    Column("ADDRESS"),
    Column("HEALTH"),
)


def page(answer: Value, style: Style) -> list[str]:
    """A line for each instance of each port; a port without any has one line of its own."""
    rows, remarks = [], []
    for port in answer["ports"]:
        for row in _rows(port):
            rows.append(row)
            remarks.append(port.get("problem", ""))
    if not rows:
        return [*table(_COLUMNS, rows, style), "no service has a port"]
    return table(_COLUMNS, rows, style, remarks)


def _rows(port: Value) -> Iterator[tuple[str | Cell, ...]]:
    number = str(port["service_port"]) if port["service_port"] else Cell("none", "red")
    head = (port["service"], f"{port['port']}/{port['protocol']}", number)
    for at in port.get("endpoints", ()):
        health = Cell("healthy", "green") if at.get("healthy") else Cell("not yet", "yellow")
        address = f"[{at['host']}]" if ":" in at["host"] else at["host"]
        yield (*head, at["instance"], at["node"], f"{address}:{at['port']}", health)
    if not port.get("endpoints"):
        yield (*head, "-", "-", "-", Cell("nobody", "red"))


def _registry(args: argparse.Namespace) -> int:
    asked = f"?service={quoted(args.service)}" if args.service else ""
    return reads(f"/api/v1/registry{asked}", page)(args)


COMMANDS: dict[str, Command] = {"registry": _registry}
