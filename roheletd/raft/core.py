"""One member of the agreed log: messages, time and proposals in; one `Ready` out.

    follower --silence--> candidate (asks: would you?) --majority--> candidate (votes) --> leader
        ^                     |                                          |                   |
        +--- a leader speaks, a higher term is seen, no majority follows-+-------------------+

Nothing here waits, reads a clock or draws from a generator that it was not given. The driver calls
one of `step`, `tick`, `propose`, `change`, `transfer`, then `ready`, and does what that
says in its order: persist, send, apply. Because nothing leaves before what came with it is durable,
the core may take its own entries and votes for durable as soon as it has made them.

Sources: "the paper" is Ongaro and Ousterhout 2014, "In Search of an Understandable Consensus
Algorithm (Extended Version)"; "the thesis" is Ongaro 2014. See README.md beside this file.
"""

import math
from random import Random

from roheletd.raft.ballot import Canvass, grants
from roheletd.raft.following import Following
from roheletd.raft.journal import Journal
from roheletd.raft.leadership import Leadership
from roheletd.raft.quorum import decided, fault_of_change
from roheletd.raft.values import (
    EVERYBODY,
    AnyMessage,
    Append,
    AppendResponse,
    Configuration,
    Entry,
    Kind,
    Message,
    NodeId,
    Ready,
    Role,
    Saved,
    SnapshotChunk,
    SnapshotRequest,
    TimeoutNow,
    Timing,
    VoteRequest,
    VoteResponse,
    encode_configuration,
)

CHUNK_BYTES = 32_768
KEPT_ENTRIES = 256
"""Entries below a snapshot that stay, so that a node a little behind needs no snapshot."""
HINT_STAGGER = 0.25
"""Share of a heartbeat between two voters that hear of a leader's death at once."""


class NotLeader(Exception):  # noqa: N818 - what it says
    """Somebody else has to be asked: `leader`, or nobody knows whom."""

    def __init__(self, leader: NodeId | None) -> None:
        super().__init__(f"ask {leader}" if leader else "there is no leader")
        self.leader = leader


class ChangeRefused(Exception):  # noqa: N818 - what it says
    """This configuration may not be proposed now; the message is the reason."""


class Raft:
    """The core. `saved` is what the disk holds, `now_s` any monotonic time."""

    def __init__(
        self,
        *,
        me: NodeId,
        saved: Saved,
        timing: Timing,
        rng: Random,
        now_s: float,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.me = me
        self.leader: NodeId | None = None
        self._timing = timing
        self._rng = rng
        self._chunk_bytes = chunk_bytes
        self._now_s = now_s
        self._journal = Journal(saved)
        self._outbox: list[Message] = []
        self._following = Following(me=me, journal=self._journal, outbox=self._outbox)
        self._leadership: Leadership | None = None
        self._canvass: Canvass | None = None
        self._contact_s = now_s
        self._heard_s = now_s  # one may have spoken before we were started (thesis 4.2.3)
        alone = self.configuration.voters == (me,)
        self._election_due_s = now_s if alone else self._silence_end_s()

    # --- what others may know

    @property
    def role(self) -> Role:
        if self._leadership is not None:
            return "leader"
        return "candidate" if self._canvass is not None and not self._canvass.pre else "follower"

    @property
    def leads(self) -> bool:
        """Leader, and past an entry of its own term: it knows all that was ever committed."""
        return self._leadership is not None and self.commit >= self._leadership.first_index

    @property
    def led_from(self) -> int:
        """The index of the first entry of the term that this node leads; 0 where it does not."""
        return self._leadership.first_index if self._leadership is not None else 0

    @property
    def term(self) -> int:
        return self._journal.term

    @property
    def commit(self) -> int:
        return self._journal.commit

    @property
    def last_index(self) -> int:
        return self._journal.log.last_index

    @property
    def configuration(self) -> Configuration:
        """The newest in the log: it is in force, committed or not (thesis 4.1)."""
        return self._journal.log.configuration

    @property
    def is_current(self) -> bool:
        """Whether nothing is missing here that the leader last said was committed."""
        return self._leadership is not None or self._following.is_current

    @property
    def changing(self) -> bool:
        """Whether the newest configuration is not known to be committed yet."""
        return self._journal.log.configuration_index > self.commit

    @property
    def deadline_s(self) -> float:
        """When `tick` has something to do, if nothing else happens before."""
        if self._leadership is not None:
            return self._leadership.deadline_s
        return self._election_due_s if self._may_campaign() else math.inf

    def silent_s(self, now_s: float) -> float:
        """How long ago a leader was heard; on the leader itself, a majority."""
        if self._leadership is not None:
            return now_s - self._leadership.quorum_heard_s(now_s)
        return now_s - self._contact_s

    def progress(self) -> dict[NodeId, tuple[int, float]]:
        """On the leader: per follower, up to where its log is ours, and when it was heard."""
        if self._leadership is None:
            return {}
        return {node: (it.match, it.heard_s) for node, it in self._leadership.peers.items()}

    # --- what happens

    def step(self, message: AnyMessage, now_s: float) -> None:
        """Take a message of another node, which the driver has found to be genuine."""
        self._now_s = now_s
        if message.to not in (self.me, EVERYBODY) or message.sender == self.me:
            return
        if message.term > self.term and self._takes_term_of(message):
            self._follow(message.term)
        match message:
            case VoteRequest():
                self._on_vote_request(message)
            case VoteResponse():
                self._on_vote_response(message)
            case AppendResponse() | SnapshotRequest():
                if self._leadership is not None and message.term == self.term:
                    self._leadership.step(message, now_s, self.commit)
            case _ if message.term < self.term:
                if message.to == self.me or not self._is_sticky():  # of all, who hears no other
                    self._following.tell_term(message.sender)
            case _:
                self._on_word_of_leader(message)

    def tick(self, now_s: float) -> None:
        """Time has passed."""
        self._now_s = now_s
        if self._leadership is not None:
            if now_s - self._leadership.quorum_heard_s(now_s) > self._timing.election_max_s:
                self._follow(self.term)  # a majority may follow somebody else by now
            else:
                self._leadership.tick(now_s, self.commit)
        elif now_s >= self._election_due_s and self._may_campaign():
            self._campaign(pre=True)

    def hint(self, leader: NodeId, now_s: float) -> None:
        """Somebody who may be wrong says that `leader` has died: do not wait for the silence.

        Voters go one after the other, so that the first has won before the second would stand.
        """
        self._now_s = now_s
        if self.leader != leader or self._leadership is not None or not self._may_campaign():
            return
        others = [node for node in self.configuration.voters if node != leader]
        rank = others.index(self.me) if self.me in others else len(others)
        step_s = self._timing.heartbeat_s * HINT_STAGGER
        self._heard_s = -math.inf
        self._election_due_s = now_s + step_s * (rank + self._rng.random() / 2)

    def propose(self, data: bytes, now_s: float) -> int:
        """Take `data` as the next entry and return its index; raises `NotLeader`."""
        self._now_s = now_s
        return self._append(data, Kind.COMMAND)

    def change(self, configuration: Configuration, now_s: float) -> None:
        """Propose who takes part; raises `NotLeader` or `ChangeRefused`."""
        self._now_s = now_s
        if self._leadership is None:
            raise NotLeader(self.leader)
        if not self.leads:
            # A change of an earlier leader might still be undone (thesis 4.1, as corrected 2015).
            raise ChangeRefused("nothing of this term is committed yet")
        if self.changing:
            raise ChangeRefused("the change before is not committed yet")
        if (fault := fault_of_change(self.configuration, configuration)) is not None:
            raise ChangeRefused(fault)
        self._append(encode_configuration(configuration), Kind.CONFIGURATION)
        self._leadership.reconfigure(now_s)

    def transfer(self, to: NodeId, now_s: float) -> None:
        """Let `to` lead, as soon as it has all entries; raises `NotLeader` or `ChangeRefused`."""
        self._now_s = now_s
        if self._leadership is None:
            raise NotLeader(self.leader)
        if to == self.me or to not in self.configuration.voters:
            raise ChangeRefused(f"{to} is no other voter")
        self._leadership.hand_over(to, now_s)

    def compact(self, data: bytes, index: int, *, keep: int = KEPT_ENTRIES) -> None:
        """`data` is the state after the applied entry at `index`: entries before can go."""
        self._journal.compact(data, index, keep=keep)

    def remember_commit(self) -> None:
        """Have the next `ready` tell the disk how far the log is committed: for quiet moments."""
        self._journal.remember_commit()

    def ready(self) -> Ready:
        """All that has to be done now. The driver does it before it calls anything else here."""
        if self._leadership is not None:
            self._journal.commit_to(self._leadership.committed())
            self._leadership.flush(self.commit)
            self._leave_if_removed()
        to_send, self._outbox[:] = tuple(self._outbox), ()
        return Ready(
            to_save=self._journal.take_save(),
            to_send=to_send,
            to_restore=self._journal.take_restore(),
            to_apply=self._journal.take_committed(),
        )

    # --- terms

    def _follow(self, term: int) -> None:
        """Stop leading or standing, in a later term or in this one."""
        if term > self.term:
            self._journal.enter(term)
        self._contact_s = self._now_s - self.silent_s(self._now_s)
        self._leadership = self._canvass = self.leader = None
        self._election_due_s = self._silence_end_s()

    def _heed(self, leader: NodeId) -> None:
        """The leader of this term speaks."""
        assert self._leadership is None, f"{leader} and {self.me} both lead in term {self.term}"
        self._canvass = None
        self.leader = leader
        self._heard_s = self._contact_s = self._now_s
        self._election_due_s = self._silence_end_s()

    def _on_word_of_leader(self, message: Append | SnapshotChunk | TimeoutNow) -> None:
        self._heed(message.sender)
        match message:
            case Append():
                self._following.on_append(message)
            case SnapshotChunk():
                self._following.on_chunk(message)
            case TimeoutNow() if self._may_campaign():
                self._campaign(pre=False, handover=True)

    def _takes_term_of(self, message: AnyMessage) -> bool:
        match message:
            case VoteRequest(pre=True) | VoteResponse(pre=True, granted=True):
                return False  # a term that nobody is in yet
            case VoteRequest():
                return message.handover or not self._is_sticky()
        return True

    def _is_sticky(self) -> bool:
        """A leader spoke so recently that an election would only disturb it (thesis 4.2.3)."""
        heard_lately = self._now_s - self._heard_s < self._timing.election_min_s
        return self._leadership is not None or (heard_lately and self._canvass is None)

    def _silence_end_s(self) -> float:
        shortest_s, longest_s = self._timing.election_min_s, self._timing.election_max_s
        return self._now_s + self._rng.uniform(shortest_s, longest_s)

    # --- elections

    def _may_campaign(self) -> bool:
        """A voter, or one that was, as long as its removal is not known to be committed.

        It may be the only one whose log is long enough to win (thesis 4.2.2).
        """
        log = self._journal.log
        return self.me in (*log.configuration.voters, *log.configuration_at(self.commit).voters)

    def _campaign(self, *, pre: bool, handover: bool = False) -> None:
        self.leader = None
        if not pre:
            self._journal.enter(self.term + 1, vote=self.me)
        asked = self.term + 1 if pre else self.term
        self._canvass = canvass = Canvass(asked, pre=pre)
        canvass.granted.add(self.me)
        heartbeat_s = self._timing.heartbeat_s
        self._election_due_s = self._now_s + self._rng.uniform(heartbeat_s, 2 * heartbeat_s)
        log = self._journal.log
        self._outbox += [
            VoteRequest(
                sender=self.me,
                to=voter,
                term=asked,
                last_index=log.last_index,
                last_term=log.last_term,
                pre=pre,
                handover=handover,
            )
            for voter in self.configuration.voters
            if voter != self.me
        ]
        self._count(canvass)

    def _count(self, canvass: Canvass) -> None:
        if not decided(self.configuration.voters, canvass.granted):
            return
        if canvass.pre:
            self._campaign(pre=False)
        else:
            self._lead()

    def _lead(self) -> None:
        self._canvass = None
        self.leader = self.me
        self._leadership = Leadership(
            me=self.me,
            term=self.term,
            log=self._journal.log,
            timing=self._timing,
            chunk_bytes=self._chunk_bytes,
            outbox=self._outbox,
            commit=self.commit,
            now_s=self._now_s,
        )
        self._append(b"", Kind.NOOP)  # so that those of earlier terms commit (paper, 5.4.2 and 8)
        self._leadership.tick(self._now_s, self.commit)

    def _on_vote_request(self, request: VoteRequest) -> None:
        led = self.leader is not None
        granted = grants(self._journal, request, sticky=self._is_sticky(), led=led)
        if granted and not request.pre:
            self._journal.vote = request.sender
            self._election_due_s = self._silence_end_s()
        self._outbox.append(
            VoteResponse(
                sender=self.me,
                to=request.sender,
                # A refuser's own term: one whose term is the higher could never join otherwise.
                term=request.term if granted else self.term,
                granted=granted,
                pre=request.pre,
            )
        )

    def _on_vote_response(self, response: VoteResponse) -> None:
        canvass = self._canvass
        if canvass is None or not response.granted or response.pre != canvass.pre:
            return
        if response.term == canvass.term:
            canvass.granted.add(response.sender)
            self._count(canvass)

    # --- the leader's own entries

    def _append(self, data: bytes, kind: Kind) -> int:
        if self._leadership is None:
            raise NotLeader(self.leader)
        if self._leadership.heir is not None:
            raise NotLeader(None)
        index = self.last_index + 1
        self._journal.add((Entry(index, self.term, data, kind),))
        return index

    def _leave_if_removed(self) -> None:
        """A leader that is no voter any more goes once everybody could know (thesis 4.2.2)."""
        if self.me not in self.configuration.voters and not self.changing:
            self._follow(self.term)
