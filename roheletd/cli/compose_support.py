"""`roheletd compose support`: the tables of the reader, for people and for programs."""

import argparse
import json

from roheletd.cli.options import Command
from roheletd.cli.terminal import write_lines, write_yaml


def _support(args: argparse.Namespace) -> int:
    from roheletd.compose.table import entries, table  # noqa: PLC0415 - loads msgspec

    if args.output == "table":
        write_lines([table().rstrip("\n")])
        return 0
    found = [
        {"key": key, "supported": standing, "here": means} for key, standing, means in entries()
    ]
    if args.output == "json":
        write_lines([json.dumps(found)])
    else:
        write_yaml(found)
    return 0


COMMANDS: dict[str, Command] = {"compose support": _support}
