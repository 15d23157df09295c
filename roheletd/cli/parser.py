"""What can be asked: every command with its options, help and examples. Pure: argv in, values out.

Building all the parsers takes longer than asking the daemon, so only those of commands that occur
in argv are built; `--help` and shell completion build them all.
"""

import argparse
from collections.abc import Collection, Sequence

from roheletd.cli.algorithm_verbs import add_algorithm
from roheletd.cli.cluster_verbs import add_cluster
from roheletd.cli.compose_verbs import add_compose
from roheletd.cli.configuration_verbs import add_configmap, add_secret
from roheletd.cli.event_verb import add_events
from roheletd.cli.export_verbs import add_export
from roheletd.cli.options import (
    QUICKSTART_TIMEOUT_S,
    SHELLS,
    Add,
    Commands,
    add_command,
    daemon_options,
    data_dir_option,
    output_option,
    paragraph,
    timeout_option,
)
from roheletd.cli.planning_verbs import (
    add_apply,
    add_cordon,
    add_plan,
    add_rebalance,
    add_uncordon,
    add_what_if,
)
from roheletd.cli.profile_verb import add_profile
from roheletd.cli.registry_verbs import add_registry
from roheletd.cli.rolling_verbs import (
    add_drain,
    add_node,
    add_restart,
    add_rollback,
    add_rollout,
    add_scale,
    add_undrain,
)
from roheletd.cli.stream_verbs import add_exec, add_logs, add_top
from roheletd.cli.verbs import add_orchestration
from roheletd.cli.volume_verbs import add_volume

_EPILOG = """\
exit codes:
  0    done
  1    refused by the daemon, or because of a bad input file
  2    wrong usage
  3    the daemon cannot be reached
  130  interrupted
  141  the reader of the output went away

environment:
  ROHELETD_DATA_DIR  the daemon's directory where --data-dir is not given
  ROHELETD_TOKEN     token for changes through --url, where --token-file is not given
  NO_COLOR           no colours

examples:
  roheletd quickstart        see it work, with no configuration
  roheletd status            is this node well?
  roheletd why detector      where does this service run, and why there?
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of one command; `command` names it. Wrong usage exits with 2."""
    named = _COMMANDS.keys() & set(argv)
    parser = build(named or _COMMANDS.keys())
    args = parser.parse_args(argv)
    if args.version:
        args.command = "version"
    if args.command is None:
        parser.error("which command? `roheletd --help` lists them")
    return args


def build(names: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser that knows the commands in `names`, or all of them."""
    parser = argparse.ArgumentParser(
        prog="roheletd",
        description=paragraph(
            "One small daemon per edge node that measures, elects, allocates and runs "
            "containers. Most commands ask the daemon of this machine."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(
        command=None, output="table", data_dir=None, url=None, token_file=None, timeout=None
    )
    parser.add_argument("--version", action="store_true", help="the same as the command `version`")
    daemon_options(parser)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, add in _COMMANDS.items():
        if names is None or name in names:
            add(commands, name)
    return parser


# --- the commands

_LISTINGS = {
    "status": (
        "Show whether this node is well, and what a person should look at.",
        ("roheletd status", "roheletd status -o json | jq .warnings"),
    ),
    "nodes": (
        "List the nodes: alive or not, and what is free on each core.",
        ("roheletd nodes",),
    ),
    "services": (
        "List the services: what is wanted, what runs, and what waits for which reason.",
        ("roheletd services",),
    ),
    "instances": (
        "List the instances: node, cores, ports, use and score of each running copy.",
        ("roheletd instances",),
    ),
    "leader": ("Show which node leads the cluster.", ("roheletd leader",)),
}


def _add_listing(commands: Commands, name: str) -> None:
    text, examples = _LISTINGS[name]
    daemon_options(add_command(commands, name, text=text, examples=examples))


def _add_quickstart(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Try it: a one-node cluster with a sample service. It needs no configuration, picks "
        "a broker and an engine, shows a live screen, and leaves nothing behind when it ends "
        "(q or Ctrl-C).",
        examples=(
            "roheletd quickstart                       look at it, then press q",
            "roheletd quickstart --once --output json  for scripts: does it work here?",
            "roheletd quickstart --keep                leave it running in the background",
            "roheletd quickstart --stop                end what --keep left running",
        ),
    )
    output_option(parser)
    timeout_option(parser, QUICKSTART_TIMEOUT_S)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--once",
        action="store_true",
        help="end as soon as both replicas answer HTTP; 1 with the reason if they do not",
    )
    how.add_argument("--stop", action="store_true", help="end the cluster that --keep left running")
    parser.add_argument(
        "--keep", action="store_true", help="leave the cluster running in the background"
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "docker", "process"),
        default="auto",
        help="what runs the sample (default: docker if its socket answers, else processes)",
    )
    parser.add_argument(
        "--broker",
        choices=("auto", "managed", "embedded"),
        default="auto",
        help="the MQTT broker (default: managed if mosquitto is installed, else embedded)",
    )


def _add_run(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Run the daemon in the foreground. SIGTERM ends it; containers stay.",
        examples=(
            "roheletd run --config /etc/roheletd/config.yaml",
            "roheletd run --data-dir ./data         all defaults, in a directory of your own",
        ),
    )
    parser.add_argument("--config", metavar="FILE", help="YAML or JSON (default: all defaults)")
    data_dir_option(parser)


def _add_why(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Explain where a service runs and why there, or why it waits. It shows each node's "
        "score and what that is made of, or what the node refuses. Of one instance (web.2), what "
        "each node would say if it were placed anew.",
        examples=("roheletd why detector", "roheletd why detector.2"),
    )
    parser.add_argument("service", metavar="SERVICE", help="a service, or one of its instances")
    daemon_options(parser)


def _add_version(commands: Commands, name: str) -> None:
    parser = add_command(
        commands, name, text="Show the version of this program.", examples=("roheletd version",)
    )
    output_option(parser)


def _add_config_check(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Check a configuration file, or explain every key that there is.",
        examples=(
            "roheletd config-check --config /etc/roheletd/config.yaml",
            "roheletd config-check --explain",
        ),
    )
    parser.add_argument("--config", metavar="FILE", help="YAML or JSON; - is standard input")
    parser.add_argument(
        "--explain", action="store_true", help="print each key's unit, default and reason"
    )
    output_option(parser)


def _add_sign(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Make a signed MQTT command, on standard output. It is valid until the leader "
        "changes or restarts, once.",
        examples=(
            "roheletd sign add-services --conf services.yaml > message",
            'roheletd sign remove-service --json \'{"name": "detector"}\' \\',
            '  | mosquitto_pub -p 9471 -u rohe -P "$PASSWORD" -t rohe/edge/command -s',
        ),
    )
    parser.set_defaults(ignore_unsupported=False)
    parser.add_argument("verb", metavar="COMMAND", help="add-services, remove-node, status, ...")
    body = parser.add_mutually_exclusive_group()
    body.add_argument("--conf", metavar="FILE", help="the command's content as a file, or -")
    body.add_argument("--json", metavar="OBJECT", help="the command's content as text")
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="the cluster key, 64 hex digits (default: <data-dir>/cluster.key)",
    )
    parser.add_argument(
        "--challenge",
        metavar="NONCE",
        help="as on the topic rohe/<cluster>/leader (default: asked from the daemon)",
    )
    parser.add_argument(
        "--cluster", metavar="NAME", help="the cluster's name (default: asked from the daemon)"
    )
    daemon_options(parser)


def _add_completion(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Print the completion script for a shell.",
        examples=(
            "roheletd completion bash > /etc/bash_completion.d/roheletd",
            'eval "$(roheletd completion bash)"     for this shell only',
        ),
    )
    parser.add_argument("shell", choices=SHELLS)


def _add_sample(commands: Commands, name: str) -> None:
    # Not in the list: it is what quickstart deploys where this program is one frozen binary.
    parser = commands.add_parser(name)
    parser.set_defaults(command=name)


_COMMANDS: dict[str, Add] = {
    "quickstart": _add_quickstart,
    "run": _add_run,
    "status": _add_listing,
    "nodes": _add_listing,
    "services": _add_listing,
    "instances": _add_listing,
    "leader": _add_listing,
    "events": add_events,
    "why": _add_why,
    "logs": add_logs,
    "exec": add_exec,
    "top": add_top,
    "registry": add_registry,
    "profile": add_profile,
    "what-if": add_what_if,
    "plan": add_plan,
    "apply": add_apply,
    "rebalance": add_rebalance,
    "scale": add_scale,
    "restart": add_restart,
    "rollback": add_rollback,
    "rollout": add_rollout,
    "cordon": add_cordon,
    "uncordon": add_uncordon,
    "drain": add_drain,
    "undrain": add_undrain,
    "node": add_node,
    "volume": add_volume,
    "compose": add_compose,
    "export": add_export,
    "configmap": add_configmap,
    "secret": add_secret,
    "algorithm": add_algorithm,
    "cluster": add_cluster,
    "orchestration": add_orchestration,
    "sign": _add_sign,
    "config-check": _add_config_check,
    "completion": _add_completion,
    "version": _add_version,
    "sample": _add_sample,
}
