"""What nodes say to an instance, as text: the same words in `why`, `what-if` and `plan`. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from roheletd.cli.tables import Cell, Column, Style, clean, pairs, plural, table, wrapped

Value = Mapping[str, Any]

LINES_MAX = 20
"""Of nodes or instances in one list; more are told in groups. JSON always has all of them."""

_BEST_SHOWN = 5
_NAMED_MAX = 3

_MEANINGS = {
    "cpu": "CPU that is left free",
    "memory": "memory that is left free",
    "balance": "how evenly the node's cores are used",
    "contention": "how little its cores are shared or busy",
    "gpu": "how well the node's devices are used: filled one by one, and kept for who needs them",
    "image": "1 where the image is there already",
    "spread": "how few other instances of the service are near",
    "temperature": "how cool the node is; 0 while it is throttled",
    "power": "1 on mains; on battery half its charge",
    "user": "what the algorithm in userModule says",
}
_FULLER = {"cpu": "CPU that is in use then", "memory": "memory that is in use then"}
"""What best fit asks of these instead."""

_LACKS = {
    "alive": ("is not alive", "are not alive"),
    "cordoned": ("is cordoned", "are cordoned"),
    "engine": ("has no engine for it", "have no engine for it"),
    "architecture": ("has another processor", "have another processor"),
    "home": ("does not have its volume data", "do not have its volume data"),
    "volumes": ("cannot mount its volumes", "cannot mount its volumes"),
    "constraint": ("is not as its constraints ask", "are not as its constraints ask"),
    "image": ("cannot get the image", "cannot get the image"),
    "failing": ("is where it failed lately", "are where it failed lately"),
    "affinity": ("is too far from or too near to another service",) * 2,
    "cpu": ("lacks CPU", "lack CPU"),
    "cores": ("lacks room on single cores", "lack room on single cores"),
    "memory": ("lacks memory", "lack memory"),
    "gpu": ("lacks a GPU or room on one", "lack a GPU or room on one"),
    "ports": ("has a port taken", "have a port taken"),
    "user": ("is refused by the algorithm in userModule", "are refused by userModule"),
}


def terms(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items())


def legend(weights: Mapping[str, float], strategy: str, style: Style) -> list[str]:
    """What a score is made of, in words."""
    if not weights:
        return []
    meanings = _MEANINGS | (_FULLER if strategy == "best_fit" else {})
    rows = [
        (f"  {name} x {weight:g}", meanings.get(name, "a term of another version"))
        for name, weight in weights.items()
    ]
    takes = {
        "first_fit": "The first node by name is taken, whatever its score (first_fit).",
        "best_fit": "The node with the highest score is taken; fuller nodes score higher "
        "(best_fit).",
    }.get(strategy, "The node with the highest score is taken; emptier nodes score higher.")
    text = f"A score is the weighted mean of its terms, each from 0 (bad) to 1 (good). {takes}"
    lines = [*wrapped(text, style.width), *pairs(rows, style)]
    return [style.paint(line, "dim") for line in lines]


def summary(verdicts: Sequence[Value]) -> str:
    """In one line, how many nodes take it, or what keeps them; one may lack several things."""
    if not verdicts:
        return "there is no node"
    counts: dict[str, int] = {}
    for verdict in verdicts:
        for name in verdict.get("refusals", {}):
            counts[name] = counts.get(name, 0) + 1
    fitting, known = sum(not verdict.get("refusals") for verdict in verdicts), len(verdicts)
    if fitting:
        whole = f"{fitting} of {known} nodes" if known > 1 else "the node"
        return f"{whole} {plural(fitting, 'takes', 'take')} it"
    if known == 1:
        return f"the node {', '.join(_lacks(name, 1) for name in counts)}"
    reasons = (f"{count} {_lacks(name, count)}" for name, count in counts.items())
    return f"none of {known} nodes takes it: {', '.join(reasons)}"


def _lacks(name: str, count: int) -> str:
    return plural(count, *_LACKS.get(name, (f"refuses ({name})", f"refuse ({name})")))


def verdict_table(verdicts: Sequence[Value], style: Style, *, here: str = "") -> list[str]:
    """Those that fit, the best first, and then those that refuse. `here`: where it is now."""
    if not verdicts:
        return ["there is no node"]
    fitting = sorted(
        (it for it in verdicts if not it.get("refusals")),
        key=lambda it: (-it["score"], it["node"]),
    )
    refusing = [it for it in verdicts if it.get("refusals")]
    many = len(verdicts) > LINES_MAX
    shown = fitting[:_BEST_SHOWN] if many else fitting
    shown += [it for it in fitting[len(shown) :] if it["node"] == here]
    rows = [_fitting_row(it, here) for it in shown]
    if rest := [it for it in fitting if it not in shown]:
        rows.append(_rest_row(rest))
    left = LINES_MAX - len(rows)
    groups = _grouped(refusing, left) if many else [((it["node"],), _reason(it)) for it in refusing]
    rows += [_refusing_row(names, reason, here) for names, reason in groups[:left]]
    lines = table(_COLUMNS, rows, style)
    if untold := sum(len(names) for names, _ in groups[left:]):
        lines.append(f"and {untold} more that refuse: `--output json` shows all")
    return lines


_COLUMNS = (
    Column("NODE"),
    Column("ANSWER"),
    Column("SCORE", right=True),
    Column("WHY", wraps=True),
)
Row = tuple[str | Cell, ...]


def _fitting_row(verdict: Value, here: str) -> Row:
    name = _marked(verdict["node"], here)
    return name, Cell("fits", "green"), f"{verdict['score']:.2f}", terms(verdict["terms"])


def _rest_row(rest: Sequence[Value]) -> Row:
    count = len(rest)
    low, high = rest[-1]["score"], rest[0]["score"]
    scores = f"score {high:.2f}" if low == high else f"scores from {high:.2f} to {low:.2f}"
    return f"{count} more", Cell(plural(count, "fits", "fit"), "green"), "", scores


def _refusing_row(names: Sequence[str], reason: str, here: str) -> Row:
    if len(names) == 1:
        return _marked(names[0], here), Cell("refuses", "red"), "", reason
    return f"{len(names)} nodes", Cell("refuse", "red"), "", f"{reason} ({some(names)})"


def _marked(name: str, here: str) -> str:
    return f"{name} (here)" if name == here else name


def _grouped(refusing: Sequence[Value], lines_max: int) -> list[tuple[tuple[str, ...], str]]:
    """Nodes that say the same; where those are still too many, nodes that lack the same things."""
    alike = _by(refusing, _reason)
    if len(alike) <= lines_max:
        return [(names, reasons[0]) for names, reasons in alike]
    return [
        (names, _in_common(reasons))
        for names, reasons in _by(refusing, lambda it: ",".join(it["refusals"]))
    ]


def _by(
    refusing: Sequence[Value], key: Callable[[Value], str]
) -> list[tuple[tuple[str, ...], list[str]]]:
    """The largest group first, and in each group the nodes' names and reasons."""
    found: dict[str, list[Value]] = {}
    for verdict in refusing:
        found.setdefault(key(verdict), []).append(verdict)
    groups = sorted(found.values(), key=len, reverse=True)
    return [(tuple(it["node"] for it in group), [_reason(it) for it in group]) for group in groups]


def _reason(verdict: Value) -> str:
    return "; ".join(clean(reason) for reason in verdict["refusals"].values())


def _in_common(reasons: Sequence[str]) -> str:
    """The words that all of them begin with."""
    words = zip(*(reason.split(" ") for reason in reasons), strict=False)
    same = takewhile(lambda found: len(set(found)) == 1, words)
    common = " ".join(found[0] for found in same).rstrip(",;")
    return common if all(common == reason for reason in reasons) else f"{common} ..."


def some(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    named = ", ".join(names[:_NAMED_MAX])
    more = len(names) - _NAMED_MAX
    return f"{named} and {more} more" if more > 0 else named


def limited(rows: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """The first rows, and a line that says how many there are besides."""
    every = list(rows)
    untold = len(every) - LINES_MAX
    if untold <= 1:  # one line that says "1 more" is no shorter
        return every, []
    return every[:LINES_MAX], [f"and {untold} more: `--output json` shows all"]
