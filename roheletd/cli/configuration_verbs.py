"""The verbs of `roheletd configmap` and `roheletd secret`: the same four, for both."""

from collections.abc import Sequence
from functools import partial

from roheletd.cli.options import Commands, add_command, add_family, daemon_options

_SET_EXAMPLES = {
    "configmap": (
        "roheletd configmap set web LEVEL=debug COLOUR=blue",
        "roheletd configmap set web --file nginx.conf=./nginx.conf",
        "roheletd configmap set web --from-env-file web.env --replace",
    ),
    "secret": (
        "roheletd secret set db password                     asks for it, without showing it",
        "pass show db | roheletd secret set db password -    reads it, less a last newline",
        "roheletd secret set db --file tls.key=./tls.key",
    ),
}


def add_configmap(commands: Commands, name: str) -> None:
    _add(
        commands,
        name,
        text="Keep configuration that services are given as variables or as files. A changed one "
        "rolls out the services that use it.",
        examples=(
            "roheletd configmap set web LEVEL=debug --file nginx.conf=./nginx.conf",
            "roheletd configmap list",
            "config_maps: [{name: web, path: /etc/web}]   in a service, as files",
            "config_maps: [{name: web}]                   in a service, as variables",
        ),
    )


def add_secret(commands: Commands, name: str) -> None:
    _add(
        commands,
        name,
        text="Keep passwords and keys that services are given as files in memory, or as variables. "
        "They are stored and sent encrypted with the cluster's key. A changed one rolls out the "
        "services that use it.",
        examples=(
            "roheletd secret set db password",
            "roheletd secret list",
            "secrets: [{name: db, path: /run/secrets}]    in a service, as files",
            "secrets: [{name: db}]    as variables, which `docker inspect` shows",
        ),
    )


def _add(commands: Commands, name: str, *, text: str, examples: Sequence[str]) -> None:
    verbs = {"set": _add_set, "get": _add_get, "list": _add_list, "remove": _add_remove}
    bound = {verb: partial(add, name) for verb, add in verbs.items()}
    add_family(commands, name, bound, text=text, examples=examples)


def _add_set(family: str, verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"{family} {name}",
        text="Set values by key; other keys stay as they are. All of it is one change. Where "
        "nothing is different nothing happens.",
        examples=_SET_EXAMPLES[family],
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "items",
        metavar="KEY=VALUE",
        nargs="*",
        help="a value; of a KEY alone it is asked for on the terminal without showing it, or read "
        "from standard input (KEY -)",
    )
    parser.add_argument(
        "--file",
        dest="files",
        metavar="KEY=PATH",
        action="append",
        default=[],
        help="the content of a file, byte for byte; KEY is its name where it is left out",
    )
    parser.add_argument(
        "--from-env-file",
        metavar="FILE",
        help="lines of KEY=VALUE; those that are empty or begin with # are skipped",
    )
    parser.add_argument("--replace", action="store_true", help="forget all keys that are not given")
    daemon_options(parser)


def _add_get(family: str, verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"{family} {name}",
        text="Show the values, or print the one of KEY as it is.",
        examples=(f"roheletd {family} get db", f"roheletd {family} get db host"),
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("key", metavar="KEY", nargs="?")
    daemon_options(parser)


def _add_list(family: str, verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"{family} {name}",
        text="List names, keys, and the services that are given them; no values.",
        examples=(f"roheletd {family} list",),
    )
    daemon_options(parser)


def _add_remove(family: str, verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"{family} {name}",
        text="Forget one that no service is given any more.",
        examples=(f"roheletd {family} remove db",),
    )
    parser.add_argument("name", metavar="NAME")
    daemon_options(parser)
