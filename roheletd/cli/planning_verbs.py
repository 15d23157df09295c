"""The verbs that look ahead or move things: what-if, plan, apply, rebalance, cordon, uncordon."""

import argparse
from collections.abc import Sequence

from roheletd.cli.options import Commands, add_command, daemon_options

_FILE = (
    "YAML or JSON; - is standard input. roheletd's own format has the key `services` with a list; "
    "Compose files have a mapping (see `roheletd compose support`); ROHE's files are read as "
    "`orchestration add-service` does"
)


def add_what_if(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show where the services of a file would go. It says what each node would refuse, and "
        "which others would have to move. Nothing is changed.",
        examples=("roheletd what-if --conf detector.yaml", "roheletd what-if --conf - < new.json"),
    )
    _file_option(parser, _FILE)
    daemon_options(parser)


def add_plan(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show what `roheletd apply` would do with a file. That is what would be added, "
        "changed and removed, and where it would go. It ends with 0, whether there is "
        "something to do or not; `changes` in its JSON says how much.",
        examples=(
            "roheletd plan -f shop.yaml",
            "roheletd plan -f shop.yaml --prune -o json | jq -e '.changes == 0'",
        ),
    )
    _desired_options(parser)
    daemon_options(parser)


def add_apply(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Make things as a file describes them: all of its services in one step, or none. On "
        "a terminal the plan is shown first, and nothing is done unless you say yes.",
        examples=(
            "roheletd apply -f shop.yaml",
            "roheletd apply -f compose.yaml        see `roheletd compose support`",
            "roheletd apply -f shop.yaml --prune --yes    for scripts",
        ),
    )
    _desired_options(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    daemon_options(parser)


def add_cordon(commands: Commands, name: str) -> None:
    _add_for_node(
        commands,
        name,
        text="Keep new instances away from a node. What runs there goes on: this does not empty "
        "the node.",
        examples=("roheletd cordon pi3",),
    )


def add_uncordon(commands: Commands, name: str) -> None:
    _add_for_node(
        commands,
        name,
        text="Let new instances onto a node again.",
        examples=("roheletd uncordon pi3",),
    )


def add_rebalance(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Move instances to clearly better places. The largest gain goes first. A moved "
        "instance is stopped and started anew; of several replicas never more than half are moved "
        "at once.",
        examples=("roheletd rebalance --dry-run", "roheletd rebalance --moves 3"),
    )
    parser.add_argument(
        "--moves",
        type=_count,
        default=1,
        metavar="N",
        help="move at most so many instances (default: 1)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the moves and what they gain; move nothing"
    )
    daemon_options(parser)


def _add_for_node(commands: Commands, name: str, *, text: str, examples: Sequence[str]) -> None:
    parser = add_command(commands, name, text=text, examples=examples)
    parser.add_argument("node", metavar="NODE")
    daemon_options(parser)


def _desired_options(parser: argparse.ArgumentParser) -> None:
    _file_option(parser, f"{_FILE}. With `nodes`, these are registered as well")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove what the file lacks of the applications that it names; without this, it "
        "is mentioned and left alone",
    )


def _file_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-f", "--conf", "--file", metavar="FILE", required=True, help=text)
    parser.add_argument(
        "--ignore-unsupported",
        action="store_true",
        help="of a Compose file: leave out what is not supported, and say so",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:5]) <= 1000:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000, got {text!r}")
    return int(text)
