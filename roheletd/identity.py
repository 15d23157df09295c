"""Which cluster this node belongs to, and as whom: `cluster.json` in the data directory.

It is written when a node founds, joins, shares, leaves or recovers a cluster, once more when it is
first seen to be a member, and once at each start, for the number of that start.

A node is known by its name among people and by its member id among nodes. The id is drawn when
the data directory becomes a member, so that a node that lost its disk is not mistaken for its
former self, whose votes and acknowledgements it has forgotten.

Joining moves the former log aside before anything else: whatever is cut off in the middle, a log
never meets the identity of another cluster, and doing it again completes it.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from roheletd import durable
from roheletd.config import Url
from roheletd.errors import InvalidInput, Refused
from roheletd.fields import ClusterId, MemberId, Name
from roheletd.keys import KEY_FILE, save_key
from roheletd.model import node_of
from roheletd.token import Token
from roheletd.wording import shown

FILE = "cluster.json"
FORMAT = 1
LOG = "log.db"
FIRST_CLUSTER = "edge"
"""The name of a cluster that is founded where nobody says another."""

_LOG_PARTS = ("", "-wal", "-shm")


class Identity(Struct, frozen=True, kw_only=True):
    """What a node knows of itself before it reads its log.

    `founded`: this node made the cluster, and makes its log if that is not there. `joined`: the
    log of this node was seen to have `member` in it; from then on a missing log is a lost one.
    `previous` is who this node was in the same cluster before it lost or gave up its log.
    `brokers` and `expires_at_s` are those of the token; after a recovery, `brokers` are those of
    the epoch before. `shared`: other nodes may join. `boot` grows with each start, and never falls.
    """

    cluster: Name
    cluster_id: ClusterId
    member: MemberId
    epoch: Annotated[int, Meta(ge=1)] = 1
    previous: str = ""
    brokers: Annotated[tuple[Url, ...], Meta(max_length=16)] = ()
    expires_at_s: Annotated[int, Meta(ge=0)] = 0
    founded: bool = False
    joined: bool = False
    shared: bool = False
    boot: Annotated[int, Meta(ge=0)] = 0
    format: int = FORMAT

    @property
    def node(self) -> str:
        return node_of(self.member)


def node_name(configured: str | None) -> str:
    """What this node is called: as configured, else like its host."""
    name = configured or os.uname().nodename.partition(".")[0]
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise InvalidInput(
            "$.node.name", f"expected a name, for that of this host is none: {shown(name)}"
        ) from None


def load(data_dir: Path) -> Identity | None:
    """None: this directory never belonged to a cluster, or has left it."""
    path = data_dir / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(
            str(path), f"expected what roheletd wrote there: {error}; {_AGAIN}"
        ) from None
    if found.format != FORMAT:
        raise InvalidInput(
            str(path),
            f"it was written by another version of roheletd (format {found.format}, this one "
            f"reads {FORMAT}): install that version",
        )
    return found


_AGAIN = "give this node a new token with `roheletd cluster join --force TOKEN`"


def start(data_dir: Path, *, cluster: str | None, node: str) -> Identity:
    """Who this node is from this start on; one that was never in a cluster founds its own.

    `cluster` and `node` are what the configuration says; `InvalidInput` where that contradicts.
    """
    known = load(data_dir)
    if known is None:
        known = _founder(cluster, node)
    else:
        _check_cluster(known, cluster)
        known = _renamed(known, node, has_log=(data_dir / LOG).exists())
    return _save(data_dir, replace(known, boot=known.boot + 1))


def found(data_dir: Path, *, cluster: str | None, node: str) -> Identity:
    """Found a cluster that others may join, or share the one that this node has founded."""
    known = load(data_dir)
    if known is None:
        return _save(data_dir, replace(_founder(cluster, node), shared=True))
    if cluster not in (None, known.cluster):
        raise Refused(
            f"this node belongs to cluster {known.cluster} already, and a cluster keeps its name: "
            "name it before the first start, or use another data directory"
        )
    return share(data_dir)


def check_join(
    data_dir: Path,
    token: Token,
    *,
    services: int | None = 0,
    force: bool = False,
    key_file: str | None = None,
) -> Identity | None:
    """Who this node is now, if it may join the cluster of `token`; changes nothing.

    `services`: how many it has of its own and would forget; None where nobody can say. `Refused`
    where there is something to lose and no `force`.
    """
    known = _known(data_dir, force=force)
    if known is not None:
        _check_epoch(known, token)
        if not force:
            _check_loss(known, token, services)
    elif services != 0 and not force:
        raise Refused(_loss(services, FIRST_CLUSTER))
    if key_file is not None:
        save_key(data_dir, key_file, token.key)  # refuses where that is another cluster's
    return known


def join(
    data_dir: Path,
    token: Token,
    *,
    node: str,
    services: int | None = 0,
    force: bool = False,
    key_file: str | None = None,
) -> Identity:
    """Become a node that asks to be let in by the cluster of `token`, as somebody new.

    Refuses as `check_join` does. The log must not be open.
    """
    known = check_join(data_dir, token, services=services, force=force, key_file=key_file)
    _set_log_aside(data_dir)
    save_key(data_dir, key_file, token.key)
    joining = Identity(
        cluster=token.cluster,
        cluster_id=token.cluster_id,
        member=_member(node),
        epoch=token.epoch,
        previous=_previous(known, token),
        brokers=token.brokers,
        expires_at_s=token.expires_at_s,
        shared=True,
        boot=0 if known is None else known.boot,
    )
    return _save(data_dir, joining)


def admitted(data_dir: Path) -> Identity:
    """The log has this very member in it."""
    known = _must_know(data_dir)
    return _save(data_dir, replace(known, joined=True, previous=""))


def share(data_dir: Path) -> Identity:
    """Others may join from now on."""
    return _save(data_dir, replace(_must_know(data_dir), shared=True))


def recover(data_dir: Path, *, brokers: tuple[str, ...] = ()) -> Identity:
    """The next epoch, which begins with this node; those of the one before are not heard.

    `brokers` are where those may be met, to be told.
    """
    known = _must_know(data_dir)
    return _save(data_dir, replace(known, epoch=known.epoch + 1, brokers=brokers or known.brokers))


def leave(data_dir: Path) -> None:
    """Belong to no cluster: the next start founds one. A log that is kept aside stays there.

    The log must not be open. A key file that the configuration names is not touched.
    """
    _set_log_aside(data_dir)
    (data_dir / FILE).unlink(missing_ok=True)
    (data_dir / KEY_FILE).unlink(missing_ok=True)
    durable.sync(data_dir)


def _founder(cluster: str | None, node: str) -> Identity:
    return Identity(
        cluster=cluster or FIRST_CLUSTER,
        cluster_id=secrets.token_hex(8),
        member=_member(node),
        founded=True,
    )


def _member(node: str) -> str:
    return f"{node}.{secrets.token_hex(4)}"


def _save(data_dir: Path, identity: Identity) -> Identity:
    text = msgspec.json.format(msgspec.json.encode(identity), indent=2).decode()
    durable.write(data_dir / FILE, f"{text}\n")
    return identity


def _known(data_dir: Path, *, force: bool) -> Identity | None:
    try:
        return load(data_dir)
    except InvalidInput:
        if force:
            return None
        raise


def _must_know(data_dir: Path) -> Identity:
    known = load(data_dir)
    if known is None:
        raise Refused("this node belongs to no cluster yet: start it, or `roheletd cluster init`")
    return known


def _check_cluster(known: Identity, cluster: str | None) -> None:
    if cluster not in (None, known.cluster):
        raise InvalidInput(
            "$.cluster.name",
            f"expected {known.cluster} or nothing, for this node belongs to cluster "
            f"{known.cluster}; got {cluster}",
        )


def _renamed(known: Identity, node: str, *, has_log: bool) -> Identity:
    """A node that is in no log yet may change its name, after one that was taken for instance."""
    if node == known.node:
        return known
    if known.joined or (known.founded and has_log):
        raise InvalidInput(
            "$.node.name",
            f"expected {known.node}, as which this node is a member of cluster {known.cluster}; "
            f"got {node}: to change it, leave the cluster and join it anew",
        )
    return replace(known, member=_member(node))


def _check_epoch(known: Identity, token: Token) -> None:
    if token.cluster_id == known.cluster_id and token.epoch < known.epoch:
        raise Refused(
            f"the token is from before cluster {known.cluster} was recovered (epoch "
            f"{token.epoch}, this node knows {known.epoch}): ask for a new one"
        )


def _check_loss(known: Identity, token: Token, services: int | None) -> None:
    if token.cluster_id == known.cluster_id:
        if token.epoch == known.epoch and known.joined:
            raise Refused(
                f"this node is a member of cluster {known.cluster} already, as {known.node}: "
                "--force forgets its copy of the log and joins anew"
            )
        return
    if known.joined and not known.founded:
        raise Refused(
            f"this node is a member of another cluster, {known.cluster} ({known.cluster_id}), and "
            f"the token is of {token.cluster} ({token.cluster_id}): `roheletd cluster leave` "
            "first, or --force"
        )
    if services != 0:
        raise Refused(_loss(services, known.cluster))
    if known.shared and known.joined:
        raise Refused(
            f"this node founded cluster {known.cluster} ({known.cluster_id}) for others to join, "
            f"and the token is of {token.cluster} ({token.cluster_id}): --force gives it up"
        )


def _loss(services: int | None, cluster: str) -> str:
    if services is None:
        return (
            "this node has a log of its own, and what is in it can be said only by its daemon: "
            "start it and ask again, or --force to forget whatever it holds"
        )
    some = "1 service" if services == 1 else f"{services} services"
    return (
        f"this node has {some} in its own cluster {cluster}, which it would forget: remove them "
        "first, or --force"
    )


def _previous(known: Identity | None, token: Token) -> str:
    if known is None or known.cluster_id != token.cluster_id:
        return ""
    return known.member if known.joined else known.previous


def _set_log_aside(data_dir: Path) -> None:
    """One generation is kept, which SQLite opens like any other file.

    The file itself goes first: without its write-ahead log it would be an older log that looks
    whole. What was cut off here is completed by doing it again.
    """
    if (data_dir / LOG).exists():
        for part in _LOG_PARTS:
            (data_dir / f"{LOG}.old{part}").unlink(missing_ok=True)
    for part in _LOG_PARTS:
        path = data_dir / f"{LOG}{part}"
        if path.exists():
            path.replace(data_dir / f"{LOG}.old{part}")
            durable.sync(data_dir)
