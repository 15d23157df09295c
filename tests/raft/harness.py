"""Cores driven by hand: every message is delivered, lost or kept back because a test says so.

A `Group` is a few cores with disks, a wire on which messages lie until they are delivered, and a
state machine that writes commands down one after the other. Chance is `Steady`: what would be drawn
between two bounds is always the lower one, so that a test can say which moment comes next. After
every step two promises are checked: one leader per term, and one entry per applied position.
"""

from collections.abc import Callable, Iterable
from random import Random

from msgspec import Struct

from roheletd.raft import (
    EVERYBODY,
    AnyMessage,
    Configuration,
    Entry,
    Kind,
    Message,
    NodeId,
    Raft,
    Ready,
    Role,
    Saved,
    Snapshot,
    Timing,
)
from roheletd.raft.values import encode_configuration
from tests.raft.simulation.disk import Disk

TIMING = Timing(heartbeat_s=0.5, election_min_s=2.0, election_max_s=4.0)


class Steady(Random):
    """Draws the lower bound, always."""

    def random(self) -> float:
        return 0.0


def members(*voters: NodeId, learners: Iterable[NodeId] = ()) -> Configuration:
    return Configuration.of(set(voters), set(learners))


def configured(configuration: Configuration, *, index: int = 1, term: int = 1) -> Entry:
    return Entry(index, term, encode_configuration(configuration), Kind.CONFIGURATION)


def log_of(configuration: Configuration, *terms: int) -> tuple[Entry, ...]:
    """A membership at index 1 in term 1, then one command per term given."""
    commands = (Entry(at, term, f"{at}.{term}".encode()) for at, term in enumerate(terms, 2))
    return (configured(configuration), *commands)


def disk_of(
    configuration: Configuration,
    *terms: int,
    term: int = 1,
    vote: NodeId | None = None,
    commit: int = 1,
) -> Saved:
    return Saved(term=term, vote=vote, commit=commit, entries=log_of(configuration, *terms))


class Parcel(Struct, frozen=True):
    """A message on its way to one node; what goes to all is one parcel per node that hears it."""

    to: NodeId
    message: Message


class State:
    """The state machine: commands in the order of the log, with the position of each."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, bytes]] = []
        self.restored: Snapshot | None = None

    def restore(self, snapshot: Snapshot) -> None:
        self.restored = snapshot
        self.commands = [(snapshot.index, data) for data in snapshot.data.split()]

    def apply(self, entries: tuple[Entry, ...]) -> None:
        self.commands += [(it.index, it.data) for it in entries if it.kind is Kind.COMMAND]

    def snapshot_at(self, index: int) -> bytes:
        return b" ".join(data for at, data in self.commands if at <= index)

    @property
    def text(self) -> str:
        return b" ".join(data for _, data in self.commands).decode()


class Member:
    """One node: its disk outlives its core. `core` is None while it is down."""

    def __init__(self, name: NodeId, disk: Disk) -> None:
        self.name = name
        self.disk = disk
        self.core: Raft | None = None
        self.state = State()
        self.applied: list[Entry] = []


class Group:
    """The cores of a test. `told` hears of every `Ready`."""

    def __init__(
        self,
        *,
        timing: Timing = TIMING,
        chunk_bytes: int = 32_768,
        told: Callable[[NodeId, Ready], None] = lambda node, ready: None,
    ) -> None:
        self.now_s = 0.0
        self.wire: list[Parcel] = []
        self.members: dict[NodeId, Member] = {}
        self.hears_all: tuple[NodeId, ...] | None = None
        self._held: list[Parcel] = []
        self._timing = timing
        self._chunk_bytes = chunk_bytes
        self._told = told
        self._cuts: set[tuple[NodeId, NodeId]] = set()
        self._leaders: dict[int, NodeId] = {}
        self._agreed: dict[int, Entry] = {}

    def __getitem__(self, name: NodeId) -> Raft:
        core = self.members[name].core
        assert core is not None, f"{name} is down"
        return core

    def up(self) -> list[NodeId]:
        return [name for name, member in self.members.items() if member.core is not None]

    def applied(self, name: NodeId) -> str:
        """The commands that `name` has applied."""
        return self.members[name].state.text

    # --- life and death

    def add(self, name: NodeId, saved: Saved | None = None) -> Raft:
        """A node that starts from what a disk holds."""
        self.members[name] = Member(name, Disk(saved or Saved()))
        return self.restart(name)

    def crash(self, name: NodeId) -> None:
        """All is lost but what was saved. What it had sent stays on the wire."""
        self.members[name].core = None

    def restart(self, name: NodeId, *, rng: Random | None = None) -> Raft:
        member = self.members[name]
        member.state, member.applied = State(), []
        member.core = Raft(
            me=name,
            saved=member.disk.saved(),
            timing=self._timing,
            rng=rng or Steady(),
            now_s=self.now_s,
            chunk_bytes=self._chunk_bytes,
        )
        self.pump(name)
        return member.core

    # --- time

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    def tick(self, name: NodeId) -> Ready:
        """Let time pass until `name` has something to do, and tick it alone."""
        self.now_s = max(self.now_s, self[name].deadline_s)
        self[name].tick(self.now_s)
        return self.pump(name)

    def run(self, seconds: float) -> None:
        """Let everybody act when due, and every message arrive at once."""
        end_s = self.now_s + seconds
        self.deliver()
        while True:
            due_s, name = min((self[name].deadline_s, name) for name in self.up())
            if due_s > end_s:
                break
            self.now_s = max(self.now_s, due_s)
            self.tick(name)
            self.deliver()
        self.now_s = end_s

    # --- messages

    def pump(self, name: NodeId) -> Ready:
        """The driver's duty, in its order: persist, send, apply."""
        member = self.members[name]
        ready = self[name].ready()
        if ready.to_save is not None:
            member.disk.write(ready.to_save)
        for message in ready.to_send:
            self.wire += [Parcel(to, message) for to in self.hearers(message)]
        if ready.to_restore is not None:
            member.state.restore(ready.to_restore)
        member.state.apply(ready.to_apply)
        member.applied += ready.to_apply
        self._check(name, ready)
        self._told(name, ready)
        return ready

    def step(self, message: AnyMessage, *, at: NodeId | None = None) -> Ready:
        """Hand a message over that was not on the wire."""
        to = at or message.to
        self[to].step(message, self.now_s)
        return self.pump(to)

    def deliver(self, sender: NodeId | None = None, to: NodeId | None = None) -> list[Message]:
        """Deliver what is on the wire, and what that leads to; or only what is on it from `sender`
        to `to` now. Returns what arrived."""
        arrived: list[Message] = []
        once = sender is not None or to is not None
        parcels = self.on_way(sender, to)
        while parcels:
            for parcel in parcels:
                arrived += self.carry(parcel)
            parcels = [] if once else self.on_way(sender, to)
            assert len(arrived) < 10_000, "messages lead to messages without end"
        return arrived

    def carry(self, parcel: Parcel) -> list[Message]:
        """Deliver one parcel, unless its way is cut or its receiver down: then it is lost."""
        self.wire.remove(parcel)
        way = (parcel.message.sender, parcel.to)
        if way in self._cuts or self.members[parcel.to].core is None:
            return []
        self[parcel.to].step(parcel.message, self.now_s)  # type: ignore[arg-type]
        self.pump(parcel.to)
        return [parcel.message]

    def drop(self, sender: NodeId | None = None, to: NodeId | None = None) -> list[Message]:
        """Lose what is on the wire now."""
        lost = self.on_way(sender, to)
        for parcel in lost:
            self.wire.remove(parcel)
        return [parcel.message for parcel in lost]

    def hold(
        self, sender: NodeId | None = None, to: NodeId | None = None, *, copy: bool = False
    ) -> None:
        """Keep back what is on the wire now, or a copy of it, until `release`."""
        held = self.on_way(sender, to)
        self._held += held
        if not copy:
            self.wire = [parcel for parcel in self.wire if parcel not in held]

    def release(self) -> None:
        """What was kept back comes next."""
        self.wire[:0], self._held = self._held, []

    def cut(self, *sides: Iterable[NodeId]) -> None:
        """Messages between nodes of different sides are lost from now on."""
        parts = [tuple(side) for side in sides]
        for side in parts:
            others = [name for part in parts if part != side for name in part]
            self._cuts |= {(one, other) for one in side for other in others}

    def heal(self) -> None:
        self._cuts.clear()

    def on_way(self, sender: NodeId | None = None, to: NodeId | None = None) -> list[Parcel]:
        """What is on the wire from `sender` to `to`; None is anybody."""
        return [
            parcel
            for parcel in self.wire
            if sender in (None, parcel.message.sender) and to in (None, parcel.to)
        ]

    def hearers(self, message: Message) -> list[NodeId]:
        """Which of the nodes a message is carried to."""
        if message.to != EVERYBODY:
            return [message.to] if message.to in self.members else []
        hearers = self.members if self.hears_all is None else self.hears_all
        return [name for name in hearers if name != message.sender]

    # --- shortcuts

    def elect(self, name: NodeId) -> None:
        """Make `name` the leader: it alone notices a silence, and all is delivered."""
        self.advance(TIMING.election_max_s)
        self[name].tick(self.now_s)
        self.pump(name)
        self.deliver()
        assert self[name].role == "leader", f"{name} was not elected"

    def propose(self, name: NodeId, data: str) -> int:
        index = self[name].propose(data.encode(), self.now_s)
        self.pump(name)
        return index

    def change(self, name: NodeId, configuration: Configuration) -> None:
        self[name].change(configuration, self.now_s)
        self.pump(name)

    def transfer(self, name: NodeId, to: NodeId) -> None:
        self[name].transfer(to, self.now_s)
        self.pump(name)

    def hint(self, name: NodeId, dead: NodeId) -> None:
        self[name].hint(dead, self.now_s)
        self.pump(name)

    def compact(self, name: NodeId, index: int | None = None, *, keep: int = 0) -> Snapshot:
        """Have `name` replace what it applied, up to `index`, by a snapshot."""
        at = self[name].commit if index is None else index
        self[name].compact(self.members[name].state.snapshot_at(at), at, keep=keep)
        save = self.pump(name).to_save
        assert save is not None
        assert save.snapshot is not None
        return save.snapshot

    def roles(self) -> dict[NodeId, Role]:
        return {name: self[name].role for name in self.up()}

    def _check(self, name: NodeId, ready: Ready) -> None:
        core = self[name]
        if core.role == "leader":
            first = self._leaders.setdefault(core.term, name)
            assert first == name, f"{first} and {name} both lead in term {core.term}"
        for entry in ready.to_apply:
            agreed = self._agreed.setdefault(entry.index, entry)
            assert agreed == entry, f"{name} applies {entry}, another applied {agreed}"


def trio(*terms: int, learners: Iterable[NodeId] = (), chunk_bytes: int = 32_768) -> Group:
    """Three voters, and learners, that hold the same log; nobody hears what is told to all."""
    group = Group(chunk_bytes=chunk_bytes)
    group.hears_all = ()
    saved = disk_of(members("a", "b", "c", learners=learners), *terms, term=max((1, *terms)))
    for name in ("a", "b", "c", *learners):
        group.add(name, saved)
    return group


def led_by_a(*, learners: Iterable[NodeId] = (), chunk_bytes: int = 32_768) -> Group:
    """Three voters of which `a` leads in term 2, with an entry of its own at index 2."""
    group = trio(learners=learners, chunk_bytes=chunk_bytes)
    group.elect("a")
    return group


def lone(name: NodeId, saved: Saved) -> Group:
    """One node without the others, so long after its start that it may vote."""
    group = Group()
    group.add(name, saved)
    group.advance(TIMING.election_min_s)
    return group


def lone_b(
    *terms: int, term: int = 1, vote: NodeId | None = None, commit: int = 1, learner: bool = False
) -> Group:
    """`b` without `a` and `c`: the other two voters, whose messages a test writes itself."""
    who = members("a", "c", learners=["b"]) if learner else members("a", "b", "c")
    return lone("b", disk_of(who, *terms, term=term, vote=vote, commit=commit))
