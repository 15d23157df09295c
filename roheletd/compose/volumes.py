"""`volumes` and `tmpfs`: what is mounted into an instance."""

import re

from roheletd.compose.draft import NOBODYS, Draft
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, group, idle, no, partly, walk, yes
from roheletd.compose.quantities import mebibytes

_TMPFS_MIB = 64
"""A size has to be promised; the engine's own, half of the memory, is no promise."""

_MODES = {"ro": True, "rw": False}
_NO_EFFECT = {"z", "Z", "cached", "delegated", "consistent"}
_HERE = re.compile(r"[.~]")


def read_volumes(field: Field, draft: Draft) -> None:
    for item in field.items():
        if item.is_mapping():
            _long(item, draft)
        else:
            _short(item, draft)


def read_tmpfs(field: Field, draft: Draft) -> None:
    for item in field.one_or_more():
        path, _, options = item.text("a path, with options such as :size=64m").partition(":")
        size_mib = _TMPFS_MIB
        for option in options.split(",") if options else ():
            name, _, value = option.partition("=")
            if name == "size":
                size_mib = mebibytes(_part(item, value))
            else:
                item.unsupported(f"of a tmpfs only its size can be chosen, not {option[:40]}")
        draft.extend("volumes", {"path": path, "tmpfs_mib": max(1, size_mib)}, item)


def _part(item: Field, text: str) -> Field:
    return Field(item.source, text.replace("$", "$$"), item.path, item.key, item.line)


def _short(item: Field, draft: Draft) -> None:
    parts = item.text("a volume such as data:/var/lib/data:ro").split(":")
    if len(parts) == 1:
        item.unsupported("a volume without a name is lost with its container: give it one")
        return
    source, path, *modes = parts
    if len(modes) > 1:
        item.refuse("a volume such as data:/var/lib/data:ro")
    read_only = False
    for mode in modes[0].split(",") if modes else ():
        if mode in _MODES:
            read_only = _MODES[mode]
        elif mode not in _NO_EFFECT:
            item.unsupported(f"the option {mode[:40]}; ro and rw are")
    _mount(item, draft, source, {"path": path, "read_only": read_only})


def _mount(item: Field, draft: Draft, source: str, volume: dict[str, object]) -> None:
    if source.startswith("/"):
        draft.extend("volumes", {**volume, "host_path": source.rstrip("/") or "/"}, item)
    elif _HERE.match(source):
        item.unsupported(
            f"{source[:60]} is on this machine, not on the nodes: use `configs`, or the absolute "
            "path of a folder that each node has and allows"
        )
    elif source in draft.project.volumes:
        _named(item, draft, source, volume)
    else:
        item.wrong(f"expected a volume that `volumes` at the top defines, got {source[:60]}")


def _named(item: Field, draft: Draft, name: str, volume: dict[str, object]) -> None:
    user, line = draft.project.users.setdefault(name, (draft.name, item.line))
    if user != draft.name:
        item.unsupported(
            f"volume {name[:60]} is that of {user} (line {line}): each instance has its own"
        )
        return
    draft.extend("volumes", {**volume, "name": name}, item)


def _long(item: Field, draft: Draft) -> None:
    part = Draft(item, draft.project)
    walk(item, LONG, part)
    kind = part.values.get("type", "volume")
    path = part.values.get("target")
    source = str(part.values.get("source", ""))
    if path is None:
        item.wrong("expected `target`, the path within the container")
    volume = {"path": path, "read_only": part.values.get("read_only", False)}
    if kind == "tmpfs":
        size_mib = part.values.get("tmpfs_mib", _TMPFS_MIB)
        draft.extend("volumes", {**volume, "tmpfs_mib": size_mib}, item)
    elif kind not in ("volume", "bind"):
        item.unsupported(f"volumes of the type {str(kind)[:40]}; volume, bind and tmpfs are")
    elif not source:
        item.unsupported("a volume without a name is lost with its container: give it one")
    elif kind == "volume" and (source.startswith("/") or _HERE.match(source)):
        item.wrong("expected the name of a volume, got a path; `type: bind` mounts one")
    elif kind == "bind" and not source.startswith("/") and not _HERE.match(source):
        _mount(item, draft, f"./{source}", volume)
    else:
        _mount(item, draft, source, volume)


def _type(field: Field, part: Draft) -> None:
    part.put("type", field.text(), field)


def _source(field: Field, part: Draft) -> None:
    part.put("source", field.text(), field)


def _target(field: Field, part: Draft) -> None:
    part.put("target", field.text(), field)


def _read_only(field: Field, part: Draft) -> None:
    part.put("read_only", field.flag(), field)


def _size(field: Field, part: Draft) -> None:
    part.put("tmpfs_mib", max(1, mebibytes(field)), field)


LONG: dict[str, Key] = {
    "type": partly(_type, "volume, bind or tmpfs"),
    "source": yes(_source, "name of a volume, or an absolute path of the nodes"),
    "target": yes(_target, "the path within the container"),
    "read_only": yes(_read_only, ""),
    "tmpfs": group(
        {
            "size": yes(_size, f"{_TMPFS_MIB} MiB where it is not given"),
            "mode": no("only the size of a tmpfs can be chosen"),
        }
    ),
    "bind": group(
        {
            "create_host_path": no("a folder of a node is used where it is, and never made"),
            "propagation": no("mounts are private"),
            "recursive": no("what is mounted below a folder comes along"),
            "selinux": idle("labels are the node's business"),
        }
    ),
    "volume": group(
        {
            "nocopy": no("what the engine does with a new volume stays its own"),
            "subpath": no("a volume is mounted whole"),
        }
    ),
    "image": no("volume, bind and tmpfs are supported"),
    "consistency": idle("there is no other"),
}


def volumes_of(field: Field | None) -> frozenset[str]:
    """The names of the volumes that the file defines."""
    defined = field.members() if field else {}
    for entry in defined.values():
        if entry.asks_for_something:
            walk(entry, TOP, Draft(entry, NOBODYS))
    return frozenset(defined)


TOP: dict[str, Key] = {
    "name": idle("a volume is named after the instance that it belongs to"),
    "external": no("each instance gets a volume of its own, made where it is missing"),
    "driver": no("a volume is one of the node's engine, with no options"),
    "driver_opts": no("a volume is one of the node's engine, with no options"),
    "labels": idle("a volume is known by its name"),
}
