"""`${VARIABLE}` in the values of a Compose file, and the files that variables come from."""

import re
from collections.abc import Mapping

from roheletd.errors import InvalidInput, RoheletError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<bare>{_NAME})|\{{(?P<name>{_NAME})(?P<rest>.?))")
_BRACE = re.compile(r"\$\{|\}")
_LINE = re.compile(r"(?:export\s+)?(?P<name>[^\s=#'\"]+)\s*(?:=\s*(?P<value>.*))?")
_QUOTED = {"'": re.compile(r"'([^']*)'"), '"': re.compile(r'"((?:[^"\\]|\\.)*)"')}
_REST = re.compile(r"\s*(?:#.*)?")
_ESCAPE = re.compile(r'\\([nrt"$\\])')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "$": "$$", "\\": "\\"}
_DEPTH_MAX = 8
_LETTERS_MAX = 1 << 20


class Unset(RoheletError):  # noqa: N818 - the reason, for the field that knows its line
    """A value that cannot be made from the variables that there are."""


def interpolated(text: str, variables: Mapping[str, str], depth: int = 0) -> str:
    """`text` with its variables; raises `Unset` where one has neither a value nor a default."""
    if depth > _DEPTH_MAX:
        raise Unset(f"expected at most {_DEPTH_MAX} variables within one another")
    parts: list[str] = []
    at = letters = 0
    while (found := text.find("$", at)) >= 0:
        parts.append(text[at:found])
        part, at = _variable(text, found, variables, depth)
        parts.append(part)
        letters += len(part)
        if letters > _LETTERS_MAX:
            raise Unset(f"expected at most {_LETTERS_MAX} letters of variables")
    return "".join((*parts, text[at:]))


def _variable(text: str, start: int, variables: Mapping[str, str], depth: int) -> tuple[str, int]:
    """The value of what begins at `start`, and where the text goes on."""
    found = _VARIABLE.match(text, start)
    if found is None:
        shown = text[start : start + 20]
        raise Unset(f"expected `$VARIABLE`, `${{VARIABLE}}` or, for a dollar, `$$`, got `{shown}`")
    if found["dollar"]:
        return "$", found.end()
    if found["bare"]:
        return _value(found["bare"], variables), found.end()
    name = found["name"]
    if found["rest"] == "}":
        return _value(name, variables), found.end()
    end = _closing(text, found.end("name"))
    operator, other = _operator(text[found.end("name") : end - 1], name)
    is_there = bool(variables.get(name)) if ":" in operator else name in variables
    if operator.endswith("+"):
        return (interpolated(other, variables, depth + 1) if is_there else ""), end
    if is_there:
        return variables[name], end
    reason = interpolated(other, variables, depth + 1)
    if operator.endswith("?"):
        raise Unset(f"variable {name} is not set" + (f": {reason}" if reason else ""))
    return reason, end


def _operator(text: str, name: str) -> tuple[str, str]:
    for operator in (":-", ":+", ":?", "-", "+", "?"):
        if text.startswith(operator):
            return operator, text[len(operator) :]
    raise Unset(f"expected `${{{name}}}` or `${{{name}:-default}}`")


def _closing(text: str, start: int) -> int:
    """Where the text goes on after the brace that closes what began before `start`."""
    open_braces = 1
    for brace in _BRACE.finditer(text, start):
        open_braces += 1 if brace[0] == "${" else -1
        if not open_braces:
            return brace.end()
    raise Unset("expected a closing brace after `${`")


def _value(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise Unset(
            f"variable {name} is not set and has no default, as `${{{name}:-default}}` would give"
        )
    return variables[name]


def variables_from(text: bytes, *, name: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What an env file sets: `NAME=value`, quoted or not; a NAME alone is taken from `variables`.

    Values may use variables and lines above, but not between single quotes; between double quotes
    a backslash begins what cannot be written otherwise.
    """
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidInput(name, "expected UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not (stripped := line.strip()) or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        place = f"{name}, line {number}"
        if match is None or "\0" in stripped:
            raise InvalidInput(place, "expected NAME=value")
        if match["value"] is not None:
            found[match["name"]] = _unquoted(match["value"], {**variables, **found}, place)
        elif match["name"] in variables:
            found[match["name"]] = variables[match["name"]]
    return found


def _unquoted(value: str, variables: Mapping[str, str], place: str) -> str:
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote:
        if (found := _QUOTED[quote].match(value)) is None:
            raise InvalidInput(place, f"expected a closing {quote}")
        if not _REST.fullmatch(value, found.end()):
            raise InvalidInput(place, f"expected nothing but a comment after the closing {quote}")
        value = found[1]
    else:
        value = re.split(r"\s+#", value, maxsplit=1)[0].rstrip()
    if quote == '"':
        value = _ESCAPE.sub(lambda escape: _ESCAPES[escape[1]], value)
    try:
        return value if quote == "'" else interpolated(value, variables)
    except Unset as error:
        raise InvalidInput(place, str(error)) from None
