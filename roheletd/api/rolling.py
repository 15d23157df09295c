"""The verbs that change how a service runs, and those that show how far such a change is."""

from roheletd.allocation.turnover import min_available
from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.commands import Restart, RollBack, Scale
from roheletd.cluster.rollout import available, standing
from roheletd.model import Placement


class Rolling(Grounds):
    """Scale, restart, roll back; rollouts and drains as they are now."""

    async def scale(self, request: views.Scaling, command_id: str) -> views.Changes:
        """Change how many instances of a service there are, and nothing else of it."""
        return await self._commit(Scale(name=request.name, replicas=request.replicas), command_id)

    async def restart(self, request: views.ByName, command_id: str) -> views.Changes:
        """Replace the instances of a service one after the other, as an update would."""
        return await self._commit(Restart(name=request.name), command_id)

    async def rollback(self, request: views.ByName, command_id: str) -> views.Changes:
        """Go back to what a service was before its last change."""
        return await self._commit(RollBack(name=request.name), command_id)

    async def rollout(self, request: views.ByName, _id: str) -> views.RolloutView:
        """How far the last change of a service is, and what it waits for."""
        known = self._state.services.get(request.name)
        if known is None:
            raise NotFound(f"there is no service {request.name}")
        here, last = standing(self._state, self._soft, known), known.rollout
        trouble = here.trouble if known.is_changing else ""
        return views.RolloutView(
            service=request.name,
            state=last.state if last else None,
            source=last.source if last else None,
            target=known.revision,
            wanted=here.wanted,
            new=here.new,
            settled=here.settled,
            old=here.old,
            failed=here.failed,
            reason=(last.reason if last else "") or trouble,
            waiting=self._waiting().get(request.name, ""),
            rollback_to=known.before.revision if known.before else None,
        )

    async def draining(self, request: views.ByName, _id: str) -> views.DrainView:
        """What is left on a node that is drained, and what each instance waits for."""
        if request.name not in self._state.registrations:
            raise NotFound(f"there is no node {request.name}")
        left, waiting = self._state.placements_on(request.name), self._waiting()
        uses = self._uses()
        return views.DrainView(
            node=request.name,
            draining=request.name in self._state.draining,
            left=tuple(
                views.Leaving(
                    instance=name,
                    state=uses[name].state if name in uses else "placed",
                    waiting=waiting.get(at.service) or self._turn_of(at),
                )
                for name, at in sorted(left.items())
            ),
        )

    def _turn_of(self, at: Placement) -> str:
        service = self._state.services[at.service].service
        healthy = available(self._state, self._soft)
        count = sum(it.instance in healthy for it in self._state.placements_of(at.service))
        least = min_available(service)
        if service.update.order == "stop-first" and count <= least < service.replicas:
            return f"{count} of {service.replicas} are healthy, and {least} have to be"
        return "its turn comes"
