"""`roheletd cluster status` as text for people. Pure, like the other pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli.pages import broker, duration
from roheletd.cli.tables import Cell, Column, Style, clean, pairs, remarked, table, wrapped

Value = Mapping[str, Any]

_STALE_S = 3.0
_LIVENESS_COLOURS = {
    "alive": "green",
    "suspect": "yellow",
    "lost": "red",
    "never seen": "red",
    "unknown": "yellow",
}
_ROLES = {"learner": "learner (does not vote yet)", "follower": "follower (does not vote)"}


def cluster(answer: Value, style: Style) -> list[str]:
    """Who leads, every member, the links of this node, and what one more loss would mean."""
    head = f"cluster {answer['cluster']}, epoch {answer['epoch']}, as {answer['node']} knows it"
    lines = [style.paint(clean(head), "bold"), *pairs(_facts(answer), style)]
    if answer["membership"] == "joined":
        lines += ["", *_members(answer["members"], answer["leader"], style)]
    outlook = answer.get("outlook", "")
    if outlook:
        lines += ["", *wrapped(clean(outlook), style.width)]
    return [*lines, *_attention(answer, style)]


def _facts(answer: Value) -> list[tuple[str, str | Cell]]:
    links = answer.get("links", ())
    alone = answer["membership"] == "joined" and not answer.get("shared")
    return [
        ("leader", _leader(answer)),
        ("this node", _this_node(answer)),
        *([("others", "may not join: `roheletd cluster init` lets them")] if alone else ()),
        *(("link", Cell(broker(link), "" if link["connected"] else "red")) for link in links),
    ]


def _leader(answer: Value) -> str | Cell:
    at = f"term {answer['term']}"
    heard_s = answer.get("leader_heard_s")
    ago = "" if heard_s is None else f"heard {_age(heard_s)} ago"
    if not answer["leader"]:
        since = f"; {ago}, and what is shown is from then" if ago else ""
        return Cell(f"none ({at}): no change is possible{since}", "red")
    text = f"{answer['leader']} ({', '.join(part for part in (at, ago) if part)})"
    return Cell(text, "yellow" if heard_s is not None and heard_s > _STALE_S else "")


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004


def _this_node(answer: Value) -> str | Cell:
    reason = answer.get("reason", "")
    why = f": {reason}" if reason else ""
    match answer["membership"]:
        case "joining":
            return Cell(f"asks to be let in{why}", "yellow")
        case "refused":
            return Cell(f"was not let in{why}", "red")
        case "left":
            return Cell(f"has left{why}", "yellow")
    behind = answer["commit_index"] - answer["applied_index"]
    applied = f"applied {answer['applied_index']}"
    return (
        f"{answer['role']} ({applied} of {answer['commit_index']})"
        if behind
        else (f"{answer['role']} ({applied})")
    )


_COLUMNS = (
    Column("NAME"),
    Column("ROLE"),
    Column("STATE"),
    Column("LAG", right=True),
    Column("BROKER", spare=True),
    Column("VERSION", spare=True),
)


def _members(members: Sequence[Value], leader: str, style: Style) -> list[str]:
    rows = [_row(member, leader) for member in members]
    lines = table(_COLUMNS, rows, style)
    if not rows:
        return [*lines, "no member is known yet"]
    if leader and all(member.get("lag") is None for member in members):
        return [*lines, style.paint("LAG: only the leader knows it; ask there", "dim")]
    return lines


def _row(member: Value, leader: str) -> tuple[str | Cell, ...]:
    role: str = member["role"]
    role = "leader" if member["name"] == leader else _ROLES.get(role, role)
    if member.get("voter") == "never":
        role = f"{member['role']} (never votes)"
    lag: int | None = member.get("lag")
    return (
        member["name"],
        role,
        Cell(member["liveness"], _LIVENESS_COLOURS.get(member["liveness"], "")),
        "-" if lag is None else Cell(str(lag), "yellow" if lag else ""),
        member.get("broker") or "-",
        member.get("version") or "-",
    )


def _attention(answer: Value, style: Style) -> list[str]:
    found = []
    if failure := answer.get("failure", ""):
        found.append(f"this node takes no part: {failure}")
    if (reason := answer.get("reason", "")) and answer["membership"] == "joined":
        found.append(reason)
    dropped = answer.get("dropped_messages", {})
    if shown := ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count):
        found.append(f"messages that were not acted on: {shown}")
    if not found:
        return []
    head = style.paint("needs attention:", "yellow")
    return ["", head, *(line for text in found for line in remarked(text, style))]
