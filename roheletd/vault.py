"""Encrypts the values of secrets before anybody else sees them, and opens them where they are used.

The key is derived from the cluster key, which every member has: what is encrypted on one node can
be opened on each. A value is bound to its secret and its key, so that none can be put in the place
of another. The cipher, XChaCha20-Poly1305, is libsodium's; its nonces are long enough to be drawn.
"""

from hashlib import blake2b

from roheletd.cluster.configuration import Sealed
from roheletd.errors import RoheletError
from roheletd.messages import subkey

# ruff: noqa: PLC0415 - 1.3 MB and 4 ms, for nodes that have to do with secrets only


class Unopened(RoheletError):  # noqa: N818 - what it is
    """A value that was encrypted with another key, for another place, or altered."""


class Vault:
    """Seals and opens with one cluster's key."""

    def __init__(self, cluster_key: bytes) -> None:
        self._key = subkey(cluster_key, "secrets")
        self._mark_key = subkey(cluster_key, "secret-marks")

    def seal(self, secret: str, key: str, plain: bytes) -> Sealed:
        from nacl.secret import Aead

        place = _place(secret, key)
        mark = blake2b(place + b"\0" + plain, key=self._mark_key, digest_size=16)
        return Sealed(box=bytes(Aead(self._key).encrypt(plain, place)), mark=mark.digest())

    def open(self, secret: str, key: str, sealed: Sealed) -> bytes:
        """Raises `Unopened`."""
        from nacl.exceptions import CryptoError
        from nacl.secret import Aead

        try:
            return bytes(Aead(self._key).decrypt(sealed.box, _place(secret, key)))
        except (CryptoError, ValueError):  # ValueError: too short to be one at all
            raise Unopened(
                f"secret {secret}, key {key}: it was not encrypted with this cluster's key: set "
                "it anew"
            ) from None


class Veil:
    """Covers what nodes say to each other that is nobody else's: logs, and the use of shells."""

    def __init__(self, cluster_key: bytes) -> None:
        self._key = subkey(cluster_key, "streams")

    def cover(self, plain: bytes, place: bytes) -> bytes:
        """`place` is what it is bound to."""
        from nacl.secret import Aead

        return bytes(Aead(self._key).encrypt(plain, place))

    def uncover(self, covered: bytes, place: bytes) -> bytes:
        """Raises `Unopened`."""
        from nacl.exceptions import CryptoError
        from nacl.secret import Aead

        try:
            return bytes(Aead(self._key).decrypt(covered, place))
        except (CryptoError, ValueError):
            raise Unopened("it was not encrypted with this cluster's key") from None


def _place(secret: str, key: str) -> bytes:
    """Neither name can hold the character between them."""
    return f"{secret}\0{key}".encode()
