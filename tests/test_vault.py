"""What is sealed is opened by the same key in the same place, and by nothing else."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.cluster.configuration import Sealed
from roheletd.vault import Unopened, Vault

KEY = bytes(range(32))


@given(plain=st.binary(max_size=200))
def test_what_is_sealed_on_one_node_is_opened_on_another(plain: bytes) -> None:
    assert Vault(KEY).open("db", "password", Vault(KEY).seal("db", "password", plain)) == plain


def test_equal_values_are_told_by_their_mark_and_not_by_their_boxes() -> None:
    vault = Vault(KEY)
    first, second = (vault.seal("db", "password", b"hunter2") for _ in range(2))
    assert first.box != second.box
    assert first == second
    assert first != vault.seal("db", "password", b"hunter3")


def test_equal_values_in_different_places_have_different_marks() -> None:
    vault = Vault(KEY)
    here = vault.seal("db", "password", b"hunter2")
    assert here != vault.seal("db", "user", b"hunter2")
    assert here != vault.seal("shop", "password", b"hunter2")


@pytest.mark.parametrize(("secret", "key"), [("shop", "password"), ("db", "user")])
def test_a_box_that_was_put_elsewhere_is_not_opened(secret: str, key: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal("db", "password", b"hunter2")
    with pytest.raises(Unopened, match="set it anew"):
        vault.open(secret, key, sealed)


def test_a_box_of_another_cluster_is_not_opened() -> None:
    sealed = Vault(bytes(32)).seal("db", "password", b"hunter2")
    with pytest.raises(Unopened):
        Vault(KEY).open("db", "password", sealed)


@given(box=st.binary(max_size=100))
def test_no_bytes_are_taken_for_a_box(box: bytes) -> None:
    with pytest.raises(Unopened) as refused:
        Vault(KEY).open("db", "password", Sealed(box=box, mark=b""))
    assert "db" in str(refused.value)


@pytest.mark.parametrize("position", [0, 23, 24, 30, -1])
def test_one_altered_byte_spoils_it(position: int) -> None:
    sealed = Vault(KEY).seal("db", "password", b"hunter2")
    box = bytearray(sealed.box)
    box[position] ^= 1
    with pytest.raises(Unopened):
        Vault(KEY).open("db", "password", Sealed(box=bytes(box), mark=sealed.mark))


def test_the_library_is_loaded_by_whoever_has_to_do_with_secrets_and_by_nobody_else() -> None:
    code = (
        "import sys; from roheletd.vault import Vault; v = Vault(bytes(32)); "
        "assert 'nacl' not in sys.modules; v.seal('a', 'b', b'c'); assert 'nacl' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
