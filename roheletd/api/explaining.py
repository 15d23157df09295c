"""`why`: the reasons for the place of a service, or of one instance, or for its having none."""

from collections.abc import Iterable

from roheletd.allocation.allocate import explain
from roheletd.allocation.rebalance import vacated
from roheletd.allocation.scores import weights_for
from roheletd.allocation.snapshot import Snapshot
from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.definition import Definition
from roheletd.cluster.state import slot
from roheletd.model import Placement

_NAMED_MAX = 3


class Explaining(Grounds):
    """Why a service is where it is."""

    async def why(self, request: views.SubjectAsked, _id: str) -> views.Why:
        """Why a service or an instance runs where it does, or what keeps it from each node."""
        name, dot, _ = request.name.partition(".")
        known = self._state.services.get(name)
        if known is None:
            raise NotFound(f"there is no service {name}{or_rather(name, self._state.services)}")
        placed = self._state.placements_of(name)
        if not dot:
            return self._why(known, placed, self._snapshot())
        placed = [at for at in placed if at.instance == request.name]
        if not placed and not 0 < slot(request.name) <= known.service.replicas:
            raise NotFound(_no_instance(request.name, known))
        return self._why(known, placed, self._without(placed), instance=request.name)

    def _why(
        self, known: Definition, placed: list[Placement], snapshot: Snapshot, *, instance: str = ""
    ) -> views.Why:
        service = known.service
        hooks = self._algorithm.hooks()
        verdicts = explain(snapshot, service, self._profile, hooks, instance=instance)
        weights = weights_for(self._profile.weights)
        times = self._waiting_times(service.name)
        terms = {term for verdict in verdicts for term in verdict.terms}
        terms |= {term for at in placed for term in at.terms}
        return views.Why(
            service=service.name,
            replicas=service.replicas,
            waiting=self._waiting().get(service.name, ""),
            waiting_for_s=times and round(times[0], 3),
            tried_again_in_s=times and round(times[1], 3),
            instances=self._views_of(placed),
            verdicts=verdicts,
            instance=instance,
            strategy=service.strategy or self._profile.strategy,
            weights={term: weight for term, weight in weights.items() if term in terms},
        )

    def _waiting_times(self, service: str) -> tuple[float, float] | None:
        """For how long it has waited, and in how long it is tried again; None: not known here."""
        if not self._log.leads or service not in self._soft.waiting_times:
            return None
        since_s, retry_at_s = self._soft.waiting_times[service]
        now_s = self._clock.now_s()
        return now_s - since_s, max(0.0, retry_at_s - now_s)

    def _without(self, placed: Iterable[Placement]) -> Snapshot:
        """What is free if these were not there: as if they were to be placed anew."""
        snapshot = self._snapshot()
        nodes = dict(snapshot.nodes)
        for at in placed:
            nodes[at.node] = vacated(nodes[at.node], at)
        return Snapshot(
            nodes=nodes,
            shunned_by=snapshot.shunned_by,
            homes=snapshot.homes,
            failed_on=snapshot.failed_on,
        )


def or_rather(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a misspelt name pays for it

    close = get_close_matches(name, names, n=_NAMED_MAX)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _no_instance(instance: str, known: Definition) -> str:
    name, replicas = known.service.name, known.service.replicas
    if not replicas:
        return f"there is no instance {instance}: no instance of {name} is wanted (replicas: 0)"
    are = f"{name}.1" if replicas == 1 else f"{name}.1 to {name}.{replicas}"
    return f"there is no instance {instance}: {name} has {are}"
