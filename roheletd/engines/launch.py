"""Starts programs on this machine: each as a session of its own, where and as whom it should be.

With subprocess, which also knows folders, users and groups; nothing of its own is kept, for what
is started is meant to outlive us.
"""

import contextlib
import errno
import grp
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from roheletd.engines import EngineError

NOTHING = subprocess.DEVNULL


class Person(Struct, frozen=True, kw_only=True):
    """A user of this machine with its groups, and the variables that say so."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    variables: dict[str, str] = {}


class Place(Struct, frozen=True, kw_only=True):
    """Where a program begins, and as whom; None: as this daemon."""

    folder: str | None = None
    person: Person | None = None


def place_of(*, working_dir: str, user: str) -> Place:
    """Raises `EngineError` where this machine, or this daemon, cannot do it; empty: as we are."""
    if working_dir and not _is_folder(Path(working_dir)):
        raise EngineError(f"working_dir {working_dir} is no folder of this node")
    return Place(folder=working_dir or None, person=_person(user) if user else None)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # behind one that this daemon may not enter
        return False


def _person(user: str) -> Person | None:
    """None where that is who we are."""
    who, _, group = user.partition(":")
    known = _known(who)
    if known is None and not who.isdecimal():
        raise EngineError(f"user {user}: this node has no user {who}")
    if known is None and not group:
        raise EngineError(f"user {user}: this node does not know its group; expected UID:GID")
    uid = int(who) if known is None else known.pw_uid
    gid = _gid(user, group) if known is None or group else known.pw_gid
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return None
    if os.geteuid() != 0:
        own = _known(str(os.geteuid()))
        raise EngineError(
            f"user {user}: processes of this node run as its daemon does, "
            f"{own.pw_name if own else os.geteuid()}; a daemon of root's could start others"
        )
    if known is None:
        return Person(uid=uid, gid=gid, groups=(gid,), variables={"HOME": "/", "USER": who})
    return Person(
        uid=uid,
        gid=gid,
        groups=(gid,) if group else tuple(os.getgrouplist(known.pw_name, gid)),
        variables={"HOME": known.pw_dir, "USER": known.pw_name},
    )


def _known(who: str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(int(who)) if who.isdecimal() else pwd.getpwnam(who)
    return None


def _gid(user: str, group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise EngineError(f"user {user}: this node has no group {group}") from None


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    place: Place,
    stdin: int,
    stdout: int,
    stderr: int,
) -> int:
    """The pid, which is ours to reap. It runs on the cores of this thread.

    Raises `OSError` for what cannot be started, and `EngineError` for what nobody could start.
    """
    who = place.person
    try:
        with _no_signal_blocked():
            started = subprocess.Popen(
                command,
                env=environment,
                cwd=place.folder,
                user=who.uid if who else None,
                group=who.gid if who else None,
                extra_groups=who.groups if who else None,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
    except ValueError as error:  # what no kernel takes: a NUL, text that has no bytes
        raise EngineError(f"cannot start {command[0]!r}: {error}", retry=False) from error
    except PermissionError as error:
        if who is None or error.errno != errno.EPERM:
            raise
        raise EngineError(f"this daemon may start no process as user {who.uid}") from error
    started.returncode = 0  # else it would wait for an end that is ours to see
    return started.pid


@contextlib.contextmanager
def _no_signal_blocked() -> Iterator[None]:
    """A mask is inherited, and nobody looks for it."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def pinned(cores: tuple[int, ...]) -> Iterator[None]:
    """Pin this thread for the moment of a fork: the child inherits it and never runs elsewhere."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        with contextlib.suppress(OSError):  # none of the cores is there: told below
            os.sched_setaffinity(0, cores)
        if os.sched_getaffinity(0) != set(cores):  # the kernel leaves out what is not there
            raise EngineError(f"not all of the cores {sorted(cores)} can be used on this node")
        yield
    finally:
        os.sched_setaffinity(0, before)
