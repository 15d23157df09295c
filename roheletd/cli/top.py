"""`top`: what all nodes and instances use, drawn anew as long as somebody looks."""

import argparse
import json
import sys
from typing import Any

from roheletd.cli.client import Client
from roheletd.cli.live import LiveScreen
from roheletd.cli.options import Command
from roheletd.cli.terminal import client_of, readable, style_of, write_lines, write_yaml
from roheletd.cli.top_page import top

_EACH_S = 1.0


def _top(args: argparse.Namespace) -> int:
    client = client_of(args)
    if args.output == "json":
        write_lines([json.dumps(_value(client))])
    elif args.output == "yaml":
        write_yaml(_value(client))
    elif args.once or not sys.stdout.isatty():
        write_lines(readable(top, _value(client), style_of(sys.stdout)))
    else:
        _live(client)
    return 0


def _live(client: Client) -> None:
    with LiveScreen() as screen:
        while True:
            style, height = screen.size()
            lines = readable(top, _value(client), style)
            closing = style.paint("q ends it", "dim")
            screen.draw([*lines[: height - 2], "", closing])
            if screen.pressed("q", within_s=_EACH_S):
                return


def _value(client: Client) -> dict[str, Any]:
    return {
        name: client.get(f"/api/v1/{name}").value[name]
        for name in ("nodes", "telemetry", "instances")
    }


COMMANDS: dict[str, Command] = {"top": _top}
