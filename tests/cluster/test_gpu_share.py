"""Which part of a GPU's use is an instance's own."""

import pytest

from roheletd.cluster.gpu_share import UNKNOWN, gpu_share
from roheletd.telemetry import GpuProcess

FIRST = {10: GpuProcess(30.0, 400), 11: GpuProcess(5.0, 100), 99: GpuProcess(60.0, 9000)}
SECOND = {10: GpuProcess(50.0, 200)}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({11, 12, 13}, GpuProcess(5.0, 100)),
        ({10, 11}, GpuProcess(50.0, 500)),  # 35 % and 500 MiB of one, 50 % and 200 MiB of the other
        ({12}, UNKNOWN),
    ],
)
def test_of_several_devices_the_one_counts_that_it_uses_most(
    ids: set[int], expected: GpuProcess
) -> None:
    assert gpu_share(ids, (FIRST, SECOND)) == expected


def test_where_the_driver_tells_only_memory_use_stays_unknown() -> None:
    blind = {10: GpuProcess(None, 400), 11: GpuProcess(0.0, None)}
    assert gpu_share({10}, (blind,)) == GpuProcess(None, 400)
    assert gpu_share({10, 11}, (blind,)) == UNKNOWN
