"""`healthcheck`: the same question, asked by the daemon and not by the engine."""

from roheletd.compose.draft import Draft
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, idle, walk, yes
from roheletd.compose.quantities import seconds
from roheletd.upkeep import HealthCheck

_FAILURES_MAX = 100
_USUAL = HealthCheck()


def read_health(field: Field, draft: Draft) -> None:
    part = Draft(field, draft.project)
    walk(field, KEYS, part)
    if part.values.pop("disabled", False):
        return
    if "exec" not in part.values:
        field.unsupported("without `test` it changes the image's own check, which is not used here")
        return
    _fit_the_interval(field, part.values)
    draft.put("health", part.values, field)


def _fit_the_interval(field: Field, values: dict[str, object]) -> None:
    """Here a check ends before the next one begins; Compose counts from the end of the last."""
    interval_s = float(str(values.get("interval_s", _USUAL.interval_s)))
    timeout_s = float(str(values.get("timeout_s", min(_USUAL.patience_s, interval_s))))
    if timeout_s > interval_s:
        field.note(f"has an interval of {timeout_s:g} s, for a check may take so long")
    values |= {"interval_s": max(interval_s, timeout_s), "timeout_s": timeout_s}


def _test(field: Field, part: Draft) -> None:
    if not field.is_list():
        part.put("exec", {"command": ["/bin/sh", "-c", field.text()]}, field)
        return
    kind, *rest = [item.text() for item in field.items()] or [""]
    if kind == "NONE" and not rest:
        part.put("disabled", True, field)  # noqa: FBT003 - a value of the file
    elif kind == "CMD" and rest:
        part.put("exec", {"command": rest}, field)
    elif kind == "CMD-SHELL" and len(rest) == 1:
        part.put("exec", {"command": ["/bin/sh", "-c", *rest]}, field)
    else:
        field.wrong("expected [NONE], [CMD, program, ...] or [CMD-SHELL, text]")


def _disable(field: Field, part: Draft) -> None:
    if field.flag():
        part.values["disabled"] = True


def _interval(field: Field, part: Draft) -> None:
    part.put("interval_s", seconds(field), field)


def _timeout(field: Field, part: Draft) -> None:
    part.put("timeout_s", seconds(field), field)


def _start(field: Field, part: Draft) -> None:
    part.put("start_grace_s", seconds(field), field)


def _retries(field: Field, part: Draft) -> None:
    part.put("unhealthy_after", field.whole(least=1, most=_FAILURES_MAX), field)


KEYS: dict[str, Key] = {
    "test": yes(_test, "run within the instance; `NONE` is no check"),
    "disable": yes(_disable, "no check"),
    "interval": yes(_interval, "10 s where it is not given, not 30 s; no less than `timeout`"),
    "timeout": yes(_timeout, "3 s where it is not given, not 30 s"),
    "retries": yes(_retries, "failures in a row until it is restarted; 3 where not given"),
    "start_period": yes(_start, "30 s where it is not given, not 0 s"),
    "start_interval": idle("until the first success it is asked every second anyway"),
}
