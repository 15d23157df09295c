"""Which brokers of the list to hold a link to, given what became of each link. No I/O, no clock.

A link is up, and it *hears* while a peer was heard on it within `silence_s`. Links are made before
others are broken: a link beyond the wanted count is *on trial*, until a peer is heard on it or its
time is over. The rules:

- *Need*: fewer links than wanted: the first free broker of the list that did not fail lately, else
  whichever may be tried again soonest, after a pause that grows.
- *Deaf*: a link hears nobody. One that fell silent is left once another has been hearing for
  `silence_s` meanwhile; after an outage of all, each link has that long to come back. The other
  brokers are tried one after the other, each for `silence_s`, and each again after `ROUND_S` where
  nobody is heard anywhere: a node that is alone walks on, slowly. Where there is no other broker,
  or none where anybody is heard, nothing would be gained, so the link is kept.
- *Return*: all links hear, but one is to a later broker than a free one that did not fail for
  `AWAY_S`: the earlier is tried. The others return at other moments, so the trial is long enough
  (`RETURN_TRIAL_S`) for two nodes to meet there, whichever came first.
- *Excess*: of more links that hear than wanted, those to the last of the list are left, once the
  others have been hearing for `OVERLAP_S`: so nobody that follows is left alone. A broker
  that is not in the list any more is left once another link is up, as it may be the only way.
"""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Literal

from msgspec import Struct

from roheletd.broker import pause_s

SILENCE_S = 3.0
ROUND_S = 10.0
AWAY_S = 60.0
AWAY_SPREAD_S = 30.0
OVERLAP_S = 10.0
"""How long a link is kept beside the earlier ones that replace it, for those that follow."""
RETURN_TRIAL_S = AWAY_S + AWAY_SPREAD_S + 30.0
FIRST_RETRY_S = 0.1
STEADY_S = 10.0
"""A link that held this long was a good one: the next failure starts at the shortest pause."""


class Leave(Struct, frozen=True):
    """A broker to take leave of, and why."""

    url: str
    why: str


class Moves(Struct, frozen=True):
    """What to do now. `due_s`: when to ask again, if nothing happens and nobody ticks before."""

    leave: tuple[Leave, ...] = ()
    connect: tuple[str, ...] = ()
    due_s: float | None = None


class _Place:
    """What is known of one broker. `trial_s`: how long it may stay up without hearing anybody."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.state: Literal["free", "connecting", "up", "leaving"] = "free"
        self.failures = 0
        self.retry_s = 0.0
        self.away_until_s = 0.0
        self.opened_s = 0.0
        self.heard_s: float | None = None
        self.hearing_since_s = 0.0
        self.trial_s: float | None = None

    @property
    def held(self) -> bool:
        return self.state in ("connecting", "up")

    def silent_for_s(self, now_s: float) -> float:
        return now_s - (self.opened_s if self.heard_s is None else self.heard_s)


class Walk:
    """The state of all brokers. The owner reports what happens, and does what `moves` says."""

    def __init__(self, *, rng: Random, silence_s: float = SILENCE_S) -> None:
        self._rng = rng
        self._silence_s = silence_s
        self._urls: tuple[str, ...] = ()
        self._count = 1
        self._places: dict[str, _Place] = {}

    def want(self, urls: Iterable[str], count: int) -> None:
        """Hold `count` links, to the first brokers of the list where that is possible."""
        assert count > 0
        self._urls = tuple(dict.fromkeys(urls))
        self._count = count
        for place in list(self._places.values()):
            self._forget(place)
        for url in self._urls:
            if url not in self._places:
                self._places[url] = _Place(url)

    @property
    def urls(self) -> tuple[str, ...]:
        """The list in order, then those that are not in it any more but not left yet."""
        return self._urls + tuple(url for url in self._places if url not in self._urls)

    def is_up(self, url: str) -> bool:
        return self._places[url].state == "up"

    def heard_s(self, url: str) -> float | None:
        return self._places[url].heard_s

    # --- what happened

    def opened(self, url: str, now_s: float) -> None:
        place = self._places[url]
        if place.state == "connecting":
            place.state = "up"
            place.opened_s = now_s
            place.heard_s = None

    def heard(self, url: str, now_s: float) -> None:
        """A peer was heard there."""
        place = self._places[url]
        if place.state == "up":
            if not self._hears(place, now_s):
                place.hearing_since_s = now_s
            place.heard_s = now_s
            place.trial_s = None

    def ended(self, url: str, now_s: float, *, refused: bool = False) -> None:
        """The link is no more, or did not come about."""
        place = self._places[url]
        was, place.state = place.state, "free"
        if was != "leaving":
            steady = was == "up" and now_s - place.opened_s >= STEADY_S
            place.failures = 0 if steady else place.failures
            self._failed(place, now_s, pause_s(place.failures, refused=refused, rng=self._rng))
            place.failures += 1
        self._forget(place)

    def _failed(self, place: _Place, now_s: float, pause: float) -> None:
        place.retry_s = now_s + pause
        place.away_until_s = now_s + AWAY_S + self._rng.uniform(0, AWAY_SPREAD_S)

    def _forget(self, place: _Place) -> None:
        if place.state == "free" and place.url not in self._urls:
            del self._places[place.url]

    # --- what to do

    def moves(self, now_s: float) -> Moves:
        """What follows from all that; it is taken as done."""
        self._promote()
        leave = tuple(self._leave(now_s))
        connect = tuple(self._needed(now_s)) or tuple(self._tried(now_s))
        return Moves(leave, connect, self._due_s())

    def _listed(self) -> list[_Place]:
        return [self._places[url] for url in self._urls]

    def _up(self) -> list[_Place]:
        return [place for place in self._listed() if place.state == "up"]

    def _held(self) -> list[_Place]:
        return [place for place in self._listed() if place.held]

    def _free(self, now_s: float) -> list[_Place]:
        free = [place for place in self._listed() if place.state == "free"]
        return [place for place in free if place.retry_s <= now_s]

    def _hears(self, place: _Place, now_s: float) -> bool:
        return place.heard_s is not None and now_s - place.heard_s < self._silence_s

    def _promote(self) -> None:
        """A link on trial takes the place of one that is missing."""
        held = self._held()
        trials = [place for place in held if place.trial_s is not None]
        missing = self._count - (len(held) - len(trials))
        for place in trials[: max(0, missing)]:
            place.trial_s = None

    def _leave(self, now_s: float) -> Iterator[Leave]:
        for place in self._outsiders():
            place.state = "leaving"
            yield Leave(place.url, "it is not in the list of brokers any more")
        hearing = [place for place in self._up() if self._hears(place, now_s)]
        deaf = [place for place in self._up() if not self._hears(place, now_s)]
        kept, excess = hearing[: self._count], hearing[self._count :]
        if any(now_s - place.hearing_since_s < OVERLAP_S for place in kept):
            excess = []
        for place in excess:
            place.state = "leaving"
            yield Leave(place.url, "earlier brokers of the list are up")
        for place in self._given_up(deaf, hearing, now_s):
            place.state = "leaving"
            self._failed(place, now_s, FIRST_RETRY_S if hearing else ROUND_S)
            yield Leave(place.url, f"no other node was heard there for {self._silence_s:g} s")

    def _outsiders(self) -> list[_Place]:
        if self._urls and not self._up():
            return []
        held = [place for place in self._places.values() if place.held]
        return [place for place in held if place.url not in self._urls]

    def _given_up(
        self, deaf: list[_Place], hearing: list[_Place], now_s: float
    ) -> Iterator[_Place]:
        room = self._count - len(hearing)
        others_s = now_s - min((place.hearing_since_s for place in hearing), default=now_s)
        for place in deaf:
            silent_s = place.silent_for_s(now_s)
            if place.trial_s is not None:
                over = silent_s >= place.trial_s
            else:
                useless = room <= 0 or (place.heard_s is not None and bool(hearing))
                silent_s = min(silent_s, others_s) if hearing else silent_s
                over = useless and silent_s >= self._silence_s
                room -= not over
            if over:
                yield place

    def _needed(self, now_s: float) -> Iterator[str]:
        missing = self._count - len(self._held())
        free = self._free(now_s)
        free.sort(key=lambda place: place.retry_s if place.away_until_s > now_s else 0.0)
        for place in free[: max(0, missing)]:
            yield self._connect(place, None)

    def _tried(self, now_s: float) -> Iterator[str]:
        up = self._up()
        if not len(up) == len(self._held()) == self._count:
            return
        hearing = [place for place in up if self._hears(place, now_s)]
        free = self._free(now_s)
        if hearing:
            free = [place for place in free if place.away_until_s <= now_s]
        last = self._urls.index(up[-1].url)
        if free and any(place.silent_for_s(now_s) >= self._silence_s for place in up):
            yield self._connect(free[0], self._silence_s)
        elif free and len(hearing) == len(up) and self._urls.index(free[0].url) < last:
            yield self._connect(free[0], RETURN_TRIAL_S)

    def _connect(self, place: _Place, trial_s: float | None) -> str:
        place.state = "connecting"
        place.trial_s = trial_s
        return place.url

    def _due_s(self) -> float | None:
        if len(self._held()) >= self._count:
            return None
        free = (place.retry_s for place in self._listed() if place.state == "free")
        return min(free, default=None)
