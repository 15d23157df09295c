"""What is said about logs, events and commands in instances, from whoever asks to where they are.

One conversation is about one instance or node: the first piece says what is `Wanted`, and an `End`
is the last one. Pure: how it gets there is the business of `flow` and of the loops.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from roheletd.cluster.events import Bookmark, Event
from roheletd.cluster.volumes import StoredVolume
from roheletd.decoding import decoded
from roheletd.fields import Text

PIECE_BYTES_MAX = 16 << 10
LINE_CHARS_MAX = 16 << 10
"""A longer line is passed on in several."""

Source = Literal["stdout", "stderr", "note"]
Size = Annotated[int, Meta(ge=1, le=10_000)]


class LogLine(Struct, frozen=True, array_like=True):
    """One line of an instance, or a `note` of ours. `at` is the engine's own stamp, if it has any.

    Docker stamps nanoseconds, Podman whole seconds, and local processes have no stamps.
    """

    text: str
    source: Source = "stdout"
    at: str = ""


Batch: TypeAlias = list[LogLine]


class LogsWanted(Struct, frozen=True, kw_only=True, array_like=True, tag="logs"):
    """The log of an instance. `tail`: its last lines only; `since_s`: those of so long ago.

    `after`: what follows that stamp, and once more what has it.
    """

    instance: Text
    follow: bool = False
    since_s: float | None = None
    tail: int | None = None
    after: str = ""


class LogQuery(Struct, frozen=True, kw_only=True):
    """Whose logs, and how much of them. Empty `instance` and `node`: all that the service has."""

    service: str
    instance: str = ""
    node: str = ""
    follow: bool = False
    since_s: float | None = None
    tail: int | None = None


class ExecWanted(Struct, frozen=True, kw_only=True, array_like=True, tag="exec"):
    """A command within a running instance; without `stdin` it reads nothing."""

    instance: Text
    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)]
    tty: bool = False
    stdin: bool = False
    rows: Size = 24
    columns: Size = 80


class EventsWanted(Struct, frozen=True, kw_only=True, array_like=True, tag="events"):
    """The events of a node since a bookmark. `subject`: only those that concern what is called so.

    `since_s`: only those of so long ago.
    """

    after: Bookmark = Bookmark()
    follow: bool = False
    subject: Text = ""
    since_s: float | None = None


class VolumesWanted(Struct, frozen=True, array_like=True, tag="volumes"):
    """The named volumes of a node."""


class VolumeUnwanted(Struct, frozen=True, array_like=True, tag="unwanted"):
    """One of them is to be deleted, unless it is in use."""

    name: Text


class Lines(Struct, frozen=True, array_like=True, tag="lines"):
    """Some of the log, in order."""

    lines: tuple[LogLine, ...]


class Happened(Struct, frozen=True, array_like=True, tag="happened"):
    """Some of the events, in order. `last`: as far as all were looked at, told here or not."""

    events: tuple[Event, ...]
    last: Bookmark


class Volumes(Struct, frozen=True, array_like=True, tag="stored"):
    """Some of the volumes of a node; `none_because`: why it can have none."""

    volumes: tuple[StoredVolume, ...]
    none_because: str = ""


class Deleted(Struct, frozen=True, array_like=True, tag="deleted"):
    """A volume of `instance` is not there any more; `found`: it was. These are `kept` for it."""

    instance: str
    found: bool
    kept: tuple[str, ...] = ()


class Begun(Struct, frozen=True, array_like=True, tag="begun"):
    """The command runs, or it is known why it cannot."""


class Output(Struct, frozen=True, array_like=True, tag="out"):
    """What a command has written; `error` to its standard error."""

    data: bytes
    error: bool = False


class Input(Struct, frozen=True, array_like=True, tag="in"):
    """What a command is to read; nothing: that was all."""

    data: bytes = b""


class Resize(Struct, frozen=True, array_like=True, tag="size"):
    """The terminal of a command has become another size."""

    rows: Size
    columns: Size


class Exit(Struct, frozen=True, array_like=True, tag="exit"):
    """How a command ended; `reason` where it could not even be started."""

    code: int
    reason: str = ""


class End(Struct, frozen=True, array_like=True, tag="end"):
    """The last piece. `kind` says whose fault it was, in the words of the doors, if anybody's."""

    kind: Literal["", "refused", "unavailable"] = ""
    reason: str = ""


Wanted = LogsWanted | ExecWanted | EventsWanted | VolumesWanted | VolumeUnwanted
Piece = Wanted | Lines | Happened | Volumes | Deleted | Begun | Output | Input | Resize | Exit | End

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Piece] = msgspec.msgpack.Decoder(Piece)


def encode(piece: Piece) -> bytes:
    return _encoder.encode(piece)


def decode(data: bytes) -> Piece:
    """Raises `msgspec.MsgspecError` for what this version does not know."""
    return decoded(_decoder, data)


def pieces_of(lines: Batch) -> list[Lines]:
    """`lines` in pieces that are not much larger than `PIECE_BYTES_MAX`."""
    return [Lines(tuple(some)) for some in _portions(lines, cost_of_line)]


def pieces_of_events(events: Iterable[Event], last: Bookmark) -> list[Happened]:
    """`events` in pieces that are not much larger than `PIECE_BYTES_MAX`; at least one."""
    some = list(_portions(events, cost_of_event)) or [[]]
    ends = [*(Bookmark(it[-1].seq, it[-1].at_s) for it in some[:-1]), last]
    return [Happened(tuple(it), end) for it, end in zip(some, ends, strict=True)]


def cost_of_line(line: LogLine) -> int:
    """About how many bytes it takes on its way."""
    return _bytes(line.text, line.at) + 8


def cost_of_event(event: Event) -> int:
    """About how many bytes it takes on its way, with the names of its fields."""
    return _bytes(event.node, event.kind, event.subject, event.reason) + 64


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


T = TypeVar("T")


def _portions(items: Iterable[T], cost: Callable[[T], int]) -> Iterator[list[T]]:
    some, size = list[T](), 0
    for item in items:
        some.append(item)
        size += cost(item)
        if size >= PIECE_BYTES_MAX:
            yield some
            some, size = [], 0
    if some:
        yield some


class Mark:
    """How far a log was read, so that after a restart of its container nothing comes twice.

    By the last stamp and how many lines had it: Podman's are whole seconds.
    """

    def __init__(self) -> None:
        self.at = ""
        self._count = 0
        self._to_skip = 0

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return self._count > 0

    def resume(self) -> str:
        """From which stamp on to ask now; what was seen of it will be skipped."""
        self._to_skip = self._count if self.at else 0
        return self.at

    def restart(self) -> None:
        """Another log begins."""
        self.at, self._count, self._to_skip = "", 0, 0

    def fresh(self, lines: Batch) -> Batch:
        """Those of `lines` that have not come yet."""
        if self._to_skip:
            lines = [line for line in lines if not self._seen(line)]
        if lines:
            last = lines[-1].at
            same = sum(line.at == last for line in lines)
            self._count = same + (self._count if last == self.at else 0)
            self.at = last
        return lines

    def _seen(self, line: LogLine) -> bool:
        if line.at > self.at:
            self._to_skip = 0
        if not self._to_skip:
            return False
        if line.at == self.at:
            self._to_skip -= 1
        return True
