"""Values of a document with the path that leads to them, so that a refusal can name it."""

import math
import re
from typing import NoReturn

from roheletd.errors import InvalidInput
from roheletd.fields import NAME_PATTERN
from roheletd.wording import shown

_NAME = re.compile(NAME_PATTERN)
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


class Field:
    """One value. Each method answers it as the type that is wanted, or raises `InvalidInput`."""

    def __init__(self, value: object, path: str, key: str = "") -> None:
        self.value = value
        self.path = path
        self.key = key

    def refuse(self, expected: str) -> NoReturn:
        raise InvalidInput(self.path, f"expected {expected}, got {shown(self.value)}")

    def number(self, *, most: int) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse("a number >= 0")
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse("a finite number >= 0")
        if value < 0:
            self.refuse("a number >= 0")
        if value > most:
            self.refuse(f"a number <= {most}")
        return float(value)

    def whole(self, *, least: int, most: int) -> int:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return value

    def text(self, *, longest: int) -> str:
        value = self.value
        if not isinstance(value, str) or not value.strip():
            self.refuse("text")
        if len(value) > longest:
            raise InvalidInput(self.path, f"expected at most {longest} letters, got {len(value)}")
        return value

    def name(self) -> str:
        value = self.value
        if not isinstance(value, str) or not _NAME.search(value):
            self.refuse("a name (letters, digits, '_' and '-', 1 to 63 characters)")
        return value

    def items(self, *, most: int) -> list["Field"]:
        value = self.value
        if not isinstance(value, list):
            self.refuse("a list")
        if len(value) > most:
            raise InvalidInput(self.path, f"expected at most {most} entries, got {len(value)}")
        return [Field(item, f"{self.path}[{index}]") for index, item in enumerate(value)]

    def mapping(self, *, expected: str = "a mapping") -> "Mapping":
        if not isinstance(self.value, dict):
            self.refuse(expected)
        return Mapping(self.value, self.path)


class Mapping:
    """The fields of one mapping, each taken once, by any of the names it goes by.

    `older` collects the names taken that are not the first choice: ROHE's older generation.
    """

    def __init__(self, values: dict[object, object], path: str) -> None:
        self.path = path
        self.older: list[str] = []
        self._values = values
        self._known: list[str] = []
        for key in values:
            if not isinstance(key, str):
                raise InvalidInput(path, f"expected keys that are text, got {shown(key)}")

    def has(self, name: str) -> bool:
        return name in self._values

    def fields(self) -> list[Field]:
        """All of them, for mappings whose keys are the user's."""
        return [Field(value, self._path(str(key)), str(key)) for key, value in self._values.items()]

    def take(self, *names: str) -> Field | None:
        """The field under one of these names, or None where it is absent or null."""
        self._known.extend(names)
        given = [name for name in names if self._values.get(name) is not None]
        if not given:
            return None
        if len(given) > 1:
            raise InvalidInput(self._path(given[1]), f"expected one name, got `{given[0]}` too")
        self.older.extend(name for name in given if name != names[0])
        return Field(self._values[given[0]], self._path(given[0]), given[0])

    def require(self, *names: str, expected: str) -> Field:
        field = self.take(*names)
        if field is None:
            raise InvalidInput(self._path(names[0]), f"expected {expected}, got nothing")
        return field

    def drop(self, *names: str) -> list[str]:
        """Of these fields, the names of those that say something; all are left out."""
        self._known.extend(names)
        return [name for name in names if _says_something(self._values.get(name))]

    def finish(self) -> None:
        """Refuse what nobody took: a field misspelt must not silently become its default."""
        for key in self._values:
            if key not in self._known:
                known = ", ".join(sorted(self._known))
                raise InvalidInput(self._path(str(key)), f"unknown field; known here: {known}")

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if _BARE_KEY.fullmatch(key) else f"{self.path}[{shown(key)}]"


def _says_something(value: object) -> bool:
    """Whether any leaf is other than zero or empty."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif value:
            return True
    return False
