"""`roheletd profile`: watches a service and turns what it used into what it needs."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct

from roheletd.allocation.requirement import Need, TooFew, Use, need, proposed, remarks
from roheletd.cli import profile_page
from roheletd.cli.client import Client, Unreachable, quoted
from roheletd.cli.pages import duration
from roheletd.cli.terminal import (
    Progress,
    client_of,
    note,
    readable,
    style_of,
    write_lines,
    write_yaml,
)
from roheletd.errors import Refused
from roheletd.model import Service

_ASK_S = 1.0


class _Measured(Struct):
    """As `views.MeasuredUse`, of which older and newer daemons may have less and more."""

    at_s: float
    use: "_InstanceUse"


class _InstanceUse(Struct):
    instance: str
    state: str
    cores_millicores: tuple[int, ...] | None = None
    memory_mib: int | None = None
    gpu_percent: float | None = None
    gpu_memory_mib: int | None = None


class _Answer(Struct):
    service: Service
    instances: tuple[_Measured, ...]


class Watch:
    """What was seen of one service. Each report of an instance is one sample, however often read.

    A service that is redefined meanwhile is another one: what was seen before does not count.
    """

    def __init__(self) -> None:
        self.service: Service | None = None
        self._samples: dict[tuple[str, float], Use] = {}

    @property
    def samples(self) -> list[Use]:
        return list(self._samples.values())

    @property
    def instances(self) -> int:
        return len({instance for instance, _ in self._samples})

    def see(self, answer: bytes) -> None:
        try:
            found = msgspec.json.decode(answer, type=_Answer)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"this version cannot read the daemon's answer: {error}") from None
        if found.service != self.service:
            self.service = found.service
            self._samples.clear()
        for measured in found.instances:
            use = measured.use
            if use.state == "running" and use.cores_millicores is not None:
                self._samples[use.instance, measured.at_s] = Use(
                    instance=use.instance,
                    cores_millicores=use.cores_millicores,
                    memory_mib=use.memory_mib,
                    gpu_percent=use.gpu_percent,
                    gpu_memory_mib=use.gpu_memory_mib,
                )


def profile(args: argparse.Namespace) -> int:
    watch = Watch()
    watched_s = _watch(watch, client_of(args), args.service, args.watch_s)
    found = need(watch.samples)
    assert watch.service is not None, "a daemon that answers once has said what is declared"
    if isinstance(found, TooFew):
        raise Refused(_too_few(found, watched_s))
    _show(args.output, watch.service, found, watched_s)
    return 0


def _watch(watch: Watch, client: Client, name: str, watch_s: float) -> float:
    """For how long it watched. What ends it early, once there is anything, is no loss of that."""
    path = f"/api/v1/use/{quoted(name)}"
    begun_s = time.monotonic()
    left_s = float(watch_s)
    doing = f"watching {name} for {duration(watch_s)}"
    with _told(doing) as say:
        try:
            while left_s > 0:
                watch.see(client.get(path).text)
                say(f"{doing}: {len(watch.samples)} samples of {watch.instances} running")
                left_s = watch_s - (time.monotonic() - begun_s)
                time.sleep(max(0.0, min(_ASK_S, left_s)))
        except KeyboardInterrupt:
            if watch.service is None:
                raise
        except Unreachable as error:
            if watch.service is None:
                raise
            note(f"watched until {error}")
    return time.monotonic() - begun_s


@contextmanager
def _told(doing: str) -> Iterator[Callable[[str], None]]:
    """How far it is, on a terminal; a log gets one line, and not one for each second of an hour."""
    if not sys.stderr.isatty():
        note(doing)
        yield lambda _text: None
        return
    with Progress(doing) as progress:
        yield progress.say


def _too_few(found: TooFew, watched_s: float) -> str:
    return (
        f"{found.reason} after {watched_s:.0f} s. An instance gives one with each report of its "
        "node while it runs: see `roheletd instances`, or watch it for longer (--for)"
    )


def _show(output: str, service: Service, found: Need, watched_s: float) -> None:
    after = proposed(service, found)
    told = remarks(service, found)
    if output == "table":
        beside = profile_page.Profile(
            before=service, after=after, found=found, remarks=told, watched_s=watched_s
        )
        write_lines(readable(profile_page.profile, beside, style_of(sys.stdout)))
        return
    for remark in told:
        note(remark)
    document = {"services": [declaration(after)]}
    if output == "yaml":
        write_yaml(document)
    else:
        write_lines([json.dumps(document, indent=2, ensure_ascii=False)])


def declaration(service: Service) -> dict[str, Any]:
    """A service as a person would write it: without what is so anyway."""
    plain: dict[str, Any] = msgspec.to_builtins(service)
    usual: dict[str, Any] = msgspec.to_builtins(Service(name=service.name))
    return {key: value for key, value in plain.items() if key == "name" or value != usual[key]}
