"""Majorities: the arithmetic that safety hangs on, apart from everything that happens in time."""

from collections.abc import Collection, Mapping

from roheletd.raft.values import Configuration, NodeId


def majority(voters: Collection[NodeId]) -> int:
    """How many of them decide. Two majorities of one set always share a member."""
    return len(voters) // 2 + 1


def decided(voters: Collection[NodeId], said_yes: Collection[NodeId]) -> bool:
    """Whether a majority of the voters said yes; nobody else counts."""
    return bool(voters) and sum(voter in said_yes for voter in voters) >= majority(voters)


def reached(voters: Collection[NodeId], positions: Mapping[NodeId, float]) -> float:
    """The highest position that a majority has reached: an index, or a moment in time."""
    if not voters:
        return 0
    reached_by = sorted((positions.get(voter, 0) for voter in voters), reverse=True)
    return reached_by[majority(voters) - 1]


def fault_of_change(current: Configuration, wanted: Configuration) -> str | None:
    """Why `wanted` may not follow `current` in one step, or None where it may.

    Majorities of two configurations overlap where they differ in one voter (thesis 4.1).
    """
    if not wanted.voters:
        return "no voter would be left"
    if len(set(current.voters) ^ set(wanted.voters)) > 1:
        return "more than one voter would change at once"
    if set(wanted.voters) & set(wanted.learners):
        return "a node is a voter or a learner"
    return None
