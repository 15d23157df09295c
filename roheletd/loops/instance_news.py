"""What becomes of the instances of this node: told to people, and at once to whoever listens."""

from collections.abc import Callable

from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.instances import Check, Happening, Instances
from roheletd.cluster.state import ClusterState
from roheletd.engines import Engine
from roheletd.instance_use import InstanceUse, lasting


class InstanceNews:
    """Tells events to people. `on_change` hears that some instance is not as it was before.

    `on_verdict` is for whoever acts on what the checks of health have found, and `on_look` for who
    makes them: which are due may have changed, also where nothing else has.
    """

    def __init__(
        self,
        instances: Instances,
        engine: Engine,
        *,
        node: str,
        state: ClusterState,
        events: Events,
        clock: Clock,
    ) -> None:
        self._instances = instances
        self._node = node
        self._state = state
        self._events = events
        self._clock = clock
        self._engine = engine
        self.on_verdict: Callable[[], None] = lambda: None
        self.on_look: Callable[[], None] = lambda: None
        self.on_change: list[Callable[[], None]] = []
        self._known: object = ()

    def now(self) -> tuple[InstanceUse, ...]:
        """Every instance placed here, with its use as last measured."""
        placed, now_s = self._state.placements_on(self._node), self._clock.now_s()
        return self._instances.now(placed, now_s, self._engine.doing())

    def addresses(self) -> dict[str, str]:
        return self._instances.addresses()

    def due(self) -> tuple[tuple[Check, ...], float]:
        return self._instances.due(self._clock.now_s())

    def answered(self, check: Check, fault: str, *, asked_s: float) -> None:
        """What a check found; `fault` is empty where all was well."""
        now_s = self._clock.now_s()
        verdicts = self._instances.answered(check, fault, asked_s=asked_s, now_s=now_s)
        self.tell(*verdicts)
        if verdicts:
            self.on_verdict()

    def tell(self, *happenings: Happening) -> None:
        for happening in happenings:
            self._events.add(happening.kind, happening.subject, happening.reason)
        self.look()

    def look(self) -> None:
        """Whether something has changed that no event tells of."""
        self.on_look()
        known = tuple(map(lasting, self.now())), self.addresses()
        if known != self._known:
            self._known = known
            for hear in self.on_change:
                hear()
