"""The commands that only ask: one GET, one page."""

import argparse
import json
import sys

from roheletd.cli import pages, why_page
from roheletd.cli.client import Answer, quoted
from roheletd.cli.options import Command
from roheletd.cli.terminal import (
    Page,
    Progress,
    client_of,
    readable,
    show,
    style_of,
    write_lines,
    write_yaml,
)

_WAIT_S = 30.0


def reads(path: str, page: Page) -> Command:
    """The command that shows what `path` answers."""

    def read(args: argparse.Namespace) -> int:
        with Progress("waiting for the daemon"):
            answer = client_of(args).get(path)
        show(args, answer, page)
        return 0

    return read


def _why(args: argparse.Namespace) -> int:
    return reads(f"/api/v1/why/{quoted(args.service)}", why_page.why)(args)


def _events(args: argparse.Namespace) -> int:
    if not args.follow:
        return reads(f"/api/v1/events?after={args.after}", pages.events)(args)
    client, after = client_of(args), args.after
    while True:
        answer = client.get(f"/api/v1/events?after={after}&wait_s={_WAIT_S:g}", wait_s=_WAIT_S)
        _write_events(args.output, answer)
        sys.stdout.flush()
        after = answer.value.get("last", after)


def _write_events(output: str, answer: Answer) -> None:
    """What is followed has no end, so each event is a document of its own."""
    found = answer.value.get("events", ())
    if output == "json":
        write_lines([json.dumps(event) for event in found])
    elif output == "yaml":
        for event in found:
            write_yaml([event])
    else:
        write_lines(readable(pages.events, answer.value, style_of(sys.stdout)))


COMMANDS: dict[str, Command] = {
    "status": reads("/status", pages.status),
    "nodes": reads("/api/v1/nodes", pages.nodes),
    "services": reads("/api/v1/services", pages.services),
    "instances": reads("/api/v1/instances", pages.instances),
    "leader": reads("/api/v1/leader", pages.leader),
    "events": _events,
    "why": _why,
}
