"""How one asks what happened: `events`."""

import argparse

from roheletd.cli.options import Commands, add_command, daemon_options, duration_s


def add_events(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show what happened on all nodes since their daemons started, with the reasons: "
        "restarts, failed health checks, lack of memory, images, moves, nodes that were lost. "
        "Each node keeps the last 1000 that it saw, and is asked now; one that does not answer is "
        "named on standard error. Times are those of the node that saw it: the clocks of nodes may "
        "differ, and so may the order. With -f it goes on, in the order in which it is heard.",
        examples=(
            "roheletd events                       all that is kept, in order of time",
            "roheletd events web -f                the service web and its instances, and go on",
            "roheletd events web.2 --since 1h      why was web.2 restarted?",
            "roheletd events pi3                   what pi3 saw, and when it was lost",
            "roheletd events --node pi3            only what pi3 itself saw",
            "roheletd events -f -o json            one JSON object per line",
        ),
    )
    parser.add_argument(
        "subject",
        metavar="SERVICE|INSTANCE|NODE",
        nargs="?",
        help="only what is about it; a service's instances and what a node saw are part of that",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    parser.add_argument("--node", metavar="NODE", help="only what this node saw")
    parser.add_argument(
        "--since", type=duration_s, metavar="TIME", help="only what was in the last 30s, 5m, 2h"
    )
    parser.add_argument(
        "--after",
        type=_event_number,
        default=0,
        metavar="SEQ",
        help="with --node: only events after its event of this number (`seq` in JSON)",
    )
    daemon_options(parser)


def _event_number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected the number of an event, got {text!r}")
    return int(text)
