"""One seed: what happens in it, and what became of it."""

from msgspec import Struct
from msgspec.structs import replace

from tests.raft.simulation.cluster import Cluster
from tests.raft.simulation.themes import plan
from tests.raft.simulation.world import BrokenError


class Result(Struct, frozen=True, kw_only=True):
    """What became of one seed; `rule` is empty where all invariants held."""

    seed: int
    rule: str = ""
    detail: str = ""
    trace: tuple[str, ...] = ()
    digest: str = ""
    events: int = 0
    elections: int = 0
    acknowledged: int = 0
    changes: int = 0
    snapshots: int = 0


def run(seed: int, *, voters: int, chatty: bool = False) -> Result:
    cluster = Cluster(seed, voters=voters, chatty=chatty)
    failed = Result(seed=seed)
    try:
        cluster.run(plan(seed))
    except Exception as failure:  # noqa: BLE001 - whatever the core raises needs its seed told
        failed = _failed(cluster, seed, failure)
    checks = cluster.checks
    return replace(
        failed,
        digest=cluster.world.digest(),
        trace=tuple(cluster.world.trace()) if failed.rule or chatty else (),
        events=cluster.world.events,
        elections=checks.elections,
        acknowledged=len(checks.history.acknowledged),
        changes=checks.changes,
        snapshots=checks.snapshots,
    )


def _failed(cluster: Cluster, seed: int, failure: Exception) -> Result:
    """An assertion of the core itself is as good as one of ours."""
    if isinstance(failure, BrokenError):
        return Result(seed=seed, rule=failure.rule, detail=str(failure))
    at = failure.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f"{at.tb_frame.f_code.co_name}:{at.tb_lineno}" if at else ""
    detail = f"{type(failure).__name__} in {where} {failure}"
    return Result(seed=seed, rule="an assertion of the code", detail=detail)
