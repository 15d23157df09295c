"""What a person does to the cluster from one node, and what this node becomes by it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from roheletd import identity as identities
from roheletd import token as tokens
from roheletd.api.problems import NotFound
from roheletd.api.views import MemberView
from roheletd.cluster.commands import JoinNode
from roheletd.cluster.soft import BrokerLink
from roheletd.control import ANSWER_S, Control
from roheletd.errors import Refused, Unavailable
from roheletd.identity import Identity
from roheletd.loops.registrar import NOTICE
from roheletd.raft import Configuration
from roheletd.token import Token
from tests.loops.crew import CLUSTER_ID, KEY, Crew, Mate, add, crew_of, member_id
from tests.loops.stage import in_virtual_time, settled
from tests.loops.test_voter_keeper import beating

OWN_BROKER = "mqtt://192.168.1.7:9471"
OTHER = Token(cluster="barn", cluster_id="fedcba9876543210", epoch=1, key=bytes(32))


class Desk:
    """The control of one node of a crew, with a data directory of its own."""

    def __init__(self, mate: Mate, data_dir: Path, **identity: Any) -> None:
        self.mate = mate
        self.data_dir = data_dir
        data_dir.mkdir(exist_ok=True)
        self.me = replace(mate.identity, **{"shared": True, **identity})
        identities._save(data_dir, self.me)
        (data_dir / "log.db").write_bytes(b"the log")
        self.stopped_at_s: float | None = None
        self.control = Control(
            identity=self.me,
            data_dir=data_dir,
            key=KEY,
            key_file=None,
            brokers=lambda: (OWN_BROKER,),
            elector=mate.elector,
            proposer=mate.proposer,
            state=mate.state,
            soft=mate.soft,
            membership=mate.membership,
            clock=mate.clock,
            stop=self._stop,
        )

    def _stop(self) -> None:
        self.stopped_at_s = self.mate.clock.now_s()

    async def next_life(self) -> Identity | None:
        """Who this node is once this life has ended, which leaves time for the answer."""
        assert self.control.next_life is not None
        assert self.stopped_at_s is None, "the answer has not left yet"
        await asyncio.sleep(1.5 * ANSWER_S)
        assert self.stopped_at_s is not None
        self.control.next_life()
        return identities.load(self.data_dir)

    def goes_on(self) -> bool:
        return self.control.next_life is None and identities.load(self.data_dir) == self.me

    def members(self) -> dict[str, MemberView]:
        return {it.name: it for it in self.control.view().members}


@in_virtual_time
async def test_a_token_says_where_which_cluster_and_until_when(tmp_path: Path) -> None:
    async with crew_of("a") as crew:
        desk = Desk(await crew.leader(), tmp_path)
        found = tokens.decode(await desk.control.token(3600))
        assert found == Token(
            cluster="edge",
            cluster_id=CLUSTER_ID,
            epoch=1,
            key=KEY,
            brokers=(OWN_BROKER,),
            expires_at_s=int(crew.clock.wall_s()) + 3600,
        )
        assert tokens.decode(await desk.control.token(0)).expires_at_s == 0
        assert desk.goes_on()


@in_virtual_time
async def test_the_first_token_begins_a_life_in_which_others_are_let_in(tmp_path: Path) -> None:
    async with crew_of("a") as crew:
        desk = Desk(await crew.leader(), tmp_path, shared=False)
        assert not desk.control.view().shared
        first, second = await desk.control.token(0), await desk.control.token(0)
        assert first == second
        after = await desk.next_life()
        assert after == replace(desk.me, shared=True)


@in_virtual_time
async def test_a_joiner_becomes_somebody_new_of_the_other_cluster(tmp_path: Path) -> None:
    async with crew_of("a") as crew:
        desk = Desk(await crew.leader(), tmp_path, founded=True, shared=False)
        await desk.control.join(OTHER, force=False)
        view = desk.control.view()
        assert (view.cluster, view.cluster_id) == ("barn", OTHER.cluster_id)
        assert view.membership == "joining"
        after = await desk.next_life()
        assert after is not None
        assert (after.cluster, after.node, after.joined) == ("barn", "a", False)
        assert after.member != desk.me.member
        assert not (tmp_path / "log.db").exists()
        assert (tmp_path / "log.db.old").read_bytes() == b"the log"


@in_virtual_time
async def test_services_of_its_own_are_not_forgotten_unless_that_is_asked(tmp_path: Path) -> None:
    async with crew_of("a") as crew:
        leader = await crew.leader()
        await leader.propose(add("web", "api"), "1")
        desk = Desk(leader, tmp_path, founded=True, shared=False)
        with pytest.raises(Refused, match="this node has 2 services in its own cluster edge"):
            await desk.control.join(OTHER, force=False)
        assert desk.goes_on()
        assert desk.control.view().cluster == "edge"
        await desk.control.join(OTHER, force=True)
        assert await desk.next_life() is not None


@in_virtual_time
async def test_with_a_log_that_cannot_be_read_nobody_says_that_there_is_nothing_to_lose(
    tmp_path: Path,
) -> None:
    async with crew_of("a") as crew:
        leader = await crew.leader()
        desk = Desk(leader, tmp_path, founded=True, shared=False)
        leader.elector.fail("the log is damaged")
        with pytest.raises(Refused, match="can be said only by its daemon"):
            await desk.control.join(OTHER, force=False)
        assert desk.control.view().failure == "the log is damaged"
        assert desk.goes_on()


@in_virtual_time
async def test_a_member_of_one_cluster_does_not_slip_into_another(tmp_path: Path) -> None:
    async with crew_of("a", "b") as crew:
        desk = Desk(await crew.leader(), tmp_path)
        with pytest.raises(Refused, match="this node is a member of another cluster, edge"):
            await desk.control.join(OTHER, force=False)
        own = Token(cluster="edge", cluster_id=CLUSTER_ID, epoch=1, key=KEY)
        with pytest.raises(Refused, match="is a member of cluster edge already"):
            await desk.control.join(own, force=False)
        assert desk.goes_on()


@in_virtual_time
async def test_what_is_asked_while_the_next_life_begins_is_not_lost_in_silence(
    tmp_path: Path,
) -> None:
    async with crew_of("a") as crew:
        desk = Desk(await crew.leader(), tmp_path, founded=True, shared=False)
        await desk.control.token(0)
        with pytest.raises(Unavailable, match="begins anew at this very moment"):
            await desk.control.join(OTHER, force=False)
        assert desk.control.view().cluster == "edge"
        after = await desk.next_life()
        assert after is not None
        assert after.cluster == "edge"


@in_virtual_time
async def test_who_leaves_is_forgotten_by_the_others_and_votes_no_more(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, (goer, other) = await crew.leader(), await crew.followers()
        desk = Desk(goer, tmp_path)
        await desk.control.leave()
        assert desk.control.view().membership == "left"
        assert goer.core.me not in goer.core.configuration.members, "it was waited for"
        assert await desk.next_life() is None
        assert not (tmp_path / "cluster.json").exists()
        for mate in (leader, other):
            assert goer.name not in mate.state.members


@in_virtual_time
async def test_a_leader_that_leaves_lets_another_lead(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, _ = await crew.leader(), await crew.followers()
        desk = Desk(leader, tmp_path)
        await desk.control.leave()
        assert await desk.next_life() is None
        await crew.kill(leader.name)
        heir = await crew.leader()
        assert leader.core.me not in heir.core.configuration.voters


@in_virtual_time
async def test_nobody_leaves_a_cluster_of_one(tmp_path: Path) -> None:
    async with crew_of("a") as crew:
        desk = Desk(await crew.leader(), tmp_path)
        with pytest.raises(Refused, match="alone in its cluster"):
            await desk.control.leave()
        assert desk.goes_on()


@in_virtual_time
async def test_without_a_majority_nobody_leaves_unnoticed(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name in "ab":
            await crew.kill(name)
        await asyncio.sleep(10)
        desk = Desk(crew["c"], tmp_path)
        with pytest.raises(Unavailable, match="missing: a, b"):
            await desk.control.leave()
        assert desk.goes_on()
        assert desk.control.view().membership == "joined"


@in_virtual_time
async def test_one_that_was_removed_may_leave_whoever_is_left(tmp_path: Path) -> None:
    async with crew_of("a", "b") as crew, beating(crew):
        leader, (gone,) = await crew.leader(), await crew.followers()
        gone.register()
        await Desk(leader, tmp_path / "one").control.remove(gone.name, command_id="1")
        await crew.until(lambda: NOTICE in gone.soft.notices)
        desk = Desk(gone, tmp_path / "two")
        view = desk.control.view()
        assert (view.membership, view.role) == ("refused", "not a member")
        assert "was removed from cluster edge" in view.reason
        await desk.control.leave()
        assert await desk.next_life() is None


@in_virtual_time
async def test_to_remove_nobody_is_told_and_to_remove_twice_is_to_remove_once(
    tmp_path: Path,
) -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (asker, gone) = await crew.leader(), await crew.followers()
        desk = Desk(asker, tmp_path)
        with pytest.raises(NotFound, match="there is no node nobody"):
            await desk.control.remove("nobody", command_id="1")
        for _ in range(2):
            await desk.control.remove(gone.name, command_id="2")
        assert gone.name not in leader.state.members
        with pytest.raises(NotFound):
            await desk.control.remove(gone.name, command_id="3")


@in_virtual_time
async def test_a_removal_that_is_refused_is_not_told_as_done(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (outcast, other) = await crew.leader(), await crew.followers()
        desk = Desk(outcast, tmp_path)
        await Desk(leader, tmp_path / "more").control.remove(outcast.name, command_id="1")
        with pytest.raises(Refused, match="is no member of this cluster"):
            await desk.control.remove(other.name, command_id="2")
        assert other.name in leader.state.members


@in_virtual_time
async def test_a_survivor_begins_the_next_epoch(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name in "ab":
            await crew.kill(name)
        await asyncio.sleep(10)
        desk = Desk(crew["c"], tmp_path)
        await desk.control.recover()
        assert desk.control.view().epoch == 2
        assert await desk.next_life() == replace(desk.me, epoch=2, brokers=(OWN_BROKER,))
        assert (tmp_path / "log.db").exists()


@in_virtual_time
async def test_where_somebody_leads_there_is_nothing_to_recover_from(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, _ = await crew.leader(), await crew.followers()
        for mate in crew.all:
            desk = Desk(mate, tmp_path / mate.name)
            with pytest.raises(Refused, match=f"the cluster has a leader, {leader.name}:"):
                await desk.control.recover()
            assert desk.goes_on()
            assert desk.control.view().epoch == 1


@in_virtual_time
async def test_a_damaged_log_is_nothing_to_recover_from(tmp_path: Path) -> None:
    async with crew_of("a", "b") as crew:
        mate = await crew.leader()
        mate.elector.fail("log.db: entry 3 is damaged")
        desk = Desk(mate, tmp_path)
        with pytest.raises(Refused, match=r"no log to recover from: log\.db: entry 3 is damaged"):
            await desk.control.recover()
        assert desk.goes_on()


@in_virtual_time
async def test_the_view_tells_who_is_what_and_how_far_behind(tmp_path: Path) -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, (follower, _) = await crew.leader(), await crew.followers()
        leader.soft.links = (BrokerLink(mode="managed", url=OWN_BROKER, connected=True),)
        leader.soft.dropped_frames = {"replayed": 3}
        await asyncio.sleep(5)
        desk = Desk(leader, tmp_path / "leader")
        view = desk.control.view()
        assert (view.role, view.leader, view.leader_heard_s) == ("leader", leader.name, None)
        assert view.outlook == "3 of 3 voters are alive: one may die and the cluster goes on"
        assert [link.url for link in view.links] == [OWN_BROKER]
        assert view.dropped_messages["replayed"] == 3
        assert {name: (it.role, it.lag) for name, it in desk.members().items()} == dict.fromkeys(
            "abc", ("voter", 0)
        )
        of_follower = Desk(follower, tmp_path / "follower")
        view = of_follower.control.view()
        assert (view.role, view.leader, view.membership) == ("follower", leader.name, "joined")
        assert view.leader_heard_s is not None
        assert view.leader_heard_s <= 0.5
        assert {it.lag for it in view.members} == {None}, "only a leader knows"


@in_virtual_time
async def test_the_view_of_a_cut_off_node_says_who_is_missing_and_how_old_its_word_is(
    tmp_path: Path,
) -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name in "ab":
            await crew.kill(name)
        await asyncio.sleep(60)
        view = Desk(crew["c"], tmp_path).control.view()
        assert view.leader == ""
        assert view.leader_heard_s is not None
        assert view.leader_heard_s > 55
        assert "no majority, so nothing can be changed" in view.outlook
        assert "missing: a, b" in view.outlook


@in_virtual_time
async def test_learners_and_witnesses_are_called_so(tmp_path: Path) -> None:
    crew = Crew("a", "b", "c")
    await crew.start()
    leader, _ = await crew.leader(), await crew.followers()
    voters, third = set(leader.core.configuration.voters), member_id("c")
    assert third in voters
    if leader.core.me == third:
        leader.elector.hand_over(member_id("a"))
        leader = await crew.leader(other_than="c")
    await leader.propose(JoinNode(member=replace(crew["b"].member, witness=True)), "1")
    for step in (Configuration.of(voters - {third}), Configuration.of(voters - {third}, {third})):
        leader.elector.change(step)
        await settled()
        await crew.until(lambda: not leader.core.changing)
    await crew.until(lambda: crew["c"].core.configuration.learners == (third,))
    desk = Desk(leader, tmp_path)
    assert {name: it.role for name, it in desk.members().items()} == {
        "a": "voter",
        "b": "witness",
        "c": "learner",
    }
    assert Desk(crew["c"], tmp_path / "c").control.view().role == "learner"
    await crew.stop()
