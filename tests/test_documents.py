"""The one door that text comes through: what is read, what is refused, and with which words."""

import json
import subprocess
import sys
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.documents import bounds, load, load_json, yaml_text
from roheletd.documents.yaml_text import load_yaml_with_lines
from roheletd.errors import InvalidInput

# Two processes share a Raspberry Pi's core here and there: wide enough to hold under load, and
# far below what a bomb or quadratic behaviour at 1 MiB would take.
TIME_MAX_S = 10.0


def refusal(text: bytes, name: str = "f.yaml") -> str:
    with pytest.raises(InvalidInput) as caught:
        load(text, name=name)
    return str(caught.value)


def outcome(text: bytes, name: str) -> object:
    try:
        return load(text, name=name)
    except InvalidInput as error:
        return error


def test_yaml_and_json_of_the_same_content_give_the_same_values() -> None:
    as_yaml = b"a: [1, -2.5, true, null, text]\nb:\n  c: 'quoted'\n"
    as_json = b'{"a": [1, -2.5, true, null, "text"], "b": {"c": "quoted"}}'
    expected = {"a": [1, -2.5, True, None, "text"], "b": {"c": "quoted"}}
    assert load(as_yaml, name="f.yaml") == load(as_json, name="f.json") == expected


@pytest.mark.parametrize("text", [b"", b"  \n", b"\xef\xbb\xbf", b"---\n", b"# only a comment\n"])
def test_an_empty_document_is_none(text: bytes) -> None:
    assert load(text, name="f.yaml") is None


def test_an_empty_json_document_is_none() -> None:
    assert load_json(b" \n", name="body") is None


def test_with_lines_each_value_is_known_where_it_was_written_also_when_merged() -> None:
    text = b"a: &a\n  x: 1\n  y:\n  - p\n  - {q: r}\nb:\n  <<: *a\n  x: 2\n"
    root, lines = load_yaml_with_lines(text, name="f.yaml")
    assert root == {
        "a": {"x": 1, "y": ["p", {"q": "r"}]},
        "b": {"x": 2, "y": ["p", {"q": "r"}]},
    }
    b = root["b"]
    assert lines[id(root)] == {"a": 1, "b": 6}
    assert lines[id(b)] == {"x": 8, "y": 3}
    assert lines[id(b["y"])] == {0: 4, 1: 5}


def test_of_several_merged_mappings_the_first_one_counts() -> None:
    text = b"a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc: {<<: [*a, *b], m: 3}\n"
    root, _ = load_yaml_with_lines(text, name="f.yaml")
    assert root["c"] == {"m": 3, "k": 1, "l": 2}


@pytest.mark.parametrize("text", [b"a: {<<: 1}", b"a: {<<: [1]}", b"<<: {a: b}\n<<: {c: d}"])
def test_a_merge_of_what_is_no_mapping_or_twice_is_refused_with_its_line(text: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"f\.yaml, line [12]"):
        load_yaml_with_lines(text, name="f.yaml")


def test_a_byte_order_mark_is_skipped_in_both_languages() -> None:
    assert load(b"\xef\xbb\xbfa: 1", name="f.yaml") == {"a": 1}
    assert load(b'\xef\xbb\xbf{"a": 1}', name="f.json") == {"a": 1}


@pytest.mark.parametrize(
    "word",
    ["yes", "no", "on", "OFF", "010", "0o17", "1_000", "0x1f", "2024-01-01", "10:20:30", "="],
)
def test_a_word_that_yaml_versions_read_differently_stays_text(word: str) -> None:
    assert load(f"a: {word}".encode(), name="f.yaml") == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.5e-2", -0.015),
    ],
)
def test_numbers_are_read_as_numbers(word: str, value: float) -> None:
    read = load(f"a: {word}".encode(), name="f.yaml")
    assert read == {"a": value}
    assert isinstance(read, dict)
    assert type(read["a"]) is type(value)


def test_a_mac_address_is_never_a_number_in_base_60() -> None:
    assert load(b"mac: 10:20:30:40:50:10", name="f.yaml") == {"mac": "10:20:30:40:50:10"}


def test_a_yaml_key_is_the_text_that_is_written() -> None:
    assert load(b"1: a\non: b\nnull: c\n1.0: d", name="f.yaml") == {
        "1": "a",
        "on": "b",
        "null": "c",
        "1.0": "d",
    }


def test_an_alias_repeats_what_its_anchor_named() -> None:
    text = b"base: &b {cpu: 5, cores: [1]}\none: *b\ntwo: [*b, *b]\n"
    read = load(text, name="f.yaml")
    value = {"cpu": 5, "cores": [1]}
    assert read == {"base": value, "one": value, "two": [value, value]}


def test_an_alias_of_text_may_be_a_key() -> None:
    assert load(b"a: &name web\n*name : 1", name="f.yaml") == {"a": "web", "web": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [("f.json", b"a: 1"), ("F.JSON", b"a: 1"), ("-", b'\n {"a": 1,}'), ("body", b"[1,]")],
)
def test_the_name_or_else_the_first_letter_tells_that_text_is_json(name: str, text: bytes) -> None:
    assert "expected JSON" in refusal(text, name)


@pytest.mark.parametrize(
    ("name", "text"), [("f.yaml", b"{a: 1,}"), ("f.YML", b"{a: 1}"), ("-", b"a: 1")]
)
def test_all_other_text_is_yaml(name: str, text: bytes) -> None:
    assert load(text, name=name) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1\nb: [1\n", "f.yaml, line 3, column 1: expected YAML: "),
        (b"a: 1\nb: \xff\n", "f.yaml, line 2: expected UTF-8: invalid start byte"),
        (b"a: 1\nb: \x01\n", "f.yaml, line 2: expected YAML: control characters"),
        (b"a: 1\nb: 2\na: 3\n", 'f.yaml, line 3, column 1: expected each key once, got "a" again'),
        (b"{a: 1, a: 2}", 'column 8: expected each key once, got "a" again'),
        (b"1: a\n'1': b\n", 'line 2, column 1: expected each key once, got "1" again'),
        (b"a: !!python/object/apply:os.system [ls]", "without a tag, got `!!python/object/apply:"),
        (b"a: !mine 1", "line 1, column 4: expected a value without a tag, got `!mine`"),
        (b"a: !!str 1", "without a tag, got `!!str`"),
        (b"!!map {a: 1}", "without a tag, got `!!map`"),
        (b"a: &x {b: 1}\nc:\n  <<: *x\n", "line 3, column 3: expected the keys themselves"),
        (b"a: 1\n---\nb: 2\n", "line 2, column 1: expected one document"),
        (b"a: .nan", "line 1, column 4: expected a finite number"),
        (b"a: -.INF", "line 1, column 4: expected a finite number"),
        (b"a: 1e999", "line 1, column 4: expected a finite number"),
        (b"a: 9223372036854775808", "expected an integer of at most 64 bits"),
        (b"a: " + b"9" * 100_000, "expected an integer of at most 64 bits"),
        (b'a: "\\0"', "expected text without the character U+0000"),
        (b'"\\0": 1', "expected text without the character U+0000"),
        (b'a: "\\ud800"', "line 1, column 7: expected YAML"),
        (b"? [a]\n: 1", "line 1, column 3: expected a key that is text"),
        (b"a: &x 1\n*x : 2", "line 2, column 1: expected a key that is text"),
        (b"a: *nobody", "expected an anchor that ends before here, got `*nobody`"),
        (b"a: &a [*a]", "expected an anchor that ends before here, got `*a`"),
        (b"[" * 65 + b"]" * 65, "line 1, column 65: expected at most 64 levels of nesting"),
        (b"- a\n" * 100_001, "line 100000, column 3: expected at most 100000 values"),
    ],
)
def test_yaml_that_is_refused_says_where_and_what_was_expected(text: bytes, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1,\n "b": }', "f.json, line 2, column 7: expected JSON: Expecting value"),
        (b'{"a": \xff}', "f.json, line 1: expected UTF-8"),
        (
            b'{"x": [{"a": 1, "b": 2, "a": 3}]}',
            'f.json, at $.x[0]: expected each key once, got "a"',
        ),
        (b'{"a": [NaN]}', "f.json, at $.a[0]: expected a finite number"),
        (b'{"a": -Infinity}', "at $.a: expected a finite number"),
        (b'{"a": 1e999}', "at $.a: expected a finite number"),
        (b'{"a": 9223372036854775808}', "at $.a: expected an integer of at most 64 bits"),
        (b"9" * 100_000, "at $: expected an integer of at most 64 bits"),
        (b'{"a": "\\u0000"}', "at $.a: expected text without the character U+0000"),
        (b'{"\\u0000": 1}', "at $: expected text without the character U+0000"),
        (b'{"a": "\\ud800"}', "at $.a: expected whole characters"),
        (b"[" * 65 + b"]" * 65, "f.json: expected at most 64 levels of nesting"),
        (b"[" * 500_000, "f.json: expected at most 64 levels of nesting"),
        (b"[" + b"1," * 100_000 + b"1]", "f.json: expected at most 100000 values"),
    ],
)
def test_json_that_is_refused_says_where_and_what_was_expected(text: bytes, message: str) -> None:
    assert message in refusal(text, "f.json")


@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_a_text_of_more_than_a_mebibyte_is_refused_by_its_size_alone(name: str) -> None:
    size = bounds.SIZE_MAX_BYTES
    assert refusal(b"#" * (size + 1), name) == (
        f"{name}: expected at most {size} bytes, got {size + 1}"
    )
    assert load(b" " * size, name=name) is None


@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_sixty_four_levels_are_read_in_both_languages(name: str) -> None:
    read = load(b"[" * 64 + b"]" * 64, name=name)
    for _ in range(63):
        assert isinstance(read, list)
        (read,) = read
    assert read == []


def test_a_yaml_bomb_is_refused_before_it_is_expanded() -> None:
    lines = [b"a: &a [" + b"x," * 9 + b"x]"]
    for letter in range(ord("b"), ord("z")):
        before = b"*%c," % (letter - 1)
        lines.append(b"%c: &%c [%s]" % (letter, letter, before * 10))
    started = time.monotonic()
    assert "expected at most 100000 values, aliases counted" in refusal(b"\n".join(lines))
    assert time.monotonic() - started < TIME_MAX_S


def test_aliases_cannot_build_a_tree_that_is_deeper_than_the_text() -> None:
    nested = b"".join(b"- &a%d %s*a%d%s\n" % (n + 1, b"[" * 30, n, b"]" * 30) for n in range(5))
    assert "expected at most 64 levels" in refusal(b"- &a0 []\n" + nested)


@pytest.mark.parametrize(
    "piece",
    [b"[", b"- ", b"{a: ", b"[a, ", b"a: ", b"- a\n", b"&a ", b"'", b'"', b"9", b"9.", b"!", b"%",
     b"|\n", b": ", b"? - ", b"a\n", b"\t", b"{", b'{"a":', b"\\", b"&a *a ", b"- &a b\n- *a\n"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_a_mebibyte_of_one_piece_over_and_over_ends_in_time(piece: bytes, name: str) -> None:
    text = (piece * (bounds.SIZE_MAX_BYTES // len(piece)))[: bounds.SIZE_MAX_BYTES]
    started = time.monotonic()
    answer = outcome(text, name)
    assert time.monotonic() - started < TIME_MAX_S
    assert len(str(answer)) < 1000 or not isinstance(answer, InvalidInput)


def test_the_pure_python_parser_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        b"a: &x [1, '1', 1e3, no]\nb: *x",
        b"a: !!str 1",
        b"a: 1\na: 2",
        b"a: .nan",
        b"a: \x01",
    ]

    usual = [str(outcome(text, "f.yaml")) for text in texts]
    monkeypatch.setattr(yaml_text, "_Loader", yaml.SafeLoader)
    assert [str(outcome(text, "f.yaml")) for text in texts] == usual


@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=300), name=st.sampled_from(["f.yaml", "f.json", "-"]))
def test_arbitrary_bytes_raise_nothing_but_invalid_input(text: bytes, name: str) -> None:
    answer = outcome(text, name)
    assert not isinstance(answer, InvalidInput) or answer.field.startswith(name)


YAML_LETTERS = st.text(
    alphabet=st.sampled_from("ab1.-:,[]{}&*!|>'\"%#?~ \n\t\\<=e0é\U0001f600"), max_size=200
)


@settings(max_examples=500, deadline=None)
@given(
    text=st.one_of(st.text(max_size=200), YAML_LETTERS), name=st.sampled_from(["f.yaml", "f.json"])
)
def test_arbitrary_text_raises_nothing_but_invalid_input(text: str, name: str) -> None:
    answer = outcome(text.encode("utf-8", "surrogatepass"), name)
    if not isinstance(answer, InvalidInput):
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8")


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-bounds.INTEGER_MAX, bounds.INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(LETTERS, max_size=10), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(value=PLAIN)
def test_whatever_json_can_say_is_read_back_unchanged(value: object) -> None:
    assert load_json(json.dumps(value).encode(), name="body") == value


def test_the_yaml_parser_is_not_imported_before_there_is_yaml() -> None:
    program = "import sys, roheletd.documents as d; d.load(b'[]', name='-'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    modules = done.stdout.split()
    assert b"roheletd.documents" in modules
    assert b"yaml" not in modules
