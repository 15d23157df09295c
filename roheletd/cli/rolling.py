"""The commands that keep services and nodes going, and show how far they are."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from roheletd.cli import REFUSED, pages, rolling_page
from roheletd.cli.client import Answer, Client, quoted
from roheletd.cli.options import Command
from roheletd.cli.terminal import Page, Progress, client_of, readable, show, style_of, write_lines

LOOK_S = 0.3
"""How often somebody who looks on sees it anew: what is asked is the daemon on this machine."""


def _scale(args: argparse.Namespace) -> int:
    return _done(args, "/api/v1/scale", {"name": args.service, "replicas": args.replicas})


def _restart(args: argparse.Namespace) -> int:
    return _changed(args, "restart")


def _rollback(args: argparse.Namespace) -> int:
    return _changed(args, "rollback")


def _changed(args: argparse.Namespace, verb: str) -> int:
    if not args.follow:
        return _done(args, f"{_of_service(args)}/{verb}")
    with Progress("waiting for the daemon"):
        client_of(args).post(f"{_of_service(args)}/{verb}")
    return _follow_rollout(args, back=verb == "rollback")


def _rollout_status(args: argparse.Namespace) -> int:
    if args.follow:
        return _follow_rollout(args)
    with Progress("waiting for the daemon"):
        answer = client_of(args).get(f"{_of_service(args)}/rollout")
    show(args, answer, rolling_page.rollout)
    return 0


def _follow_rollout(args: argparse.Namespace, *, back: bool = False) -> int:
    """`back`: somebody asked to go back, so that it is done once that is."""
    path = f"{_of_service(args)}/rollout"
    last = _looked_on(
        args,
        lambda client: client.get(path),
        rolling_page.rollout_line,
        lambda value: value["state"] in ("running", "rolling back"),
    )
    failed = ("paused",) if back else ("paused", "rolled back")
    return REFUSED if last["state"] in failed else 0


def _drain(args: argparse.Namespace) -> int:
    path = f"{_of_node(args)}/drain"
    if args.no_wait:
        return _done(args, path)
    with Progress("waiting for the daemon"):
        client_of(args).post(path)
    last = _looked_on(
        args,
        lambda client: client.get(path),
        rolling_page.drain_line,
        lambda value: bool(value["draining"] and value["left"]),
    )
    return 0 if last["draining"] else REFUSED


def _undrain(args: argparse.Namespace) -> int:
    return _done(args, f"{_of_node(args)}/undrain")


def _label(args: argparse.Namespace) -> int:
    labels = {key: value for key, value in args.labels if value is not None}
    removed = [key for key, value in args.labels if value is None]
    return _done(args, "/api/v1/labels", {"name": args.node, "labels": labels, "removed": removed})


def _remove_node(args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).delete("/api/v1/nodes", args.node)
    show(args, answer, pages.changes)
    return 0


def _done(args: argparse.Namespace, path: str, body: dict[str, Any] | None = None) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).post(path, body)
    show(args, answer, pages.changes)
    return 0


def _looked_on(
    args: argparse.Namespace,
    look: Callable[[Client], Answer],
    line: Page,
    goes_on: Callable[[Any], bool],
) -> Any:
    """One line whenever it differs, until it is over; as JSON each answer in a line of its own."""
    client, said = client_of(args), ""
    while True:
        answer = look(client)
        text = " ".join(readable(line, answer.value, style_of(sys.stdout)))
        if text != said:
            said = text
            if args.output == "table":
                write_lines([text])
                sys.stdout.flush()
            else:
                show(args, answer, line)
        if not goes_on(answer.value):
            return answer.value
        time.sleep(LOOK_S)


def _of_service(args: argparse.Namespace) -> str:
    return f"/api/v1/services/{quoted(args.service)}"


def _of_node(args: argparse.Namespace) -> str:
    return f"/api/v1/nodes/{quoted(args.node)}"


COMMANDS: dict[str, Command] = {
    "scale": _scale,
    "restart": _restart,
    "rollback": _rollback,
    "rollout status": _rollout_status,
    "drain": _drain,
    "undrain": _undrain,
    "node label": _label,
    "node remove": _remove_node,
}
