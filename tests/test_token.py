"""The join token: what goes in comes out, and whatever else is given is refused in one line."""

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd import token
from roheletd.errors import InvalidInput
from roheletd.token import LENGTH_MAX, Token, decode, encode, expired

TOKEN = Token(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=2,
    key=bytes(range(32)),
    brokers=("mqtt://192.168.1.7:9471", "mqtt://pi4.local:9471"),
    expires_at_s=1_800_000_000,
)
TEXT = encode(TOKEN)


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode(text)
    assert caught.value.field == "token"
    assert "\n" not in str(caught.value)
    return caught.value.expected


def _sealed(content: object) -> str:
    """A right checksum over something else."""
    data = msgspec.msgpack.encode(content)
    body = base64.urlsafe_b64encode(data).decode().rstrip("=")
    return f"rohe1.{body}.{token._checksum(body)}"


def test_a_token_is_one_word_that_can_be_copied() -> None:
    assert decode(TEXT) == TOKEN
    assert decode(f" {TEXT}\n") == TOKEN
    assert TEXT.startswith("rohe1.")
    assert set(TEXT) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(TEXT) < 240


@pytest.mark.parametrize("length", range(6, len(TEXT)))
def test_a_token_that_was_cut_short_says_so(length: int) -> None:
    assert "cut short or altered" in refusal(TEXT[:length])


@pytest.mark.parametrize("position", range(6, len(TEXT)))
def test_a_token_with_one_wrong_letter_says_so(position: int) -> None:
    other = "x" if TEXT[position] != "x" else "y"
    altered = TEXT[:position] + other + TEXT[position + 1 :]
    assert "cut short or altered" in refusal(altered)


@pytest.mark.parametrize(
    "text", ["", "edge", "rohe", "rohe1", "rohe0.a.b", "ROHE1.a.b", "f" * 64, f"x{TEXT}", "rohe\0."]
)
def test_what_is_no_token_is_told_what_one_is(text: str) -> None:
    assert "`roheletd cluster token`" in refusal(text)


def test_a_token_of_a_later_version_names_both_formats() -> None:
    said = refusal(TEXT.replace("rohe1", "rohe2"))
    assert "token format 2, this one reads 1" in said


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    assert refusal("rohe1." + "a" * LENGTH_MAX).startswith(f"expected at most {LENGTH_MAX}")


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        ["garage"],
        ["a b", "0123456789abcdef", 1, bytes(32)],
        ["garage", "0123456789ABCDEF", 1, bytes(32)],
        ["garage", "0123456789abcdef", 0, bytes(32)],
        ["garage", "0123456789abcdef", 1, bytes(31)],
        ["garage", "0123456789abcdef", 1, bytes(32), ["http://a"]],
        ["garage", "0123456789abcdef", 1, bytes(32), [], -1],
    ],
)
def test_a_right_checksum_over_something_else_is_refused(content: object) -> None:
    assert "not what roheletd puts there" in refusal(_sealed(content))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(max_size=40).map(lambda text: f"rohe1.{text}"))
def test_random_text_raises_nothing_but_invalid_input(text: str) -> None:
    assert refusal(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_random_content_raises_nothing_but_invalid_input(data: bytes) -> None:
    body = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert refusal(f"rohe1.{body}.{token._checksum(body)}")


def test_no_refusal_repeats_what_was_given() -> None:
    body = TEXT.split(".")[1]
    for text in (TEXT[:-1], f"x{TEXT}", TEXT.replace("rohe1", "rohe2"), TEXT + "a" * LENGTH_MAX):
        assert body[:20] not in refusal(text)


def test_a_token_is_good_until_its_second_and_for_ever_where_that_is_0() -> None:
    assert not expired(TOKEN, 1_799_999_999.9)
    assert expired(TOKEN, 1_800_000_000)
    assert not expired(msgspec.structs.replace(TOKEN, expires_at_s=0), 4e9)
