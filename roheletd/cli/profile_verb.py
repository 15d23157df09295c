"""The verb `roheletd profile`."""

import argparse

from roheletd.cli.options import Commands, add_command, daemon_options, duration_s

WATCH_S = 60
WATCH_S_MAX = 7 * 86_400


def add_profile(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Watch a running service and propose what it needs: millicores on each core, memory, "
        "GPU. What it needs is what it used, so watch it under its usual load. Ctrl-C ends the "
        "watching and shows what was seen so far. With yaml or json, standard output is a file "
        "for `roheletd orchestration add-service`.",
        examples=(
            "roheletd profile detector                      60 s, beside what is declared",
            "roheletd profile detector --for 1h -o yaml > detector.yaml",
        ),
    )
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument(
        "--for",
        dest="watch_s",
        type=_watch_s,
        metavar="TIME",
        default=WATCH_S,
        help=f"how long to watch, e.g. 90s, 10min, 2h (default: {WATCH_S}s)",
    )
    daemon_options(parser)


def _watch_s(text: str) -> int:
    try:
        value_s = duration_s(text)
    except argparse.ArgumentTypeError:
        value_s = 0
    if not 0 < value_s <= WATCH_S_MAX:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 90s, 10min or 2h, up to 7d; got {text[:40]!r}"
        )
    return value_s
