"""What runs on this node, and what it needs there: images, files, health checks.

The runner goes by the orders that are made here of the agreed log and of what others report; the
furnisher adds config maps, secrets and domains to what it starts; the prober follows its news.
"""

import os
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from roheletd.cluster.dependencies import held_back
from roheletd.cluster.orders import Orders, StandingOrders
from roheletd.cluster.soft import EngineLink
from roheletd.engines.choice import run_dir
from roheletd.engines.files import ValueFolders
from roheletd.instance_use import InstanceUse
from roheletd.loops.elector import Elector
from roheletd.loops.furnisher import Furnisher
from roheletd.loops.image_keeper import ImageKeeper
from roheletd.loops.prober import Prober
from roheletd.loops.runner import Runner
from roheletd.loops.spare_keeper import SpareKeeper
from roheletd.parts.basis import Basis


class OwnInstances:
    """Without an engine there is no runner and no prober; without images, no keeper of any."""

    def __init__(
        self, basis: Basis, *, elector: Elector, search: Callable[[], tuple[str, ...]]
    ) -> None:
        """`search` gives the domains of the containers made now."""
        self._basis = basis
        self._elector = elector
        self._held: dict[str, str] = {}
        self._standing_orders = StandingOrders(
            cluster=basis.me.cluster,
            node=basis.me.node,
            informed=basis.me.joined,
            lost_after_s=basis.limits.lost_after_s,
            settle_s=2 * basis.timing.heartbeat_s,
        )
        self.runner = self._make_runner(search)
        self.image_keeper = _image_keeper(basis)
        self.spare_keeper = _spare_keeper(basis)
        self.prober = _prober(basis, self.runner)

    def orders(self) -> Orders | None:
        """What is to run here now; None while this node has nothing to go by."""
        state, core, now_s = self._basis.state, self._elector.core, self._basis.clock.now_s()
        level = state.applied_index >= core.commit
        in_step = level and core.is_current and (core.role != "leader" or self._elector.leads)
        orders = self._standing_orders.now(
            state,
            now_s=now_s,
            in_step=in_step,
            isolated_for_s=core.silent_s(now_s),
        )
        # Who hears nobody cannot know what is there, and starts what it has.
        self._held = self._held_back(orders.run) if orders and in_step else {}
        return orders and replace(orders, held=self._held)

    def wake(self) -> None:
        """The agreed state has changed."""
        if self.runner is not None:
            self.runner.wake()
        if self.spare_keeper is not None:
            self.spare_keeper.wake()

    def instances_changed(self) -> None:
        """An instance anywhere has changed: what was held back for it may start now."""
        if self.runner is not None and self._held != self._held_back(self._held):
            self.runner.wake()

    def measured(self) -> None:
        if self.image_keeper is not None:
            self.image_keeper.measured()

    def remember(self) -> None:
        """Put what is known of them beside what was heard of all others."""
        if self.runner is not None:
            self._basis.soft.found_addresses(self.runner.news.addresses())
            self._basis.soft.heard_instances(self._basis.me.node, self.runner.news.now())

    def uses(self) -> tuple[InstanceUse, ...]:
        """With their use as of now; called once per report."""
        return self.runner.uses() if self.runner else ()

    def as_reported(self) -> tuple[InstanceUse, ...]:
        """With their use as of the last report."""
        return self.runner.instances() if self.runner else ()

    def _held_back(self, instances: Iterable[str]) -> dict[str, str]:
        return held_back(self._basis.state, self._basis.soft, instances)

    def _make_runner(self, search: Callable[[], tuple[str, ...]]) -> Runner | None:
        basis = self._basis
        if basis.found.engine.engine is None:
            basis.soft.engine = EngineLink(kind="none", reachable=True, reason="as configured")
            return None
        return Runner(
            engine=basis.found.engine.engine,
            furnisher=_furnisher(basis, search),
            node=basis.me.node,
            state=basis.state,
            soft=basis.soft,
            events=basis.events,
            clock=basis.clock,
            rng=basis.rng,
            orders=self.orders,
        )


def _furnisher(basis: Basis, search: Callable[[], tuple[str, ...]]) -> Furnisher:
    own = f"files.{basis.me.node}.{basis.me.cluster}"
    return Furnisher(
        state=basis.state,
        vault=basis.vault,
        folders=ValueFolders(run_dir(os.environ, basis.data_dir) / own),
        search=search,
    )


def _prober(basis: Basis, runner: Runner | None) -> Prober | None:
    if runner is None or basis.found.engine.engine is None:
        return None
    prober = Prober(engine=basis.found.engine.engine, news=runner.news, clock=basis.clock)
    runner.news.on_look = prober.wake
    return prober


def _image_keeper(basis: Basis) -> ImageKeeper | None:
    """Deletes pulled images that nothing needs; each pull asks it for room first."""
    if (store := basis.found.engine.images) is None:
        return None
    store.keeper = ImageKeeper(
        store=store,
        state=basis.state,
        events=basis.events,
        clock=basis.clock,
        path=basis.data_dir / "pulled-images",
        prune=basis.config.images.prune,
        keep_unused_s=basis.config.images.keep_unused_s,
    )
    return store.keeper


def _spare_keeper(basis: Basis) -> SpareKeeper | None:
    """Pulls beforehand what this node would be the next to run."""
    if (store := basis.found.engine.images) is None:
        return None
    return SpareKeeper(
        store=store,
        node=basis.me.node,
        state=basis.state,
        membership=basis.membership,
        profile=basis.profile,
        events=basis.events,
        clock=basis.clock,
    )
