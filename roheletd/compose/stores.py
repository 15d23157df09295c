"""`configs` and `secrets`: at the top what they are, in a service where they go."""

import re
from typing import Literal

from roheletd.compose.draft import Content, Draft, Project, read_file
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, no, partly, walk, yes
from roheletd.fields import KEY_PATTERN, MEANINGS

Kind = Literal["configs", "secrets"]

_KEY = re.compile(KEY_PATTERN)
_MODE = re.compile(r"(?:0o?)?([0-7]{3})")
_VALUE_ALONE = "a config or a secret is a value, and nothing more"
_SECRETS = "/run/secrets"
_OWNER = "secrets belong to `user` where it is a number, and all else to the container's root"


def read_configs(field: Field, draft: Draft) -> None:
    _read(field, draft, "configs")


def read_secrets(field: Field, draft: Draft) -> None:
    _read(field, draft, "secrets")


def _read(field: Field, draft: Draft, kind: Kind) -> None:
    for item in field.items():
        if not item.is_mapping():
            _use(item, draft, kind, item.text())
            continue
        part = Draft(item, draft.project)
        walk(item, LONG, part)
        if "source" not in part.values:
            item.wrong(f"expected `source`, a name of the key `{kind}` at the top")
        source, target = str(part.values["source"]), str(part.values.get("target", ""))
        any_user = kind == "secrets" and bool(part.values.get("any_user"))
        _use(item, draft, kind, source, target, any_user=any_user)


def _use(
    item: Field, draft: Draft, kind: Kind, source: str, target: str = "", *, any_user: bool = False
) -> None:
    defined = draft.project.configs if kind == "configs" else draft.project.secrets
    content = defined.get(source)
    if content is None:
        item.wrong(f"expected a name that the key `{kind}` at the top defines, got {source[:60]}")
    if not target.startswith("/"):
        # Relative to where Compose puts them: secrets in a folder of their own, configs in /.
        target = f"{_SECRETS}/{target or source}" if kind == "secrets" else f"/{target or source}"
    folder, _, name = target.rpartition("/")
    if not folder:
        item.unsupported(
            f"a file in the root folder ({target[:60]}): a config is a folder of files, so give it "
            "a target such as /etc/app/app.conf"
        )
        return
    if content.value is not None:
        if not _KEY.search(name):
            item.wrong(f"expected {MEANINGS[KEY_PATTERN]}, as the file's name, got {name[:60]}")
        content.files[name] = content.value
    elif name != source:
        item.note(f"is a file {folder}/KEY for each key of what the cluster has")
    if folder not in (_SECRETS, f"/var{_SECRETS}"):
        item.note(f"is in the folder {folder}, which then holds nothing else of the image")
    field = "config_maps" if kind == "configs" else "secrets"
    draft.extend(field, {"name": content.name, "path": folder, "any_user": any_user}, item)


def _source(field: Field, part: Draft) -> None:
    part.put("source", field.text(), field)


def _target(field: Field, part: Draft) -> None:
    part.put("target", field.text(), field)


def _mode(field: Field, part: Draft) -> None:
    found = _MODE.fullmatch(field.text())
    if found is None:
        field.refuse("a mode such as 0400 or 0444")
    part.put("any_user", int(found[1], 8) & 0o004 > 0, field)


LONG: dict[str, Key] = {
    "source": yes(_source, "a name that the top of the file defines"),
    "target": yes(_target, "path of the file; its folder holds nothing but such files"),
    "mode": partly(_mode, "secrets: read by their owner, or by all with 0444; configs: by all"),
    "uid": no(_OWNER),
    "gid": no(_OWNER),
}


def contents_of(field: Field | None, project: Project) -> dict[str, Content]:
    """What the top of the file defines: from a file, from a variable, inline, or there already."""
    found: dict[str, Content] = {}
    for name, entry in (field.members() if field else {}).items():
        found[name] = _content(entry, name, project)
    return found


def _content(entry: Field, name: str, project: Project) -> Content:
    members = entry.members("a mapping with `file`, `content`, `environment` or `external`")
    given = [key for key in ("file", "content", "environment", "external") if key in members]
    for key, member in members.items():
        if key not in (*given, "name") and not key.startswith("x-") and member.asks_for_something:
            member.unsupported(_VALUE_ALONE)
    if len(given) != 1:
        entry.wrong("expected one of `file`, `content`, `environment` and `external`")
    field = members[given[0]]
    chosen = members["name"].text() if "name" in members else ""
    if given[0] == "external" and field.flag():
        return Content(chosen or name, None, {})
    return Content(chosen or f"{project.name}_{name}", _value(given[0], field, project), {})


def _value(kind: str, field: Field, project: Project) -> bytes:
    if kind == "content":
        return field.text().encode()
    if kind == "environment":
        variable = field.text("the name of a variable")
        if variable not in field.source.variables:
            field.wrong(f"variable {variable[:60]} is not set")
        return field.source.variables[variable].encode()
    if kind != "file":
        field.refuse("true, or one of `file`, `content` and `environment`")
    return read_file(project, field, field.text("the path of a file"))


TOP: dict[str, Key] = {
    "file": Key("yes", "read where the command runs, relative to the Compose file"),
    "content": Key("yes", "the text itself, with its variables"),
    "environment": Key("yes", "the value of a variable where the command runs"),
    "external": Key("yes", "it is in the cluster already"),
    "name": Key("yes", "its name in the cluster; PROJECT_NAME where it is not given"),
    "labels": no(_VALUE_ALONE),
    "driver": no(_VALUE_ALONE),
    "driver_opts": no(_VALUE_ALONE),
    "template_driver": no(_VALUE_ALONE),
}
