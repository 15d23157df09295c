"""`events`: what happened on all nodes, and what happens as long as somebody looks on."""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from roheletd.cli import failed
from roheletd.cli.events_page import EventLines, Value
from roheletd.cli.options import Command
from roheletd.cli.streams import records_of
from roheletd.cli.terminal import (
    Progress,
    client_of,
    note,
    readable,
    style_of,
    write_lines,
    write_yaml,
)

Records = list[dict[str, Any]]


def _events(args: argparse.Namespace) -> int:
    progress, shown = Progress("waiting for the nodes"), _Shown(args)
    with progress:
        connection, rest = client_of(args).opened("GET", f"/api/v1/cluster/events{_query(args)}")
    with connection:
        batches = ([json.loads(it) for it in batch] for batch in records_of(connection, rest))
        with progress:
            first = next(batches) if args.follow else _whole(batches)
        code = shown.batch(first)
        while code is None:
            code = shown.batch(next(batches))
        return code


def _query(args: argparse.Namespace) -> str:
    asked = {
        "subject": args.subject,
        "node": args.node,
        "since_s": args.since,
        "after": args.after or None,
        "follow": "true" if args.follow else None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _whole(batches: Iterable[Records]) -> Records:
    """All of an answer that has an end: it is laid out at once."""
    found: Records = []
    for batch in batches:
        found += batch
        if "end" in batch[-1]:
            break
    return found


class _Shown:
    """Events to standard output, notes on what is missing to standard error."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._style = style_of(sys.stdout)
        self._lines = EventLines(self._style)
        self._is_empty = True

    def batch(self, records: Records) -> int | None:
        """The exit code once all is said."""
        self._show([record for record in records if "kind" in record])
        sys.stdout.flush()
        for record in records:
            if "note" in record:
                note(f"{record['node']}: {record['note']}")
        if "end" not in records[-1]:
            return None
        reason = records[-1]["end"]
        if not reason and self._is_empty and self._args.output == "table":
            about = f" about {self._args.subject}" if self._args.subject else ""
            write_lines([f"no event{about} is kept"])
        return failed(RuntimeError(reason)) if reason else 0

    def _show(self, events: list[Value]) -> None:
        self._is_empty &= not events
        if self._args.output == "json":
            write_lines([json.dumps(event) for event in events])
        elif self._args.output == "yaml":
            for event in events:
                write_yaml([event])
        elif events:
            write_lines(readable(self._page, events, self._style))

    def _page(self, events: list[Value], _style: object) -> list[str]:
        return self._lines.lines(events)


COMMANDS: dict[str, Command] = {"events": _events}
