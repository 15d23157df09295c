"""The configuration: closed, documented at every key, and refused in words."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.config import TIMINGS, Config, explain, parse
from roheletd.documents import load
from roheletd.errors import InvalidInput
from roheletd.reference import Key, keys

KEYS = list(keys(Config))


def refusal(document: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(document)
    return str(caught.value)


@pytest.mark.parametrize("nothing", [None, {}, {"node": {}, "api": {}}])
def test_every_key_may_be_left_out(nothing: object) -> None:
    assert parse(nothing) == Config()


def test_the_explanation_is_itself_a_configuration_equal_to_the_defaults() -> None:
    assert parse(load(explain().encode(), name="explained.yaml")) == Config()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_is_explained_with_its_reason_rule_and_default(key: Key) -> None:
    assert key.description, f"{key.path} has no description"
    text = " ".join(line.strip().lstrip("# ") for line in explain().splitlines())
    assert key.description in text
    assert key.is_section or f"({key.rule})" in text
    name = key.path.rpartition(".")[2]
    written = "" if key.is_section else f" {msgspec.json.encode(key.default).decode()}"
    assert f"{name}:{written}" in text


def test_the_explanation_names_every_key_of_the_types() -> None:
    def names(value: object, path: str) -> set[str]:
        if not isinstance(value, msgspec.Struct):
            return set()
        found = {f"{path}.{name}": getattr(value, name) for name in value.__struct_fields__}
        return set(found).union(*(names(inner, at) for at, inner in found.items()))

    assert {key.path for key in KEYS} == names(Config(), "$")


@pytest.mark.parametrize("name", ["lan", "wifi"])
def test_each_timing_lets_an_election_wait_for_several_heartbeats(name: str) -> None:
    timing = TIMINGS[name]
    assert parse({"cluster": {"timing": name}}).cluster.timing == name
    assert 4 * timing.heartbeat_s <= timing.election_min_s < timing.election_max_s


@pytest.mark.parametrize("address", ["192.168.1.7", "fd00::7", "pi4.local", "fe80::1%eth0"])
def test_an_address_is_given_as_people_write_it(address: str) -> None:
    config = parse({"node": {"address": address}, "broker": {"listen": address}})
    assert (config.node.address, config.broker.listen) == (address, address)


def test_a_time_has_its_unit_in_the_rule() -> None:
    rules = {key.path: key.rule for key in KEYS}
    assert rules["$.telemetry.interval_s"] == "a number of seconds above 0 up to 86400"
    assert rules["$.broker.keepalive_s"] == "a whole number of seconds from 2 up to 3600"
    assert all("seconds" in rule for path, rule in rules.items() if path.endswith("_s"))


def test_the_explanation_fits_a_terminal_of_100_columns() -> None:
    assert max(map(len, explain().splitlines())) < 100


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"telemetry": {"intervall_s": 1}},
            '$.telemetry.intervall_s: unknown key "intervall_s"; known here: interval_s',
        ),
        ({"telemetri": {}}, '$.telemetri: unknown key "telemetri"; known here: node, cluster'),
        ({5: 1}, "$: unknown key 5; known here: node"),
        ({"x` - at `$.foo": 1}, '$: unknown key "x` - at `$.foo"; known here: node'),
        ([], "$: expected a mapping, got a list"),
        ("node", '$: expected a mapping, got "node"'),
        ({"api": 5}, "$.api: expected a mapping, got 5"),
        ({"api": None}, "$.api: expected a mapping, got nothing"),
        (
            {"telemetry": {"interval_s": "1s"}},
            '$.telemetry.interval_s: expected a number of seconds above 0 up to 86400, got "1s"',
        ),
        ({"telemetry": {"interval_s": 0}}, "above 0 up to 86400, got 0"),
        ({"telemetry": {"interval_s": -1}}, "above 0 up to 86400, got -1"),
        ({"telemetry": {"interval_s": math.nan}}, "above 0 up to 86400, got nan"),
        ({"telemetry": {"interval_s": 10**400}}, "above 0 up to 86400, got a huge number"),
        ({"telemetry": {"interval_s": {}}}, "above 0 up to 86400, got a mapping"),
        ({"api": {"port": 65536}}, "$.api.port: expected a whole number from 1 up to 65535, got"),
        ({"api": {"port": True}}, "from 1 up to 65535, got true"),
        ({"api": {"enabled": "yes"}}, '$.api.enabled: expected true or false, got "yes"'),
        (
            {"broker": {"mode": "extern"}},
            '$.broker.mode: expected one of auto, embedded, external, managed, got "extern"',
        ),
        (
            {"allocation": {"strategy": "best"}},
            '$.allocation.strategy: expected one of best_fit, first_fit, worst_fit, got "best"',
        ),
        ({"cluster": {"name": "a b"}}, "$.cluster.name: expected null or a name (letters, "),
        ({"node": {"name": "n" * 64}}, "$.node.name: expected null or a name (letters, digits, "),
        (
            {"broker": {"urls": ["mqtt://a", "b:1883"]}},
            'mqtt://HOST[:PORT] or mqtts://HOST[:PORT], got "b:1883"',
        ),
        ({"broker": {"urls": "mqtt://a"}}, "$.broker.urls: expected a list of text: mqtt://HOST"),
        (
            {"allocation": {"weights": {"gpu": 1}}},
            "one of cpu, memory to a number from 0 up to 1000; inside it: Invalid enum value 'gpu'",
        ),
        ({"node": {"labels": {"a": 1}}}, "a mapping of text to text; inside it: Expected `str`"),
        (
            {"allocation": {"port_min": 30_000}},
            "$.allocation.port_min: expected at most port_max (29999), got 30000",
        ),
        (
            {"broker": {"mode": "external"}},
            "$.broker.urls: expected at least one URL with mode external",
        ),
        (
            {"cluster": {"role": "witness", "voter": "never"}},
            "$.cluster.voter: expected auto: a witness does nothing but vote",
        ),
        ({"cluster": {"timing": "fast"}}, '.timing: expected one of lan, wifi, got "fast"'),
        ({"cluster": {"replace_after_s": 0}}, "above 0 up to 86400, got 0"),
        (
            {"node": {"address": "pi4.local:9471"}},
            "$.node.address: expected null or text: an IP address or a host name, without a port, ",
        ),
        ({"broker": {"listen": "a b"}}, "$.broker.listen: expected null or text: an IP address"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_key_and_what_was_expected(document: object, message: str) -> None:
    assert message in refusal(document)


def test_a_refusal_is_short_however_long_the_input_is() -> None:
    assert len(refusal({"x" * 10_000: 1})) < 400
    assert len(refusal({"broker": {"mode": "x" * 10_000}})) < 400
    assert len(refusal({"node": {"labels": {f"l{n}": "x" for n in range(300)}}})) < 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from([key.path.rpartition(".")[2] for key in KEYS])
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(document=VALUES)
def test_random_documents_raise_nothing_but_invalid_input(document: object) -> None:
    try:
        config = parse(document)
    except InvalidInput as error:
        assert len(str(error)) < 600  # noqa: PT017 - both outcomes are right
    else:
        assert parse(msgspec.to_builtins(config)) == config
