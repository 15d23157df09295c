"""What a closed struct's types say in words: the reference of every key, and the rule of one.

The configuration is documented at its fields, so that the reference cannot differ from the code,
and a refusal repeats it.
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from roheletd.errors import InvalidInput
from roheletd.fields import NAME_PATTERN
from roheletd.wording import shown

_COLUMNS = 92
_SIMPLE = {types.BoolType: "true or false", types.NoneType: "null", types.StrType: "text"}
_UNITS = {"s": "seconds", "mib": "MiB", "millicores": "millicores"}

# `Expected `int`, got `str` - at `$.api.port``; the path is left out where it is the whole file.
_PLACE = re.compile(r" - at (?:`key` in )?`(?P<path>\$[^`]*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class Key(Struct, frozen=True):
    """One key or section. `path` is as in the refusals: `$.telemetry.interval_s`."""

    path: str
    description: str
    rule: str
    default: object
    is_section: bool


def keys(root: type[Struct]) -> Iterator[Key]:
    """Every key in order, a section before what it holds."""
    info = types.type_info(root)
    assert isinstance(info, types.StructType)
    yield from _keys(info, "$")


def explained(root: type[Struct], head: str) -> str:
    """A YAML document of every key with its default, each under its rule and its reason."""
    lines = _comment(head, "")
    for key in keys(root):
        *above, name = key.path.split(".")[1:]
        indent = "  " * len(above)
        lines += [""] if key.is_section or not above else []
        lines += _comment(key.description, indent)
        if key.is_section:
            lines.append(f"{indent}{name}:")
        else:
            lines += _comment(f"({key.rule})", indent)
            lines.append(f"{indent}{name}: {msgspec.json.encode(key.default).decode()}")
    return "\n".join(lines) + "\n"


def refusal(root: type[Struct], document: object, complaint: str) -> InvalidInput:
    """The complaint of the decoder, as a refusal that says which values would have been right."""
    found = _PLACE.search(complaint)
    place = found["path"] if found else "$"
    rules = {key.path: key.rule for key in keys(root)}
    rule = rules.get(place.partition("[")[0], "a mapping")
    value = _at(document, place)
    if found and isinstance(value, dict | list) and rule.startswith(("a mapping of", "a list of")):
        # The value is of the right kind: only the decoder knows what is wrong inside.
        return InvalidInput(place, f"expected {rule}; inside it: {complaint[: found.start()]}")
    return InvalidInput(place, f"expected {rule}, got {shown(value)}")


def _at(document: object, place: str) -> object:
    for key, index in _STEP.findall(place):
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list):
            document = document[int(index)]
    return document


def _keys(info: types.StructType, path: str) -> Iterator[Key]:
    for field in info.fields:
        inner, description = _stripped(field.type)
        here = f"{path}.{field.encode_name}"
        if isinstance(inner, types.StructType):
            yield Key(here, _first_line(inner.cls.__doc__), "a mapping", None, is_section=True)
            yield from _keys(inner, here)
        else:
            unit = _UNITS.get(field.encode_name.rpartition("_")[2], "")
            yield Key(here, description, _rule(inner, unit), _default(field), is_section=False)


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _default(field: types.Field) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _stripped(given: types.Type) -> tuple[types.Type, str]:
    """The type without its annotation, and the description in that."""
    if not isinstance(given, types.Metadata):
        return given, ""
    return given.type, str((given.extra_json_schema or {}).get("description", ""))


def _rule(given: types.Type, unit: str = "") -> str:
    inner, description = _stripped(given)
    if isinstance(inner, types.StrType) and inner.pattern == NAME_PATTERN:
        return "a name (letters, digits, '_' and '-', 1 to 63 characters)"
    if description:
        return f"{_rule(inner, unit)}: {description}"
    return _SIMPLE.get(type(inner)) or _composed(inner, unit)


def _composed(inner: types.Type, unit: str) -> str:
    match inner:
        case types.IntType() | types.FloatType():
            return _number(inner, unit)
        case types.LiteralType():
            return f"one of {', '.join(map(str, inner.values))}"
        case types.UnionType():
            return " or ".join(_rule(choice, unit) for choice in reversed(inner.types))
        case types.DictType():
            return f"a mapping of {_rule(inner.key_type)} to {_rule(inner.value_type, unit)}"
        case types.VarTupleType() | types.ListType():
            return f"a list of {_rule(inner.item_type, unit)}"
        case types.StructType():
            fields = (f"{it.encode_name}: {_rule(it.type)}" for it in inner.fields)
            return f"{{{', '.join(fields)}}}"
    raise AssertionError(f"a configuration key cannot be {inner}")


def _number(given: types.IntType | types.FloatType, unit: str) -> str:
    noun = "a whole number" if isinstance(given, types.IntType) else "a number"
    bounds = [
        f"{word} {int(bound) if bound == int(bound) else bound}"
        for word, bound in (("above", given.gt), ("from", given.ge), ("up to", given.le))
        if bound is not None
    ]
    return " ".join([noun, *([f"of {unit}"] if unit else []), *bounds])


def _comment(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = f"{indent}#"
        for word in paragraph.split():
            if len(line) + 1 + len(word) > _COLUMNS:
                lines.append(line)
                line = f"{indent}#"
            line += f" {word}"
        lines.append(line)
    return lines
