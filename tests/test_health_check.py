"""What a person may get wrong about a health check, and what they are told."""

import msgspec
import pytest

from roheletd.model import Port, Service, contradiction
from roheletd.upkeep import ExecCheck, HealthCheck, HttpCheck, TcpCheck
from tests.builders import a_service

ONE_OF_THREE = ("health", "expected exactly one of http, tcp and exec")


def wrong(**health: object) -> tuple[str, str] | None:
    return contradiction(a_service(health=HealthCheck(**health)))  # type: ignore[arg-type]


def test_a_check_is_of_exactly_one_kind() -> None:
    http, tcp = HttpCheck(port=80), TcpCheck(port=80)
    command = ExecCheck(command=("true",))
    assert wrong() == ONE_OF_THREE
    assert wrong(http=http, tcp=tcp) == ONE_OF_THREE
    assert wrong(http=http, tcp=tcp, exec=command) == ONE_OF_THREE
    for kind in ({"http": http}, {"tcp": tcp}, {"exec": command}):
        assert wrong(**kind) is None


def test_a_check_ends_before_the_next_one_begins() -> None:
    tcp = TcpCheck(port=80)
    assert wrong(tcp=tcp, interval_s=1.0, timeout_s=3.0) == (
        "health.timeout_s",
        "expected at most interval_s (1), got 3",
    )
    assert wrong(tcp=tcp, interval_s=3.0, timeout_s=3.0) is None
    assert wrong(tcp=tcp, interval_s=1.0) is None


def test_a_check_that_does_not_say_how_long_it_may_take_has_three_seconds_or_its_interval() -> None:
    tcp = TcpCheck(port=80)
    assert HealthCheck(tcp=tcp).patience_s == 3.0
    assert HealthCheck(tcp=tcp, interval_s=1.0).patience_s == 1.0
    assert HealthCheck(tcp=tcp, timeout_s=0.5).patience_s == 0.5


@pytest.mark.parametrize("path", ["healthz", "/a b", "/a\nHost: b", "/#top", "http://other/"])
def test_a_path_is_one_that_can_be_asked_for(path: str) -> None:
    assert wrong(http=HttpCheck(port=80, path=path)) == (
        "health.http.path",
        f"expected /... without spaces or #, got {path!r}",
    )


@pytest.mark.parametrize("path", ["/", "/healthz", "/a/b?deep=1&x=%20"])
def test_paths_with_a_query_and_escapes_are_fine(path: str) -> None:
    assert wrong(http=HttpCheck(port=80, path=path)) is None


def test_a_port_that_is_not_among_those_of_the_service_may_be_checked() -> None:
    service = a_service(
        ports=(Port(container_port=80),), health=HealthCheck(tcp=TcpCheck(port=8081))
    )
    assert contradiction(service) is None


@pytest.mark.parametrize(
    ("health", "fault"),
    [
        ({"tcp": {"port": 0}}, "port"),
        ({"tcp": {"port": 80}, "interval_s": 0}, "interval_s"),
        ({"tcp": {"port": 80}, "unhealthy_after": 0}, "unhealthy_after"),
        ({"exec": {"command": []}}, "exec.command"),
        ({"http": {"port": 80, "verb": "PUT"}}, "verb"),
        ({"tcp": {"port": 80}, "retries": 3}, "retries"),
    ],
)
def test_what_is_out_of_range_or_unknown_is_named(health: object, fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=fault):
        msgspec.convert({"name": "web", "image": "web:1", "health": health}, Service)
