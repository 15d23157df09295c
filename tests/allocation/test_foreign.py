"""What is measured and is not ours."""

from roheletd.allocation.foreign import foreign_load
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, PortBinding
from roheletd.telemetry import MemoryUse, Telemetry


def report(**more: object) -> Telemetry:
    base = {"node": "pi", "at_s": 0.0, "interval_s": 1.0}
    return Telemetry(**{**base, **more})  # type: ignore[arg-type]


OURS = Placement(
    instance="web.1",
    service="web",
    node="pi",
    revision=1,
    cores={0: 300, 1: 100},
    ports=(PortBinding(container_port=80, host_port=20000),),
)


def test_our_own_use_is_taken_off_the_cores_it_is_pinned_to() -> None:
    use = InstanceUse(instance="web.1", state="running", cpu_millicores=400, memory_mib=100)
    load = foreign_load(
        report(
            instances=(use,),
            memory=MemoryUse(total_mib=1000, available_mib=600),
            taken_ports=(22, 20000),
        ),
        {0: 500.4, 1: 90.0, 2: 700.0},
        [OURS],
    )
    assert load.cores_millicores == {0: 200, 1: 0, 2: 700}
    assert load.memory_mib == 300
    assert load.ports == {22}


def test_an_instance_whose_use_is_unknown_takes_nothing_off() -> None:
    load = foreign_load(
        report(memory=MemoryUse(total_mib=1000, available_mib=600)), {0: 500.0}, [OURS]
    )
    assert load.cores_millicores == {0: 500}
    assert load.memory_mib == 400
