"""The terminal while a live screen owns it: alternate screen, keys without Enter, put back."""

import os
import select
import sys
import termios
import time
import tty
from contextlib import suppress
from types import TracebackType
from typing import Self

from roheletd.cli.tables import Style
from roheletd.cli.terminal import style_of

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_REST_OF_LINE = "\x1b[K"
_REST_OF_SCREEN = "\x1b[J"


class LiveScreen:
    """Draws in place and hears single keys."""

    def __enter__(self) -> Self:
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys, termios.TCSANOW)
        sys.stdout.write(_ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError, termios.error):  # it was closed, and nothing is to be put back
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
            if self._keys is not None:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def size(self) -> tuple[Style, int]:
        """Asked anew for each picture: windows change."""
        return style_of(sys.stdout), os.get_terminal_size(sys.stdout.fileno()).lines

    def draw(self, lines: list[str]) -> None:
        """One write and no clearing before it: no flicker."""
        body = f"{_REST_OF_LINE}\r\n".join(lines)
        sys.stdout.write(_HOME + body + _REST_OF_LINE + _REST_OF_SCREEN)
        sys.stdout.flush()

    def pressed(self, key: str, *, within_s: float) -> bool:
        """Wait that long for `key`; other keys are swallowed."""
        if self._keys is None:
            time.sleep(within_s)
            return False
        deadline_s = time.monotonic() + within_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if select.select([self._keys], [], [], left_s)[0]:
                typed = os.read(self._keys, 64)
                if not typed or key.encode() in typed.lower():
                    return True
        return False
