"""The verbs of `roheletd cluster`: many nodes become one, and one becomes many again."""

import argparse
import re

from roheletd.cli.options import Add, Commands, add_command, add_family, daemon_options, duration_s

JOIN_WAIT_S = 30.0


def add_cluster(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        _VERBS,
        text="Make one cluster of several nodes, and look after it. Each node starts as a "
        "cluster of its own; a token from one lets the others join it.",
        examples=(
            "roheletd cluster init                  on the first node",
            "roheletd cluster token                 there, once for each node that is to join",
            "roheletd cluster join TOKEN            on each of the others",
            "roheletd cluster status                on any of them",
        ),
    )


def _wait_s(text: str) -> float:
    value_s = float(text) if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) else -1.0
    if not 0 <= value_s <= 86_400:  # noqa: PLR2004 - a day, as in the configuration
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text[:40]!r}")
    return value_s


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="where no daemon runs: the configuration that it will be started with, for this "
        "node's name (default: all defaults)",
    )


def _add_init(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Let other nodes join the cluster of this one. Where no daemon has run yet, found "
        "it, with a name of its own if you like. Its broker then listens beyond this machine, "
        "and asks for the password.",
        examples=("roheletd cluster init", "roheletd cluster init --name garage"),
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="the cluster's name, which it keeps (default: cluster.name of the configuration, "
        "else `edge`)",
    )
    _config_option(parser)
    daemon_options(parser)


def _add_token(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Print the string that another node joins with, and nothing else. It holds the key "
        "of the cluster: whoever has it is let in.",
        examples=(
            "roheletd cluster token",
            "roheletd cluster token --valid-for 30min",
            "roheletd cluster token | ssh pi2 sudo roheletd cluster join -",
        ),
    )
    parser.add_argument(
        "--valid-for",
        type=duration_s,
        default=86_400,
        metavar="TIME",
        help="after this long nobody is let in with it, by the leader's clock; 0: for ever "
        "(default: 24h)",
    )
    daemon_options(parser)


def _add_join(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Make this node a member of the cluster that made the token. Without a daemon its "
        "next start does it.",
        examples=(
            "roheletd cluster join rohe1.lqRlZGdl...",
            "roheletd cluster join - < token        it is then in no list of processes",
        ),
    )
    parser.add_argument("token", metavar="TOKEN", help="what `cluster token` printed; - reads it")
    parser.add_argument(
        "--force",
        action="store_true",
        help="give up what this node has of its own: services, or another cluster. Its log is "
        "kept aside as log.db.old",
    )
    parser.add_argument(
        "--wait",
        type=_wait_s,
        default=JOIN_WAIT_S,
        metavar="SECONDS",
        help=f"how long to wait until it was let in; 0: not at all (default: {JOIN_WAIT_S:g})",
    )
    _config_option(parser)
    daemon_options(parser)


def _add_leave(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Take this node out of its cluster. What ran here is placed on the others, and the "
        "node goes on as a cluster of its own.",
        examples=("roheletd cluster leave",),
    )
    daemon_options(parser)


def _add_remove(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Take a node out of the cluster that will not come back. One that is alive leaves "
        "by itself, with `roheletd cluster leave`.",
        examples=("roheletd cluster remove pi3",),
    )
    parser.add_argument("node", metavar="NODE")
    daemon_options(parser)


def _add_recover(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Begin anew from this node alone, where most voters are lost for good. Without "
        "--force it says what would be lost and does nothing.",
        examples=("roheletd cluster recover", "roheletd cluster recover --force"),
    )
    parser.add_argument("--force", action="store_true", help="do it")
    daemon_options(parser)


def _add_status(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"cluster {name}",
        text="Show who is in the cluster, who leads, how far behind each is, and what would "
        "happen if one more machine died.",
        examples=("roheletd cluster status", "roheletd cluster status -o json | jq .outlook"),
    )
    daemon_options(parser)


_VERBS: dict[str, Add] = {
    "init": _add_init,
    "token": _add_token,
    "join": _add_join,
    "leave": _add_leave,
    "remove": _add_remove,
    "recover": _add_recover,
    "status": _add_status,
}
