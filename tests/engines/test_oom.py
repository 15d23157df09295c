"""What really happens to a container that eats more memory than it was given."""

import pytest

from tests.engines.conftest import Machine
from tests.engines.waiting import until

pytestmark = pytest.mark.root

EATS = ("/bin/sh", "-c", "sleep 0.3; tail /dev/zero")


async def test_whoever_eats_more_than_its_memory_ends_with_that_reason(machine: Machine) -> None:
    await machine.engine.run(machine.spec(*EATS, memory_mib=16))

    async def ended() -> str:
        return (await machine.only()).reason

    assert await until(ended) == "out of memory (limit 16 MiB)"
