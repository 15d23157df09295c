"""In-memory twins of the edges: what the tests, and whoever builds on this package, drive it with.

A twin keeps the promises of what it stands for, in particular those about order and encoding, and
leaves out the waiting.
"""

import asyncio
import itertools
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd import token as tokens
from roheletd.api.problems import NotFound
from roheletd.api.views import ClusterView, MemberView
from roheletd.clock import Clock
from roheletd.cluster import commands
from roheletd.cluster.commands import AnyCommand, Outcome, Proposal
from roheletd.cluster.container import Container, Usage
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.cluster.state import ClusterState
from roheletd.cluster.volumes import StoredVolume, name_of
from roheletd.engines import EngineError, EngineInfo, ImageRefused, PortTaken, Tell, to_nobody
from roheletd.errors import Refused, Unavailable
from roheletd.raft import Entry, Save, Saved
from roheletd.store import Store, StoreFailed
from roheletd.token import Token


class ManualClock(Clock):
    """Time that passes only when it is told to."""

    def __init__(self, now_s: float = 0.0, *, wall_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s
        self._wall_s = wall_s

    def now_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        assert seconds >= 0, "time does not run backwards"
        self._now_s += seconds
        self._wall_s += seconds


class MemoryLog:
    """The log of a single voter that forgets: what is proposed is committed and applied at once.

    A command goes through its bytes, so that what cannot be encoded fails here as it would there.
    """

    def __init__(self, state: ClusterState, *, leader: str, term: int = 1) -> None:
        self._state = state
        self.leader = leader
        self.leads = True
        self.term = term
        self.failure = ""
        """Set it to have proposals refused, as those of a broken disk are."""

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        if self.failure:
            raise Unavailable(self.failure)
        data = commands.encode(Proposal(id=command_id, command=command))
        known = self._state.foresee(commands.decode(data))
        if known is not None:
            return known
        return self._state.apply(self._state.applied_index + 1, self.term, commands.decode(data))


class MemoryCluster:
    """A cluster that does at once what is asked. `members`: the others, by name."""

    def __init__(self, *, node: str, cluster: str, wall_s: Callable[[], float]) -> None:
        self._wall_s = wall_s
        self.members: dict[str, MemberView] = {}
        self._removed: set[tuple[str, str]] = set()
        self.seen = ClusterView(
            cluster=cluster,
            cluster_id="0123456789abcdef",
            epoch=1,
            node=node,
            member=f"{node}.00000001",
            membership="joined",
            role="leader",
            leader=node,
            term=1,
            commit_index=1,
            applied_index=1,
            members=(),
            outlook="one more lost node stops the cluster",
        )

    def view(self) -> ClusterView:
        me = MemberView(
            name=self.seen.node, id=self.seen.member, role="voter", liveness="alive", lag=0
        )
        return replace(self.seen, members=(me, *self.members.values()))

    async def share(self) -> None:
        self.seen = replace(self.seen, shared=True)

    async def token(self, valid_for_s: int) -> str:
        await self.share()
        expires_at_s = int(self._wall_s()) + valid_for_s if valid_for_s else 0
        return tokens.encode(
            Token(
                cluster=self.seen.cluster,
                cluster_id=self.seen.cluster_id,
                epoch=self.seen.epoch,
                key=bytes(32),
                brokers=("mqtt://127.0.0.1:9471",),
                expires_at_s=expires_at_s,
            )
        )

    async def join(self, token: Token, *, force: bool) -> None:
        if token.cluster_id != self.seen.cluster_id and self.members and not force:
            raise Refused(f"this node is a member of another cluster, {self.seen.cluster}")
        expired = tokens.expired(token, self._wall_s())
        self.seen = replace(
            self.seen,
            cluster=token.cluster,
            cluster_id=token.cluster_id,
            epoch=token.epoch,
            membership="refused" if expired else "joined",
            reason="the token has expired" if expired else "",
        )

    async def leave(self) -> None:
        self.members.clear()
        self.seen = replace(self.seen, membership="left", role="not a member", leader="")

    async def recover(self) -> None:
        self.seen = replace(self.seen, epoch=self.seen.epoch + 1)

    async def remove(self, name: str, *, command_id: str) -> None:
        known = self.members.pop(name, None) is not None or (command_id, name) in self._removed
        self._removed.add((command_id, name))
        if not known:
            raise NotFound(f"no member of cluster {self.seen.cluster} is called {name}")


class _Impatient(selectors.DefaultSelector):
    """Never waits: where nothing is ready, the time that it was to wait has passed."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        if not ready and timeout is not None:
            self.passed_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer once nothing else is to be done.

    An hour of back-offs takes a moment and is the same in every run. Not for what happens outside
    of the loop, in threads or other processes: it would not be waited for.

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(story())
    """

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.passed_s

    def stall(self, seconds: float) -> None:
        """As if something had kept this loop from turning for so long."""
        self._impatient.passed_s += seconds


class LoopClock(Clock):
    """The running loop's time, for parts under test in a `VirtualTimeLoop`."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.now_s()


class Published(Struct, frozen=True, kw_only=True):
    """One message as it was handed to the link."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    once: bool = False


class MemoryLink:
    """A link to a broker that keeps every message. `full`: it takes no more, as a slow one does."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.full = False

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        once: bool = False,
    ) -> bool:
        if not self.full:
            self.published.append(
                Published(topic=topic, payload=payload, qos=qos, retain=retain, once=once)
            )
        return not self.full

    def on(self, topic: str) -> list[bytes]:
        """What was said on `topic`, oldest first."""
        return [message.payload for message in self.published if message.topic == topic]

    @property
    def retained(self) -> dict[str, bytes]:
        """What a broker would tell somebody who subscribes now."""
        return {message.topic: message.payload for message in self.published if message.retain}


class MemoryStore(Store):
    """A disk that is done at once. What a daemon that is killed leaves is in `saved`.

    `delay_s`: how long a flush takes. `trouble`: set it to have each further one fail.
    """

    def __init__(self, saved: Saved | None = None) -> None:
        self.saved = saved or Saved()
        self.saves: list[Save] = []
        self.delay_s = 0.0
        self.trouble = ""

    async def load(self) -> Saved:
        return self.saved

    async def save(self, save: Save) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.trouble:
            raise StoreFailed(self.trouble)
        self.saves.append(save)
        self.saved = Saved(
            term=save.term,
            vote=save.vote,
            commit=save.commit,
            snapshot=save.snapshot or self.saved.snapshot,
            entries=self._entries_after(save),
        )

    async def close(self) -> None:
        pass

    def _entries_after(self, save: Save) -> tuple[Entry, ...]:
        kept = () if save.reset else self.saved.entries
        if save.snapshot is not None:
            kept = tuple(entry for entry in kept if entry.index >= save.keep_from)
        if save.entries:
            kept = tuple(entry for entry in kept if entry.index < save.entries[0].index)
        return kept + save.entries


Receive = Callable[[str, bytes, int], None]


class MemoryNet:
    """A broker and the network around it: what is published reaches the others a moment later.

    Whom it reaches is decided when it arrives. The dice may lose and double it, and let later
    messages overtake it. `carried` counts what was handed over, by topic.
    """

    def __init__(self, rng: Random) -> None:
        self.delay_s = 0.001
        self.loss = 0.0
        self.doubled = 0.0
        self.carried: Counter[str] = Counter()
        self.retained: dict[str, tuple[str, bytes]] = {}
        self._rng = rng
        self._listeners: dict[str, tuple[tuple[str, ...], Receive]] = {}
        self._cut: set[tuple[str, str]] = set()

    def link(self, node: str, patterns: tuple[str, ...], receive: Receive) -> "MemoryPort":
        """The end of `node`, which hears the topics of `patterns`, and first what is retained."""
        self._listeners[node] = (patterns, receive)
        for topic, (sender, payload) in self.retained.items():
            self._deliver(sender, node, topic, payload)
        return MemoryPort(self, node)

    def unlink(self, node: str, *, will: tuple[str, bytes] | None = None) -> None:
        """`node` is gone; the broker says its will, if it left one."""
        self._listeners.pop(node, None)
        if will is not None:
            self.carry(node, *will, retain=True)

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing that `sender` says reaches `receiver`, until `heal`."""
        self._cut.add((sender, receiver))

    def isolate(self, *nodes: str) -> None:
        """Nothing passes between `nodes` and the others, until `heal`."""
        others = self._listeners.keys() - set(nodes)
        self._cut |= {
            (a, b) for node in nodes for other in others for a, b in ((node, other), (other, node))
        }

    def heal(self) -> None:
        self._cut.clear()

    def carry(self, sender: str, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.carried[topic] += 1
        if retain:
            self.retained[topic] = (sender, payload)
        for node in self._listeners:
            for _ in range(1 + (self._rng.random() < self.doubled)):
                if self._rng.random() >= self.loss:
                    self._deliver(sender, node, topic, payload)

    def _deliver(self, sender: str, node: str, topic: str, payload: bytes) -> None:
        delay_s = self.delay_s * self._rng.uniform(0.5, 1.5)
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, self._arrive, sender, node, topic, payload)

    def _arrive(self, sender: str, node: str, topic: str, payload: bytes) -> None:
        patterns, receive = self._listeners.get(node, ((), None))
        heard = any(_matches(topic, pattern) for pattern in patterns)
        if receive is not None and heard and (sender, node) not in self._cut:
            receive(topic, payload, 0)


class MemoryPort:
    """One node's link to a `MemoryNet`."""

    def __init__(self, net: MemoryNet, node: str) -> None:
        self._net = net
        self._node = node

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,  # noqa: ARG002 - nothing is said again here
        retain: bool = False,
        once: bool = False,  # noqa: ARG002 - there is one link only
    ) -> bool:
        self._net.carry(self._node, topic, payload, retain=retain)
        return True


def _matches(topic: str, pattern: str) -> bool:
    """As MQTT has it, with `+` for any one level."""
    levels, wanted = topic.split("/"), pattern.split("/")
    pairs = zip(levels, wanted, strict=False)
    return len(levels) == len(wanted) and all(b in (a, "+") for a, b in pairs)


class MemoryEngine:
    """An engine whose containers are values; everything that befalls a real one can befall it.

    Containers outlive a loss, and so does what a request had done before it, as on a real engine.
    """

    def __init__(self, *, name: str = "Memory") -> None:
        self.info = EngineInfo(kind="docker", name=name, version="1", address="memory")
        self.containers: dict[str, Container] = {}
        self.used: dict[str, Usage] = {}
        self.threads_s: dict[str, dict[int, float]] = {}
        self.asked: list[str] = []
        """Every request that changes something, in order: `run web.1`."""
        self.slow: set[str] = set()
        """Instances whose requests wait for `finish`: a large image, a long grace period."""
        self.working: dict[str, asyncio.Future[None]] = {}
        self.grace_s: dict[str, float] = {}
        """What the last removal of each instance was given."""
        self.steps: dict[str, str] = {}
        """What it says that it is doing for each instance."""
        self.stored: dict[str, StoredVolume] = {}
        """The named volumes that are there, by name."""
        self.opened = 0
        self.closed = False
        self._absent = ""
        self._refusals: dict[str, Callable[[], EngineError]] = {}
        self._changed = asyncio.Event()
        self._images: tuple[str, ...] = ()
        self._images_changed = asyncio.Event()
        self._numbers = itertools.count(1)

    def lose(self, reason: str) -> None:
        """It answers nobody from now on, and those who wait for it hear so."""
        self._absent = reason
        for waiting in self.working.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(reason))
        self._changed.set()

        self._images_changed.set()

    def come_back(self) -> None:
        self._absent = ""

    def refuse(self, what: str, reason: str, *, retry: bool = True) -> None:
        """Answer requests about an instance, or `list`, with a refusal until `allow`."""
        self._refusals[what] = lambda: EngineError(reason, retry=retry)

    def refuse_ports(self, instance: str, *ports: int) -> None:
        """Another program holds one of `ports`, until `allow`."""
        self._refusals[instance] = lambda: PortTaken(ports)

    def refuse_image(self, instance: str, reason: str) -> None:
        """The image of `instance` cannot be had, until `allow`."""
        self._refusals[instance] = lambda: ImageRefused(reason)

    def has_images(self, *names: str) -> None:
        """Somebody pulls and deletes images: these are there now."""
        self._images = names
        self._images_changed.set()

    def allow(self, what: str) -> None:
        del self._refusals[what]

    def finish(self, instance: str) -> None:
        """Let the slow request about `instance` go on."""
        self.working[instance].set_result(None)

    def die(self, instance: str, exit_code: int = 1) -> None:
        """The container of `instance` ends by itself."""
        copy = self.copy_of(instance)
        reason = f"ended with exit code {exit_code}"
        self._put(replace(copy, state="exited", exit_code=exit_code, reason=reason))

    def vanish(self, instance: str) -> None:
        """Somebody removes the container of `instance` behind our back."""
        del self.containers[self.copy_of(instance).id]
        self._changed.set()

    def copy_of(self, instance: str) -> Container:
        (copy,) = (copy for copy in self.containers.values() if copy.instance == instance)
        return copy

    async def open(self) -> EngineInfo:
        self._must_answer()
        self.opened += 1
        return self.info

    async def close(self) -> None:
        self.closed = True

    async def list(self) -> list[Container]:
        self._must_answer()
        self._must_allow("list")
        return list(self.containers.values())

    async def run(self, spec: InstanceSpec, tell: Tell = to_nobody) -> None:  # noqa: ARG002
        await self._work("run", spec.instance)
        if any(copy.instance == spec.instance for copy in self.containers.values()):
            raise EngineError(f"an earlier copy of {spec.instance} is still being removed")
        for own in (it.name for it in spec.volumes if it.name is not None):
            name = name_of(spec.cluster, spec.instance, own)
            self.stored[name] = StoredVolume(name, spec.instance, own)
        number = next(self._numbers)
        self._put(
            Container(
                id=f"c{number}",
                instance=spec.instance,
                digest=spec.digest,
                state="running",
                created_s=float(number),
            )
        )

    async def start(self, container_id: str) -> None:
        copy = self.containers.get(container_id)
        if copy is None:
            raise EngineError(f"container {container_id} is gone")
        await self._work("start", copy.instance)
        self._put(replace(copy, state="running", exit_code=None, reason=""))

    async def stop(self, container_id: str, grace_s: float) -> None:
        copy = self.containers.get(container_id)
        if copy is not None:
            self.grace_s[copy.instance] = grace_s
            await self._work("stop", copy.instance)
            self._put(replace(copy, state="exited", exit_code=143, reason="stopped"))

    async def remove(self, container_id: str, grace_s: float) -> None:
        copy = self.containers.get(container_id)
        if copy is not None:
            self.grace_s[copy.instance] = grace_s
            await self._work("remove", copy.instance)
            self.containers.pop(container_id, None)
            self._changed.set()

    def doing(self) -> dict[str, str]:
        return self.steps

    def usage(self) -> dict[str, Usage]:
        running = (copy.id for copy in self.containers.values() if copy.state == "running")
        return {key: self.used.get(key, Usage(cpu_s=0.0, memory_mib=1)) for key in running}

    def threads(self, container_id: str) -> dict[int, float]:
        return self.threads_s.get(container_id, {})

    async def volumes(self) -> tuple[StoredVolume, ...]:
        self._must_answer()
        return tuple(self.stored.values())

    async def remove_volume(self, name: str) -> None:
        self._must_answer()
        self._must_allow(name)
        self.asked.append(f"remove volume {name}")
        self.stored.pop(name, None)

    async def changes(self) -> AsyncIterator[None]:
        self._must_answer()
        while True:
            yield None
            await self._changed.wait()
            self._changed.clear()
            self._must_answer()

    async def images(self) -> AsyncIterator[tuple[str, ...]]:
        self._must_answer()
        self._must_allow("images")
        while True:
            yield self._images
            await self._images_changed.wait()
            self._images_changed.clear()
            self._must_answer()

    async def _work(self, verb: str, instance: str) -> None:
        self._must_answer()
        self.asked.append(f"{verb} {instance}")
        if instance in self.slow:
            self.working[instance] = asyncio.get_running_loop().create_future()
            try:
                await self.working[instance]
            finally:
                del self.working[instance]
        self._must_allow(instance)

    def _put(self, copy: Container) -> None:
        self.containers[copy.id] = copy
        self._changed.set()

    def _must_answer(self) -> None:
        if self._absent:
            raise Unavailable(self._absent)

    def _must_allow(self, what: str) -> None:
        if what in self._refusals:
            error = self._refusals[what]()
            raise error
