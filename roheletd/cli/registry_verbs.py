"""How `roheletd registry` is called."""

from roheletd.cli.options import Commands, add_command, daemon_options


def add_registry(commands: Commands, name: str) -> None:
    parser = add_command(
        commands,
        name,
        text="Show who serves what, where: the port of each service that every node leads to a "
        "healthy instance, and the address of each running one.",
        examples=("roheletd registry", "roheletd registry web --output json"),
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="only this one")
    daemon_options(parser)
