"""The answer of `roheletd profile` as text for people. Pure: values in, lines out."""

from typing import NamedTuple

from roheletd.allocation.requirement import Need
from roheletd.cli.pages import duration
from roheletd.cli.tables import Column, Style, clean, plural, remarked, table, wrapped
from roheletd.model import Service, demand


class Profile(NamedTuple):
    """A service as declared and as proposed, and what that comes from."""

    before: Service
    after: Service
    found: Need
    remarks: tuple[str, ...]
    watched_s: float


def profile(value: Profile, style: Style) -> list[str]:
    found, name = value.found, value.before.name
    copies = f"{found.instances} {plural(found.instances, 'instance', 'instances')}"
    head = f"{name}: {found.samples} samples of {copies} in {duration(value.watched_s)}"
    columns = (
        Column("WHAT"),
        Column("DECLARED", wraps=True),
        Column("USED", wraps=True),
        Column("PROPOSED", wraps=True),
    )
    explained = (
        "USED: the 95th percentile of the instance that used most. Memory is proposed by its peak "
        "and a tenth, for at its limit an instance is killed."
    )
    how = (
        f"`roheletd profile {name} -o yaml > {name}.yaml` makes a file of what is proposed, and "
        f"`roheletd orchestration add-service --conf {name}.yaml` takes it."
    )
    return [
        style.paint(clean(head), "bold"),
        *table(columns, _rows(value), style),
        *(style.paint(line, "dim") for line in wrapped(explained, style.width)),
        *(line for remark in value.remarks for line in remarked(remark, style)),
        "",
        *wrapped(how, style.width),
    ]


def _rows(value: Profile) -> list[tuple[str, str, str, str]]:
    before, after, found = value.before, value.after, value.found
    used_memory = "not measured"
    if found.memory_p95_mib is not None:
        used_memory = f"{found.memory_p95_mib} MiB"
    rows = [
        ("cores", _cores(demand(before)), _cores(found.cores), _cores(demand(after))),
        ("memory", _memory(before.memory_mib), used_memory, _memory(after.memory_mib)),
    ]
    if before.accelerators:
        used = "not known" if found.gpu_percent is None else f"{found.gpu_percent} %"
        rows.append(("gpu", _gpu(before), used, _gpu(after)))
    return rows


def _cores(needs: tuple[int, ...]) -> str:
    return ", ".join(f"{need} m" for need in needs) or "-"


def _memory(mebibytes: int) -> str:
    return f"{mebibytes} MiB" if mebibytes else "-"


def _gpu(service: Service) -> str:
    shares = [f"{kind} {percent} %" for kind, percent in service.accelerators.items()]
    memory = [f"{service.gpu_memory_mib} MiB"] if service.gpu_memory_mib else []
    return ", ".join(shares + memory)
