"""Rollouts and drains as text. Pure: values in, lines out."""

from collections.abc import Mapping
from typing import Any

from roheletd.cli.tables import Cell, Style, clean, pairs, plural, wrapped

Value = Mapping[str, Any]
_COLOURS = {"completed": "green", "rolled back": "red", "paused": "red", "rolling back": "yellow"}


def rollout(answer: Value, style: Style) -> list[str]:
    """One service: where it is between two revisions, and why it stands."""
    if answer["state"] is None:
        return [_without(answer), *_way_back(answer)]
    rows = [
        ("service", answer["service"]),
        ("rollout", Cell(answer["state"], _COLOURS.get(answer["state"], ""))),
        ("revisions", f"{answer['source']} -> {answer['target']}"),
        ("instances", _counts(answer)),
    ]
    lines = pairs(rows, style)
    for label, text in (("because", answer["reason"]), ("waits", answer["waiting"])):
        if text:
            lines += wrapped(clean(f"{label}: {text}"), style.width)
    return lines + _way_back(answer)


def _without(answer: Value) -> str:
    """There is no rollout to tell of."""
    name, target = answer["service"], answer["target"]
    if answer["rollback_to"] is None:
        return f"{name} was never changed: revision {target}"
    return f"{name} had no instance to replace when it was changed: revision {target}"


def _way_back(answer: Value) -> list[str]:
    if answer["rollback_to"] is None:
        return []
    return [f"`roheletd rollback {answer['service']}` goes to {answer['rollback_to']}"]


def rollout_line(answer: Value, style: Style) -> list[str]:
    """The same in one line, for somebody who looks on."""
    if answer["state"] is None:
        return [_without(answer)]
    state = style.paint(answer["state"], _COLOURS.get(answer["state"], ""))
    why = answer["reason"] or answer["waiting"]
    return [f"{state}: {_counts(answer)}" + (clean(f" ({why})") if why else "")]


def drain_line(answer: Value, _style: Style) -> list[str]:
    left = answer["left"]
    if not answer["draining"]:
        return [f"{answer['node']} is not drained any more"]
    if not left:
        return [f"{answer['node']} is empty, and takes nothing new"]
    first = left[0]
    noun = plural(len(left), "instance is", "instances are")
    return [clean(f"{len(left)} {noun} left; {first['instance']}: {first['waiting']}")]


def _counts(answer: Value) -> str:
    counts = f"{answer['settled']} of {answer['wanted']} new and healthy"
    starting = answer["new"] - answer["settled"] - len(answer["failed"])
    for count, what in ((starting, "starting"), (len(answer["failed"]), "failed")):
        if count > 0:
            counts += f", {count} {what}"
    return counts + (f", {answer['old']} old" if answer["old"] else "")
