"""`roheletd volume`: the named volumes of instances on all nodes, and how they are deleted."""

import argparse

from roheletd.cli import REFUSED, pages
from roheletd.cli.client import Client, quoted
from roheletd.cli.options import Command
from roheletd.cli.pages import Value
from roheletd.cli.reading import reads
from roheletd.cli.tables import Cell, Column, Style, remarked, table
from roheletd.cli.terminal import Progress, agreed, client_of, is_watched, note, show
from roheletd.errors import InvalidInput, Refused

_PATH = "/api/v1/volumes"
_COLUMNS = (
    Column("VOLUME"),
    Column("NODE"),
    Column("INSTANCE", spare=True),
    Column("CLAIM"),
    Column("WHY", wraps=True),
)
_COLOURS = {"in use": "green", "orphaned": "yellow"}


def page(answer: Value, style: Style) -> list[str]:
    """A line for each volume, and below them what is not known and why."""
    rows = [
        (
            it["volume"],
            it["node"],
            it["instance"],
            Cell(it["claim"], _COLOURS.get(it["claim"], "")),
            it["reason"],
        )
        for it in answer["volumes"]
    ]
    lines = table(_COLUMNS, rows, style)
    if not rows:
        lines.append("no instance has left a named volume")
    for node, why in answer["unanswered"].items():
        lines += remarked(f"what {node} has is not known: {why}", style)
    for why in answer["without"].values():
        lines += remarked(why, style)
    return lines


def _list(args: argparse.Namespace) -> int:
    return reads(_path(args.node), page)(args)


def _remove(args: argparse.Namespace) -> int:
    client = client_of(args)
    if not args.yes:
        if not is_watched():
            raise InvalidInput("--yes", "expected where nobody can be asked: it deletes data")
        if not _confirmed(client, args.volume, args.node):
            note("nothing was deleted")
            return REFUSED
    with Progress("waiting for the daemon"):
        answer = client.delete(_PATH, args.volume, f"?node={quoted(args.node)}")
    show(args, answer, pages.changes)
    return 0


def _confirmed(client: Client, volume: str, node: str) -> bool:
    """Nobody is asked about one that is not there: the daemon says so, and whose it was."""
    with Progress("waiting for the daemon"):
        found = client.get(_path(node)).value["volumes"]
    known = next((it for it in found if it["volume"] == volume), None)
    if known is None:
        return True
    if known["claim"] == "in use":
        raise Refused(f"{volume} is in use on {node}: {known['reason']}")
    return agreed(f"{volume} on {node} is {known['claim']} ({known['reason']}). Delete its data?")


def _path(node: str | None) -> str:
    return f"{_PATH}?node={quoted(node)}" if node else _PATH


COMMANDS: dict[str, Command] = {"volume list": _list, "volume remove": _remove}
