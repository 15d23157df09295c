"""The command line. A command loads what it needs and nothing else: on a Pi each import is felt.

    main -> parser (what is asked) -> commands (who does it) -> client (the daemon's answer)
                                                             -> pages, tables (pure: the text)

`status` and its like load neither asyncio nor msgspec nor yaml; a test holds them to that.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from roheletd.errors import RoheletError

__all__ = ["main"]

DONE = 0
REFUSED = 1
UNREACHABLE = 3
INTERRUPTED = 130
READER_GONE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no traceback for what a user can cause."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except RoheletError as error:
        return failed(error)
    except OSError as error:
        # What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return READER_GONE  # `| head` has what it wanted
        return failed(RoheletError(f"{error.filename or 'output'}: {error.strerror}"))
    return code


def failed(error: Exception) -> int:
    """Say why on standard error; the exit code that goes with it."""
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(f"roheletd: {error}\n")
    return getattr(error, "exit_code", REFUSED)


def _run(argv: Sequence[str]) -> int:
    # Imported here so that Ctrl-C is quiet during the imports, too.
    from roheletd.cli.commands import command  # noqa: PLC0415
    from roheletd.cli.parser import parse  # noqa: PLC0415

    try:
        args = parse(argv)
    except SystemExit as end:  # argparse has said what there was to say
        sys.stdout.flush()
        return int(end.code or 0)
    return command(args.command)(args)
