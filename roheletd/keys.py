"""The cluster key on disk, and the two secrets derived from it that people and tools need.

`cluster.key` signs every message. `api.token` allows writes over TCP, `broker.password` opens the
brokers that the cluster runs itself. All are readable by the daemon's user alone.
"""

import secrets
from pathlib import Path

from msgspec import Struct

from roheletd import durable
from roheletd.errors import InvalidInput, Refused, Unavailable
from roheletd.messages import broker_password, subkey

KEY_BYTES = 32
KEY_FILE = "cluster.key"
BROKER_USER = "rohe"


class Keys(Struct, frozen=True, kw_only=True):
    """The cluster key and its offspring."""

    cluster: bytes
    api_token: str
    broker_password: str


def load_keys(data_dir: Path, key_file: str | None) -> Keys:
    """Read the cluster key, or make one at the first start of a cluster; derive the rest."""
    path = Path(key_file) if key_file else data_dir / KEY_FILE
    if key_file is None and not path.exists():
        durable.write(path, f"{secrets.token_hex(KEY_BYTES)}\n")
    keys = _derived(_read(path))
    durable.write(data_dir / "api.token", f"{keys.api_token}\n")
    durable.write(data_dir / "broker.password", f"{keys.broker_password}\n")
    return keys


def save_key(data_dir: Path, key_file: str | None, key: bytes) -> None:
    """Take over the key of another cluster. A file that the configuration names is not ours."""
    if key_file is None:
        durable.write(data_dir / KEY_FILE, f"{key.hex()}\n")
    elif not Path(key_file).exists() or _read(Path(key_file)) != key:
        raise Refused(
            f"the configuration says that the cluster key is in {key_file}, and there it is not "
            "the one of the token: leave out cluster.key_file, or put that key there"
        )


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
