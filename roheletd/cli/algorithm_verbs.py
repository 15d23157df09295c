"""The verbs of `roheletd algorithm`: what a user's own algorithm needs before and in service."""

from roheletd.cli.options import Commands, add_command, add_family, daemon_options, output_option


def add_algorithm(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        {"check": _add_check, "reload": _add_reload},
        text="Try an allocation algorithm of your own, and load it again after a change.",
        examples=(
            "roheletd algorithm check userModule/greenest.py:Greenest",
            "roheletd algorithm reload",
        ),
    )


def _add_check(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"algorithm {name}",
        text="Load a class from a file and ask it about a few sample nodes, with the limits that "
        "the daemon has. It needs no daemon. It ends with 1 if the class cannot be loaded or one "
        "of its hooks fails.",
        examples=(
            "roheletd algorithm check userModule/greenest.py:Greenest",
            "roheletd algorithm check ./greenest.py:Greenest -o json",
        ),
    )
    parser.add_argument("algorithm", metavar="FILE:CLASS")
    output_option(parser)


def _add_reload(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        command=f"algorithm {name}",
        text="Make the daemon of this machine read its algorithm again. Where that fails, the one "
        "it has goes on. The leader is who asks it, so change it on every node that may lead.",
        examples=("roheletd algorithm reload",),
    )
    daemon_options(parser)
