"""`roheletd why` as text: what is the matter, where it is and why there, what nodes say. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli import verdicts
from roheletd.cli.pages import duration, in_a_row, instance_state, trouble
from roheletd.cli.tables import Cell, Column, Style, clean, table, wrapped
from roheletd.cli.verdicts import limited

Value = Mapping[str, Any]


def why(answer: Value, style: Style) -> list[str]:
    placed = answer["instances"]
    lines = [style.paint(line, "bold") for line in wrapped(clean(_headline(answer)), style.width)]
    if matter := _matter(answer):
        lines += [style.paint(line, "yellow") for line in wrapped(clean(matter), style.width)]
    if placed:
        lines += ["", *wrapped(_where(placed), style.width), *_instances(placed, style)]
    if said := answer["verdicts"]:
        here = placed[0]["node"] if answer.get("instance") and placed else ""
        lines += ["", *wrapped(clean(_question(answer, here)), style.width)]
        lines += verdicts.verdict_table(said, style, here=here)
    if weights := answer.get("weights"):
        lines += ["", *verdicts.legend(weights, answer.get("strategy", ""), style)]
    return lines


def _headline(answer: Value) -> str:
    placed, wanted = answer["instances"], answer["replicas"]
    if name := answer.get("instance"):
        if not placed:
            return f"{name}: has no place"
        return f"{name}: on {placed[0]['node']}, {placed[0]['state']}"
    if not wanted:
        return f"{answer['service']}: no instance is wanted (replicas: 0)"
    running = sum(view["state"] == "running" for view in placed)
    name = answer["service"]
    if running == wanted:
        return f"{name}: {_all(wanted, 'runs', 'run')}"
    if len(placed) == wanted:
        return f"{name}: {_all(wanted, 'has', 'have')} a place, {running} of them running"
    return f"{name}: {len(placed)} of {wanted} instances have a place, {running} running"


def _all(count: int, one: str, many: str) -> str:
    return f"its one instance {one}" if count == 1 else f"all {count} instances {many}"


def _question(answer: Value, here: str) -> str:
    asked = "What each node says to one more instance"
    if here:
        asked = f"What each node would say to {answer['instance']} if it were placed anew"
    if not _fits(answer):
        return f"{asked}:"  # the head says in words what keeps it from them
    return f"{asked}: {verdicts.summary(answer['verdicts'])}."


def _fits(answer: Value) -> bool:
    return any(not verdict.get("refusals") for verdict in answer["verdicts"])


def _matter(answer: Value) -> str:
    """Why something waits, in one sentence; empty where nothing does."""
    missing = answer["replicas"] - len(answer["instances"])
    if answer.get("instance"):
        missing = 0 if answer["instances"] else 1
    if missing <= 0:
        return _misplaced(answer)
    some = "It" if answer.get("instance") else str(missing)
    verb = "waits" if answer.get("instance") or missing == 1 else "wait"
    return f"{some} {verb} for a place{_times(answer)}: {_reason(answer)}."


def _misplaced(answer: Value) -> str:
    """All have a place, and for one of them it is the wrong one: its node is lost or drained."""
    told = str(answer["waiting"])
    instance = answer.get("instance")
    if not told or not answer["replicas"] or (instance and f" {instance} " not in told):
        return ""
    return f"Not all of it is where it should be: {told}."


def _reason(answer: Value) -> str:
    """In words; what is not the nodes' doing is known only to the leader."""
    told = str(answer["waiting"])
    if _fits(answer) or told.startswith(_WHOLE):
        return told or "the leader has not decided yet"
    return verdicts.summary(answer["verdicts"])


_WHOLE = "application "
"""How the reason begins of what is held back because all of an application starts, or nothing."""


def _times(answer: Value) -> str:
    since_s, again_s = answer.get("waiting_for_s"), answer.get("tried_again_in_s")
    times = [] if since_s is None else [f"for {duration(since_s)} now"]
    if again_s is not None:
        soon = "at once" if again_s < 1 else f"in {duration(again_s)}"
        times.append(f"tried again {soon}, or as soon as something changes")
    return f" ({'; '.join(times)})" if times else ""


def _where(placed: Sequence[Value]) -> str:
    if len(placed) == 1:
        return "Where it is, with the score of its place when it was chosen:"
    return "Where they are, with the score of each place when it was chosen:"


def _instances(placed: Sequence[Value], style: Style) -> list[str]:
    """With the terms of their scores, as long as these are not all that one sees."""
    shown, more = limited(placed)
    rows: list[tuple[str | Cell, ...]] = [
        (
            view["instance"],
            view["node"],
            instance_state(view),
            f"{view['score']:.2f}",
            verdicts.terms(view["terms"]),
        )
        for view in shown
    ]
    columns: Sequence[Column] = _COLUMNS
    if len(rows) > _EXPLAINED_MAX:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    reasons = [_story(view) for view in shown]
    return [*table(columns, rows, style, reasons), *more]


def _story(view: Value) -> str:
    """What is wrong with it or was lately, and where each of its failures is told."""
    parts = [trouble(view)] if trouble(view) else []
    failures, last = view.get("failures", 0), view.get("last_failure", "")
    if view.get("reason") and failures:
        again = "" if last in view["reason"] else f", last: {last}"
        if failures > 1 or again:
            parts.append(f"failed {in_a_row(failures)}{again}")
    if restarts := view.get("restarts", 0):
        count = "one restart" if restarts == 1 else f"{restarts} restarts"
        more = f"{count} so far: " if restarts > failures else ""
        parts.append(f"{more}`roheletd events {view['instance']}` tells why")
    return "; ".join(parts)


_EXPLAINED_MAX = 5
_COLUMNS = (
    Column("INSTANCE"),
    Column("NODE"),
    Column("STATE"),
    Column("SCORE", right=True),
    Column("WHY", wraps=True),
)
