"""What the commands share: options, their defaults, and how a command's help looks."""

import argparse
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

OUTPUTS = ("table", "json", "yaml")
SHELLS = ("bash", "zsh", "tcsh")
DATA_DIR = "/var/lib/roheletd"
API_PORT = 9470
TIMEOUT_S = 10.0
QUICKSTART_TIMEOUT_S = 60.0

_HELP_WIDTH = 78
_UNITS_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>s|min|m|h|d|)")
_DURATION_S_MAX = 315_360_000

Command = Callable[[argparse.Namespace], int]
# argparse gives its type no public name.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
Add = Callable[[Commands, str], None]
"""Adds one command, of this name."""


def add_command(
    commands: Commands,
    name: str,
    *,
    text: str,
    examples: Sequence[str],
    command: str = "",
) -> argparse.ArgumentParser:
    """One command; `text` is one sentence for the list and, with the rest, the head of its help."""
    summary, _, _ = text.partition(".")
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary[0].lower() + summary[1:],
        description=paragraph(text),
        epilog="\n  ".join(("examples:", *examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command or name)
    return parser


def add_family(
    commands: Commands,
    name: str,
    verbs: Mapping[str, Add],
    *,
    text: str,
    examples: Sequence[str],
) -> None:
    """One command that has commands of its own."""
    parser = add_command(commands, name, text=text, examples=examples)
    own = parser.add_subparsers(metavar="VERB", title="verbs", required=True)
    for verb, add in verbs.items():
        add(own, verb)


def paragraph(text: str) -> str:
    """For argparse either wraps all, the examples too, or nothing."""
    return textwrap.fill(text, _HELP_WIDTH)


def output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=OUTPUTS,
        default=argparse.SUPPRESS,
        help="table for people; json is the daemon's own answer, unchanged (default: table)",
    )


def data_dir_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"the daemon's directory, with its socket (default: {DATA_DIR})",
    )


def timeout_option(parser: argparse.ArgumentParser, default_s: float) -> None:
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help=f"give up after this long (default: {default_s:g})",
    )


def daemon_options(parser: argparse.ArgumentParser) -> None:
    """The options of everything that asks a daemon; before the command they work as well.

    Left out they set nothing, so that a command does not undo what stands before it.
    """
    output_option(parser)
    data_dir_option(parser)
    parser.add_argument(
        "--url",
        default=argparse.SUPPRESS,
        help="ask over TCP and not through the socket; only scheme, host and port are used "
        f"(default port: {API_PORT})",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="file with the token for changes through --url (default: <data-dir>/api.token)",
    )
    timeout_option(parser, TIMEOUT_S)


def duration_s(text: str) -> int:
    """`90s`, `30min`, `24h`, `7d`; a bare number is seconds."""
    found = _DURATION.fullmatch(text.strip().lower())
    value_s = int(found["count"]) * _UNITS_S[found["unit"]] if found else -1
    if not 0 <= value_s <= _DURATION_S_MAX:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 30min, 24h or 7d, up to ten years, or 0; got {text[:40]!r}"
        )
    return value_s


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86_400:  # noqa: PLR2004 - a day, as in the configuration
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return value
