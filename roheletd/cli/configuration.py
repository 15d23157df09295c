"""`roheletd configmap` and `roheletd secret`: values out of words, files and a terminal."""

import argparse
import base64
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from roheletd.cli import pages
from roheletd.cli.client import quoted
from roheletd.cli.files import content
from roheletd.cli.options import Command
from roheletd.cli.tables import Column, Style, clean, table
from roheletd.cli.terminal import Progress, client_of, note, show
from roheletd.errors import InvalidInput

_STDIN = "-"
_KEY = re.compile(r"(?!\.\.|\.$)[A-Za-z0-9._-]{1,253}")
_PATHS = {"configmap": "/api/v1/configmaps", "secret": "/api/v1/secrets"}


def _set(family: str, args: argparse.Namespace) -> int:
    if family == "secret" and sys.stdin.isatty() and any("=" in item for item in args.items):
        note("this is now in your shell's history: give a KEY alone to be asked for its value")
    values = values_of(args)
    data, binary = {}, {}
    for key, value in values.items():
        text = _text(value)
        if text is None:
            binary[key] = base64.b64encode(value).decode()
        else:
            data[key] = text
    body = {"name": args.name, "data": data, "binary": binary, "replace": args.replace}
    with Progress("waiting for the daemon"):
        answer = client_of(args).post(_PATHS[family], body)
    show(args, answer, pages.changes)
    return 0


def values_of(args: argparse.Namespace) -> dict[str, bytes]:
    """All values by key. What is refused is named by its key, and never shown."""
    found: dict[str, bytes] = {}
    for key, value in (*_from_words(args.items), *_from_files(args), *_from_lines(args)):
        if not _KEY.fullmatch(key):
            raise InvalidInput(
                "KEY", "expected letters, digits, '_', '-' and '.', 1 to 253 of them"
            )
        if key in found:
            raise InvalidInput(key, "expected each key once, got it twice")
        found[key] = value
    if not found:
        raise InvalidInput("KEY=VALUE", "expected at least one key")
    return found


def _from_words(words: list[str]) -> Iterator[tuple[str, bytes]]:
    """`KEY=VALUE`, `KEY`, and `KEY -`."""
    left = iter([*words, ""])
    word = next(left)
    while word:
        key, given, value = word.partition("=")
        word = next(left)
        if given:
            yield key, os.fsencode(value)
        elif word == _STDIN:
            word = next(left)
            yield key, _line(content(_STDIN))
        else:
            yield key, _asked(key)


def _asked(key: str) -> bytes:
    if not sys.stdin.isatty():
        return _line(content(_STDIN))
    import getpass  # noqa: PLC0415 - for a person at a terminal

    return os.fsencode(getpass.getpass(f"{clean(key)}: "))


def _line(text: bytes) -> bytes:
    """Without the newline that whatever printed it has put behind it."""
    return re.sub(rb"\r?\n\Z", b"", text)


def _from_files(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    for word in args.files:
        key, given, path = word.partition("=")
        if not given:
            key, path = os.path.basename(word), word  # noqa: PTH119 - pathlib is 8 ms
        yield key, content(path)


def _from_lines(args: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    if args.from_env_file is None:
        return
    for number, line in enumerate(content(args.from_env_file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        key, given, value = line.partition(b"=")
        if not given:
            raise InvalidInput(f"{args.from_env_file}, line {number}", "expected KEY=VALUE")
        yield key.decode(errors="replace").strip(), value


def _text(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _get(family: str, args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).get(f"{_PATHS[family]}/{quoted(args.name)}")
    if args.key is None or args.output != "table":
        show(args, answer, _values)
        return 0
    found = _plain(answer.value).get(args.key)
    if found is None:
        raise InvalidInput("KEY", f"expected one of {', '.join(answer.value['keys'])}")
    sys.stdout.buffer.write(found + (b"\n" if sys.stdout.isatty() else b""))
    return 0


def _plain(answer: Mapping[str, Any]) -> dict[str, bytes]:
    text = {key: value.encode() for key, value in answer["data"].items()}
    return text | {key: base64.b64decode(value) for key, value in answer["binary"].items()}


def _list(family: str, args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).get(_PATHS[family])
    show(args, answer, _listed)
    return 0


def _remove(family: str, args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).delete(_PATHS[family], args.name)
    show(args, answer, pages.changes)
    return 0


def _values(answer: Mapping[str, Any], style: Style) -> list[str]:
    """A value of several lines stands below its key, as it is written but for what is no text."""
    lines = []
    for key in answer["keys"]:
        if key in answer["binary"]:
            size = len(base64.b64decode(answer["binary"][key]))
            lines.append(f"{key}: ({size} bytes, no text)")
            continue
        first, *more = answer["data"][key].rstrip("\n").split("\n")
        if more:
            lines.append(style.paint(f"{key}:", "bold"))
            lines += [f"  {clean(line)}" for line in (first, *more)]
        else:
            lines.append(f"{style.paint(f'{key}:', 'bold')} {clean(first)}")
    return lines


def _listed(answer: Mapping[str, Any], style: Style) -> list[str]:
    (found,) = answer.values()
    columns = [
        Column("NAME"),
        Column("KEYS", wraps=True),
        Column("SERVICES", wraps=True),
        Column("VERSION", right=True, spare=True),
    ]
    rows = [
        (it["name"], ", ".join(it["keys"]), ", ".join(it["services"]) or "-", str(it["version"]))
        for it in found
    ]
    return table(columns, rows, style) if rows else ["there is none"]


_VERBS = {"set": _set, "get": _get, "list": _list, "remove": _remove}
COMMANDS: dict[str, Command] = {
    f"{family} {verb}": partial(run, family) for family in _PATHS for verb, run in _VERBS.items()
}
