"""Values of a Compose file with their line and path, so that whatever is said of one names it."""

from collections.abc import Iterator, Mapping
from typing import NoReturn

from roheletd.compose.variables import Unset, interpolated
from roheletd.documents.yaml_text import Lines
from roheletd.errors import InvalidInput
from roheletd.wording import shown

_ITEMS_MAX = 1024
_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


class Source:
    """What all values of one file share; what is said about them is collected here."""

    def __init__(self, name: str, lines: Lines, variables: Mapping[str, str]) -> None:
        self.name = name
        self.lines = lines
        self.variables = variables
        self.unsupported: list[tuple[int, str]] = []
        self.notes: list[tuple[int, str]] = []


class Field:
    """One value. Each method answers it as the type that is wanted, or raises `InvalidInput`.

    Compose lets a variable stand for any scalar, so numbers and flags may be given as text.
    """

    def __init__(self, source: Source, value: object, path: str, key: str, line: int) -> None:
        self.source = source
        self.path = path
        self.key = key
        self.line = line
        self._written = value

    @property
    def value(self) -> object:
        if not isinstance(self._written, str):
            return self._written
        try:
            return interpolated(self._written, self.source.variables)
        except Unset as error:
            self.wrong(str(error))

    @property
    def asks_for_something(self) -> bool:
        """Not where it is absent, empty or false: whoever writes `tty: false` wants no terminal."""
        return self._written not in (None, False, "", [], {})

    def wrong(self, reason: str) -> NoReturn:
        raise InvalidInput(f"{self.source.name}, line {self.line}", f"{self.path}: {reason}")

    def refuse(self, expected: str) -> NoReturn:
        self.wrong(f"expected {expected}, got {shown(self.value)}")

    def unsupported(self, why: str) -> None:
        self.source.unsupported.append((self.line, f"{self.path} is not supported: {why}"))

    def note(self, remark: str) -> None:
        self.source.notes.append((self.line, f"{self.path} {remark}"))

    def text(self, expected: str = "text") -> str:
        value = self.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            self.refuse(expected)
        return str(value)

    def whole(self, *, least: int, most: int) -> int:
        value = self.value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return value

    def flag(self) -> bool:
        value = self.value
        if isinstance(value, str):
            value = _FLAGS.get(value.lower())
        if not isinstance(value, bool):
            self.refuse("true or false")
        return value

    def is_list(self) -> bool:
        return isinstance(self._written, list)

    def is_mapping(self) -> bool:
        return isinstance(self._written, dict)

    def items(self, expected: str = "a list") -> list["Field"]:
        value = self._written
        if not isinstance(value, list):
            self.refuse(expected)
        if len(value) > _ITEMS_MAX:
            self.wrong(f"expected at most {_ITEMS_MAX} entries, got {len(value)}")
        return [self._child(item, f"[{index}]", index) for index, item in enumerate(value)]

    def one_or_more(self) -> list["Field"]:
        """The items of a list, or the value itself where it is no list."""
        return self.items() if self.is_list() else [self]

    def members(self, expected: str = "a mapping") -> dict[str, "Field"]:
        value = self._written
        if not isinstance(value, dict):
            self.refuse(expected)
        return {key: self._child(item, f".{key}", key) for key, item in value.items()}

    def pairs(self) -> Iterator["Field"]:
        """Of a mapping its members, and of a list of `KEY=VALUE` the same; a bare KEY has none."""
        if not self.is_list():
            yield from self.members("a mapping, or a list of KEY=VALUE").values()
            return
        for item in self.items():
            key, equals, value = item.text("KEY=VALUE").partition("=")
            yield Field(
                self.source,
                # It was interpolated as a whole: what looks like a variable now is none.
                value.replace("$", "$$") if equals else None,
                f"{self.path}.{key}",
                key,
                item.line,
            )

    def plain(self) -> object:
        """All of it as plain values, with the variables put in."""
        if self.is_list():
            return [item.plain() for item in self.items()]
        if self.is_mapping():
            return {key: member.plain() for key, member in self.members().items()}
        return self.value

    def _child(self, value: object, step: str, key: str | int) -> "Field":
        line = self.source.lines[id(self._written)][key]
        return Field(self.source, value, f"{self.path}{step}".lstrip("."), str(key), line)
