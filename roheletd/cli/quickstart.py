"""`roheletd quickstart`: a one-node cluster with no configuration, and nothing left of it after.

A client like any other: it starts `roheletd run` as a child, deploys a sample service through the
API, and shows what comes of it. Whatever happens, `clean_up` is how it ends, unless `--keep`.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from msgspec.structs import replace

from roheletd.cli import DONE, INTERRUPTED, failed
from roheletd.cli.cleanup import clean_up, client_in
from roheletd.cli.client import Address, Client, Unreachable
from roheletd.cli.home import Home, claim, place
from roheletd.cli.live import LiveScreen
from roheletd.cli.options import QUICKSTART_TIMEOUT_S
from roheletd.cli.plan import REPLICAS, configuration, decide, service
from roheletd.cli.processes import last_lines, program, running_with, spawn
from roheletd.cli.sample_image import IMAGE, has_sample, load_sample
from roheletd.cli.screen import View, screen, urls, watch_command
from roheletd.cli.terminal import Progress, write_lines, write_yaml
from roheletd.config import BrokerConfig, EngineConfig
from roheletd.errors import Refused, RoheletError

_POLL_S = 0.1
_REFRESH_S = 1.0
_ANSWER_S = 2.0
_DYING_S = 0.5
_LOG_LINES = 8
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotInTime(RoheletError):  # noqa: N818 - reads as what it is
    """It did not come to life; the message says what was still missing."""


class DaemonEnded(RoheletError):  # noqa: N818 - reads as what it is
    """The child died; the message holds its last words."""


class Endings:
    """SIGINT, SIGTERM and SIGHUP end a quickstart, once.

    A closed terminal sends two of them: the second must not end the cleaning up after the first.
    Setting `heeded` is one step of the interpreter, which no signal can come between.
    """

    def __init__(self) -> None:
        self.heeded = True
        for number in _ENDINGS:
            signal.signal(number, self._ended)

    def ignore(self) -> None:
        """For good: at its very end Python gives the signals back to the system's defaults."""
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)

    def _ended(self, _number: int, _frame: FrameType | None) -> None:
        if self.heeded:
            self.heeded = False
            raise KeyboardInterrupt


def quickstart(args: argparse.Namespace) -> int:
    # What the engines warn of is for a daemon's log, not for a person's terminal.
    logging.getLogger("roheletd").addHandler(logging.NullHandler())
    if args.stop:
        return _stop()
    endings = Endings()
    home = claim(place())
    try:
        with Progress("looking for what an earlier quickstart left") as progress:
            _clear_leftover(home, progress)
    except Refused:
        home.release()
        raise
    return _run(args, home, endings)


def _stop() -> int:
    """End a cluster that `--keep` left, or one whose client was killed."""
    path = place()
    if not path.exists():
        write_lines(["no quickstart is running"])
        return DONE
    home = claim(path)
    with Progress("stopping") as progress:
        clean_up(home, progress.say)
    write_lines(["stopped; nothing is left of it"])
    return DONE


def _clear_leftover(home: Home, progress: Progress) -> None:
    record = home.record()
    if record is None and not home.config.exists():
        return
    if record is not None and record.kept and running_with(home.daemon):
        raise Refused(
            f"a quickstart is kept running in {home.data_dir}: `roheletd quickstart --stop` ends it"
        )
    progress.say("ending what an earlier quickstart left")
    clean_up(home, progress.say, keep_home=True)


def _run(args: argparse.Namespace, home: Home, endings: Endings) -> int:
    code, kept = DONE, False
    try:
        with Progress("looking for a broker and an engine") as progress:
            run = Run(args, home, progress)
            with run.child_is_to_blame():
                run.start()
        with run.child_is_to_blame():
            kept = run.present()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except RoheletError as error:
        # Said before what follows: cleaning up takes seconds, and may fail for the same reason.
        code = failed(error)
    finally:
        endings.heeded = False  # what was started must go, and nothing may come between
        endings.ignore()
        if kept:
            home.release()
        else:
            with Progress("stopping") as progress:
                clean_up(home, progress.say)
    if not kept and not args.once:
        _say(args, "stopped; nothing is left of it")
    return code


def _say(args: argparse.Namespace, text: str) -> None:
    """A line of the story: on standard output where that is for people."""
    if args.output == "table":
        write_lines([text])
        sys.stdout.flush()
    else:
        sys.stderr.write(f"{text}\n")


class Run:
    """One quickstart, from the choice of its parts to the answer of its sample."""

    def __init__(self, args: argparse.Namespace, home: Home, progress: Progress) -> None:
        self._args = args
        self._home = home
        self._progress = progress
        self._client = client_in(home)
        self._began_s = time.monotonic()
        self._timeout_s = args.timeout or QUICKSTART_TIMEOUT_S
        self._setup = decide(BrokerConfig(mode=args.broker), EngineConfig(kind=args.engine), home)
        self._record = self._setup.record
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: dict[str, Any] = {}
        self._took_s = 0.0

    def start(self) -> None:
        """Return once every replica of the sample has answered."""
        self._note()
        _say(self._args, self._setup.line)
        self._start_daemon()
        if self._setup.engine.kind == "docker":
            self._load_image()
        self._until(self._daemon_lacks)
        self._deploy()
        self._until(self._sample_lacks)
        self._took_s = time.monotonic() - self._began_s

    def present(self) -> bool:
        """Show it, as long as is wanted; returns whether it is to stay."""
        interactive = sys.stdout.isatty() and self._args.output == "table"
        if self._args.once or self._args.keep or not interactive:
            self._write_facts()
        if self._args.keep:
            self._note(kept=True)
            _say(self._args, "it stays; `roheletd quickstart --stop` ends it")
            return True
        if not self._args.once:
            self._watch() if interactive else self._report()
        return False

    def _start_daemon(self) -> None:
        self._progress.say("starting the daemon")
        self._home.config.write_text(json.dumps(configuration(self._setup, self._home)))
        environment = {
            name: value
            for name, value in os.environ.items()
            # Addressed to us by whoever started us, and not to our child.
            if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        }
        self._child = spawn(
            [*program(), *self._home.daemon],
            log=self._home.log,
            env=environment,
        )

    def _load_image(self) -> None:
        self._progress.say("asking the engine for the sample image")
        engine = self._setup.engine.engine
        if asyncio.run(has_sample(engine)):
            return
        self._note(image=IMAGE)
        self._progress.say("packing the sample into an image")
        asyncio.run(load_sample(engine, self._progress.say, self._deadline_s() - time.monotonic()))

    def _deploy(self) -> None:
        self._progress.say("deploying the sample")
        self._note(deployed=True)
        self._client.post("/api/v1/services", {"services": [service(self._setup.engine.kind)]})

    def _note(self, **news: object) -> None:
        """Write down what is to be undone, before it is done."""
        self._record = replace(self._record, **news)
        self._home.write(self._record)

    def _deadline_s(self) -> float:
        return self._began_s + self._timeout_s

    def _until(self, lacks: Callable[[], str]) -> None:
        """Ask again and again until nothing is lacking."""
        while missing := lacks():
            self._check_child()
            if time.monotonic() > self._deadline_s():
                raise NotInTime(f"not ready within {self._timeout_s:g} s: {missing}")
            self._progress.say(missing)
            time.sleep(_POLL_S)

    @contextmanager
    def child_is_to_blame(self) -> Iterator[None]:
        """Of a daemon that does not answer, say that it ended, where it did."""
        try:
            yield
        except Unreachable:
            self._check_child(within_s=_DYING_S)
            raise

    def _check_child(self, *, within_s: float = 0.0) -> None:
        assert self._child is not None
        try:
            code = self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        said = "".join(f"\n  {line}" for line in last_lines(self._home.log, _LOG_LINES))
        raise DaemonEnded(f"the daemon {how}; the end of its log:{said}")

    def _daemon_lacks(self) -> str:
        try:
            status = self._client.get("/status").value
        except Unreachable:
            return "waiting for the daemon to answer"
        if not status["engine"]["reachable"]:
            return f"waiting for the engine: {status['engine']['reason']}"
        if not status["broker"]["connected"]:
            return f"waiting for the broker: {status['broker']['reason']}"
        return "" if status["leader"] and status["nodes"] else "waiting for a leader"

    def _sample_lacks(self) -> str:
        found = self._instances()
        if len(found) < REPLICAS:
            (service,) = self._client.get("/api/v1/services").value["services"]
            return service["waiting"] or "waiting for a place for the sample"
        for view in found:
            if view["state"] == "failed":
                raise NotInTime(f"{view['instance']} cannot run: {view['reason']}")
            if view["state"] != "running":
                reason = f": {view['reason']}" if view["reason"] else ""
                return f"{view['instance']} is {view['state']}{reason}"
            (url,) = urls([view])
            try:
                self._answers[view["instance"]] = _fetch(view)
            except Unreachable:
                return f"waiting for {view['instance']} to answer at {url}"
        return ""

    def _instances(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.get("/api/v1/instances").value["instances"]
        return found

    def _view(self) -> View:
        reports = self._client.get("/api/v1/telemetry").value["telemetry"]
        return View(
            picked=self._setup.picked,
            data_dir=str(self._home.data_dir),
            status=self._client.get("/status").value,
            instances=self._instances(),
            telemetry=next((item for item in reports if item["node"] == self._node), None),
        )

    @property
    def _node(self) -> str:
        return self._record.node

    def _watch(self) -> None:
        """The live screen, until q or Ctrl-C."""
        with LiveScreen() as live:
            while True:
                try:
                    live.draw(screen(self._view(), *live.size()))
                except Unreachable as error:
                    self._check_child()
                    live.draw([str(error)])
                if live.pressed("q", within_s=_REFRESH_S):
                    return

    def _report(self) -> None:
        """Without a terminal: a line for each change of an instance, until a signal comes."""
        _say(self._args, "it runs until SIGINT or SIGTERM")
        shown: dict[str, str] = {}
        while True:
            self._check_child()
            now = {view["instance"]: view["state"] for view in self._instances()}
            for name, state in now.items():
                if shown.get(name, state) != state:
                    _say(self._args, f"{name} is {state}")
            shown = now
            time.sleep(_REFRESH_S)

    def _write_facts(self) -> None:
        facts = self._facts()
        if self._args.output == "json":
            write_lines([json.dumps(facts)])
        elif self._args.output == "yaml":
            write_yaml(facts)
        else:
            write_lines(_story(facts))
        sys.stdout.flush()

    def _facts(self) -> dict[str, Any]:
        status, instances = self._client.get("/status").value, self._instances()
        data_dir = str(self._home.data_dir)
        return {
            "engine": status["engine"]["kind"],
            "engine_name": status["engine"]["name"],
            "engine_version": status["engine"]["version"],
            "broker": status["broker"]["mode"],
            "broker_url": status["broker"]["url"],
            "leader": status["leader"],
            "node": status["node"],
            "cluster": status["cluster"],
            "picked": self._setup.picked._asdict(),
            "urls": urls(instances),
            "data_dir": data_dir,
            "watch": watch_command(status, data_dir),
            "seconds": round(self._took_s, 3),
            "instances": [
                {
                    **{key: view[key] for key in ("instance", "state", "cores", "ports", "score")},
                    "answer": self._answers.get(view["instance"]),
                }
                for view in instances
            ],
        }


def _fetch(view: dict[str, Any]) -> Any:
    (port,) = view["ports"]
    address = Address(host="127.0.0.1", port=port["host_port"])
    return Client(address, timeout_s=_ANSWER_S).get("/").value


def _story(facts: dict[str, Any]) -> list[str]:
    """What was reached, in words."""
    lines = [
        f"{item['instance']} is {item['state']} on core {', '.join(item['cores'])}, {url} answers"
        for item, url in zip(facts["instances"], facts["urls"], strict=True)
    ]
    parts = f"engine {facts['engine_name']}, broker {facts['broker_url']}"
    return [
        *lines,
        f"all answered after {facts['seconds']:.1f} s; leader {facts['leader']}, {parts}",
        f"watch it:  {facts['watch']}",
        f"ask it:    roheletd --data-dir {facts['data_dir']} status",
    ]
