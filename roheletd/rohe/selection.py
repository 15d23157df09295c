"""A file that gets or removes: ROHE's carry the command `... ALL ...`, or name what is meant."""

from typing import Literal

from msgspec import Struct

from roheletd.errors import InvalidInput
from roheletd.rohe.envelope import command_of, envelope_of
from roheletd.rohe.fields import Mapping
from roheletd.wording import shown


class Selection(Struct, frozen=True, kw_only=True):
    """What a file means: everything, or those with one of these names or MAC addresses."""

    everything: bool = False
    names: tuple[str, ...] = ()
    mac_addresses: tuple[str, ...] = ()


def selection_from(
    document: object, *, verb: Literal["get", "remove"], noun: Literal["node", "service"]
) -> Selection:
    """What a command file asks to show or remove. Raises `InvalidInput`.

    Everything only where the file says ALL, so that a file cut short removes nothing.
    """
    envelope = envelope_of(document)
    command = command_of(envelope)
    action, thing = verb.upper(), noun.upper()
    for_all = {f"{action} ALL {thing}", f"{action} ALL {thing}S"}
    if command in for_all:
        return Selection(everything=True)
    # The file that added them names what is meant just as well.
    if command not in {
        None,
        *(f"{word} {thing}{s}" for word in (action, "ADD") for s in ("", "S")),
    }:
        raise InvalidInput("$.command", f'expected "{action} ALL {thing}S", got {shown(command)}')
    data = envelope.require("data", expected=f"the {noun}s meant, or a command with ALL").mapping()
    return _named(data, noun)


def _named(data: Mapping, noun: Literal["node", "service"]) -> Selection:
    names: list[str] = []
    mac_addresses: list[str] = []
    entries = [entry.mapping() for entry in data.fields()]
    if noun == "service":
        entries = [entry.mapping() for application in entries for entry in application.fields()]
    for entry in entries:
        mac = entry.take("mac_address", "MAC") if noun == "node" else None
        if mac is not None:
            mac_addresses.append(mac.text(longest=64))
        else:
            field = entry.require(f"{noun}_name", expected=f"the {noun}'s name")
            names.append(field.name())
    if not entries:
        raise InvalidInput(data.path, f"expected at least one {noun}")
    return Selection(names=tuple(names), mac_addresses=tuple(mac_addresses))
