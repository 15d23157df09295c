"""`roheletd sign`: a command as a sealed MQTT message, for whoever holds the key."""

import argparse
import os

from roheletd.api.requests import convert
from roheletd.api.table import MQTT_OPERATIONS, Operation
from roheletd.cli.client import Client, directory
from roheletd.cli.compose_file import wanted
from roheletd.cli.files import content, document
from roheletd.cli.orchestration import request
from roheletd.cli.terminal import Progress, client_of, note, write_lines
from roheletd.documents import load
from roheletd.errors import InvalidInput
from roheletd.messages import Sealer, Topics

_KEY_BYTES = 32
_SENDER = "cli"
_ADDING = {"add-services": "services", "add-nodes": "nodes"}
_PLANNING = frozenset({"what-if", "plan", "apply"})


def sign(args: argparse.Namespace) -> int:
    verb, body = _command(args)
    _check(verb, body)
    key = _key(args.key_file or os.path.join(directory(args.data_dir), "cluster.key"))  # noqa: PTH118
    with Progress("asking the daemon for its challenge"):
        challenge, cluster = _meant(args)
    command_id = os.urandom(8).hex()
    topics = Topics(cluster)
    sealer = Sealer(key, _SENDER, os.urandom(8).hex())
    message = sealer.seal(topics.command, {"command": verb, "id": command_id, **body}, challenge)
    note(f"publish on {topics.command}; the answer comes on {topics.reply(command_id)}")
    write_lines([message.decode()])
    return 0


def _command(args: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """The verb and its members; a ROHE file makes an import of an addition."""
    if args.conf is not None and args.verb in _PLANNING:
        file = wanted(args)
        for values in file.values:
            note(f"the {values} is not part of the command, and has to be there before")
        return args.verb, file.body if args.verb == "apply" else file.asked
    if args.conf is not None:
        found = document(args.conf)
        if args.verb in _ADDING:
            verb, members = request(found, _ADDING[args.verb])
            return verb, dict(members)
        source = args.conf
    else:
        found = None if args.json is None else load(args.json.encode(), name="--json")
        source = "--json"
    if found is not None and not isinstance(found, dict):
        raise InvalidInput(source, "expected an object with the command's members")
    return args.verb, found or {}


def _check(verb: str, body: dict[str, object]) -> None:
    """Refuse here what the leader would refuse later, where nobody may be listening."""
    convert(body, _operation(verb).request)


def _operation(verb: str) -> Operation:
    known = {operation.name: operation for operation in MQTT_OPERATIONS}
    if verb not in known:
        raise InvalidInput("COMMAND", f"expected one of {', '.join(sorted(known))}; got {verb}")
    return known[verb]


def _key(path: str) -> bytes:
    try:
        key = bytes.fromhex(content(path).decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidInput(path, f"expected a cluster key: {2 * _KEY_BYTES} hex digits")
    return key


def _meant(args: argparse.Namespace) -> tuple[str, str]:
    """Challenge and cluster; the daemon is asked only for what was not given."""
    client: Client = client_of(args)
    challenge = args.challenge or str(client.get("/api/v1/leader").value["challenge"])
    cluster = args.cluster or str(client.get("/status").value["cluster"])
    return challenge, cluster
