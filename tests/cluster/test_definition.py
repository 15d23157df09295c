"""A service through its changes: editions, rollouts, and the way back."""

import pytest
from msgspec.structs import replace

from roheletd.cluster.definition import (
    EDITIONS_MAX,
    Definition,
    defined,
    ended,
    redefined,
    revised,
    rolled_back,
)
from roheletd.upkeep import UpdatePolicy
from tests.builders import a_service

ONE, TWO, THREE = (a_service(image=f"web:{number}", replicas=3) for number in (1, 2, 3))


def changed_once() -> Definition:
    return redefined(defined(2, ONE), 5, TWO)


def failed(known: Definition) -> Definition:
    return ended(known, 9, succeeded=False, reason="web.1 on pi: exit code 1")


def test_a_new_service_has_no_rollout() -> None:
    known = defined(2, ONE)
    assert (known.revision, known.rollout, known.before) == (2, None, None)


def test_a_change_begins_a_rollout_and_remembers_what_was_before() -> None:
    known = changed_once()
    assert known.is_changing
    assert (known.revision, known.service) == (5, TWO)
    assert known.before is not None
    assert (known.before.revision, known.before.service) == (2, ONE)
    assert known.edition(2) == known.before


def test_a_change_of_how_many_there_are_begins_none() -> None:
    known = redefined(defined(2, ONE), 5, replace(ONE, replicas=7))
    assert (known.revision, known.rollout, known.service.replicas) == (2, None, 7)


def test_a_rollout_that_succeeds_forgets_all_but_the_way_back() -> None:
    known = ended(changed_once(), 9, succeeded=True, reason="")
    assert known.rollout is not None
    assert known.rollout.state == "completed"
    assert not known.is_changing
    assert known.old == ()
    assert known.edition(2) is not None


def test_a_rollout_that_fails_goes_back_to_the_revision_that_is_still_running() -> None:
    known = failed(changed_once())
    assert (known.revision, known.service) == (2, ONE)
    assert known.rollout is not None
    assert (known.rollout.state, known.rollout.failed) == ("rolling back", 5)
    assert known.rollout.reason == "web.1 on pi: exit code 1"
    assert known.edition(5) is not None, "instances of it run until they are replaced"


def test_what_has_failed_is_nothing_to_go_back_to() -> None:
    known = ended(failed(changed_once()), 12, succeeded=True, reason="")
    assert known.before is None
    assert known.rollout is not None
    assert known.rollout.state == "rolled back"


def test_a_way_back_that_fails_as_well_stands_still() -> None:
    known = failed(failed(changed_once()))
    assert known.is_paused
    assert known.revision == 2


def test_a_policy_may_leave_it_to_a_person() -> None:
    pausing = replace(TWO, update=UpdatePolicy(on_failure="pause"))
    known = failed(redefined(defined(2, ONE), 5, pausing))
    assert known.is_paused
    assert known.revision == 5


def test_a_change_in_the_middle_of_another_goes_back_past_both() -> None:
    known = failed(redefined(changed_once(), 7, THREE))
    assert (known.revision, known.service) == (2, ONE)
    assert known.edition(5) is not None
    assert known.edition(7) is not None


def test_defining_it_as_it_was_before_in_the_middle_of_a_rollout_is_the_way_back() -> None:
    known = redefined(changed_once(), 7, replace(ONE, replicas=4))
    assert (known.revision, known.service.replicas) == (2, 4)
    assert known.rollout is not None
    assert known.rollout.state == "rolling back"


def test_a_person_may_go_back_after_it_is_over_and_forth_again() -> None:
    known = ended(changed_once(), 9, succeeded=True, reason="")
    back = ended(rolled_back(known, 11, "asked for"), 13, succeeded=True, reason="")
    assert (back.revision, back.service) == (2, ONE)
    assert back.before is not None
    assert back.before.revision == 5


def test_going_back_keeps_the_number_of_instances_of_now() -> None:
    scaled = redefined(changed_once(), 6, replace(TWO, replicas=9))
    assert rolled_back(scaled, 8, "asked for").service == replace(ONE, replicas=9)


def test_a_restart_is_a_rollout_to_the_same_text() -> None:
    known = revised(defined(2, ONE), 6, ONE)
    assert (known.revision, known.service, known.is_changing) == (6, ONE, True)


@pytest.mark.parametrize("times", [3, 40])
def test_however_often_it_changes_few_editions_are_kept_and_the_good_one_among_them(
    times: int,
) -> None:
    known = defined(2, ONE)
    for number in range(times):
        known = redefined(known, 10 + number, replace(TWO, image=f"web:{number + 10}"))
    assert len(known.old) <= EDITIONS_MAX
    assert known.edition(2) is not None
