"""One instance: judge every node, choose one, name its cores, devices and ports.

`allocate` decides, `explain` shows: both go through `judge`, so that `why` cannot tell another
story than the one that happened.
"""

from random import Random

from msgspec import Struct

from roheletd.allocation.cores import assign_cores, assign_gpus, assign_ports
from roheletd.allocation.filters import FILTERS, port_choices
from roheletd.allocation.scores import SCORES, total
from roheletd.allocation.snapshot import FreeNode, Profile, Snapshot, cpu_need
from roheletd.model import Placement, Port, Service, StrategyName, accelerators, demand


class Verdict(Struct, frozen=True, kw_only=True):
    """One node's answer: `refusals` by filter, or else the score and its terms."""

    node: str
    refusals: dict[str, str] = {}
    score: float = 0.0
    terms: dict[str, float] = {}


class Unplaceable(Struct, frozen=True, kw_only=True):
    """No node takes the service now; why, node by node."""

    service: str
    verdicts: tuple[Verdict, ...]

    @property
    def reason(self) -> str:
        """One line: how many nodes each filter refused, and an example where there is one node."""
        if not self.verdicts:
            return "there is no node"
        if len(self.verdicts) == 1:
            (verdict,) = self.verdicts
            return f"{verdict.node}: {'; '.join(verdict.refusals.values())}"
        counts: dict[str, int] = {}
        for verdict in self.verdicts:
            for name in verdict.refusals:
                counts[name] = counts.get(name, 0) + 1
        refused = ", ".join(f"{name}: {count}" for name, count in counts.items())
        return f"no node of {len(self.verdicts)} fits ({refused})"


def judge(free: FreeNode, service: Service, profile: Profile) -> Verdict:
    """What every filter and every score says of `service` on this node."""
    refusals = {}
    for name, refuses in FILTERS.items():
        reason = refuses(free, service, profile)
        if reason is not None:
            refusals[name] = reason
    if refusals:
        return Verdict(node=free.name, refusals=refusals)
    terms = {name: round(score(free, service), 4) for name, score in SCORES.items()}
    return Verdict(node=free.name, terms=terms, score=round(total(terms, profile.weights), 4))


def explain(snapshot: Snapshot, service: Service, profile: Profile) -> tuple[Verdict, ...]:
    return tuple(judge(free, service, profile) for free in snapshot.nodes.values())


def allocate(
    snapshot: Snapshot, service: Service, profile: Profile, rng: Random
) -> Placement | Unplaceable:
    """A placement without instance name and revision, which are the caller's to give."""
    verdicts = explain(snapshot, service, profile)
    feasible = [verdict for verdict in verdicts if not verdict.refusals]
    if not feasible:
        return Unplaceable(service=service.name, verdicts=verdicts)
    chosen = select(feasible, service.strategy or profile.strategy, rng)
    return _placement(snapshot.nodes[chosen.node], service, chosen, profile)


def select(feasible: list[Verdict], strategy: StrategyName, rng: Random) -> Verdict:
    """The textbook meanings: first fit takes the first, best fit the fullest, worst the emptiest.

    Equal scores are decided by `rng`, which the caller seeded, so that a decision can be repeated.
    """
    assert feasible
    if strategy == "first_fit":
        return min(feasible, key=lambda verdict: verdict.node)
    choose = min if strategy == "best_fit" else max
    score = choose(verdict.score for verdict in feasible)
    return rng.choice([verdict for verdict in feasible if verdict.score == score])


def _placement(free: FreeNode, service: Service, verdict: Verdict, profile: Profile) -> Placement:
    cores = assign_cores(free.cores, demand(service))
    gpus = assign_gpus(free.gpus, accelerators(service), service.gpu_memory_mib)
    ports = assign_ports(free.ports, service.ports, port_choices(profile))
    assert cores is not None, "the filter `cores` let it through"
    assert gpus is not None, "the filter `gpu` let it through"
    assert not isinstance(ports, Port), "the filter `ports` let it through"
    return Placement(
        instance="",
        service=service.name,
        node=free.name,
        revision=0,
        cores=cores,
        gpus=gpus,
        ports=ports,
        cpu_millicores=cpu_need(service),
        memory_mib=service.memory_mib,
        vms_mib=service.vms_mib,
        gpu_memory_mib=service.gpu_memory_mib if accelerators(service) else 0,
        score=verdict.score,
        terms=verdict.terms,
    )
