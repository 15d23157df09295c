"""What a caller sent becomes the request struct of a verb, or one message that names the field."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from roheletd.api.views import SUBJECT_MEANING, SUBJECT_PATTERN
from roheletd.documents import load_json
from roheletd.errors import InvalidInput
from roheletd.fields import MEANINGS

PARAMETERS_MAX = 16
BODY = "body"

_UNKNOWN = "Object contains unknown field `"
_MISSING = "Object missing required field `"

# What msgspec says of a pattern is for programmers.
_IN_WORDS = {
    f"Expected `str` matching regex {pattern!r}": f"expected {meaning}"
    for pattern, meaning in {**MEANINGS, SUBJECT_PATTERN: SUBJECT_MEANING}.items()
}

T = TypeVar("T")


def convert(value: object, shape: type[T], *, strict: bool = True) -> T:
    """Plain values, as JSON has them, to `shape`. Raises `InvalidInput`."""
    try:
        return msgspec.convert(value, shape, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(*_field_and_reason(str(error))) from None


def request_of(shape: type[T], parameters: Mapping[str, object], body: bytes | None) -> T:
    """One request out of its three places. A value that is given in two of them is refused."""
    if body is None:
        return convert(parameters, shape)
    document = load_json(body, name=BODY)
    if not isinstance(document, dict):
        raise InvalidInput(BODY, "expected a JSON object")
    for name in parameters.keys() & document.keys():
        raise InvalidInput(f"$.{name}", "expected once, got it in the body and in the address")
    return convert({**document, **parameters}, shape)


def parameters_of(shape: type[Struct], path: Mapping[str, str], query: str) -> dict[str, object]:
    """The values in the address, read as what their fields are; text is all that HTTP has."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    found: dict[str, object] = {}
    for name, text in (*path.items(), *_query_pairs(query)):
        if name not in fields:
            raise InvalidInput(f"$.{name}", _expected_one_of(fields))
        if name in found:
            raise InvalidInput(f"$.{name}", "expected once, got it twice")
        found[name] = _parameter(name, text, fields[name])
    return found


def _parameter(name: str, text: str, shape: Any) -> object:
    try:
        return convert(text, shape, strict=False)
    except InvalidInput as error:
        raise InvalidInput(f"$.{name}", error.expected) from None


def _query_pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise InvalidInput("query", f"expected at most {PARAMETERS_MAX} parameters") from None


def _expected_one_of(fields: Mapping[str, object]) -> str:
    if not fields:
        return "unknown parameter: this address takes none"
    return f"unknown parameter, expected one of {', '.join(fields)}"


def _field_and_reason(message: str) -> tuple[str, str]:
    """The place of what is wrong; for a missing or unknown key, msgspec names only its object."""
    reason, found, place = message.rpartition(" - at ")
    if not found:
        reason, place = message, "$"
    place = place.replace("`", "")
    for start, meaning in ((_UNKNOWN, "unknown field"), (_MISSING, "this field is required")):
        if reason.startswith(start):
            return f"{place}.{reason.removeprefix(start).rstrip('`')}", meaning
    return place, _IN_WORDS.get(reason, reason[:1].lower() + reason[1:])
