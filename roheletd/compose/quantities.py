"""How Compose writes times, sizes and shares of a CPU, in our units."""

import math
import re
import shlex

from roheletd.compose.fields import Field
from roheletd.model import MILLICORES_PER_CORE

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s|m|h|d)")
_SIZE = re.compile(r"(?P<count>\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[kmgt]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_CPUS = re.compile(r"\d{1,5}(?:\.\d{1,9})?")


def seconds(field: Field) -> float:
    text = field.text("a time such as 1m30s").strip()
    parts = _TIME.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(count + unit for count, unit in parts) != text:
        field.refuse("a time such as 10s, 1m30s or 500ms")
    return round(sum(float(count) * _UNITS_S[unit] for count, unit in parts), 6)


def mebibytes(field: Field) -> int:
    """Rounded up, so that what is asked for fits."""
    found = _SIZE.fullmatch(field.text("a size such as 64M").strip())
    if found is None:
        field.refuse("a size such as 64M or 1.5G")
    size = float(found["count"]) * 1024.0 ** _POWERS[found["unit"].lower()]
    return math.ceil(size / (1 << 20))


def millicores(field: Field) -> int:
    text = field.text("a number of CPUs such as 0.5").strip()
    if not _CPUS.fullmatch(text):
        field.refuse("a number of CPUs such as 0.5")
    return math.ceil(round(float(text) * MILLICORES_PER_CORE, 6))


def words(field: Field) -> list[str]:
    """A command: a list as it is, text as a shell would cut it."""
    if field.is_list():
        return [item.text() for item in field.items()]
    try:
        return shlex.split(field.text("a command, as text or as a list"))
    except ValueError as error:
        field.wrong(f"expected a command as a shell reads it: {str(error).lower()}")
