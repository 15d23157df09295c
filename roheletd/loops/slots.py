"""How much an engine is asked to do at a time: a slow link is no reason for a busy processor."""

import asyncio

from roheletd.cluster.reconcile import Action, Run
from roheletd.cluster.soft import SoftState
from roheletd.image import short_name

ACTIONS_AT_ONCE = 4


class Slots:
    """So many actions at once, and beside them so many that have to fetch an image first.

    Else a few slow pulls would keep everything from starting again that is here.
    """

    def __init__(self, soft: SoftState) -> None:
        self._soft = soft
        self._here = asyncio.Semaphore(ACTIONS_AT_ONCE)
        self._fetching = asyncio.Semaphore(ACTIONS_AT_ONCE)

    def of(self, action: Action) -> asyncio.Semaphore:
        return self._fetching if self._fetches(action) else self._here

    def _fetches(self, action: Action) -> bool:
        if not isinstance(action, Run) or not action.spec.image:
            return False
        images = self._soft.images or ()
        return action.spec.pull == "always" or short_name(action.spec.image) not in images
