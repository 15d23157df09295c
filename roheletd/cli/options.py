"""What the commands share: options, their defaults, and how a command's help looks."""

import argparse
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeAlias

OUTPUTS = ("table", "json", "yaml")
SHELLS = ("bash", "zsh", "tcsh")
DATA_DIR = "/var/lib/roheletd"
API_PORT = 9470
TIMEOUT_S = 10.0
QUICKSTART_TIMEOUT_S = 60.0

_HELP_WIDTH = 78

Command = Callable[[argparse.Namespace], int]
# argparse gives its type no public name.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


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


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86_400:  # noqa: PLR2004 - a day, as in the configuration
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return value
