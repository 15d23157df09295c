"""The verbs of `roheletd orchestration`, with the options of ROHE's documentation."""

from collections.abc import Sequence

from roheletd.cli.options import Add, Commands, add_command, add_family, daemon_options


def add_orchestration(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        _VERBS,
        text="Add, list and remove services and nodes, with ROHE's files and options.",
        examples=(
            "roheletd orchestration add-service --conf add_service.yaml",
            "roheletd orchestration add-node --conf add_node.json --url http://localhost:9470",
            "roheletd orchestration remove-service detector",
        ),
    )


def _add_verb(
    verbs: Commands,
    name: str,
    *,
    text: str,
    examples: Sequence[str],
    conf: str,
    app: str,
) -> None:
    parser = add_command(verbs, name, text=text, examples=examples, command=f"orchestration {name}")
    parser.add_argument("--app", metavar="NAME", help=app)
    if name.startswith("remove-"):
        either = parser.add_mutually_exclusive_group(required=True)
        either.add_argument("names", metavar="NAME", nargs="*", default=[])
        either.add_argument("--conf", metavar="FILE", help=conf)
    else:
        parser.add_argument("--conf", metavar="FILE", help=conf, required=name.startswith("add-"))
    daemon_options(parser)


_CONF = "YAML or JSON; - is standard input"
_NO_APP = "accepted for ROHE's sake; it changes nothing here"


def _add_add_service(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="Define services, or redefine those that exist: all in the file or none. The file "
        "is ROHE's (both generations of its field names), or has the one key `services` with a "
        "list of roheletd's own.",
        examples=(
            "roheletd orchestration add-service --conf add_service.yaml",
            "roheletd orchestration add-service --app object_detection --conf add_service.yaml",
        ),
        conf=_CONF,
        app="only the services of this application; in roheletd's own files it also names the "
        "application of services that name none",
    )


def _add_add_node(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="Register nodes, or correct what is known of them: all in the file or none. The file "
        "is ROHE's, or has the one key `nodes` with a list of roheletd's own.",
        examples=("roheletd orchestration add-node --conf add_node.json",),
        conf=_CONF,
        app=_NO_APP,
    )


def _add_get_service(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="List the services, as `roheletd services` does.",
        examples=("roheletd orchestration get-service",),
        conf="accepted for ROHE's sake and not read",
        app="only the services of this application (tables only)",
    )


def _add_get_node(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="List the nodes, as `roheletd nodes` does.",
        examples=("roheletd orchestration get-node",),
        conf="accepted for ROHE's sake and not read",
        app=_NO_APP,
    )


def _add_remove_service(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="Remove services and stop their instances.",
        examples=(
            "roheletd orchestration remove-service detector",
            "roheletd orchestration remove-service --conf add_service.yaml",
        ),
        conf="remove the services that this file defines",
        app="with --conf: only the services of this application",
    )


def _add_remove_node(verbs: Commands, name: str) -> None:
    _add_verb(
        verbs,
        name,
        text="Forget nodes; what was placed on them is placed again elsewhere. A node whose "
        "daemon is alive is not forgotten: stop the daemon first.",
        examples=(
            "roheletd orchestration remove-node pi3",
            "roheletd orchestration remove-node --conf add_node.json",
        ),
        conf="remove the nodes that this file names (or gives the MAC address of); ROHE's "
        "`command: REMOVE ALL NODE` removes all",
        app=_NO_APP,
    )


_VERBS: dict[str, Add] = {
    "add-service": _add_add_service,
    "add-node": _add_add_node,
    "get-service": _add_get_service,
    "get-node": _add_get_node,
    "remove-service": _add_remove_service,
    "remove-node": _add_remove_node,
}
