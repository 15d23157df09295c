"""The cluster key on disk, and the two secrets derived from it that people and tools need.

`cluster.key` signs every message. `api.token` allows writes over TCP, `broker.password` opens the
brokers that the cluster runs itself. All are readable by the daemon's user alone.
"""

import os
import secrets
from pathlib import Path

from msgspec import Struct

from roheletd.errors import InvalidInput, Unavailable
from roheletd.messages import broker_password, subkey

KEY_BYTES = 32
BROKER_USER = "rohe"


class Keys(Struct, frozen=True, kw_only=True):
    """The cluster key and its offspring."""

    cluster: bytes
    api_token: str
    broker_password: str


def load_keys(data_dir: Path, key_file: str | None) -> Keys:
    """Read the cluster key, or make one at the first start of a cluster; derive the rest."""
    path = Path(key_file) if key_file else data_dir / "cluster.key"
    if key_file is None and not path.exists():
        _write(path, secrets.token_hex(KEY_BYTES))
    keys = _derived(_read(path))
    _write(data_dir / "api.token", keys.api_token)
    _write(data_dir / "broker.password", keys.broker_password)
    return keys


def _derived(key: bytes) -> Keys:
    return Keys(
        cluster=key,
        api_token=subkey(key, "api-token").hex(),
        broker_password=broker_password(key),
    )


def _read(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Unavailable(f"the cluster key cannot be read: {error}") from None
    except UnicodeDecodeError:
        text = ""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(str(path), f"expected the cluster key, {2 * KEY_BYTES} hex digits")
    return key


def _write(path: Path, text: str) -> None:
    """Durable and private from its first moment; the same content is not written again."""
    line = f"{text}\n"
    if path.exists() and path.read_text(encoding="utf-8") == line:
        return
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
