"""How one asks to look into instances: `logs`, `exec`, `top`."""

import argparse

from roheletd.cli.options import Commands, add_command, daemon_options, duration_s

_READABLE = (
    "What comes from another node is encrypted on its way, but whoever holds the cluster key can "
    "read it."
)


def add_logs(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show what a service or one of its instances has written, on whichever node. With -f "
        "it goes on, also after a restart and on another node; beyond streams.bytes_per_s_max of "
        f"the instance's node, lines are then left out and counted. {_READABLE}",
        examples=(
            "roheletd logs detector",
            "roheletd logs detector.2 -f --since 5m",
            "roheletd logs detector --tail 20 -o json | jq .line",
        ),
    )
    parser.add_argument("name", metavar="SERVICE|INSTANCE")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes next")
    parser.add_argument(
        "--since",
        type=duration_s,
        metavar="TIME",
        help="only lines of the last 30s, 5m, 2h; local processes have no times",
    )
    parser.add_argument(
        "--tail",
        type=_tail,
        metavar="N",
        help="only the last lines of each instance; `all`: what there is (default: all, with -f "
        "100)",
    )
    parser.add_argument("--node", metavar="NODE", help="only the instances that are there")
    parser.add_argument(
        "-t", "--timestamps", action="store_true", help="the engine's time before each line"
    )
    daemon_options(parser)


def add_exec(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Run a command within a running instance, on whichever node, and end with its exit "
        "code; 126 and 127 where it cannot be started. In a terminal it gets one, and every key, "
        f"Ctrl-C too. {_READABLE}",
        examples=(
            "roheletd exec detector -- /bin/sh",
            "roheletd exec detector.1 -- cat /etc/hosts",
            "tar c models | roheletd exec detector.1 -- tar x -C /var/lib",
        ),
    )
    parser.add_argument(
        "name",
        metavar="SERVICE|INSTANCE",
        help="or a service: one that is well, on this node if there is",
    )
    parser.add_argument(
        "cmd", metavar="CMD", nargs="+", help="the command, after --, and its arguments"
    )
    parser.add_argument(
        "-t",
        "--tty",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="a terminal for the command (default: if this is one)",
    )
    parser.add_argument(
        "-i",
        "--stdin",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let it read standard input (default: if that is a file, a pipe, or with -t)",
    )
    daemon_options(parser)


def add_top(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show what all nodes and instances use now, core by core, drawn anew each second. q "
        "ends it.",
        examples=("roheletd top", "roheletd top --once", "roheletd top -o json"),
    )
    parser.add_argument("--once", action="store_true", help="show it once and end")
    daemon_options(parser)


def _tail(text: str) -> str:
    if text != "all" and not (text.isascii() and text.isdigit() and int(text[:8]) <= 1_000_000):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"expected a number of lines or `all`, got {text[:40]!r}")
    return text
