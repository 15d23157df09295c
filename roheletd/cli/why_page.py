"""`roheletd why` as text: what is the matter, where it is and why there, what nodes say. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli import verdicts
from roheletd.cli.pages import duration, state
from roheletd.cli.tables import Cell, Column, Style, clean, table, wrapped
from roheletd.cli.verdicts import limited, plural

Value = Mapping[str, Any]


def why(answer: Value, style: Style) -> list[str]:
    placed = answer["instances"]
    lines = [style.paint(line, "bold") for line in wrapped(clean(_headline(answer)), style.width)]
    if matter := _matter(answer):
        lines += [style.paint(line, "yellow") for line in wrapped(clean(matter), style.width)]
    if placed:
        lines += ["", _where(placed), *_instances(placed, style)]
    here = placed[0]["node"] if answer.get("instance") and placed else ""
    lines += ["", *wrapped(clean(_question(answer, here)), style.width)]
    lines += verdicts.verdict_table(answer["verdicts"], style, here=here)
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
    said = verdicts.summary(answer["verdicts"])
    if here:
        return f"What each node would say to {answer['instance']} if it were placed anew: {said}."
    return f"What each node says to one more instance: {said}."


def _matter(answer: Value) -> str:
    """Why something waits, in one sentence; empty where nothing does."""
    missing = answer["replicas"] - len(answer["instances"])
    if answer.get("instance"):
        missing = 0 if answer["instances"] else 1
    if missing <= 0:
        return ""
    reason = answer["waiting"] or "the leader has not decided yet"
    some = "It" if answer.get("instance") else str(missing)
    verb = "waits" if answer.get("instance") or missing == 1 else "wait"
    return f"{some} {verb} for a place{_times(answer)}: {reason}."


def _times(answer: Value) -> str:
    since_s, again_s = answer.get("waiting_for_s"), answer.get("tried_again_in_s")
    since = "" if since_s is None else f" since {duration(since_s)}"
    if again_s is None:
        return since
    soon = "at once" if again_s <= 0 else f"in {duration(max(1, again_s))}"
    return f"{since}, and is tried again {soon} or as soon as something changes"


def _where(placed: Sequence[Value]) -> str:
    scores = plural(len(placed), "the score that its place had", "the scores that their places had")
    return f"Where {plural(len(placed), 'it is', 'they are')}, with {scores} when it was chosen:"


def _instances(placed: Sequence[Value], style: Style) -> list[str]:
    shown, more = limited(placed)
    rows: list[tuple[str | Cell, ...]] = [
        (
            view["instance"],
            view["node"],
            state(view["state"]),
            f"{view['score']:.2f}",
            verdicts.terms(view["terms"]),
        )
        for view in shown
    ]
    reasons = [view.get("reason", "") for view in shown]
    return [*table(_COLUMNS, rows, style, reasons), *more]


_COLUMNS = (
    Column("INSTANCE"),
    Column("NODE"),
    Column("STATE"),
    Column("SCORE", right=True),
    Column("WHY", wraps=True),
)
