"""A new epoch from one survivor: its log, with everything in it, becomes that of a cluster of one.

What the lost majority acknowledged and this node never received is gone; what it has received is
kept, committed or not, because somebody may have been told that it is done.
"""

from roheletd.cluster.applier import replay
from roheletd.cluster.state import ClusterState
from roheletd.cluster.state import encode as encode_state
from roheletd.raft import Configuration, NodeId, Save, Saved, Snapshot


def survivor(saved: Saved, me: NodeId) -> Save:
    """What has to be on the disk for `me` to be the only voter; raises `UnknownEntry`."""
    state = ClusterState()
    replay(state, saved, last=saved.entries[-1].index if saved.entries else 0)
    index, term = state.applied_index, state.applied_term
    snapshot = Snapshot(index, term, Configuration((me,)), encode_state(state.saved()))
    return Save(
        term=max(saved.term, term), vote=saved.vote, commit=index, snapshot=snapshot, reset=True
    )
