"""The commands that need no daemon: be it, check its configuration, name the version."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from roheletd import __version__
from roheletd.cli.options import Command
from roheletd.cli.terminal import write_lines, write_yaml

if TYPE_CHECKING:
    from roheletd.config import Config

# ruff: noqa: PLC0415 - each command loads its own


def _run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from roheletd import daemon

    config = _config(args.config)
    data_dir = args.data_dir or os.environ.get("ROHELETD_DATA_DIR") or config.data_dir
    return daemon.main(config, Path(data_dir))


def _sample(_args: argparse.Namespace) -> int:
    from roheletd import sample

    sample.main()
    return 0


def _version(args: argparse.Namespace) -> int:
    facts = {
        "version": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "machine": os.uname().machine,
        "system": os.uname().sysname,
    }
    if args.output == "json":
        write_lines([json.dumps(facts)])
    elif args.output == "yaml":
        write_yaml(facts)
    else:
        write_lines([f"roheletd {__version__}"])
    return 0


def _config_check(args: argparse.Namespace) -> int:
    from roheletd.config import explain

    if args.explain and args.config is None:
        write_lines([explain().rstrip("\n")])
        return 0
    config = _config(args.config)
    if args.explain:
        write_lines([explain().rstrip("\n"), ""])
    if args.output == "table":
        write_lines([f"{args.config or 'the defaults'}: valid"])
    else:
        _write_config(config, args.output)
    return 0


def _write_config(config: "Config", output: str) -> None:
    """Every key with the value in force."""
    import msgspec

    if output == "json":
        write_lines([msgspec.json.encode(config).decode()])
    else:
        write_yaml(msgspec.to_builtins(config, builtin_types=()))


def _config(path: str | None) -> "Config":
    from roheletd.cli.files import document
    from roheletd.config import parse

    return parse(None if path is None else document(path))


def _completion(args: argparse.Namespace) -> int:
    import shtab

    from roheletd.cli.parser import build

    parser = build()
    _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
    write_lines([shtab.complete(parser, args.shell)])
    return 0


_FILES = frozenset({"config", "conf", "key_file", "token_file"})


def _complete_files(parser: argparse.ArgumentParser, file: object, directory: object) -> None:
    """Tell the completion library which options name files; it looks at `complete` for that."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of options
        if action.dest in _FILES:
            action.complete = file  # type: ignore[attr-defined]
        elif action.dest == "data_dir":
            action.complete = directory  # type: ignore[attr-defined]
        elif isinstance(action.choices, dict):
            for child in action.choices.values():
                _complete_files(child, file, directory)


COMMANDS: dict[str, Command] = {
    "run": _run,
    "sample": _sample,
    "version": _version,
    "config-check": _config_check,
    "completion": _completion,
}
