"""What would be, as text: what-if, plan, apply and rebalance. Pure: values in, lines out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roheletd.cli import verdicts
from roheletd.cli.pages import cores
from roheletd.cli.tables import (
    Cell,
    Column,
    Style,
    clean,
    pairs,
    plural,
    remarked,
    table,
    wrapped,
)
from roheletd.cli.verdicts import limited, some

Value = Mapping[str, Any]


def what_if(answer: Value, style: Style) -> list[str]:
    return [*_forecast(answer["forecast"], style), *_notes(answer, style), "Nothing was changed."]


def plan(answer: Value, style: Style) -> list[str]:
    """The difference, and what would come of it."""
    if not answer["changes"]:
        return [*_difference(answer, style), *_notes(answer, style), "There is nothing to do."]
    return [
        *_difference(answer, style),
        "",
        *_forecast(answer["forecast"], style),
        *_notes(answer, style),
        *wrapped(f"To do: {_count(answer)}. Nothing was changed yet.", style.width),
    ]


def applied(answer: Value, style: Style) -> list[str]:
    """What was done, and where it goes now."""
    if not answer["changes"]:
        return plan(answer, style)
    return [
        *_difference(answer, style),
        "",
        *_forecast(answer["forecast"], style, placed="Where it goes:"),
        *_notes(answer, style),
        *done(answer, style),
    ]


def done(answer: Value, style: Style) -> list[str]:
    """The same for somebody who has just seen the plan."""
    if not answer["changes"]:
        return ["There is nothing to do."]
    return wrapped(f"Done: {_count(answer)}. `roheletd services` shows what runs.", style.width)


def rebalanced(answer: Value, style: Style) -> list[str]:
    moves = answer["moves"]
    if not moves:
        return ["No instance would sit clearly better elsewhere."]
    columns = (
        Column("INSTANCE"),
        Column("FROM"),
        Column("TO"),
        Column("GAIN", right=True),
        Column("WHY", wraps=True),
    )
    rows = [
        (it["instance"], it["source"], it["target"], f"{it['gain']:+.2f}", it["reason"])
        for it in moves
    ]
    done = "Nothing was moved (--dry-run)." if answer["dry_run"] else "They are being moved."
    return [*table(columns, rows, style), "GAIN: how much the score rises, of 1", done]


def _count(answer: Value) -> str:
    both = (answer["services"], answer["nodes"])
    parts = (
        (sum(len(it.get(kind, ())) for it in both), kind)
        for kind in ("added", "changed", "removed")
    )
    return ", ".join(f"{count} {kind}" for count, kind in parts if count)


# --- the difference


def _difference(answer: Value, style: Style) -> list[str]:
    return [
        *_of_things(answer["nodes"], "node", style),
        *_of_things(answer["services"], "service", style),
    ]


def _of_things(found: Value, noun: str, style: Style) -> list[str]:
    lines = [style.paint(f"+ {noun} {clean(name)}", "green") for name in found["added"]]
    for changed in found["changed"]:
        lines += _changed(changed, noun, style)
    lines += [style.paint(f"- {noun} {clean(name)}", "red") for name in found["removed"]]
    if unchanged := found["unchanged"]:
        text = f"= unchanged: {noun} {some(unchanged)}"
        lines += [style.paint(line, "dim") for line in wrapped(clean(text), style.width)]
    if left := found["left"]:
        text = (
            f"  not in the file, and left alone: {noun} {some(left)} (--prune removes "
            f"{plural(len(left), 'it', 'them')})"
        )
        lines += [style.paint(line, "dim") for line in wrapped(clean(text), style.width)]
    return lines


def _changed(changed: Value, noun: str, style: Style) -> list[str]:
    what = ": its instances are replaced" if changed["replaces"] else ""
    head = style.paint(f"~ {noun} {clean(changed['name'])}", "yellow") + what
    rows = [
        (f"    {clean(it['field'])}", clean(f"{_text(it['old'])} -> {_text(it['new'])}"))
        for it in changed["fields"]
    ]
    return [head, *pairs(rows, style)]


def _text(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


# --- what would come of it


def _forecast(found: Value, style: Style, *, placed: str = "Where it would go:") -> list[str]:
    return [
        *_placed(found["placed"], placed, style),
        *_named("stay where they are", "stays where it is", found["staying"], style),
        *_named("end", "ends", found["stopped"], style),
        *(line for refused in found["refused"] for line in _refused(refused, style)),
        *_others(found["others"], style),
    ]


def _placed(placed: Sequence[Value], title: str, style: Style) -> list[str]:
    if not placed:
        return []
    columns = (
        Column("INSTANCE"),
        Column("NODE"),
        Column("CORES"),
        Column("GPUS", spare=True),
        Column("SCORE", right=True),
        Column("REPLACES", spare=True),
    )
    shown, more = limited(placed)
    rows = [
        (
            it["instance"],
            it["node"],
            cores(it["cores"]),
            ", ".join(f"{gpu}: {percent} %" for gpu, percent in it["gpus"].items()) or "-",
            f"{it['score']:.2f}",
            f"the one on {it['previous']}" if it["previous"] else "-",
        )
        for it in shown
    ]
    return [title, *table(columns, rows, style), *more, ""]


def _named(many: str, one: str, instances: Mapping[str, str], style: Style) -> list[str]:
    if not instances:
        return []
    each = [f"{instance} on {node}" for instance, node in instances.items()]
    text = f"{len(each)} {plural(len(each), one, many)}: {some(each)}."
    return [*wrapped(clean(text), style.width), ""]


def _refused(refused: Value, style: Style) -> list[str]:
    missing, service, reason = refused["missing"], refused["service"], refused["reason"]
    who = f"{missing} {plural(missing, 'instance', 'instances')} of {service}"
    text = (
        f"{who} would have to wait: {reason}."
        if missing
        else f"{service} would run on as it is, for a new instance finds no place: {reason}."
    )
    lines = [style.paint(line, "yellow") for line in wrapped(clean(text), style.width)]
    if said := refused["verdicts"]:
        question = f"What each node would say to one more: {verdicts.summary(said)}."
        lines += wrapped(clean(question), style.width)
        lines += verdicts.verdict_table(said, style)
    return [*lines, ""]


def _others(moves: Sequence[Value], style: Style) -> list[str]:
    if not moves:
        return []
    columns = (
        Column("INSTANCE"),
        Column("FROM"),
        Column("TO"),
        Column("WHY", wraps=True),
    )
    shown, more = limited(moves)
    rows = [
        (it["instance"], it["before"] or "-", _target(it["after"]), it["reason"]) for it in shown
    ]
    return ["What it would cost others:", *table(columns, rows, style), *more, ""]


def _target(node: str) -> Cell:
    return Cell(node) if node else Cell("has to wait", "red")


def _notes(answer: Value, style: Style) -> Iterable[str]:
    return (line for text in answer.get("notes", ()) for line in remarked(text, style))
