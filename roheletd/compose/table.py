"""The published list of what is supported, made of the tables that read a file."""

from collections.abc import Iterator, Mapping

from roheletd.compose import document, networks, service, stores, volumes
from roheletd.compose.keys import Key, Standing

_HEAD = """\
# Compose files

What `roheletd apply -f compose.yaml` reads. This file is made from the code: `roheletd compose
support` prints it.

A key that is not supported is told with its line, and the file is refused; `--ignore-unsupported`
applies it without. A key without effect is told and accepted. Keys that begin with `x-` are left
to others, but `x-rohe` in a service holds what Compose has no key for. YAML's anchors, aliases and
merge keys (`<<`) work. `${VARIABLE}` and `${VARIABLE:-default}` take their values from the
environment of the command and from a file `.env` beside the Compose file; a variable with neither
a value nor a default is an error.
"""
_PARTS: tuple[tuple[str, str, Mapping[str, Key]], ...] = (
    ("At the top", "", document.TOP),
    ("In a service", "", service.KEYS),
    ("At the top: `volumes`", "volumes.*.", volumes.TOP),
    ("At the top: `networks`", "networks.*.", networks.TOP),
    ("At the top: `configs` and `secrets`", "configs.*.", stores.TOP),
)


def rows(keys: Mapping[str, Key], prefix: str = "") -> Iterator[tuple[str, Standing, str]]:
    """Each key with its path, how far it is supported, and what it becomes or why it does not."""
    for name, key in keys.items():
        path = f"{prefix}{name}"
        if key.read is not None or key.keys is None:
            yield path, key.standing, key.means
        if key.keys is not None:
            yield from rows(key.keys, f"{path}.")


def entries() -> Iterator[tuple[str, Standing, str]]:
    """All rows; those of a service begin with `services.*.`."""
    for _title, prefix, keys in _PARTS:
        yield from rows(keys, "services.*." if keys is service.KEYS else prefix)


def table() -> str:
    parts = [_HEAD]
    for title, prefix, keys in _PARTS:
        parts.append(f"\n## {title}\n\n| key | supported | here |\n|---|---|---|\n")
        parts += [
            f"| `{path}` | {standing} | {means} |\n" for path, standing, means in rows(keys, prefix)
        ]
    return "".join(parts)
