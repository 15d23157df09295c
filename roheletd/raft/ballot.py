"""Elections: one in which this node stands, and what it answers where another one does."""

from roheletd.raft.journal import Journal
from roheletd.raft.values import NodeId, VoteRequest


class Canvass:
    """An election in which this node stands. `pre`: it only asks whether it would win."""

    def __init__(self, term: int, *, pre: bool) -> None:
        self.term = term
        self.pre = pre
        self.granted: set[NodeId] = set()


def grants(journal: Journal, request: VoteRequest, *, sticky: bool, led: bool) -> bool:
    """Whether `request` has our vote (paper, 5.2 and 5.4.1), or would have it.

    `sticky`: a leader spoke a moment ago; `led`: one is known in this very term.
    """
    log = journal.log
    complete = (request.last_term, request.last_index) >= (log.last_term, log.last_index)
    if not complete or (sticky and not request.handover):
        return False
    if request.pre:
        return request.term > journal.term
    free = journal.vote in (None, request.sender) and not led
    return request.term == journal.term and free
