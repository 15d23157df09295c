"""What Kubernetes takes as a name, a label and a file name."""

import re
from hashlib import blake2b

NAME_LETTERS_MAX = 63
_NO_NAME = re.compile(r"[^a-z0-9-]+")
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_VALUE = re.compile(rf"(?:{_WORD})?")
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")


def name_of(name: str) -> str:
    """A name by RFC 1035, as a Service needs it; what differs here stays different there."""
    plain = _NO_NAME.sub("-", name.lower()).strip("-") or "x"
    if not plain[0].isalpha():
        plain = f"x{plain}"
    if plain == name and len(plain) <= NAME_LETTERS_MAX:
        return plain
    mark = blake2b(name.encode(), digest_size=2).hexdigest()
    return f"{plain[: NAME_LETTERS_MAX - 5].rstrip('-')}-{mark}"


def host_of(node: str) -> str:
    """The label `kubernetes.io/hostname` of a machine that has this name here."""
    return _NO_NAME.sub("-", node.lower()).strip("-")


def is_label(key: str, value: str = "") -> bool:
    return bool(_KEY.fullmatch(key) and _VALUE.fullmatch(value))


def is_annotation(key: str) -> bool:
    return bool(_KEY.fullmatch(key))


def as_label(value: str) -> str:
    return value if _VALUE.fullmatch(value) else name_of(value)
