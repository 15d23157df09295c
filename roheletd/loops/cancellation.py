"""A detail of task groups that every loop with tasks of its own has to heed."""

import asyncio


def heed_cancellation() -> None:
    """A task group that fails while it is cancelled tells of the failure only (Python 3.11)."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
