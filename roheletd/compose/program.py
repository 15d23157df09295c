"""What a container runs, by whom and where: the keys that say what else its image would."""

from typing import get_args

from roheletd.compose.draft import Draft
from roheletd.compose.fields import Field
from roheletd.compose.quantities import words
from roheletd.fields import StopSignal

_SIGNALS = get_args(StopSignal)
_SIGNALS_IN_WORDS = f"{', '.join(_SIGNALS[:-1])} and {_SIGNALS[-1]}"


def read_command(field: Field, draft: Draft) -> None:
    draft.put("command", words(field), field)


def read_entrypoint(field: Field, draft: Draft) -> None:
    """One empty word is how Docker's own clients say that there is none."""
    found = words(field)
    draft.put("entrypoint", [] if found == [""] else found, field)


def read_user(field: Field, draft: Draft) -> None:
    _put_text("user", field, draft)


def read_working_dir(field: Field, draft: Draft) -> None:
    _put_text("working_dir", field, draft)


def read_hostname(field: Field, draft: Draft) -> None:
    _put_text("hostname", field, draft)


def _put_text(name: str, field: Field, draft: Draft) -> None:
    """Empty is what a variable without a value leaves, and asks for nothing."""
    if text := field.text():
        draft.put(name, text, field)


def read_init(field: Field, draft: Draft) -> None:
    draft.put("init", field.flag(), field)


def read_read_only(field: Field, draft: Draft) -> None:
    draft.put("read_only", field.flag(), field)


def read_stop_signal(field: Field, draft: Draft) -> None:
    if not (text := field.text().upper()):
        return
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name in _SIGNALS:
        draft.put("stop_signal", name, field)
    else:
        field.unsupported(f"the signal {text[:20]}; {_SIGNALS_IN_WORDS} are")
