"""The verbs that only read. Each takes one request struct and gives one response struct."""

import asyncio

from roheletd.api import views
from roheletd.api.engine_doubts import engine_doubts
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.events import Event
from roheletd.cluster.state import slot


class Reading(Grounds):
    """What a node knows: itself, the cluster, and what runs where."""

    async def status(self, _request: views.Nothing, _id: str) -> views.Status:
        """What this node is, whom it follows, how much runs, and what a person should look at."""
        wanted = sum(known.service.replicas for known in self._state.services.values())
        running = sum(use.state == "running" for use in self._uses().values())
        return views.Status(
            version=self._version,
            node=self._node,
            cluster=self._cluster,
            role="leader" if self._log.leader == self._node else "follower",
            leader=self._log.leader,
            term=self._log.term,
            applied_index=self._state.applied_index,
            uptime_s=round(self._clock.now_s() - self._started_s, 3),
            nodes=len(self._state.registrations),
            services=len(self._state.services),
            instances_wanted=wanted,
            instances_running=running,
            broker=self._soft.broker,
            engine=self._soft.engine,
            warnings=self._warnings(),
            dropped_messages=self._soft.dropped,
        )

    async def ready(self, _request: views.Nothing, _id: str) -> views.Ready:
        """Whether this node can do its whole job now: 200 or 503, with the reasons."""
        reasons = []
        if not self._log.leader:
            reasons.append("there is no leader")
        if self._log.failure:
            reasons.append(f"the log does not take entries: {self._log.failure}")
        if not self._soft.engine.reachable:
            reasons.append(f"the engine does not answer: {self._soft.engine.reason}")
        if self._node not in self._state.registrations:
            reasons.append("this node is not registered yet")
        return views.Ready(ready=not reasons, reasons=tuple(reasons))

    async def leader(self, _request: views.Nothing, _id: str) -> views.LeaderView:
        """Who leads, and the challenge that a signed MQTT command must carry."""
        return views.LeaderView(
            leader=self._log.leader, term=self._log.term, challenge=self._challenge()
        )

    async def nodes(self, _request: views.Nothing, _id: str) -> views.Nodes:
        """All nodes: capacity, liveness, and what can still be promised on each."""
        free = self._snapshot().nodes
        found = tuple(
            views.NodeView(
                node=item.node,
                liveness=item.condition.liveness,
                instances=len(self._state.placements_on(name)),
                free_cores=dict(item.cores),
                free_cpu_millicores=item.cpu_millicores,
                free_memory_mib=item.memory_mib,
                cordoned=name in self._state.cordoned,
                draining=name in self._state.draining,
            )
            for name, item in free.items()
        )
        return views.Nodes(nodes=found)

    async def services(self, _request: views.Nothing, _id: str) -> views.Services:
        """All services, and how many of their replicas are placed and running."""
        uses = self._uses()
        waiting = self._waiting()
        found = []
        for name, known in sorted(self._state.services.items()):
            placed = [at.instance for at in self._state.placements_of(name)]
            found.append(
                views.ServiceView(
                    service=known.service,
                    revision=known.revision,
                    placed=len(placed),
                    running=sum(
                        uses[instance].state == "running" for instance in placed if instance in uses
                    ),
                    waiting=waiting.get(name, ""),
                )
            )
        return views.Services(services=tuple(found))

    async def instances(self, _request: views.Nothing, _id: str) -> views.Instances:
        """All placed instances: node, cores, ports, score, state and measured use."""
        placements = sorted(
            self._state.placements.values(), key=lambda at: (at.service, slot(at.instance))
        )
        return views.Instances(instances=self._views_of(placements))

    async def use(self, request: views.ByName, _id: str) -> views.ServiceUse:
        """What each instance of a service used, as its node reported last, and what is declared."""
        known = self._state.services.get(request.name)
        if known is None:
            raise NotFound(f"there is no service {request.name}")
        placed = {at.instance: at.node for at in self._state.placements_of(request.name)}
        found = tuple(
            views.MeasuredUse(node=node, at_s=report.at_s, use=use)
            for node in sorted(set(placed.values()))
            if (report := self._soft.telemetry.get(node)) is not None
            for use in report.instances
            if placed.get(use.instance) == node
        )
        return views.ServiceUse(service=known.service, instances=found)

    async def telemetry(self, _request: views.Nothing, _id: str) -> views.TelemetryList:
        """The newest report of each node: per-core CPU, memory, GPUs, disks, temperatures."""
        return views.TelemetryList(telemetry=tuple(self._soft.telemetry.values()))

    async def events(self, request: views.EventsAfter, _id: str) -> views.EventList:
        """What happened on this node, oldest first; with `wait_s`, waits until something does."""
        found = self._events.after(request.after)
        if not found and request.wait_s > 0:
            found = await self._next_events(request.after, request.wait_s)
        return views.EventList(events=found, last=found[-1].seq if found else request.after)

    async def cluster_status(self, _request: views.Nothing, _id: str) -> views.ClusterView:
        """Who is in the cluster, who leads, and what the loss of one more node would mean."""
        return self._control.view()

    async def _next_events(self, after: int, wait_s: float) -> tuple[Event, ...]:
        happened = asyncio.Event()

        def listen(_event: Event) -> None:
            happened.set()

        self._events.listeners.add(listen)
        try:
            await asyncio.wait_for(happened.wait(), wait_s)
        except TimeoutError:
            return ()
        finally:
            self._events.listeners.discard(listen)
        return self._events.after(after)

    def _warnings(self) -> tuple[str, ...]:
        found = _doubts(self._control.view())
        if not self._soft.broker.connected:
            found.append(f"no broker: {self._soft.broker.reason}; telemetry stays on this node")
        if not self._soft.engine.reachable:
            found.append(f"the engine does not answer: {self._soft.engine.reason}")
        found += engine_doubts(self._soft)
        found += [f"{part}: {notice}" for part, notice in self._soft.notices.items()]
        report = self._soft.telemetry.get(self._node)
        if report is not None:
            found += [f"sensor {name}: {reason}" for name, reason in report.sick.items()]
            found += [f"this node is throttled: {reason}" for reason in report.throttled]
        found += [f"service {name} waits: {why}" for name, why in self._waiting().items()]
        return tuple(found)


def _doubts(cluster: views.ClusterView) -> list[str]:
    """What a person should know of the cluster; nothing where one more machine may die."""
    if cluster.failure:
        return [cluster.failure]
    voters = [it for it in cluster.members if it.role in ("voter", "witness")]
    found = []
    if not cluster.leader and cluster.leader_heard_s is not None:
        found.append(
            f"no leader was heard for {cluster.leader_heard_s:.0f} s: what is shown may be as old, "
            "and commands are refused"
        )
    if len(voters) == 2 or any(it.liveness != "alive" for it in voters):  # noqa: PLR2004
        found.append(cluster.outlook)
    return found
