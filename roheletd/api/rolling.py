"""The verbs that change how a service runs, and those that show how far such a change is."""

from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.commands import Restart, RollBack, Scale
from roheletd.cluster.rollout import holdup, standing, turn_of


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
        waits = self._waiting().get(request.name, "")
        if known.is_changing:
            waits = holdup(self._state, self._soft, known, waits)
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
            waiting=waits,
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
                    waiting=turn_of(self._state, self._soft, at, waiting.get(at.service, "")),
                )
                for name, at in sorted(left.items())
            ),
        )
