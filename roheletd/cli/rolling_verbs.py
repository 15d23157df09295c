"""The verbs that keep services and nodes going: scale, restart, rollback, rollout, drain, node."""

import argparse

from roheletd.cli.options import Add, Commands, add_command, add_family, daemon_options


def add_scale(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Change how many instances of a service there are. Those that run are left alone, as "
        "far as they are still wanted.",
        examples=("roheletd scale web 5", "roheletd scale web 0"),
    )
    _service(parser)
    parser.add_argument("replicas", metavar="N", type=_replicas)
    daemon_options(parser)


def add_restart(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Replace the instances of a service one after the other, as an update does. The next "
        "one goes when the one before is healthy.",
        examples=("roheletd restart web --follow",),
    )
    _service(parser)
    _follow(parser)
    daemon_options(parser)


def add_rollback(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Go back to what a service was before its last change. In the middle of an update, "
        "only what was replaced already is replaced again.",
        examples=("roheletd rollback web --follow",),
    )
    _service(parser)
    _follow(parser)
    daemon_options(parser)


def add_rollout(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        {"status": _add_rollout_status},
        text="See how far the last change of a service is.",
        examples=("roheletd rollout status web --follow",),
    )


def _add_rollout_status(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command="rollout status",
        text="Show how many instances are new, healthy and still old, and what it waits for. With "
        "--follow it ends with the rollout: with 0 where all is well, and with 1 where it was "
        "rolled back or given up.",
        examples=("roheletd rollout status web", "roheletd rollout status web --follow"),
    )
    _service(parser)
    _follow(parser)
    daemon_options(parser)


def add_drain(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Empty a node: nothing new is placed there, and its instances move elsewhere one "
        "after the other, as the `update` and `min_available` of their services say. It is shown "
        "until the node is empty; Ctrl-C ends the showing and not the drain.",
        examples=("roheletd drain pi3", "roheletd drain pi3 --no-wait", "roheletd undrain pi3"),
    )
    _node(parser)
    parser.add_argument("--no-wait", action="store_true", help="begin it, and do not look on")
    daemon_options(parser)


def add_undrain(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="End a drain, and let new instances onto the node again. What has moved stays where "
        "it is.",
        examples=("roheletd undrain pi3",),
    )
    _node(parser)
    daemon_options(parser)


def add_node(commands: Commands, name: str) -> None:
    verbs: dict[str, Add] = {"label": _add_label, "remove": _add_remove}
    add_family(
        commands,
        name,
        verbs,
        text="Label a node, or forget it.",
        examples=("roheletd node label pi3 zone=hall", "roheletd node remove pi3"),
    )


def _add_label(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command="node label",
        text="Set labels of a node, and take others away. They stand over those of the node's own "
        "configuration, and last. Instances that run are left where they are.",
        examples=(
            "roheletd node label pi3 zone=hall rack=2",
            "roheletd node label pi3 zone-       takes the label away",
        ),
    )
    _node(parser)
    parser.add_argument("labels", metavar="KEY=VALUE|KEY-", nargs="+", type=_label)
    daemon_options(parser)


def _add_remove(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command="node remove",
        text="Forget a node that will not come back. What was placed on it is placed elsewhere.",
        examples=("roheletd node remove pi3",),
    )
    _node(parser)
    daemon_options(parser)


def _service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE")


def _node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE")


def _follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="look on until it is over")


def _replicas(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) > 10_000:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 10000, got {text[:40]!r}")
    return int(text)


def _label(text: str) -> tuple[str, str | None]:
    key, found, value = text.partition("=")
    if found and key:
        return key, value
    if not found and text.endswith("-") and len(text) > 1:
        return text[:-1], None
    raise argparse.ArgumentTypeError(f"expected KEY=VALUE or KEY-, got {text[:80]!r}")
