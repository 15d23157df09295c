"""The commands that look ahead or move things: one question, and where wished the deed."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli import REFUSED, pages, planning_page
from roheletd.cli.client import Client, quoted
from roheletd.cli.compose_file import Values, refuse_what_is_anothers, set_values, wanted
from roheletd.cli.options import Command
from roheletd.cli.tables import plural
from roheletd.cli.terminal import (
    Progress,
    agreed,
    client_of,
    is_watched,
    note,
    readable,
    show,
    style_of,
)


def _what_if(args: argparse.Namespace) -> int:
    body = wanted(args, nodes=False).asked
    with Progress("waiting for the daemon"):
        answer = client_of(args).ask("/api/v1/what-if", body)
    show(args, answer, planning_page.what_if)
    return 0


def _plan(args: argparse.Namespace) -> int:
    found, client = wanted(args), client_of(args)
    refuse_what_is_anothers(client, found)
    body = {**found.asked, "prune": args.prune}
    with Progress("waiting for the daemon"):
        answer = client.ask("/api/v1/plan", body)
    show(args, answer, planning_page.plan)
    return 0


def _apply(args: argparse.Namespace) -> int:
    found = wanted(args)
    body: dict[str, Any] = {**found.asked, "prune": args.prune}
    client, page = client_of(args), planning_page.applied
    refuse_what_is_anothers(client, found)
    if not args.yes and is_watched():
        plan = _shown_plan(client, body)
        if (plan["changes"] or found.values) and not _confirmed(plan["changes"], found.values):
            note("nothing was changed")
            return REFUSED
        body["fingerprint"] = plan["fingerprint"]
        page = planning_page.done
    set_values(client, found.values)
    with Progress("waiting for the daemon"):
        answer = client.post("/api/v1/apply", body)
    show(args, answer, page)
    return 0


def _shown_plan(client: Client, body: Mapping[str, Any]) -> Any:
    """The plan, shown where the question will be: standard output is the answer's."""
    with Progress("waiting for the daemon"):
        plan = client.ask("/api/v1/plan", body).value
    lines = readable(planning_page.plan, plan, style_of(sys.stderr))
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return plan


def _confirmed(changes: int, values: Sequence[Values]) -> bool:
    todo = f"{changes} {plural(changes, 'change', 'changes')}"
    if values:
        todo += f", and {' and '.join(str(each) for each in values)} to set"
    return agreed(f"Do it ({todo})?")


def _cordon(verb: str) -> Command:
    def cordon(args: argparse.Namespace) -> int:
        with Progress("waiting for the daemon"):
            answer = client_of(args).post(f"/api/v1/nodes/{quoted(args.node)}/{verb}")
        show(args, answer, pages.changes)
        return 0

    return cordon


def _rebalance(args: argparse.Namespace) -> int:
    body = {"moves": args.moves, "dry_run": args.dry_run}
    client = client_of(args)
    ask = client.ask if args.dry_run else client.post
    with Progress("waiting for the daemon"):
        answer = ask("/api/v1/rebalance", body)
    show(args, answer, planning_page.rebalanced)
    return 0


COMMANDS: dict[str, Command] = {
    "what-if": _what_if,
    "plan": _plan,
    "apply": _apply,
    "cordon": _cordon("cordon"),
    "uncordon": _cordon("uncordon"),
    "rebalance": _rebalance,
}
