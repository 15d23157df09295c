"""Who gets the next connection."""

from roheletd.forwarding.balance import REST_S, REST_S_MAX, Balancer
from tests.forwarding.servers import endpoint

HERE = endpoint(1, "web.0", local=True)
A, B = endpoint(2, "web.1"), endpoint(3, "web.2")


def balancer(*endpoints: object) -> Balancer:
    made = Balancer()
    made.serve(endpoints)
    return made


def test_a_local_endpoint_goes_before_all_others() -> None:
    made = balancer(A, HERE, B)
    for _ in range(3):
        made.opened(HERE)
    assert made.order(0.0)[0] is HERE


def test_the_least_busy_goes_first_and_equals_take_turns() -> None:
    made = balancer(A, B)
    for it in (A, B, A, B):
        assert made.order(0.0)[0] is it
        made.opened(it)
    made.closed(B)
    assert made.order(0.0)[0] is B


def test_who_took_no_connection_rests_twice_as_long_each_time() -> None:
    made = balancer(HERE, B)
    made.failed(HERE, 10.0)
    assert made.order(10.0) == [B, HERE]
    assert made.order(10.0 + REST_S)[0] is HERE
    made.failed(HERE, 20.0)
    assert made.order(20.0 + REST_S)[0] is B
    assert made.order(20.0 + 2 * REST_S)[0] is HERE
    for it in range(2000):
        made.failed(HERE, 30.0 + it * REST_S_MAX)
    assert made.order(30.0 + 2000 * REST_S_MAX)[0] is HERE


def test_a_failure_at_rest_makes_the_rest_no_longer() -> None:
    made = balancer(HERE, B)
    for _ in range(10):
        made.failed(HERE, 0.0)
    assert made.order(REST_S)[0] is HERE


def test_what_comes_back_after_it_was_gone_has_a_clean_record() -> None:
    made = balancer(HERE, B)
    made.failed(HERE, 0.0)
    made.serve((B,))
    made.serve((HERE, B))
    assert made.order(0.0)[0] is HERE


def test_one_that_takes_a_connection_again_is_trusted_again() -> None:
    made = balancer(HERE, B)
    made.failed(HERE, 0.0)
    made.opened(HERE)
    made.closed(HERE)
    assert made.order(0.0)[0] is HERE
