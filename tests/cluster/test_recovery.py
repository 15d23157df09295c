"""A new epoch from one survivor: what it keeps, and who votes then."""

from random import Random

import pytest

from roheletd.cluster.applier import UnknownEntry
from roheletd.cluster.commands import AddServices, Proposal, encode
from roheletd.cluster.recovery import survivor
from roheletd.cluster.state import ClusterState, decode
from roheletd.cluster.state import encode as encode_state
from roheletd.raft import (
    Configuration,
    Entry,
    Kind,
    Raft,
    Save,
    Saved,
    Snapshot,
    Timing,
    encode_configuration,
)
from tests.builders import a_service, founded

ME, THREE = "pi.00000000", ("nano.00000000", "pi.00000000", "xavier.00000000")


def added(index: int, term: int, name: str) -> Entry:
    command = AddServices(services=(a_service(name),))
    return Entry(index, term, encode(Proposal(id=name, command=command)))


def of_three() -> Saved:
    """Of its entries the last is not known to be committed."""
    state = founded("pi", "nano", "xavier").state
    index = state.applied_index
    snapshot = Snapshot(index, 1, Configuration(THREE), encode_state(state.saved()))
    entries = (added(index + 1, 1, "told"), added(index + 2, 2, "half"))
    return Saved(term=4, vote=THREE[0], commit=index + 1, snapshot=snapshot, entries=entries)


def state_of(save: Save) -> ClusterState:
    assert save.snapshot is not None
    return ClusterState(decode(save.snapshot.data))


def on_disk(save: Save) -> Saved:
    """What a start finds after it: nothing of before is left."""
    assert save.reset
    return Saved(term=save.term, vote=save.vote, commit=save.commit, snapshot=save.snapshot)


def test_all_that_was_received_is_kept_committed_or_not() -> None:
    saved = of_three()
    save = survivor(saved, ME)
    assert set(state_of(save).services) == {"told", "half"}
    assert save.commit == saved.entries[-1].index
    state_of(save).check()


def test_it_alone_votes_and_its_term_and_vote_do_not_go_back() -> None:
    save = survivor(of_three(), ME)
    assert save.snapshot is not None
    assert save.snapshot.configuration == Configuration((ME,))
    assert (save.term, save.vote) == (4, THREE[0])
    assert (save.snapshot.index, save.snapshot.term) == (save.commit, 2)


def test_it_leads_at_once() -> None:
    saved = on_disk(survivor(of_three(), ME))
    core = Raft(me=ME, saved=saved, timing=Timing(), rng=Random(1), now_s=0.0)
    core.tick(0.0)
    assert core.ready().to_restore == saved.snapshot
    assert core.leads
    assert core.term == 5


def test_what_was_placed_and_known_of_machines_stays_until_they_are_lost() -> None:
    state = state_of(survivor(of_three(), ME))
    assert set(state.registrations) == {"pi", "nano", "xavier"}
    assert set(state.members) == {"pi", "nano", "xavier"}, "the entry of the new epoch decides"


def test_entries_kept_below_the_snapshot_are_not_applied_twice() -> None:
    saved = of_three()
    assert saved.snapshot is not None
    at = saved.snapshot.index
    old = Entry(at, 1, b"\xff no entry of this version")
    kept = Saved(term=4, commit=at, snapshot=saved.snapshot, entries=(old, *saved.entries))
    assert survivor(kept, ME).snapshot == survivor(saved, ME).snapshot


def test_without_a_snapshot_it_starts_from_the_first_entry() -> None:
    first = Entry(1, 1, encode_configuration(Configuration(THREE)), Kind.CONFIGURATION)
    save = survivor(Saved(term=1, entries=(first, added(2, 1, "web"))), ME)
    assert save.commit == 2
    assert set(state_of(save).services) == {"web"}


def test_an_entry_that_cannot_be_read_is_not_left_out_in_silence() -> None:
    saved = of_three()
    last = saved.entries[-1].index
    strange = Entry(last + 1, 2, b"\x81\xa1x\x01")
    with pytest.raises(UnknownEntry, match=f"entry {last + 1} is of a version"):
        survivor(Saved(term=4, snapshot=saved.snapshot, entries=(*saved.entries, strange)), ME)
