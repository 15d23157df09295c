"""A shell within an instance of another node, as somebody at a terminal has it."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

import pytest

from tests.testbed.daemon import RealDaemon

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]


class Terminal:
    """What is typed into `roheletd exec`, and what it shows."""

    def __init__(self, node: RealDaemon, *arguments: str) -> None:
        program = [sys.executable, "-m", "roheletd", "--data-dir", str(node.data_dir)]
        self.pid, self._keys = pty.fork()
        if not self.pid:
            os.execv(sys.executable, [*program, *arguments])
        self.shown = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._keys, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def until(self, text: str) -> None:
        """Returns once it is shown; what was shown up to there is forgotten."""
        end_s = time.monotonic() + 15
        while text not in self.shown:
            assert time.monotonic() < end_s, self.shown
            if select.select([self._keys], [], [], 0.2)[0]:
                self.shown += os.read(self._keys, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._keys)
        return code


def test_keys_go_inside_the_window_may_change_and_the_exit_code_comes_out(
    pair: tuple[RealDaemon, RealDaemon],
) -> None:
    terminal = Terminal(pair[0], "exec", "two.1", "--", "/bin/sh")
    terminal.type("PS1=; stty size; echo on $ROHE_NODE\n")
    terminal.until("24 80\r\n")
    terminal.until("on n2\r\n")
    terminal.resize(40, 100)
    terminal.type("while [ \"$(stty size)\" != '40 100' ]; do sleep 0.05; done; echo wi''de\n")
    terminal.until("wide\r\n")
    terminal.type("echo be''gun; sleep 100\n")
    terminal.until("begun\r\n")
    terminal.type("\x03")
    terminal.type("exit 7\n")
    assert terminal.end() == 7
