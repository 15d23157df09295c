"""The commands that only ask: one GET, one page."""

import argparse

from roheletd.cli import pages, why_page
from roheletd.cli.client import quoted
from roheletd.cli.options import Command
from roheletd.cli.terminal import Page, Progress, client_of, show


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


COMMANDS: dict[str, Command] = {
    "status": reads("/status", pages.status),
    "nodes": reads("/api/v1/nodes", pages.nodes),
    "services": reads("/api/v1/services", pages.services),
    "instances": reads("/api/v1/instances", pages.instances),
    "leader": reads("/api/v1/leader", pages.leader),
    "why": _why,
}
