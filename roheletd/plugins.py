"""Loads a user's algorithm from its folder, and calls it for a limited time.

The class is named `module:Class`; `module` is a file of the folder, and may import others that lie
beside it. All of them are read anew each time, and never as bytecode, which tells changes apart by
whole seconds.

The limit is a timer of the process (SIGALRM), so it holds in the main thread alone. It ends loops
and sleeps. What it cannot end is a call into C that does not return, and code that catches
`BaseException` within a loop that does the same: there the watchdog of systemd ends the daemon.
"""

import inspect
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn, TypeVar

from roheletd.allocation.algorithm import HOOKS, Call, HookFailed, NotLoaded, line

LOAD_LIMIT_S = 2.0
"""For all that the file does while it is read: the daemon waits for it."""
RING_AGAIN_S = 0.01

_NAMED = re.compile(r"(?P<module>[A-Za-z_]\w*):(?P<class_name>[A-Za-z_]\w*)")

Method = Callable[..., object]
T = TypeVar("T")


def load(name: str, folder: Path) -> dict[str, Call]:
    """The hooks of the class `name`, each with its limit. Raises `NotLoaded`."""
    if threading.current_thread() is not threading.main_thread():
        raise NotLoaded("its time limit holds in the main thread only, and this is another one")
    parts = _NAMED.fullmatch(name)
    if parts is None:
        raise NotLoaded("expected module:Class, each of letters, digits and '_'")

    def methods() -> dict[str, Method]:
        return _methods(_imported(parts["module"], finder), parts["class_name"])

    with _reading(folder) as finder:
        try:
            found, _ = limited(lambda: _blaming(name, methods, folder), LOAD_LIMIT_S)
        except TimeoutError:
            raise NotLoaded(f"it was not read within {LOAD_LIMIT_S:g} s") from None
        except HookFailed as error:
            raise NotLoaded(error.reason) from None
    return {hook: _call(f"{name}.{hook}", method, folder) for hook, method in found.items()}


def _call(name: str, method: Method, folder: Path) -> Call:
    def call(values: tuple[object, ...], limit_s: float) -> tuple[object, float]:
        return limited(lambda: _blaming(name, lambda: method(*values), folder), limit_s)

    return call


# --- the limit


class _TimeUp(BaseException):
    """Raised in the middle of the user's code, where `except Exception` does not hold it."""


class _Bell:
    """Rings until the call is over: one ring may be caught, or come where it is not heard."""

    def __init__(self) -> None:
        self.armed = True
        self.rang = False

    def ring(self, _number: int, frame: FrameType | None) -> None:
        if not self.armed:
            return
        if self.rang:
            self._insist(frame)
        self.rang = True
        raise _TimeUp

    def _insist(self, frame: FrameType | None) -> None:
        """It was caught. What catches it this time meets it again in its own first line."""
        sys.settrace(self._in_each_line)
        while frame is not None and frame.f_code is not limited.__code__:
            frame.f_trace = self._in_each_line
            frame = frame.f_back

    def _in_each_line(self, _frame: FrameType, event: str, _value: object) -> Any:
        if event == "line" and self.armed:
            raise _TimeUp
        return self._in_each_line


def limited(function: Callable[[], T], limit_s: float) -> tuple[T, float]:
    """The answer and how long it took. Raises `TimeoutError` after `limit_s`.

    Whoever had set the same timer before finds it set, less the time that went by.
    """
    bell, tracer = _Bell(), sys.gettrace()
    handler = signal.signal(signal.SIGALRM, bell.ring)
    started_s, others_s, others_interval_s = time.perf_counter(), 0.0, 0.0
    try:
        others_s, others_interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s, RING_AGAIN_S)
        answer = function()
    except BaseException:
        bell.armed = False
        if not bell.rang:
            raise
    finally:
        bell.armed = False
        took_s = time.perf_counter() - started_s
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if others_s:
            signal.setitimer(signal.ITIMER_REAL, max(others_s - took_s, 1e-6), others_interval_s)
        if bell.rang:
            sys.settrace(tracer)
    if bell.rang:
        raise TimeoutError
    return answer, took_s


# --- whose fault it is


def _blaming(name: str, function: Callable[[], T], folder: Path) -> T:
    """What goes wrong inside is the user's, whatever it is, and must not be taken for ours.

    Reading the message runs the user's code, too, so it is done here, while the limit holds.
    """
    try:
        return function()
    except (NotLoaded, _TimeUp, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's `sys.exit()` included
        raise HookFailed(name, _blamed(error, folder)) from None


def _blamed(error: BaseException, folder: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return line(f"{Path(error.filename).name}, line {error.lineno}: {error.msg}")
    frames = [
        (Path(frame.f_code.co_filename), number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    places = [f"{file.name}, line {number}: " for file, number in frames if file.parent == folder]
    what = traceback.format_exception_only(error)[0]
    hint = ""
    if isinstance(error, ImportError) and getattr(sys, "frozen", False):
        hint = " (the ready-made program brings its own Python, without what is installed here)"
    return line(f"{places[-1] if places else ''}raised {what}") + hint


# --- the file


class _Source(SourceFileLoader):
    """Reads the source, and neither finds nor leaves bytecode."""

    def path_stats(self, path: str) -> NoReturn:
        raise OSError(path)


class _Beside:
    """Finds the modules of one folder, for what nobody else finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.folder / f"{name}.py"
        if path is not None or not file.is_file():
            return None
        return spec_from_file_location(name, file, loader=_Source(name, str(file)))

    def loaded(self) -> dict[str, ModuleType]:
        return {
            name: module
            for name, module in sys.modules.items()
            if isinstance(loader := getattr(module, "__loader__", None), _Source)
            and Path(loader.path).parent == self.folder
        }


@contextmanager
def _reading(folder: Path) -> Iterator[_Beside]:
    """As if nothing of the folder had been read yet; what was is back where that fails."""
    finder = _Beside(folder)
    before = finder.loaded()
    _forget(before)
    sys.meta_path.append(finder)
    try:
        yield finder
    except BaseException:
        _forget(finder.loaded())
        sys.modules.update(before)
        raise
    finally:
        sys.meta_path.remove(finder)


def _forget(modules: dict[str, ModuleType]) -> None:
    for name in modules:
        del sys.modules[name]


def _imported(name: str, finder: _Beside) -> ModuleType:
    if name in sys.modules or name in sys.stdlib_module_names:
        raise NotLoaded(f"{name} is a module of Python or of this program: rename the file")
    spec = finder.find_spec(name)
    if spec is None or spec.loader is None:
        raise NotLoaded(f"there is no file {finder.folder / name}.py")
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the class


def _methods(module: ModuleType, class_name: str) -> dict[str, Method]:
    """The hooks of a new instance of the class."""
    made = getattr(module, class_name, None)
    if not isinstance(made, type):
        raise NotLoaded(f"{module.__name__}.py defines no class {class_name}")
    if not _takes(made, 0):
        raise NotLoaded(f"{class_name} is made without arguments, and it asks for some")
    instance = made()
    found = {
        hook: _checked(hook, method, parameters)
        for hook, parameters in HOOKS.items()
        if (method := getattr(instance, hook, None)) is not None
    }
    if not found:
        raise NotLoaded(f"{class_name} defines none of {', '.join(HOOKS)}")
    return found


def _checked(hook: str, method: object, parameters: tuple[str, ...]) -> Method:
    if not callable(method):
        raise NotLoaded(f"{hook} is not a method")
    if inspect.iscoroutinefunction(method):
        raise NotLoaded(f"{hook} is `async def`, and nobody waits for it: use `def`")
    if not _takes(method, len(parameters)):
        raise NotLoaded(f"{hook} is called with ({', '.join(parameters)}), and takes others")
    return method


def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
