"""Which broker, at which address, how soon again: decisions without a broker."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.broker import Address, choose, parse_url, pause_s, url_of
from roheletd.config import BrokerConfig
from roheletd.errors import InvalidInput, Unavailable

FOUND = "/usr/sbin/mosquitto"
URLS = ("mqtt://broker.lan", "mqtts://other.lan")


@pytest.mark.parametrize(
    ("config", "mosquitto", "amqtt", "mode", "why"),
    [
        (BrokerConfig(urls=URLS), FOUND, True, "external", "mqtt://broker.lan, mqtts://other"),
        (BrokerConfig(mode="external", urls=URLS), None, False, "external", "in the configuration"),
        (BrokerConfig(), FOUND, True, "managed", "mosquitto found at /usr/sbin/mosquitto"),
        (BrokerConfig(mode="managed", urls=URLS), FOUND, True, "managed", "mosquitto found at"),
        (BrokerConfig(), None, True, "embedded", "no URL, and mosquitto not found"),
        (BrokerConfig(mode="embedded"), FOUND, True, "embedded", "as configured"),
    ],
)
def test_the_broker_that_is_chosen_and_why(config, mosquitto, amqtt, mode, why):
    choice = choose(config, mosquitto=mosquitto, amqtt=amqtt)
    assert choice.mode == mode
    assert choice.why.startswith(f"{mode}: ")
    assert why in choice.why


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        (BrokerConfig(), "apt-get install mosquitto.*broker.urls.*pip install"),
        (BrokerConfig(mode="managed"), "apt-get install mosquitto"),
        (BrokerConfig(mode="embedded"), r"pip install 'roheletd\[embedded\]'"),
    ],
)
def test_where_no_broker_is_possible_the_remedy_is_named(config, remedy):
    with pytest.raises(Unavailable, match=remedy):
        choose(config, mosquitto=None, amqtt=False)


def test_a_wrong_url_is_named_by_its_place_in_the_configuration():
    with pytest.raises(InvalidInput) as refusal:
        choose(BrokerConfig(urls=("mqtt://a", "http://b")), mosquitto=None, amqtt=False)
    assert refusal.value.field == "$.broker.urls[1]"
    with pytest.raises(InvalidInput, match="at least one URL"):
        choose(BrokerConfig(mode="external"), mosquitto=FOUND, amqtt=True)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://a", "a", 1883, False),
        ("mqtts://a.lan", "a.lan", 8883, True),
        ("mqtt://a:1/", "a", 1, False),
        ("MQTT://A:65535", "a", 65_535, False),
        ("mqtt://[::1]:1884", "::1", 1884, False),
        ("mqtt://bücher.example", "xn--bcher-kva.example", 1883, False),
    ],
)
def test_a_url_is_taken_apart(url, host, port, tls):
    assert parse_url(url) == Address(url, host, port, tls)


@pytest.mark.parametrize(
    "url",
    ["", "a", "http://a", "mqtt://", "mqtt://a:0", "mqtt://a:65536", "mqtt://a:b", "mqtt://a/topic",
     "mqtt://a?x", "mqtt://a#x", "mqtt://[::1", "mqtt://" + "a" * 70, "mqtt://a..b"],
)  # fmt: skip
def test_what_is_no_broker_url_is_refused_with_an_example(url):
    with pytest.raises(InvalidInput, match=r"mqtt://HOST\[:PORT\]"):
        parse_url(url)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(InvalidInput, match=r"broker\.password_file") as refusal:
        parse_url("mqtt://me:secret@a")
    assert "secret" not in str(refusal.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    for url in (text, f"mqtt://{text}"):
        try:
            address = parse_url(url)
        except InvalidInput:
            continue
        assert address.host
        assert 0 < address.port < 65_536


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "mqtt://127.0.0.1:9471"),
        ("0.0.0.0", "mqtt://127.0.0.1:9471"),
        ("::", "mqtt://[::1]:9471"),
        ("192.0.2.7", "mqtt://192.0.2.7:9471"),
    ],
)
def test_where_this_machine_reaches_its_own_broker(listen, url):
    assert url_of(listen, 9471) == url
    assert parse_url(url).port == 9471


def test_pauses_grow_to_two_seconds_or_to_thirty_once_refused():
    rng = Random(0)
    for attempt in range(2000):
        assert 0.05 <= pause_s(attempt, refused=False, rng=rng) <= 2
        assert 1 <= pause_s(attempt, refused=True, rng=rng) <= 30
    assert pause_s(0, refused=False, rng=rng) <= 0.1
    assert pause_s(10, refused=True, rng=rng) >= 15
