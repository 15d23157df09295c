"""`roheletd export`: one question, and its answer as YAML documents.

Values of secrets are asked for one by one, and only where somebody wants them: no other answer of
a daemon carries them.
"""

import argparse
import base64
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from roheletd.cli.client import Answer, Client, quoted
from roheletd.cli.options import Command
from roheletd.cli.terminal import Progress, client_of, note, show, write_lines

_COLUMNS = 96


def _kubernetes(args: argparse.Namespace) -> int:
    client = client_of(args)
    answer = _asked(args, client, "kubernetes", **({"pin": "true"} if args.pin else {}))
    if args.output != "table":
        show(args, answer, lambda _value, _style: [])
        return 0
    secrets = answer.value["secrets"]
    found = [_secret(client, name, secrets[name]) for name in secrets] if args.with_secrets else []
    for sentence in answer.value["notes"]:
        if not (args.with_secrets and sentence.startswith("needed before: kubectl create secret")):
            note(sentence)
    write_lines([*_documents([*found, *answer.value["manifests"]])])
    return 0


def _rohe(args: argparse.Namespace) -> int:
    answer = _asked(args, client_of(args), "rohe")
    if args.output == "table":
        args.output = "yaml"  # ROHE's resources are files, and have no other form
    show(args, answer, lambda _value, _style: [])
    return 0


def _asked(args: argparse.Namespace, client: Client, what: str, **more: str) -> Answer:
    query = {"services": ",".join(args.services), "application": args.application, **more}
    text = urlencode({key: value for key, value in query.items() if value})
    with Progress("waiting for the daemon"):
        return client.get(f"/api/v1/export/{what}" + (f"?{text}" if text else ""))


def _secret(client: Client, name: str, ours: str) -> Mapping[str, Any]:
    with Progress(f"asking for the secret {ours}"):
        values = client.get(f"/api/v1/secrets/{quoted(ours)}").value
    data = {key: base64.b64encode(text.encode()).decode() for key, text in values["data"].items()}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": data | values.get("binary", {}),
    }
    return {"object": secret, "notes": []}


def _documents(manifests: list[Mapping[str, Any]]) -> Iterator[str]:
    import textwrap  # noqa: PLC0415

    import yaml  # noqa: PLC0415 - 15 ms

    for manifest in manifests:
        yield "---"
        for sentence in manifest["notes"]:
            yield from textwrap.wrap(
                sentence, _COLUMNS, initial_indent="# ", subsequent_indent="#   "
            )
        text = yaml.safe_dump(manifest["object"], sort_keys=False, allow_unicode=True)
        yield from text.rstrip("\n").split("\n")


COMMANDS: dict[str, Command] = {"export kubernetes": _kubernetes, "export rohe": _rohe}
