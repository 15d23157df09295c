"""The verbs about this node's membership: who is let in, who leaves, who begins anew."""

from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.errors import Refused
from roheletd.token import decode


class Belonging(Grounds):
    """Share, join, leave, remove, recover."""

    async def cluster_init(self, request: views.ClusterToShare, _id: str) -> views.Changes:
        """Let other nodes join the cluster of this one."""
        before = self._control.view()
        if request.name not in (None, before.cluster):
            raise Refused(
                f"this node belongs to cluster {before.cluster} already, and a cluster keeps its "
                "name: name it before the first start, or use another data directory"
            )
        await self._control.share()
        return views.Changes(changed={before.cluster: "unchanged" if before.shared else "shared"})

    async def cluster_token(self, request: views.TokenWanted, _id: str) -> views.TokenMade:
        """Make the secret that another node joins with."""
        text = await self._control.token(request.valid_for_s)
        return views.TokenMade(token=text, expires_at_s=decode(text).expires_at_s)

    async def cluster_join(self, request: views.ClusterToJoin, _id: str) -> views.Changes:
        """Make this node ask to be let into a cluster; its status tells what becomes of it."""
        token = decode(request.token)
        await self._control.join(token, force=request.force)
        return views.Changes(changed={token.cluster: "joining"})

    async def cluster_leave(self, _request: views.Nothing, _id: str) -> views.Changes:
        """Take this node out of its cluster; what ran here is placed on the others."""
        cluster = self._control.view().cluster
        await self._control.leave()
        return views.Changes(changed={cluster: "left"})

    async def cluster_remove(self, request: views.ByName, command_id: str) -> views.Changes:
        """Take a node out of the cluster that will not come back."""
        if self._membership.liveness(request.name, self._clock.now_s()) == "alive":
            raise Refused(
                f"node {request.name} is alive: `roheletd cluster leave` on it, or stop its "
                "roheletd first"
            )
        await self._control.remove(request.name, command_id=command_id)
        return views.Changes(changed={request.name: "removed"})

    async def cluster_recover(self, request: views.Recovery, _id: str) -> views.Changes:
        """Begin anew from this node alone, where most voters are lost for good."""
        if not request.force:
            raise Refused(
                "what was acknowledged and is not on this node would be lost, and all other nodes "
                "would have to join anew: ask with `force` where most voters are lost for good"
            )
        await self._control.recover()
        after = self._control.view()
        return views.Changes(changed={after.cluster: f"recovered in epoch {after.epoch}"})
