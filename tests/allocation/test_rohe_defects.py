"""What ROHE's allocator did wrong, as what must be true here; one test for each known defect.

The letters are those of the list that ROHE was examined by: A for the choice of a node, Q for the
queue, L for the life of services and nodes, N for the books.
"""

import pytest

from roheletd.allocation.queue import Waiting
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.allocation.view import snapshot
from roheletd.cluster.commands import AddNodes, AddServices, Applied, RemoveNode, RemoveService
from roheletd.cluster.state import decode, encode
from roheletd.config import parse
from roheletd.errors import InvalidInput
from roheletd.model import Capacity, Gpu, Service
from tests.allocation.passes import PROFILE, homes, run_pass, view_of
from tests.builders import Driver, a_node, a_service, with_services
from tests.loops.stage import in_virtual_time, running, settled
from tests.loops.test_runner import Stage as RunnerStage


def a_gpu(number: int = 0, *, kind: str = "gpu", **more: object) -> Gpu:
    return Gpu(**{"id": f"{kind}{number}", "kind": kind, "memory_mib": 2048, **more})  # type: ignore[arg-type]


def capacity(*gpus: Gpu, cores: int = 4, **more: object) -> Capacity:
    base = {"cores": dict.fromkeys(range(cores), 1000), "memory_mib": 4096, "gpus": gpus}
    return Capacity(**{**base, **more})  # type: ignore[arg-type]


# --- A: the choice of a node


def test_a1_an_exact_fit_is_a_fit() -> None:
    cluster = with_services(
        a_service(cores=(1000, 1000), memory_mib=1024), nodes=(a_node(cores=2, memory_mib=1024),)
    )
    run_pass(cluster)
    assert homes(cluster) == {"web.1": "pi"}


def test_a2_a_whole_gpu_goes_on_an_idle_gpu() -> None:
    cluster = with_services(
        a_service(accelerators={"gpu": 100}), nodes=(a_node(capacity=capacity(a_gpu())),)
    )
    run_pass(cluster)
    assert cluster.state.placements["web.1"].gpus == {"gpu0": 100}


def test_a3_a_service_that_asks_for_no_accelerator_needs_none() -> None:
    cluster = with_services(a_service(accelerators={}))
    run_pass(cluster)
    assert homes(cluster) == {"web.1": "pi"}


def test_a4_every_accelerator_that_is_asked_for_must_be_there_and_none_of_one_is_nothing() -> None:
    only_gpu, only_tpu = capacity(a_gpu()), capacity(a_gpu(kind="tpu"))
    cluster = with_services(
        a_service(accelerators={"gpu": 0, "tpu": 50}), nodes=(a_node(capacity=only_gpu),)
    )
    found = run_pass(cluster)
    assert set(found.unplaceable["web"].verdicts[0].refusals) == {"gpu"}
    cluster.apply(AddNodes(nodes=(a_node("coral", capacity=only_tpu),)))
    run_pass(cluster)
    assert homes(cluster) == {"web.1": "coral"}
    assert cluster.state.placements["web.1"].gpus == {"tpu0": 50}


def test_a5_a_vector_longer_than_the_node_is_refused_and_not_cut() -> None:
    cluster = with_services(a_service(cores=(100, 100, 900, 900)), nodes=(a_node(cores=2),))
    found = run_pass(cluster)
    assert found.unplaceable["web"].verdicts[0].refusals == {"cores": "needs 4 cores, it has 2"}


def test_a6_virtual_memory_is_booked_and_refused_when_it_is_short() -> None:
    cluster = with_services(
        a_service(replicas=2, vms_mib=600), nodes=(a_node(capacity=capacity(vms_mib=1000)),)
    )
    found = run_pass(cluster)
    assert homes(cluster) == {"web.1": "pi"}
    assert found.unplaceable["web"].reason.endswith("600 MiB of virtual memory, 400 are free")


@pytest.mark.parametrize("liveness", ["suspect", "lost", "never seen"])
def test_a7_only_a_node_that_is_alive_takes_new_instances(liveness: str) -> None:
    cluster = with_services(a_service(), nodes=(a_node("a"), a_node("b")))
    gone = Condition(liveness=liveness)  # type: ignore[arg-type]
    run_pass(cluster, conditions={"a": gone})
    assert homes(cluster) == {"web.1": "b"}


def test_a8_best_fit_takes_the_fullest_node_and_worst_fit_the_emptiest() -> None:
    def home_of_the_second(strategy: str) -> str:
        cluster = with_services(nodes=(a_node("a"), a_node("b")))
        for name in ("first", "second"):
            service = a_service(name, cores=(500,), memory_mib=500, strategy=strategy)
            cluster.apply(AddServices(services=(service,)))
            run_pass(cluster)
        return "beside" if len(set(homes(cluster).values())) == 1 else "apart"

    assert home_of_the_second("best_fit") == "beside"
    assert home_of_the_second("worst_fit") == "apart"


def test_a9_of_two_gpus_only_the_one_that_is_given_is_charged() -> None:
    node = a_node(capacity=capacity(a_gpu(0), a_gpu(1)))
    cluster = with_services(a_service(accelerators={"gpu": 30}, gpu_memory_mib=512), nodes=(node,))
    run_pass(cluster)
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes["pi"].gpus
    assert [(item.percent, item.memory_mib) for item in free] == [(70, 1536), (100, 2048)]


def test_a10_cores_keep_their_ids_whatever_comes_and_goes() -> None:
    cluster = with_services(a_service("long", cores=(900, 100)), a_service("short", cores=(500,)))
    run_pass(cluster)
    before = {name: at.cores for name, at in cluster.state.placements.items()}
    assert before == {"long.1": {0: 900, 1: 100}, "short.1": {2: 500}}
    cluster.apply(RemoveService(name="long"))
    cluster.apply(AddServices(services=(a_service("next", cores=(200,)),)))
    run_pass(cluster)
    assert cluster.state.placements["short.1"].cores == before["short.1"]
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes["pi"].cores
    assert free == {0: 800, 1: 1000, 2: 500, 3: 1000}


def test_a11_no_core_of_an_unequal_node_is_given_more_than_it_has() -> None:
    unequal = Capacity(cores={0: 500, 1: 1000, 2: 1000, 3: 2000}, memory_mib=4096)
    cluster = with_services(
        a_service("big", cores=(1500,)),
        a_service("small", cores=(100,), replicas=5),
        nodes=(a_node(capacity=unequal),),
    )
    found = run_pass(cluster)
    assert cluster.state.placements["big.1"].cores == {3: 1500}
    assert not found.unplaceable
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes["pi"].cores
    assert min(free.values()) >= 0
    assert sum(free.values()) == 4500 - 1500 - 500


def test_a12_a_weight_that_is_not_given_has_a_default() -> None:
    cluster = with_services(a_service(cores=(500,)))
    run_pass(cluster, profile=Profile(weights={"cpu": 0.5}))
    assert {"cpu", "memory", "spread"} <= cluster.state.placements["web.1"].terms.keys()


@pytest.mark.parametrize("unknown", [3, "emptiest"])
def test_a12_an_unknown_strategy_is_refused_by_name(unknown: object) -> None:
    with pytest.raises(InvalidInput, match="strategy"):
        parse({"allocation": {"strategy": unknown}})


def test_a12_a_weight_may_be_a_fraction() -> None:
    assert parse({"allocation": {"weights": {"cpu": 0.5}}}).allocation.weights.cpu == 0.5


def test_a13_what_no_single_device_has_is_given_over_several_where_the_service_allows_it() -> None:
    half = (a_gpu(0, percent=50), a_gpu(1, percent=50))
    cluster = with_services(
        a_service(accelerators={"gpu": 80}), nodes=(a_node(capacity=capacity(*half)),)
    )
    assert set(run_pass(cluster).unplaceable) == {"web"}
    cluster.apply(AddServices(services=(a_service(accelerators={"gpu": 80}, spread_devices=True),)))
    run_pass(cluster)
    assert cluster.state.placements["web.1"].gpus == {"gpu0": 50, "gpu1": 30}


# --- Q: the queue


def order_of_service(*services: Service, priority: int, balance: int = 3) -> list[str]:
    cluster = with_services(*services)
    profile = Profile(queue_priority=priority, queue_balance=balance)
    found = run_pass(cluster, profile=profile)
    assert not found.unplaceable
    return [at.service for at in found.place.placements]


def test_q1_sensitive_services_go_first_and_nobody_starves() -> None:
    normal = [a_service(f"n{number}") for number in range(3)]
    heavy = [a_service(f"s{number}", sensitivity=1) for number in range(5)]
    order = order_of_service(*normal, *heavy, priority=1)
    assert order == ["s0", "s1", "s2", "n0", "s3", "s4", "n1", "n2"]


def test_q1_no_sensitive_service_waits_for_ever_whatever_the_balance() -> None:
    services = (a_service("n"), a_service("s", sensitivity=1))
    for balance in range(4):
        first = "s" if balance else "n"
        order = order_of_service(*services, priority=1, balance=balance)
        assert (order[0], sorted(order)) == (first, ["n", "s"])


@pytest.mark.parametrize("sensitivity", [0, 1, 2, 3])
@pytest.mark.parametrize("priority", [0, 1, 2, 3])
def test_q2_no_service_is_dropped_by_any_priority(priority: int, sensitivity: int) -> None:
    service = a_service("only", sensitivity=sensitivity)
    assert order_of_service(service, priority=priority) == ["only"]


def test_q3_among_equals_whoever_came_first_is_served_first() -> None:
    cluster = Driver(AddNodes(nodes=(a_node(),)))
    came = ["s0", "s5", "s2", "s1", "s4", "s3"]
    for name in came:
        cluster.apply(AddServices(services=(a_service(name, cores=(100,)),)))
    found = run_pass(cluster)
    assert [at.service for at in found.place.placements] == came


# --- L: the life of services and nodes


def test_l1_replicas_are_as_many_as_asked_for_however_often_the_leader_looks() -> None:
    cluster = with_services(a_service(replicas=3, cores=(1000,)), nodes=(a_node(cores=2),))
    for _ in range(7):
        run_pass(cluster)
        assert sorted(cluster.state.placements) == ["web.1", "web.2"]
    cluster.apply(AddNodes(nodes=(a_node("b"),)))
    for _ in range(7):
        run_pass(cluster)
        assert sorted(cluster.state.placements) == ["web.1", "web.2", "web.3"]


def test_l2_scaling_down_is_done_and_others_are_placed_in_the_same_pass() -> None:
    cluster = with_services(a_service(replicas=4, cores=(1000,)))
    run_pass(cluster)
    fewer = a_service(replicas=1, cores=(1000,))
    cluster.apply(AddServices(services=(fewer, a_service("next", replicas=3, cores=(1000,)))))
    found = run_pass(cluster)
    assert len(found.place.released) == 3
    assert len(cluster.state.placements_of("web")) == 1
    assert len(cluster.state.placements_of("next")) == 3


def test_l3_what_waits_is_tried_again_for_as_long_as_it_waits() -> None:
    waiting, now_s, tries = Waiting(), 0.0, 0
    while now_s < 3600:
        waiting.refused("web", "no room", now_s)
        next_s = waiting.next_try_s()
        assert next_s is not None
        assert 1 <= next_s - now_s <= 60
        assert waiting.resting(next_s - 0.01) == {"web"}
        assert waiting.resting(next_s) == set()
        now_s, tries = next_s, tries + 1
    assert tries > 60


def test_l4_a_node_that_is_added_again_is_known_to_be_the_same() -> None:
    cluster = Driver(AddNodes(nodes=(a_node(),)))
    again = cluster.apply(AddNodes(nodes=(a_node(),)))
    larger = cluster.apply(AddNodes(nodes=(a_node(cores=8),)))
    assert again == Applied(changed={"pi": "unchanged"})
    assert larger == Applied(changed={"pi": "updated"})
    assert len(cluster.state.nodes) == 1


def test_l5_what_is_read_back_is_what_was_written() -> None:
    cluster = with_services(
        a_service(cores=(500, 50), accelerators={"gpu": 30}),
        nodes=(a_node(capacity=capacity(a_gpu())),),
    )
    run_pass(cluster)
    saved = cluster.state.saved()
    assert saved.placements
    assert decode(encode(saved)) == saved


def test_l6_a_service_that_is_added_again_keeps_what_runs() -> None:
    cluster = with_services(a_service(replicas=2, cores=(500,)))
    run_pass(cluster)
    before = dict(cluster.state.placements)
    cluster.apply(AddServices(services=(a_service(replicas=3, cores=(500,)),)))
    run_pass(cluster)
    assert {name: cluster.state.placements[name] for name in before} == before
    assert len(cluster.state.placements) == 3


@pytest.mark.parametrize("how", ["removed", "lost"])
def test_l7_what_was_on_a_node_that_is_gone_runs_elsewhere_and_what_it_held_is_free(
    how: str,
) -> None:
    service = a_service(cores=(1000,), reschedule_after_s=5.0)
    cluster = with_services(service, nodes=(a_node("a", cores=1), a_node("b", cores=1)))
    run_pass(cluster)
    (home,) = homes(cluster).values()
    (other,) = {"a", "b"} - {home}
    if how == "removed":
        cluster.apply(RemoveNode(name=home))
        run_pass(cluster)
        cluster.apply(AddNodes(nodes=(a_node(home, cores=1),)))
    else:
        run_pass(cluster, lost_for_s={home: 5.0})
    assert homes(cluster) == {"web.1": other}
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes
    assert {name: node.cores for name, node in free.items()} == {home: {0: 1000}, other: {0: 0}}


def test_l8_what_a_removed_service_held_is_free_again() -> None:
    service = a_service(replicas=2, cores=(500,), memory_mib=100, accelerators={"gpu": 30})
    cluster = with_services(service, nodes=(a_node(capacity=capacity(a_gpu())),))
    idle = snapshot(cluster.state, view_of(cluster), PROFILE)
    run_pass(cluster)
    assert snapshot(cluster.state, view_of(cluster), PROFILE) != idle
    cluster.apply(RemoveService(name="web"))
    assert snapshot(cluster.state, view_of(cluster), PROFILE) == idle


@in_virtual_time
async def test_l9_an_instance_that_cannot_be_started_keeps_no_other_from_starting() -> None:
    stage = RunnerStage()
    stage.engine.refuse("web.1", "409: there is a container of that name", retry=False)
    stage.place(1, 2, 3)
    async with running(stage.runner):
        await settled()
        running_now = {it.instance for it in stage.engine.containers.values()}
        assert running_now == {"web.2", "web.3"}


# --- N: the books


def test_n1_a_placement_takes_cores_memory_devices_and_ports_from_its_node() -> None:
    service = a_service(
        cores=(500, 50), memory_mib=200, vms_mib=300, accelerators={"gpu": 30}, gpu_memory_mib=512
    )
    cluster = with_services(service, nodes=(a_node(capacity=capacity(a_gpu())),))
    run_pass(cluster)
    free = snapshot(cluster.state, view_of(cluster), PROFILE).nodes["pi"]
    assert free.cores == {0: 500, 1: 950, 2: 1000, 3: 1000}
    assert (free.cpu_millicores, free.memory_mib, free.vms_mib) == (3450, 3896, 3796)
    assert [(item.percent, item.memory_mib) for item in free.gpus] == [(70, 1536)]
