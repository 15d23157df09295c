"""The verbs of `roheletd volume`: what instances have left on nodes, and its end."""

from roheletd.cli.options import Commands, add_command, add_family, daemon_options


def add_volume(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        {"list": _add_list, "remove": _add_remove},
        text="See and delete the named volumes of instances. They outlive their instances and "
        "their services, on whatever node that was.",
        examples=(
            "roheletd volume list",
            "roheletd volume remove edge.web.1.data --node pi3",
        ),
    )


def _add_list(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command="volume list",
        text="List the named volumes on all nodes, and who needs them. `in use`: its instance is "
        "placed there. `kept`: its instance has no place now, and would find its data there. "
        "`orphaned`: nobody will look for it there.",
        examples=(
            "roheletd volume list",
            "roheletd volume list --node pi3",
            "roheletd volume list -o json | jq -r '.volumes[] | select(.claim == \"orphaned\")'",
        ),
    )
    parser.add_argument("--node", metavar="NODE", help="only those on this node")
    daemon_options(parser)


def _add_remove(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command="volume remove",
        text="Delete a named volume and all data in it. One that is in use is refused. Where it "
        "was the last one that an instance without a place had there, the instance may go to "
        "another node.",
        examples=(
            "roheletd volume remove edge.web.1.data --node pi3",
            "roheletd volume remove edge.web.1.data --node pi3 --yes    for scripts",
        ),
    )
    parser.add_argument("volume", metavar="VOLUME", help="as `volume list` shows it")
    parser.add_argument("--node", metavar="NODE", required=True, help="where it is")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    daemon_options(parser)
