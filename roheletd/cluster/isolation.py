"""What a node does with its instances while it sees no leader: `on_isolation` of each service.

A node that sees no leader cannot know whether its instances were placed elsewhere. `keep` runs them
on: work goes on through any outage, and an instance may run twice for as long as the node is cut
off, until it applies the log again and finds out. `stop` bounds that, with no word from anybody:

    node cut off   last heard by the leader                        placed elsewhere
         |<- status ->|<----- lost_after_s ----->|<- reschedule_after_s ->|
         |<- heartbeat ->|<---- lost_after_s + reschedule_after_s ---->| stop .. stopped
                    last heard from a leader                           |<- grace ->|

Both sides wait equally long from their last word of each other, each on its own monotonic clock.
The two last words lie at most one status interval (1 s) apart. So an instance of a `stop` service
runs twice for at most that second, and `stop_grace_s`, and what the clocks differ in rate; most
often for less, as the new copy takes time to be placed and started.

A leader that has lost its majority speaks on to its own side until it gives up (`election_max_s`,
4 s with `timing: lan`): a node that hears such a leader may stop, and an instance run twice, by so
much later.

The rule holds if `isolated_for_s` counts from the last word of a leader, and of the leader itself
from its last word of a majority. A daemon that starts counts from its start: then an instance that
was placed elsewhere meanwhile may run for `lost_after_s + reschedule_after_s` and the grace.
A daemon that is stopped or dead stops nothing; it makes up for it as soon as it runs again.
"""

import math

from roheletd.cluster.state import ClusterState


def isolation(
    state: ClusterState, node: str, *, isolated_for_s: float, lost_after_s: float
) -> tuple[frozenset[str], float]:
    """What must stop now, and the seconds until more must (infinity: nothing else)."""
    now = must_stop(state, node, isolated_for_s=isolated_for_s, lost_after_s=lost_after_s)
    left_s = next_stop_s(state, node, isolated_for_s=isolated_for_s, lost_after_s=lost_after_s)
    return now, math.inf if left_s is None else left_s


def must_stop(
    state: ClusterState, node: str, *, isolated_for_s: float, lost_after_s: float
) -> frozenset[str]:
    """Instances placed on `node` that may not run there now, though they still are placed there."""
    patience_s = _patience_s(state, node, lost_after_s)
    return frozenset(name for name, limit_s in patience_s.items() if isolated_for_s >= limit_s)


def next_stop_s(
    state: ClusterState, node: str, *, isolated_for_s: float, lost_after_s: float
) -> float | None:
    """Seconds until the next instance must stop, if no leader is seen before."""
    limits_s = _patience_s(state, node, lost_after_s).values()
    return min((at_s - isolated_for_s for at_s in limits_s if at_s > isolated_for_s), default=None)


def _patience_s(state: ClusterState, node: str, lost_after_s: float) -> dict[str, float]:
    services = {
        name: state.services[at.service].service for name, at in state.placements_on(node).items()
    }
    return {
        name: lost_after_s + service.reschedule_after_s
        for name, service in services.items()
        if service.on_isolation == "stop"
    }
