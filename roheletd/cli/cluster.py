"""`roheletd cluster`: with a daemon through it, and before its first start on its directory."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roheletd.cli import REFUSED, pages
from roheletd.cli.client import Address, Answer, Client, NoDaemon, Unreachable, directory
from roheletd.cli.cluster_page import cluster
from roheletd.cli.options import Command
from roheletd.cli.reading import reads
from roheletd.cli.terminal import Progress, client_of, note, show, write_lines
from roheletd.errors import RoheletError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from roheletd.config import Config
    from roheletd.token import Token

# ruff: noqa: PLC0415 - what needs no daemon is rare, and loads msgspec and more

_PATH = "/api/v1/cluster"
_POLL_S = 0.5

_RECOVERY = """\
This begins cluster epoch number {next} from this node alone. Do it only where most
voters are lost for good; while they can come back, wait for them.
- What was acknowledged and has not reached this node is lost. This node has applied
  {applied} entries; the leader was last heard {heard}.
- All other nodes are told that they belong to the epoch before, and must join anew:
  `roheletd cluster token` here, `roheletd cluster join TOKEN` there.
- Of two nodes that both recover, each has a cluster of its own from then on.
Containers keep running, here and there. To do it: roheletd cluster recover --force
"""


def _init(args: argparse.Namespace) -> int:
    try:
        with Progress("waiting for the daemon"):
            answer = client_of(args).post(_PATH, {"name": args.name})
    except NoDaemon:
        if args.url is not None:
            raise
        answer = _found(args)
    show(args, answer, pages.changes)
    note("`roheletd cluster token` here prints what `roheletd cluster join` takes on another node")
    return 0


def _found(args: argparse.Namespace) -> Answer:
    from roheletd import identity

    config, data_dir = _offline(args)
    with _Held(data_dir):
        found = identity.found(
            data_dir,
            cluster=_checked_name(args.name) or config.cluster.name,
            node=identity.node_name(config.node.name),
        )
    note(f"no daemon runs yet: start it, as {found.node} (`systemctl start roheletd`)")
    return _changed({found.cluster: "founded"})


def _token(args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).post(f"{_PATH}/token", {"valid_for_s": args.valid_for})
    if args.output == "table":
        write_lines([str(answer.value["token"])])
        until = f"for {pages.duration(args.valid_for)}" if args.valid_for else "for ever"
        note(f"good {until}; it holds the cluster's key, so hand it over like a password")
    else:
        show(args, answer, pages.changes)
    return 0


def _join(args: argparse.Namespace) -> int:
    from roheletd.token import decode

    text = _given_token(args.token)
    token = decode(text)
    client = client_of(args)
    try:
        with Progress("waiting for the daemon"):
            answer = client.post(f"{_PATH}/join", {"token": text, "force": args.force})
    except NoDaemon:
        if args.url is not None:
            raise
        show(args, _join_offline(args, token), pages.changes)
        return 0
    if args.wait:
        _until_joined(client, token, args.wait)
        answer = _changed({token.cluster: "joined"})
    show(args, answer, pages.changes)
    return 0


def _given_token(given: str) -> str:
    if given != "-":
        return given.strip()
    from roheletd.cli.files import content

    return content("-").decode("ascii", "replace").strip()


def _until_joined(client: Client, token: "Token", wait_s: float) -> None:
    """Returns once the node is a member. Its daemon may be away meanwhile, for it starts anew."""
    deadline_s = time.monotonic() + wait_s
    with Progress(f"waiting to be let into cluster {token.cluster}") as progress:
        while True:
            heard = _heard(client, token)
            if heard["membership"] == "joined":
                return
            if heard["membership"] == "refused":
                raise NotLetIn(f"cluster {token.cluster} does not let this node in", heard)
            if time.monotonic() >= deadline_s:
                raise NotLetIn(
                    f"not a member of cluster {token.cluster} after {wait_s:g} s, and the daemon "
                    "goes on trying (`roheletd cluster status`)",
                    heard,
                )
            progress.say(_with_reason(f"waiting to be let into cluster {token.cluster}", heard))
            time.sleep(_POLL_S)


class NotLetIn(RoheletError):  # noqa: N818 - what happened
    """The node is not a member, for the reason that its status gives."""

    exit_code = REFUSED

    def __init__(self, text: str, heard: Mapping[str, Any]) -> None:
        super().__init__(_with_reason(text, heard))


def _with_reason(text: str, heard: Mapping[str, Any]) -> str:
    reason = heard.get("reason", "")
    return f"{text}: {reason}" if reason else text


def _heard(client: Client, token: "Token") -> Mapping[str, Any]:
    """What the daemon says of itself in the new cluster; as long as it is in none: joining."""
    try:
        found: Mapping[str, Any] = client.get(_PATH).value
    except Unreachable:
        return {"membership": "joining", "reason": "the daemon starts anew"}
    if found["cluster_id"] != token.cluster_id:
        return {"membership": "joining"}
    return found


def _join_offline(args: argparse.Namespace, token: "Token") -> Answer:
    from roheletd import identity

    config, data_dir = _offline(args)
    with _Held(data_dir):
        has_log = (data_dir / identity.LOG).exists()
        joining = identity.join(
            data_dir,
            token,
            node=identity.node_name(config.node.name),
            services=None if has_log else 0,
            force=args.force,
            key_file=config.cluster.key_file,
        )
    note(f"no daemon runs: its next start joins cluster {token.cluster} as {joining.node}")
    return _changed({token.cluster: "joining"})


def _leave(args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).post(f"{_PATH}/leave", {})
    show(args, answer, pages.changes)
    return 0


def _remove(args: argparse.Namespace) -> int:
    with Progress("waiting for the daemon"):
        answer = client_of(args).delete(f"{_PATH}/members", args.node)
    show(args, answer, pages.changes)
    return 0


def _recover(args: argparse.Namespace) -> int:
    client = client_of(args)
    if not args.force:
        with Progress("waiting for the daemon"):
            known = client.get(_PATH).value
        sys.stderr.write(_explained(known))
        return REFUSED
    with Progress("waiting for the daemon"):
        answer = client.post(f"{_PATH}/recover", {"force": True})
    show(args, answer, pages.changes)
    note("the other nodes join anew: `roheletd cluster token` here, `cluster join` there")
    return 0


def _explained(known: Mapping[str, Any]) -> str:
    heard_s = known.get("leader_heard_s")
    heard = "never" if heard_s is None else f"{pages.duration(heard_s)} ago"
    return _RECOVERY.format(next=known["epoch"] + 1, applied=known["applied_index"], heard=heard)


# --- without a daemon


def _offline(args: argparse.Namespace) -> tuple["Config", "Path"]:
    """The configuration that the daemon will have, and its directory."""
    from pathlib import Path

    from roheletd.cli.files import document
    from roheletd.config import parse

    config = parse(None if args.config is None else document(args.config))
    given = args.data_dir or os.environ.get("ROHELETD_DATA_DIR")
    data_dir = Path(given or (config.data_dir if args.config else directory(None)))
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{data_dir} cannot be used: {error.strerror}") from None
    return config, data_dir


class _Held:
    """The directory, for as long as its files are changed: a daemon that starts waits its turn."""

    def __init__(self, data_dir: "Path") -> None:
        from roheletd import durable
        from roheletd.store import DirectoryLock

        self._lock = DirectoryLock(data_dir)
        durable.give_to_owner(data_dir / "lock")

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _checked_name(name: str | None) -> str | None:
    from roheletd.api.requests import convert
    from roheletd.api.views import ClusterToShare

    return convert({"name": name}, ClusterToShare).name


def _changed(changed: dict[str, str]) -> Answer:
    """What a daemon would have answered."""
    text = json.dumps({"changed": changed, "notes": []}).encode()
    return Answer(text, Address())


COMMANDS: dict[str, Command] = {
    "cluster init": _init,
    "cluster token": _token,
    "cluster join": _join,
    "cluster leave": _leave,
    "cluster remove": _remove,
    "cluster recover": _recover,
    "cluster status": reads(_PATH, cluster),
}
