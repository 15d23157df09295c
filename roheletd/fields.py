"""What the fields of our values may hold: each a type with its pattern or range, in words.

What a caller sent and what a log entry carries is checked by these types alone.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

# `$(?!\n)` and not `$` alone, which Python also matches before a trailing newline.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$(?!\n)"
# A NUL ends a string in every engine's and every kernel's eyes, wherever it stands.
TEXT_PATTERN = r"^[^\x00]*$(?!\n)"
MEMBER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\.[0-9a-f]{8}$(?!\n)"
ENV_NAME_PATTERN = r"^[^=\x00]+$(?!\n)"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,252}"
LABEL_PATTERN = rf"^{_LABEL}$(?!\n)"
# A file name and, mostly, that of a variable.
KEY_PATTERN = r"^(?!\.\.|\.$)[A-Za-z0-9._-]{1,253}$(?!\n)"
# As engines name volumes.
VOLUME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$(?!\n)"
# Below the root, and never back up again.
PATH_PATTERN = r"^/(?!(?:.*/)?\.\.(?:/|$))[^\x00:\n]+$(?!\n)"
_WHO = r"[A-Za-z0-9_][A-Za-z0-9_.@+$-]{0,254}"
USER_PATTERN = rf"^{_WHO}(?::{_WHO})?$(?!\n)"
WORKING_DIR_PATTERN = r"^/[^\x00\n]*$(?!\n)"
_HOST_PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME_PATTERN = rf"^(?=.{{1,63}}$){_HOST_PART}(?:\.{_HOST_PART})*$(?!\n)"
CONSTRAINT_PATTERN = (
    rf"^node\.(?:name|arch|engine|gpus|cores|memory_mib|frequency_ghz|labels\.{_LABEL})"
    r" *(?:==|!=|>=|<=|>|<) *[^\s=<>!\x00](?:[^\x00]{0,254}[^\s\x00])?$(?!\n)"
)
MEANINGS = {
    NAME_PATTERN: "a name of letters, digits, '_' and '-', 1 to 63 characters",
    MEMBER_ID_PATTERN: "a node's name, a dot and 8 hexadecimal digits",
    TEXT_PATTERN: "text without a NUL character",
    ENV_NAME_PATTERN: "a name without '=' and NUL, 1 to 256 characters",
    LABEL_PATTERN: "a label of letters, digits, '_', '-', '.' and '/', 1 to 253 characters",
    KEY_PATTERN: "a key of letters, digits, '_', '-' and '.', 1 to 253 characters, that does not "
    "begin with '..'",
    VOLUME_PATTERN: "a volume's name as its engine has it, such as edge.web.1.data",
    PATH_PATTERN: "an absolute path below /, without '..' and ':'",
    USER_PATTERN: "a user by name or number, and behind ':' a group, e.g. app, 1000 or 1000:1000",
    WORKING_DIR_PATTERN: "an absolute path",
    HOST_NAME_PATTERN: "a host name of letters, digits, '-' and '.', 1 to 63 characters",
    CONSTRAINT_PATTERN: "`node.FACT OPERATOR VALUE`, where FACT is name, arch, engine, gpus, "
    "cores, memory_mib, frequency_ghz or labels.KEY, and OPERATOR is ==, !=, >=, <=, > or <",
}
"""What each pattern asks for, in words, for whoever sent something else."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description=MEANINGS[NAME_PATTERN])]
ClusterId = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)", description="16 lower-case hex digits")
]
MemberId = Annotated[str, Meta(pattern=MEMBER_ID_PATTERN, description=MEANINGS[MEMBER_ID_PATTERN])]
Text = Annotated[
    str, Meta(pattern=TEXT_PATTERN, max_length=4096, description=MEANINGS[TEXT_PATTERN])
]
EnvName = Annotated[
    str,
    Meta(pattern=ENV_NAME_PATTERN, max_length=256, description=MEANINGS[ENV_NAME_PATTERN]),
]
EnvValue = Annotated[
    str, Meta(pattern=TEXT_PATTERN, max_length=131_000, description=MEANINGS[TEXT_PATTERN])
]
ConfigKey = Annotated[str, Meta(pattern=KEY_PATTERN, description=MEANINGS[KEY_PATTERN])]
VolumeName = Annotated[str, Meta(pattern=VOLUME_PATTERN, description=MEANINGS[VOLUME_PATTERN])]
AbsolutePath = Annotated[
    str, Meta(pattern=PATH_PATTERN, max_length=4096, description=MEANINGS[PATH_PATTERN])
]
User = Annotated[str, Meta(pattern=USER_PATTERN, description=MEANINGS[USER_PATTERN])]
WorkingDir = Annotated[
    str,
    Meta(
        pattern=WORKING_DIR_PATTERN,
        max_length=4096,
        description=MEANINGS[WORKING_DIR_PATTERN],
    ),
]
HostName = Annotated[str, Meta(pattern=HOST_NAME_PATTERN, description=MEANINGS[HOST_NAME_PATTERN])]
LabelKey = Annotated[str, Meta(pattern=LABEL_PATTERN, description=MEANINGS[LABEL_PATTERN])]
Constraint = Annotated[
    str, Meta(pattern=CONSTRAINT_PATTERN, description=MEANINGS[CONSTRAINT_PATTERN])
]
Millicores = Annotated[int, Meta(ge=0, le=10_000_000)]
Mebibytes = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Percent = Annotated[int, Meta(ge=0, le=100)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
CoreId = Annotated[int, Meta(ge=0, le=65_535)]
Protocol = Literal["tcp", "udp"]
StrategyName = Literal["first_fit", "best_fit", "worst_fit"]
StopSignal = Literal[
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGKILL",
    "SIGUSR1",
    "SIGUSR2",
    "SIGTERM",
    "SIGWINCH",
    "SIGRTMIN+3",
]
EngineKind = Literal["docker", "process", "none"]
Voting = Literal["auto", "never"]


class Value(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, closed struct: an unknown key is an error that names it."""
