"""The language of the scenarios: one command per line, each leading to lines of output.

    start voters=a,b,c learners=d strangers=e chunk=8
                          a log with this membership at 1/1, committed, on all but strangers
    disk a log=1,2 term=2 vote=b commit=1
                          restart a with commands of these terms after 1/1 on its disk; `log=none`
                          is an empty disk
    hear d e              who hears what a leader tells all; at first the strangers alone
    tick a                time passes until a has something to do; a alone does it
    advance 0.5           time passes, and nobody does anything
    run 3                 time passes, everybody acts when due, and messages arrive at once
    deliver a->b c->a     what is under way from a to b arrives, then what is from c to a; `*` is
                          anybody, and `deliver all` goes on until nothing is under way
    drop a->b             what is under way is lost
    hold a->b             what is under way is kept back until `release`; it then comes first
    copy a->b             the same with a copy, while the message itself goes its way
    repeat a->b           what is under way is so twice
    cut a | b c           no messages between sides from now on, until `heal`
    elect a               a leads after a silence; told in one line
    propose a x y         commands; change a voters=a,b learners=c; transfer a b; hint b a
    crash a               what was not saved is gone; restart a
    compact a 5 keep=2    a snapshot stands for entries up to 5, the last two of which stay
    remember a            a writes down how far the log is committed
    show a b              standing, log and state of these, or of all
    quietly COMMAND       without output

A line that begins with `#` is for people. Chance always draws the lower bound (harness.Steady): a
silence is 2 s, and one who failed to win tries again after 0.5 s.
"""

from collections.abc import Callable

import msgspec

from roheletd.raft import (
    EVERYBODY,
    ChangeRefused,
    Configuration,
    NodeId,
    NotLeader,
    Ready,
    Saved,
)
from tests.raft import telling
from tests.raft.harness import Group, Parcel, disk_of, members


def named(words: list[str]) -> dict[str, str]:
    """`key=value` words."""
    return dict(word.split("=", 1) for word in words if "=" in word)


def names(text: str) -> tuple[NodeId, ...]:
    return tuple(name for name in text.split(",") if name)


def wanted(options: dict[str, str]) -> Configuration:
    return members(*names(options["voters"]), learners=names(options.get("learners", "")))


class Script:
    """Runs commands one after the other; each returns its lines of output."""

    def __init__(self) -> None:
        self.group = Group(told=self._tell)
        self._founding = Configuration()
        self._lines: list[str] = []
        self._standing: dict[NodeId, str] = {}

    def run(self, line: str) -> list[str]:
        command, *words = line.split()
        if command == "quietly":
            self.run(" ".join(words))
            return []
        self._lines = []
        act: Callable[[list[str]], None] = getattr(self, f"do_{command}")
        act(words)
        return self._lines

    # --- commands

    def do_start(self, words: list[str]) -> None:
        options = named(words)
        strangers = names(options.get("strangers", ""))
        self._founding = wanted(options)
        self.group = Group(told=self._tell, chunk_bytes=int(options.get("chunk", 32_768)))
        self.group.hears_all = strangers
        for name in self._founding.members:
            self.group.add(name, disk_of(self._founding))
        for name in strangers:
            self.group.add(name)
        self._lines = []

    def do_disk(self, words: list[str]) -> None:
        options = named(words)
        terms = options.get("log", "")
        empty = Saved(term=int(options.get("term", "0")), vote=options.get("vote"))
        full = disk_of(
            self._founding,
            *(int(term) for term in names(terms) if terms != "none"),
            term=int(options.get("term", "1")),
            vote=options.get("vote"),
            commit=int(options.get("commit", "1")),
        )
        self.group.add(words[0], empty if terms == "none" else full)

    def do_hear(self, words: list[str]) -> None:
        self.group.hears_all = tuple(words)

    def do_tick(self, words: list[str]) -> None:
        self.group.tick(words[0])

    def do_advance(self, words: list[str]) -> None:
        self.group.advance(float(words[0]))

    def do_run(self, words: list[str]) -> None:
        self.group.run(float(words[0]))

    def do_deliver(self, words: list[str]) -> None:
        if words == ["all"]:
            while self.group.wire:
                self._arrive(list(self.group.wire))
        for way in words:
            if way != "all":
                self._arrive(self.group.on_way(*self._way(way)))

    def do_drop(self, words: list[str]) -> None:
        for way in words:
            lost = self.group.drop(*self._way(way))
            self._lines += [f"lost: {telling.message(message)}" for message in lost]

    def do_hold(self, words: list[str]) -> None:
        for way in words:
            self.group.hold(*self._way(way))

    def do_copy(self, words: list[str]) -> None:
        for way in words:
            self.group.hold(*self._way(way), copy=True)

    def do_release(self, words: list[str]) -> None:
        self.group.release()

    def do_repeat(self, words: list[str]) -> None:
        for way in words:
            self.group.wire += self.group.on_way(*self._way(way))

    def do_cut(self, words: list[str]) -> None:
        self.group.cut(*(side.split() for side in " ".join(words).split("|")))

    def do_heal(self, words: list[str]) -> None:
        self.group.heal()

    def do_elect(self, words: list[str]) -> None:
        self.group.elect(words[0])
        self._lines = [f"{words[0]} is {telling.standing(self.group[words[0]])}"]

    def do_propose(self, words: list[str]) -> None:
        node, *commands = words
        for data in commands:
            self._attempt(self.group.propose, node, data)

    def do_change(self, words: list[str]) -> None:
        self._attempt(self.group.change, words[0], wanted(named(words)))

    def do_transfer(self, words: list[str]) -> None:
        node, to = words
        self._attempt(self.group.transfer, node, to)

    def do_hint(self, words: list[str]) -> None:
        node, dead = words
        self.group.hint(node, dead)

    def do_crash(self, words: list[str]) -> None:
        self.group.crash(words[0])
        self._standing.pop(words[0], None)

    def do_restart(self, words: list[str]) -> None:
        self.group.restart(words[0])

    def do_compact(self, words: list[str]) -> None:
        keep = int(named(words).get("keep", 0))
        self.group.compact(words[0], int(words[1]), keep=keep)

    def do_remember(self, words: list[str]) -> None:
        self.group[words[0]].remember_commit()
        self.group.pump(words[0])

    def do_show(self, words: list[str]) -> None:
        for name in words or self.group.up():
            node = self.group[name]
            state = self.group.applied(name) or "nothing"
            self._lines.append(f"{name} {telling.standing(node)}; {telling.log(node)}; {state}")

    # --- what is told

    def _arrive(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            heard = telling.message(parcel.message)
            at = f" at {parcel.to}" if parcel.message.to == EVERYBODY else ""
            before = len(self._lines)
            arrived = self.group.carry(parcel)
            self._lines.insert(before, f"{'' if arrived else 'lost: '}{heard}{at}")

    def _tell(self, name: NodeId, ready: Ready) -> None:
        """Without what is told to all where nobody hears it; with what `name` has become."""
        spoken = tuple(it for it in ready.to_send if self.group.hearers(it))
        told = msgspec.structs.replace(ready, to_send=spoken)
        self._lines += [f"    {line}" for line in telling.ready(name, told)]
        standing = telling.rank(self.group[name])
        if self._standing.get(name, standing) != standing:
            self._lines.append(f"    {name} is {standing}")
        self._standing[name] = standing

    def _attempt(self, act: Callable[..., object], *what: object) -> None:
        try:
            act(*what)
        except (ChangeRefused, NotLeader) as refusal:
            self._lines.append(f"refused: {refusal}")

    def _way(self, text: str) -> tuple[NodeId | None, NodeId | None]:
        sender, _, to = text.partition("->")
        return (None if sender == "*" else sender, None if to == "*" else to)
