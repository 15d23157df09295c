"""What is written where: answers to standard output, progress and notes to standard error."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from roheletd.cli.client import Answer, Client, Unreachable, address_of, token_of
from roheletd.cli.options import TIMEOUT_S
from roheletd.cli.tables import Style, clean, cut

Page = Callable[[Any, Style], list[str]]

_FIRST_TICK_S = 0.9
_TICK_S = 1.0
_CLEAR_LINE = "\r\x1b[2K"


def style_of(stream: TextIO) -> Style:
    """Colour and width only where a person looks on; a pipe gets whole, plain lines."""
    blocks = (stream.encoding or "").lower().replace("-", "").startswith("utf")
    if not stream.isatty():
        return Style(blocks=blocks)
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(width=_width(stream), colour=colour, blocks=blocks)


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 80


def write_lines(lines: list[str]) -> None:
    """To standard output; a character that it cannot show is no reason to fail.

    In a loop: where Python is told not to buffer, a pipe may take a part and the rest would be
    lost without a word.
    """
    text = "".join(f"{line}\n" for line in lines)
    left = memoryview(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    while left:
        left = left[sys.stdout.buffer.write(left) :]


def note(text: str) -> None:
    sys.stderr.write(f"note: {clean(text)}\n")


def is_watched() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """What somebody at the terminal says to it; nothing is no."""
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def client_of(args: argparse.Namespace) -> Client:
    """The daemon that the options name."""
    address = address_of(url=args.url, data_dir=args.data_dir)
    token = token_of(address, token_file=args.token_file, data_dir=args.data_dir)
    return Client(address, token=token, timeout_s=args.timeout or TIMEOUT_S)


def show(args: argparse.Namespace, answer: Answer, page: Page) -> None:
    """One answer in the form that was asked for."""
    if args.output == "json":
        write_lines([answer.text.decode(errors="replace").rstrip("\n")])
    elif args.output == "yaml":
        write_yaml(answer.value)
    else:
        write_lines(readable(page, answer.value, style_of(sys.stdout)))


def readable(page: Page, value: Any, style: Style) -> list[str]:
    """`value` as text; an older or newer daemon may answer what this version cannot lay out."""
    try:
        return page(value, style)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreachable(
            f"the daemon's answer cannot be shown by this version ({error!r}); --output json shows "
            "it as it is"
        ) from None


def write_yaml(value: object) -> None:
    import yaml  # noqa: PLC0415 - 15 ms

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    write_lines(text.rstrip("\n").split("\n"))


class Progress:
    """Says on standard error what is being waited for, once it takes longer than a moment.

    On a terminal one line that is drawn again and goes away; elsewhere a line each second. Driven
    by the interval timer and not by a thread: Python runs the handler between two system calls
    and goes on with what was interrupted (PEP 475), whatever that is.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._terminal = sys.stderr.isatty()
        self._began_s = 0.0
        self._drawn = False

    def say(self, text: str) -> None:
        """Wait for something else from now on."""
        changed, self._text = text != self._text, text
        if self._drawn and changed:
            self._draw()

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._before = signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, _FIRST_TICK_S, _TICK_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._drawn and self._terminal:
            _write_error(_CLEAR_LINE)

    def _tick(self, _number: int, _frame: FrameType | None) -> None:
        self._draw()

    def _draw(self) -> None:
        self._drawn = True
        line = f"{clean(self._text)} ({time.monotonic() - self._began_s:.0f} s)"
        if self._terminal:
            _write_error(_CLEAR_LINE + cut(line, _width(sys.stderr) - 1))
        else:
            _write_error(line + "\n")


def _write_error(text: str) -> None:
    """A terminal that was closed must not keep us from what we were doing."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
