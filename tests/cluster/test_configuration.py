"""Config maps and secrets in the agreed state: generations, who uses them, what is refused."""

import pytest

from roheletd.cluster.commands import (
    AddServices,
    Applied,
    Missing,
    Outcome,
    Place,
    Proposal,
    Rejected,
    RemoveConfigMap,
    RemoveSecret,
    RollBack,
    SetConfigMap,
    SetSecret,
    decode,
    encode,
)
from roheletd.cluster.configuration import GENERATIONS_MAX, Sealed
from roheletd.cluster.configuring import ONE_BYTES_MAX
from roheletd.cluster.state import decode as decode_state
from roheletd.cluster.state import encode as encode_state
from roheletd.model import Placement, contradiction
from roheletd.upkeep import Inclusion, Volume
from tests.builders import Driver, a_service, with_services

DB = Inclusion(name="db")


def of(outcome: Outcome) -> dict[str, str]:
    assert isinstance(outcome, Applied), outcome
    return outcome.changed


def refused(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def a_map(name: str = "db", *, replace: bool = False, **values: str) -> SetConfigMap:
    encoded = {key: value.encode() for key, value in values.items()}
    return SetConfigMap(name=name, values=encoded, replace=replace)


def a_secret(box: bytes, mark: bytes = b"m") -> SetSecret:
    return SetSecret(name="db", values={"password": Sealed(box=box, mark=mark)})


def given(driver: Driver, service: str = "web") -> list[dict[str, object]]:
    """What each edition of a service is given, the newest first."""
    editions = driver.state.services[service].editions
    configuration = driver.state.configuration
    return [
        dict(configuration.values(it.kind, it.name, it.version) or {})
        for edition in editions
        for it in configuration.included(edition)
    ]


def through(driver: Driver, service: str = "web") -> None:
    """The rollout under way has come to its end."""
    driver.apply(driver.end_of_rollout(service, succeeded=True))


def in_use(*names: str) -> Driver:
    """Services with an instance that are given `db`, whose first value is `one`."""
    driver = with_services()
    driver.apply(a_map(host="one"))
    for name in names or ("web",):
        run(driver, name)
    return driver


def run(driver: Driver, name: str) -> None:
    driver.apply(AddServices(services=(a_service(name, config_maps=(DB,)),)))
    revision = driver.state.services[name].revision
    at = Placement(instance=f"{name}.1", service=name, node="pi", revision=revision)
    driver.apply(Place(placements=(at,)))


def test_keys_are_set_one_by_one_unless_all_are_replaced() -> None:
    driver = Driver()
    assert of(driver.apply(a_map(host="a", port="1"))) == {"db": "added"}
    assert of(driver.apply(a_map(port="2"))) == {"db": "updated"}
    newest = driver.state.configuration.newest("config map", "db")
    assert newest is not None
    assert newest.values == {"host": b"a", "port": b"2"}
    assert of(driver.apply(a_map(port="2", replace=True))) == {"db": "updated"}
    newest = driver.state.configuration.newest("config map", "db")
    assert newest is not None
    assert newest.values == {"port": b"2"}


def test_an_equal_value_changes_nothing_and_needs_no_entry() -> None:
    driver = in_use()
    revision = driver.state.services["web"].revision
    proposal = Proposal(id="again", command=a_map(host="one"))
    assert driver.state.foresee(proposal) == Applied(changed={"db": "unchanged"})
    driver.apply(a_map(host="one"))
    assert driver.state.services["web"].revision == revision


def test_an_equal_secret_is_known_by_its_mark_though_it_was_encrypted_anew() -> None:
    driver = Driver(a_secret(b"first"))
    assert of(driver.apply(a_secret(b"second"))) == {"db": "unchanged"}
    assert of(driver.apply(a_secret(b"third", mark=b"other"))) == {"db": "updated"}


def test_the_same_secret_asked_for_twice_is_one_command_also_while_the_first_is_on_its_way() -> (
    None
):
    assert a_secret(b"first") == a_secret(b"second")
    assert a_secret(b"first") != a_secret(b"second", mark=b"other")


def test_a_secret_that_is_sent_again_under_its_id_is_done_once() -> None:
    driver = Driver()
    first = driver.apply(a_secret(b"first"), command_id="one")
    assert driver.apply(a_secret(b"second"), command_id="one") == first
    assert "another command" in refused(
        driver.apply(a_secret(b"third", mark=b"other"), command_id="one")
    )


def test_a_change_is_a_new_revision_of_the_services_that_are_given_it_and_of_no_other() -> None:
    driver = in_use()
    driver.apply(AddServices(services=(a_service("other"),)))
    other = driver.state.services["other"].revision
    driver.apply(a_map(host="two"))
    assert driver.state.services["web"].revision == driver.state.applied_index
    assert driver.state.services["web"].is_changing
    assert driver.state.services["other"].revision == other


def test_until_it_is_replaced_an_instance_has_the_values_that_it_was_started_with() -> None:
    driver = in_use()
    driver.apply(a_map(host="two"))
    assert given(driver) == [{"host": b"two"}, {"host": b"one"}]


def test_a_rollback_brings_the_values_of_then_back() -> None:
    driver = in_use()
    driver.apply(a_map(host="two"))
    through(driver)
    driver.apply(RollBack(name="web"))
    assert given(driver)[0] == {"host": b"one"}


def test_a_failed_change_goes_back_to_what_ran_however_often_it_is_tried() -> None:
    driver = in_use()
    for value in ("two", "three", "four"):
        driver.apply(a_map(host=value))
        driver.apply(driver.end_of_rollout(succeeded=False, reason="unhealthy"))
        assert given(driver)[0] == {"host": b"one"}
        through(driver)


def test_only_generations_that_may_still_be_used_are_kept() -> None:
    driver = in_use()
    for number in range(30):
        driver.apply(a_map(host=str(number)))
        through(driver)
    kept = driver.state.configuration.saved().config_maps["db"]
    assert [it.values["host"] for it in kept] == [b"27", b"28", b"29"]


def test_they_are_bounded_however_many_services_stay_behind() -> None:
    driver = in_use()
    for number in range(2 * GENERATIONS_MAX):
        run(driver, f"s{number}")
        driver.apply(a_map(host=str(number)))
        driver.apply(driver.end_of_rollout(f"s{number}", succeeded=False))
    assert len(driver.state.configuration.saved().config_maps["db"]) <= GENERATIONS_MAX
    assert all(given(driver, name) for name in driver.state.services)


@pytest.mark.parametrize(
    ("field", "remedy"),
    [
        ("config_maps", "needs the config map db, which is not there: `roheletd configmap set db"),
        ("secrets", "needs the secret db, which is not there: `roheletd secret set db"),
    ],
)
def test_a_service_that_includes_what_is_missing_is_refused(field: str, remedy: str) -> None:
    driver = with_services()
    wanting = AddServices(services=(a_service(**{field: (DB,)}),))
    assert remedy in refused(driver.apply(wanting))
    assert driver.state.services == {}


def test_what_a_service_is_given_is_not_removed() -> None:
    driver = in_use()
    driver.apply(AddServices(services=(a_service("two", config_maps=(DB,)),)))
    removal = RemoveConfigMap(name="db")
    assert "used by the services two, web" in refused(driver.apply(removal))
    driver.apply(AddServices(removed=("two",)))
    assert "used by service web" in refused(driver.apply(removal))
    driver.apply(AddServices(services=(a_service(),)))
    assert "used by service web" in refused(driver.apply(removal)), "it may be rolled back"
    through(driver)
    assert of(driver.apply(removal)) == {"db": "removed"}


def test_there_is_no_way_back_to_what_needs_a_removed_one() -> None:
    driver = in_use()
    driver.apply(AddServices(services=(a_service(),)))
    through(driver)
    driver.apply(RemoveConfigMap(name="db"))
    assert "needs the config map db" in refused(driver.apply(RollBack(name="web")))
    driver.apply(a_map(host="new"))
    driver.apply(RollBack(name="web"))
    assert given(driver)[0] == {"host": b"new"}


@pytest.mark.parametrize("field", ["config_maps", "secrets"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/proc/self", "expected a path below / and not in /proc"),
        ("//", "expected a path below /"),
        ("/data/", "expected another path than that of a volume"),
    ],
)
def test_files_have_a_place_that_nothing_else_is_mounted_at(
    field: str, path: str, expected: str
) -> None:
    volume = Volume(path="/data", tmpfs_mib=1)
    items = (
        Inclusion(name="a"),
        Inclusion(name="b", path="/etc/b"),
        Inclusion(name="c", path=path),
    )
    wrong = contradiction(a_service(volumes=(volume,), **{field: items}))
    assert wrong is not None
    assert wrong[0] == f"{field}[2].path"
    assert expected in wrong[1]


def test_several_may_share_one_folder() -> None:
    items = (Inclusion(name="a", path="/run/secrets"), Inclusion(name="b", path="/run/secrets/"))
    assert contradiction(a_service(secrets=items)) is None


def test_what_is_not_there_cannot_be_removed() -> None:
    for command in (RemoveConfigMap(name="db"), RemoveSecret(name="db")):
        assert isinstance(Driver().apply(command), Missing)


def test_a_config_map_and_a_secret_of_one_name_are_two_things() -> None:
    driver = Driver(a_map(host="one"), a_secret(b"box"))
    driver.apply(RemoveConfigMap(name="db"))
    assert driver.state.configuration.names("secret") == ["db"]


def test_one_has_a_largest_size_and_all_of_them_have_one() -> None:
    driver = Driver()
    assert "at most 262144" in refused(driver.apply(a_map(host="x" * ONE_BYTES_MAX)))
    most = "x" * (ONE_BYTES_MAX - 10)
    for number in range(32):
        driver.apply(a_map(f"c{number}", host=most))
    assert "remove what is not needed" in refused(driver.apply(a_map("last", host=most)))


def test_what_no_edition_uses_any_more_takes_no_room_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roheletd.cluster.configuring.ALL_BYTES_MAX", 1000)
    driver = in_use()
    for number in range(6):
        driver.apply(a_map(host=f"{number}" * 100))
    assert "all config maps and secrets, with those that a rollback needs, would have" in refused(
        driver.apply(a_map("other", host="x" * 500))
    )
    run(driver, "web")
    through(driver)
    assert of(driver.apply(a_map("other", host="x" * 500))) == {"other": "added"}
    assert len(driver.state.configuration.saved().config_maps["db"]) == 2


def test_there_are_at_most_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roheletd.cluster.configuring.NAMES_MAX", 2)
    driver = Driver(a_map("a", k="1"), a_map("b", k="1"))
    assert "there are 2 config maps already" in refused(driver.apply(a_map("c", k="1")))
    assert of(driver.apply(a_map("b", k="2"))) == {"b": "updated"}


def test_commands_and_the_state_survive_their_encoding() -> None:
    for command in (a_map(host="one"), a_secret(b"box"), RemoveSecret(name="db")):
        assert decode(encode(Proposal(id="x", command=command))).command == command
    driver = Driver(a_map(host="one"), a_secret(b"box"))
    saved = driver.state.saved()
    assert decode_state(encode_state(saved)) == saved
    kept = decode_state(encode_state(saved)).configuration.secrets["db"][0].values["password"]
    assert isinstance(kept, Sealed)
    assert kept.box == b"box"
