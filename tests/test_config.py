"""The configuration: closed, documented at every key, and refused in words."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roheletd.config import TIMINGS, Config, WeightsConfig, explain, parse
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
            '.strategy: expected one of 0, 1, 2, best_fit, first_fit, worst_fit, got "best"',
        ),
        ({"allocation": {"strategy": 3}}, "best_fit, first_fit, worst_fit, got 3"),
        ({"allocation": {"strategy": "1"}}, 'best_fit, first_fit, worst_fit, got "1"'),
        ({"allocation": {"strategy": True}}, "best_fit, first_fit, worst_fit, got true"),
        ({"cluster": {"name": "a b"}}, "$.cluster.name: expected null or a name (letters, "),
        ({"node": {"name": "n" * 64}}, "$.node.name: expected null or a name (letters, digits, "),
        (
            {"broker": {"urls": ["mqtt://a", "b:1883"]}},
            'mqtt://HOST[:PORT] or mqtts://HOST[:PORT], got "b:1883"',
        ),
        ({"broker": {"urls": "mqtt://a"}}, "$.broker.urls: expected a list of text: mqtt://HOST"),
        (
            {"allocation": {"weights": {"disk": 1}}},
            '$.allocation.weights.disk: unknown key "disk"; known here: cpu, memory, balance, ',
        ),
        (
            {"allocation": {"weights": {"spread": -0.5}}},
            "$.allocation.weights.spread: expected a number from 0 up to 1000, got -0.5",
        ),
        ({"allocation": {"weights": {"gpu": math.nan}}}, "from 0 up to 1000, got nan"),
        ({"allocation": {"weights": {"gpu": math.inf}}}, "from 0 up to 1000, got inf"),
        ({"allocation": {"weights": {"gpu": 10**400}}}, "from 0 up to 1000, got a huge number"),
        ({"allocation": {"weights": {"gpu": "1"}}}, 'from 0 up to 1000, got "1"'),
        ({"allocation": {"weights": 0}}, "$.allocation.weights: expected a mapping, got 0"),
        ({"allocation": {"queue_priority": 4}}, "a whole number from 0 up to 3, got 4"),
        ({"allocation": {"queue_balance": -1}}, "a whole number from 0 up to 1000, got -1"),
        ({"allocation": {"queue_balance": 2.5}}, "a whole number from 0 up to 1000, got 2.5"),
        ({"allocation": {"preemption": 1}}, "$.allocation.preemption: expected true or false"),
        ({"allocation": {"rebalance_moves": 1001}}, "number from 0 up to 1000, got 1001"),
        (
            {"broker": {"urls": [1]}},
            "$.broker.urls[0]: expected a list of text: mqtt://HOST[:PORT] or mqtts://HOST",
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


@pytest.mark.parametrize("strategy", ["first_fit", "best_fit", "worst_fit", 0, 1, 2])
def test_a_strategy_is_given_by_its_name_or_by_its_number_in_rohe(strategy: object) -> None:
    assert parse({"allocation": {"strategy": strategy}}).allocation.strategy == strategy


def test_weights_are_fractions_and_one_that_is_not_given_keeps_its_default() -> None:
    weights = parse({"allocation": {"weights": {"cpu": 0.25, "image": 0}}}).allocation.weights
    assert weights == WeightsConfig(cpu=0.25, image=0.0)
    assert weights.balance == WeightsConfig().balance > 0


NONE_COUNTS = dict.fromkeys(WeightsConfig.__struct_fields__, 0)
ONLY_USER = {**NONE_COUNTS, "user": 1}


@pytest.mark.parametrize("weights", [NONE_COUNTS, ONLY_USER, {**NONE_COUNTS, "cpu": -0.0}])
def test_weights_of_which_none_counts_are_refused(weights: dict[str, float]) -> None:
    assert refusal({"allocation": {"weights": weights}}) == (
        "$.allocation.weights: expected at least one weight above 0, of cpu, memory, balance, "
        "contention, gpu, image, spread, temperature, power"
    )


def test_the_weight_of_an_algorithm_counts_where_there_is_one() -> None:
    parse({"allocation": {"weights": ONLY_USER, "algorithm": "mine:Mine"}})
    message = refusal({"allocation": {"weights": NONE_COUNTS, "algorithm": "mine:Mine"}})
    assert message.endswith("temperature, power, user")


@pytest.mark.parametrize("one", WeightsConfig.__struct_fields__)
def test_one_weight_is_enough(one: str) -> None:
    allocation = {"weights": {**NONE_COUNTS, one: 0.1}, "algorithm": "mine:Mine"}
    assert parse({"allocation": allocation}).allocation.algorithm == "mine:Mine"


@pytest.mark.parametrize("name", ["quiet:Quiet", "own_rules2:NightShift2", "_a:_B"])
def test_an_algorithm_is_named_by_module_and_class(name: str) -> None:
    assert parse({"allocation": {"algorithm": name}}).allocation.algorithm == name


@pytest.mark.parametrize(
    "name", ["", "quiet", "quiet:", ":Quiet", "a.b:C", ".a:C", "a:B.C", "a/b:C", "1a:B", "a:B\n"]
)
def test_an_algorithm_of_another_form_is_refused_with_an_example(name: str) -> None:
    message = refusal({"allocation": {"algorithm": name}})
    assert "$.allocation.algorithm: expected null or text: module:Class, e.g. " in message


def test_what_the_leader_does_by_itself_is_off_until_somebody_wants_it() -> None:
    section = parse({}).allocation
    assert (section.preemption, section.rebalance_moves, section.algorithm) == (False, 0, None)


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
