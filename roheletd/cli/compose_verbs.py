"""`roheletd compose`: what of Compose files is supported."""

from roheletd.cli.options import Add, Commands, add_command, add_family, output_option


def add_compose(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        _VERBS,
        text="Tell what of Compose files is supported. `roheletd apply -f compose.yaml` applies "
        "one.",
        examples=("roheletd compose support",),
    )


def _add_support(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        text="List every key of Compose files, and what it becomes here or why it does not.",
        examples=("roheletd compose support", "roheletd compose support -o json"),
        command="compose support",
    )
    output_option(parser)


_VERBS: dict[str, Add] = {"support": _add_support}
