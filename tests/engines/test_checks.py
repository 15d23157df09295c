"""A check that runs a command in a real container and is given up, and what is left of it."""

import contextlib
import secrets
from pathlib import Path

import pytest

from roheletd.cluster.instances import Check
from roheletd.upkeep import ExecCheck, HealthCheck
from tests.engines.conftest import Machine
from tests.engines.waiting import until
from tests.loops.test_prober import Ward

pytestmark = pytest.mark.root


async def test_a_command_that_never_ends_is_a_failure_and_is_ended(machine: Machine) -> None:
    sleep = ("sleep", str(secrets.randbelow(10**6) + 10**6))
    spec = machine.spec(
        "sleep", "1000", health=HealthCheck(exec=ExecCheck(command=sleep), timeout_s=1.0)
    )
    await machine.engine.run(spec)
    ward = Ward(Check(spec=spec, container=await machine.only(), begun_s=0.0))
    assert await ward.examined(machine.engine) == {spec.instance: "sleep: no answer within 1 s"}

    async def is_ended() -> bool:
        return "\0".join(sleep) not in running_commands()

    await until(is_ended)


def running_commands() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.add(path.read_text(errors="replace").rstrip("\0"))
    return found
