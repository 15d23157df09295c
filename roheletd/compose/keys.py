"""Tables of keys: what reads each, and what is said of those that nothing reads.

The tables are both the reader and the published list of what is supported: `walk` goes by them,
and `table` prints them.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

from roheletd.compose.draft import Draft
from roheletd.compose.fields import Field

Reader = Callable[[Field, Draft], None]
Standing = Literal["yes", "in part", "no effect", "no"]


class Key(Struct, frozen=True):
    """One key: how far it is supported, and what it becomes here or why it does not."""

    standing: Standing
    means: str
    read: Reader | None = None
    keys: Mapping[str, "Key"] | None = None


def yes(read: Reader, means: str) -> Key:
    return Key("yes", means, read)


def partly(read: Reader, means: str) -> Key:
    return Key("in part", means, read)


def group(keys: Mapping[str, Key], means: str = "") -> Key:
    return Key("yes", means, keys=keys)


def idle(why: str) -> Key:
    """Accepted, and said: what it asks for is the case anyway, or does not matter here."""
    return Key("no effect", why)


def no(why: str) -> Key:
    return Key("no", why)


def walk(field: Field, keys: Mapping[str, Key], draft: Draft) -> None:
    """Read the members of a mapping, each by its key; extensions are somebody else's."""
    for name, member in field.members().items():
        key = keys.get(name)
        if key is None:
            if not name.startswith("x-"):
                member.unsupported("no such key is known here")
        elif not member.asks_for_something and not (key.read and member.value is not None):
            continue
        elif key.standing == "no":
            member.unsupported(key.means)
        elif key.read is not None:
            key.read(member, draft)  # of a group that has one, it walks on
        elif key.keys is not None:
            walk(member, key.keys, draft)
        else:
            member.note(f"has no effect: {key.means}")
