"""What stands around the data: ROHE's YAML files carry a command, its JSON files only `data`."""

from roheletd.errors import InvalidInput
from roheletd.rohe.fields import Field, Mapping
from roheletd.wording import shown

COMMAND_MAX = 64
_ABOUT_THE_CLIENT = ("application", "client_id", "instance_name", "stage_id", "role")


def envelope_of(document: object) -> Mapping:
    return Field(document, "$").mapping(expected="a mapping with the key `data`")


def command_of(envelope: Mapping) -> str | None:
    """The command in capitals (`ADD SERVICE`), or None where the file has none."""
    field = envelope.take("command")
    return None if field is None else " ".join(field.text(longest=COMMAND_MAX).upper().split())


def data_to_add(document: object, *, noun: str, shape: str) -> Mapping:
    """The `data` of a file that adds nodes or services; `shape` is what it should look like."""
    envelope = envelope_of(document)
    command = command_of(envelope)
    wanted = f"ADD {noun.upper()}"
    if command not in {None, wanted, f"{wanted}S"}:
        raise InvalidInput("$.command", f'expected "{wanted}", got {shown(command)}')
    envelope.drop(*_ABOUT_THE_CLIENT)
    data = envelope.require("data", expected=shape)
    envelope.finish()
    return data.mapping(expected=shape)
