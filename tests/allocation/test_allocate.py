"""One instance on many nodes: what is refused and why, what is chosen, what it is given."""

from random import Random

import pytest

from roheletd.allocation.allocate import Unplaceable, allocate, explain
from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile
from roheletd.model import Capacity, Gpu, Node, Placement, Port, PortBinding, Service
from tests.allocation.passes import held, seen
from tests.builders import a_node, a_service


def place(service: Service, *nodes: Node, **more: object) -> Placement:
    found = allocate(seen(*nodes, **more), service, Profile(), Random(1))  # type: ignore[arg-type]
    assert isinstance(found, Placement), found
    return found


def refusals(service: Service, *nodes: Node, **more: object) -> dict[str, str]:
    found = allocate(seen(*nodes, **more), service, Profile(), Random(1))  # type: ignore[arg-type]
    assert isinstance(found, Unplaceable), found
    return found.verdicts[0].refusals


def by_others(load: ForeignLoad) -> dict[str, Condition]:
    """What others use on `pi`."""
    return {"pi": Condition(foreign=load)}


def test_an_exact_fit_is_a_fit() -> None:
    service = a_service(cores=(1000, 1000), memory_mib=1024)
    assert place(service, a_node(cores=2, memory_mib=1024)).cores == {0: 1000, 1: 1000}


def test_the_largest_need_gets_the_freest_core() -> None:
    busy = held(cores={0: 600, 2: 100}, cpu_millicores=700)
    found = place(a_service(cores=(50, 900)), a_node(cores=3), placements=(busy,))
    assert found.cores == {1: 900, 2: 50}


def test_unequal_cores_keep_their_identity() -> None:
    node = a_node(capacity=Capacity(cores={0: 500, 1: 1000, 4: 2000}, memory_mib=100))
    assert place(a_service(cores=(1500, 400)), node).cores == {4: 1500, 1: 400}


def test_a_vector_longer_than_the_node_is_refused_and_not_cut() -> None:
    reasons = refusals(a_service(cores=(10, 10, 90, 90)), a_node(cores=2))
    assert reasons == {"cores": "needs 4 cores, it has 2"}


def test_a_need_that_no_single_core_has_is_refused_though_the_sum_would_fit() -> None:
    busy = held(cores={0: 600, 1: 600}, cpu_millicores=1200)
    reasons = refusals(a_service(cores=(500,)), a_node(cores=2), placements=(busy,))
    assert reasons == {
        "cores": "needs [500] millicores on cores of their own, the freest have core 0: 400"
    }


def test_a_service_without_a_vector_fills_whole_cores() -> None:
    assert place(a_service(cpu_millicores=2300), a_node()).cores == {0: 1000, 1: 1000, 2: 300}


def test_a_service_that_asks_for_nothing_fits_everywhere() -> None:
    full = held(cores={0: 1000}, cpu_millicores=1000, memory_mib=64)
    found = place(a_service(), a_node(cores=1, memory_mib=64), placements=(full,))
    assert found.cores == {}


def test_cpu_and_memory_that_are_short_are_named_with_what_is_free() -> None:
    service = a_service(cpu_millicores=1500, cores=(10,), memory_mib=5000)
    reasons = refusals(service, a_node(cores=1))
    assert reasons["cpu"] == "needs 1500 millicores, 1000 are free"
    assert reasons["memory"] == "needs 5000 MiB of memory, 4096 are free"


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service(), "names no command to run as a process"),
        (a_service(command=("x",), hostname="cam"), "the service has `hostname`"),
        (a_service(command=("x",), read_only=True), "the service has `read_only`"),
    ],
)
def test_what_takes_a_container_is_not_placed_where_processes_run(
    service: Service, reason: str
) -> None:
    assert reason in refusals(service, a_node(engine="process"))["engine"]


def test_an_entrypoint_is_enough_to_run_as_a_process() -> None:
    usual = a_service(entrypoint=("x",), user="app", working_dir="/srv", stop_signal="SIGINT")
    assert place(usual, a_node(engine="process")).node == "pi"


def test_virtual_memory_is_looked_at() -> None:
    node = a_node(capacity=Capacity(cores={0: 1000}, memory_mib=4096, vms_mib=2048))
    assert "virtual memory" in refusals(a_service(vms_mib=2049), node)["memory"]


def test_an_empty_accelerator_map_asks_for_none() -> None:
    assert place(a_service(accelerators={}), a_node()).gpus == {}


def test_none_of_an_accelerator_asks_for_none() -> None:
    assert place(a_service(accelerators={"gpu": 0}), a_node()).gpus == {}


def gpu_node(*gpus: Gpu, memory_mib: int = 4096) -> Node:
    return a_node(capacity=Capacity(cores={0: 1000}, memory_mib=memory_mib, gpus=gpus))


def test_a_whole_gpu_fits_on_an_idle_one() -> None:
    assert place(a_service(accelerators={"gpu": 100}), gpu_node(Gpu(id="g0"))).gpus == {"g0": 100}


def test_of_two_gpus_one_is_charged_and_the_fuller_is_taken() -> None:
    node = gpu_node(Gpu(id="g0"), Gpu(id="g1"))
    busy = held(gpus={"g1": 50})
    found = place(a_service(accelerators={"gpu": 30}), node, placements=(busy,))
    assert found.gpus == {"g1": 30}


def test_every_accelerator_asked_for_must_be_there() -> None:
    service = a_service(accelerators={"gpu": 10, "tpu": 50})
    assert "50 % of tpu on one device" in refusals(service, gpu_node(Gpu(id="g0")))["gpu"]


def test_gpu_memory_counts_on_the_device() -> None:
    service = a_service(accelerators={"gpu": 10}, gpu_memory_mib=600)
    node = gpu_node(Gpu(id="g0", memory_mib=1000))
    used = held(gpus={"g0": 10}, gpu_memory_mib=500)
    assert place(service, node).gpus == {"g0": 10}
    assert "with 600 MiB" in refusals(service, node, placements=(used,))["gpu"]


def test_on_shared_memory_the_gpus_part_comes_out_of_system_memory_once() -> None:
    node = gpu_node(Gpu(id="g0", memory_mib=4096, shares_memory=True))
    service = a_service(memory_mib=2000, accelerators={"gpu": 10}, gpu_memory_mib=2000)
    assert place(service, node).gpu_memory_mib == 2000
    used = held(gpus={"g0": 10}, gpu_memory_mib=2000, memory_mib=2000)
    assert "needs 4000 MiB of memory, 96 are free" in refusals(
        service, node, placements=(used,)
    ).get("memory", "")


def test_ports_are_chosen_where_the_service_leaves_the_choice() -> None:
    service = a_service(ports=(Port(container_port=80), Port(container_port=81)))
    taken = held(ports=(PortBinding(container_port=80, host_port=20000),))
    found = place(service, a_node(), placements=(taken,))
    assert [binding.host_port for binding in found.ports] == [20001, 20002]


def test_a_required_port_that_is_taken_is_refused_by_number() -> None:
    service = a_service(ports=(Port(container_port=80, host_port=8080),))
    taken = held(ports=(PortBinding(container_port=80, host_port=8080),))
    assert refusals(service, a_node(), placements=(taken,)) == {
        "ports": "host port 8080/tcp is taken"
    }


def test_a_preferred_port_gives_way_and_tcp_does_not_block_udp() -> None:
    taken = held(ports=(PortBinding(container_port=80, host_port=8080),))
    preferred = Port(container_port=80, host_port=8080, required=False)
    udp = Port(container_port=80, host_port=8080, protocol="udp")
    found = place(a_service(ports=(preferred, udp)), a_node(), placements=(taken,))
    assert [binding.host_port for binding in found.ports] == [20000, 8080]


def test_a_port_that_something_else_listens_on_is_avoided() -> None:
    foreign = by_others(ForeignLoad(ports=frozenset({20000})))
    found = place(a_service(ports=(Port(container_port=80),)), a_node(), conditions=foreign)
    assert found.ports[0].host_port == 20001


def test_measured_load_of_others_is_not_free_but_leaves_a_tenth_of_each_core() -> None:
    foreign = by_others(ForeignLoad(cores_millicores={0: 1000, 1: 300}, memory_mib=4000))
    free = seen(a_node(cores=2), conditions=foreign).nodes["pi"]
    assert free.cores == {0: 100, 1: 700}
    assert free.memory_mib == 96


def test_a_whole_core_fits_where_the_machine_only_keeps_house() -> None:
    quiet = by_others(ForeignLoad(cores_millicores={0: 100, 1: 101}))
    free = seen(a_node(cores=2), conditions=quiet).nodes["pi"]
    assert free.cores == {0: 1000, 1: 899}
    assert place(a_service(cores=(1000,)), a_node(cores=2), conditions=quiet).cores == {0: 1000}


def test_a_node_that_is_not_alive_is_refused() -> None:
    free = seen(a_node())
    for liveness in ("suspect", "lost", "never seen"):
        dead = seen(a_node(), conditions={"pi": Condition(liveness=liveness)})
        assert "alive" in explain(dead, a_service(), Profile())[0].refusals
    assert not explain(free, a_service(), Profile())[0].refusals


def test_what_the_engine_of_a_node_cannot_run_is_refused_with_the_reason() -> None:
    image_only, command_only = a_service(), a_service(image="", command=("/bin/true",))
    assert "command" in refusals(image_only, a_node(engine="process"))["engine"]
    assert "image" in refusals(command_only, a_node(engine="docker"))["engine"]
    assert "no engine" in refusals(image_only, a_node(engine="none"))["engine"]


def test_the_engine_of_a_node_that_was_only_declared_is_not_guessed_at() -> None:
    assert place(a_service(), a_node(engine="none", source="declared")).node == "pi"


def three(strategy: str) -> str:
    """The chosen one of a full, a half-full and an empty node."""
    nodes = (a_node("a-half"), a_node("b-empty"), a_node("c-full"))
    placements = (
        held(node="a-half", cores={0: 1000}, cpu_millicores=1000, memory_mib=1000),
        held(node="c-full", cores={0: 1000, 1: 1000}, cpu_millicores=2000, memory_mib=2000),
    )
    service = a_service(cores=(100,), strategy=strategy)
    return place(service, *nodes, placements=placements).node


def test_strategies_mean_what_the_textbook_says() -> None:
    assert three("first_fit") == "a-half"
    assert three("best_fit") == "c-full"
    assert three("worst_fit") == "b-empty"


def test_equal_scores_are_decided_by_the_seed_and_nothing_else() -> None:
    nodes = [a_node(name) for name in "abcdef"]

    def pick(seed: int) -> str:
        found = allocate(seen(*nodes), a_service(), Profile(), Random(seed))
        assert isinstance(found, Placement)
        return found.node

    assert len({pick(seed) for seed in range(30)}) > 1
    assert len({pick(7) for _ in range(5)}) == 1


FREE_ALONE = dict.fromkeys(("balance", "contention", "gpu", "image", "spread"), 0.0) | {
    "temperature": 0.0,
    "power": 0.0,
}


def test_scores_are_the_free_share_that_is_left_and_weights_move_the_total() -> None:
    service = a_service(cpu_millicores=1000, memory_mib=3072)
    (even,) = explain(seen(a_node()), service, Profile(weights=FREE_ALONE))
    assert (even.terms["cpu"], even.terms["memory"], even.score) == (0.75, 0.25, 0.5)
    (cpu_only,) = explain(seen(a_node()), service, Profile(weights={**FREE_ALONE, "memory": 0}))
    assert cpu_only.score == 0.75
    (none,) = explain(
        seen(a_node()), service, Profile(weights={**FREE_ALONE, "cpu": 0, "memory": 0})
    )
    assert none.score == 0.0


def test_the_reason_of_an_unplaceable_service_is_one_readable_line() -> None:
    big = a_service(memory_mib=9999)
    one = allocate(seen(a_node()), big, Profile(), Random(1))
    two = allocate(seen(a_node("a"), a_node("b")), big, Profile(), Random(1))
    none = allocate(seen(), big, Profile(), Random(1))
    reasons = [found.reason for found in (one, two, none) if isinstance(found, Unplaceable)]
    assert reasons == [
        "pi: needs 9999 MiB of memory, 4096 are free",
        "no node of 2 fits (memory: 2)",
        "there is no node",
    ]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_how_much_load_of_others_counts_is_configurable(share: float) -> None:
    foreign = by_others(ForeignLoad(cores_millicores={0: 1000}))
    free = seen(a_node(cores=1), conditions=foreign, profile=Profile(foreign_cpu_max=share))
    assert free.nodes["pi"].cores == {0: 1000 - int(1000 * share)}
