"""Commands from any node to the log and back: done once, or refused, or not known."""

import asyncio
from random import Random

import pytest

from roheletd.api.problems import UnknownOutcome
from roheletd.cluster.commands import AddServices, Applied, Missing, Rejected, RemoveService
from roheletd.cluster.exchange import Forward
from roheletd.errors import InvalidInput, Unavailable
from roheletd.loops import pending
from roheletd.testing import MemoryStore
from tests.builders import a_service
from tests.loops.crew import TOPICS, Crew, add, crew_of, outcome_of
from tests.loops.stage import in_virtual_time, settled, tell_in_virtual_time
from tests.loops.test_elector import holds, memory_of

ADDED = Applied(changed={"web": "added"})


@in_virtual_time
async def test_an_answer_means_on_disk_on_a_majority_and_applied_where_it_was_asked() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name, word in (("a", "one"), ("b", "two"), ("c", "three")):
            await crew[name].propose(add(word), word)
            assert sum(holds(mate, word) for mate in crew.all) >= 2
            assert word in crew[name].services


@in_virtual_time
async def test_a_command_given_to_a_follower_reaches_the_leader_at_once() -> None:
    async with crew_of("a", "b", "c") as crew:
        follower = (await crew.followers())[0]
        begun_s = crew.clock.now_s()
        assert await follower.propose(add("web"), "1") == ADDED
        assert crew.clock.now_s() - begun_s < 0.05


@in_virtual_time
async def test_one_command_is_one_entry_however_often_and_wherever_it_is_given() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, _ = await crew.leader(), await crew.followers()
        index = leader.core.last_index
        given = [mate.propose(add("web"), "1") for mate in crew.all for _ in range(5)]
        assert await asyncio.gather(*given) == [ADDED] * 15
        for mate in crew.all:
            assert await mate.propose(add("web"), "1") == ADDED
        assert leader.core.last_index == index + 1


@in_virtual_time
async def test_on_a_network_that_loses_and_doubles_each_command_is_one_entry_all_the_same() -> None:
    async with crew_of("a", "b", "c", seed=7) as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        index = leader.core.last_index
        crew.net.loss, crew.net.doubled = 0.1, 0.5
        given = [follower.propose(add(f"s{number}"), f"{number}") for number in range(50)]
        for number, outcome in enumerate(await asyncio.gather(*given)):
            assert outcome == Applied(changed={f"s{number}": "added"})
        assert (await crew.leader()) is leader
        assert leader.core.last_index == index + 50


@in_virtual_time
async def test_the_same_id_for_another_command_is_refused_by_the_node_that_has_it() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for mate in crew.all:
            first, second = await asyncio.gather(
                mate.propose(add(f"web-{mate.name}"), mate.name),
                mate.propose(add("api"), mate.name),
            )
            assert first == Applied(changed={f"web-{mate.name}": "added"})
            assert second == Rejected(reason=f"the id {mate.name} is in use for another command")
        assert all("api" not in mate.services for mate in crew.all)


@in_virtual_time
async def test_of_two_commands_under_one_id_on_two_nodes_one_is_refused() -> None:
    async with crew_of("a", "b", "c") as crew:
        one, two = await crew.followers()
        outcomes = await asyncio.gather(one.propose(add("web"), "1"), two.propose(add("api"), "1"))
        await crew.level()
        (done,) = one.services
        for name, outcome in zip(("web", "api"), outcomes, strict=True):
            if name == done:
                assert outcome == Applied(changed={name: "added"})
            else:
                assert isinstance(outcome, Rejected)
                assert "the id 1" in outcome.reason


@in_virtual_time
async def test_an_id_that_comes_back_for_another_command_is_refused_for_long() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        await crew["a"].propose(add("web"), "1")
        await asyncio.sleep(1)
        for mate in crew.all:
            outcome = await mate.propose(add("api"), "1")
            assert outcome == Rejected(reason="the id 1 was used for another command before")


@in_virtual_time
async def test_refusals_and_what_changes_nothing_write_nothing() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, _ = await crew.leader(), await crew.followers()
        await leader.propose(add("web"), "1")
        await crew.level()
        index = leader.core.last_index
        for mate in crew.all:
            refused = await mate.propose(RemoveService(name="nobody"), f"2{mate.name}")
            assert refused == Missing(reason="there is no service nobody")
            same = await mate.propose(add("web"), f"3{mate.name}")
            assert same == Applied(changed={"web": "unchanged"})
        assert leader.core.last_index == index


@in_virtual_time
async def test_who_waits_while_the_leader_dies_is_answered_by_the_next_one() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        crew.net.isolate(leader.name)  # what is forwarded now is lost
        waiting = asyncio.create_task(follower.propose(add("web"), "1"))
        await settled()
        await crew.kill(leader.name)
        assert await waiting == ADDED


@in_virtual_time
async def test_a_leader_that_was_cut_off_does_not_know_and_asking_again_tells() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, _ = await crew.leader(), await crew.followers()
        crew.net.isolate(leader.name)
        with pytest.raises(UnknownOutcome) as told:
            await leader.propose(add("web"), "1")
        assert "the command may be done all the same" in str(told.value)
        assert "send it again with the id 1 to find out" in str(told.value)
        assert "missing: " in str(told.value)
        crew.net.heal()
        await crew.followers()
        assert await leader.propose(add("web"), "1") == ADDED


@in_virtual_time
async def test_an_answer_that_is_lost_leaves_the_outcome_unknown_and_asking_again_tells() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, third) = await crew.leader(), await crew.followers()
        crew.net.cut(leader.name, follower.name)
        crew.net.cut(third.name, follower.name)
        with pytest.raises(UnknownOutcome):
            await follower.propose(add("web"), "1")
        assert leader.services == {"web"}, "it was done all the same"
        crew.net.heal()
        await crew.followers()
        assert await follower.propose(add("web"), "1") == ADDED


@in_virtual_time
async def test_without_a_leader_it_is_told_in_time_who_is_missing_and_nothing_is_done() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name in ("a", "b"):
            await crew.kill(name)
        await asyncio.sleep(20)
        begun_s = crew.clock.now_s()
        with pytest.raises(Unavailable) as told:
            await crew["c"].propose(add("web"), "1")
        assert 4.0 < crew.clock.now_s() - begun_s < 7.0
        assert str(told.value).startswith("there is no leader to take the command: 1 of 3 voters ")
        assert "missing: a, b" in str(told.value)
        for name in ("a", "b"):
            await crew.enter(name, MemoryStore(crew["c"].store.saved), boot=2)  # type: ignore[union-attr]
        await crew.level()
        assert crew["c"].services == set()


@in_virtual_time
async def test_while_the_leader_is_being_elected_commands_wait_for_it() -> None:
    async with crew_of("a", "b", "c") as crew:
        assert await crew["a"].propose(add("web"), "1") == ADDED


@in_virtual_time
async def test_a_flood_is_refused_and_not_queued_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "PROPOSALS_MAX", 3)
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, other) = await crew.leader(), await crew.followers()
        for door in (leader, follower):
            given = [door.propose(add(f"s{it}"), f"{door.name}{it}") for it in range(5)]
            outcomes = await asyncio.gather(*map(outcome_of, given))
            assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 3
            assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 2
        for mate in crew.all:
            memory_of(mate).delay_s = 0.1
        given = [
            door.propose(add(f"t{door.name}{it}"), f"t{door.name}{it}")
            for door in (follower, other)
            for it in range(3)
        ]
        outcomes = await asyncio.gather(*map(outcome_of, given))
        full = "3 commands are waiting for the log: try again"
        assert [str(it) for it in outcomes if isinstance(it, Unavailable)] == [full] * 3


@in_virtual_time
async def test_a_refusal_is_no_answer_where_an_earlier_leader_may_have_taken_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        crew.net.isolate(leader.name)
        waiting = asyncio.create_task(follower.propose(add("web"), "1"))
        await settled()
        monkeypatch.setattr(pending, "PROPOSALS_MAX", 0)
        heir = await crew.leader(other_than=leader.name)
        if heir is follower:
            assert await waiting == ADDED
            return
        await asyncio.sleep(2)
        assert not waiting.done()
        monkeypatch.setattr(pending, "PROPOSALS_MAX", 1000)
        assert await waiting == ADDED


@in_virtual_time
async def test_what_comes_while_a_hand_over_fails_is_taken_after_it() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (heir, other) = await crew.leader(), await crew.followers()
        await crew.kill(heir.name)
        leader.elector.hand_over(heir.core.me)
        await settled()
        outcomes = await asyncio.gather(
            leader.propose(add("web"), "1"), other.propose(add("api"), "2")
        )
        assert list(outcomes) == [ADDED, Applied(changed={"api": "added"})]
        assert leader.proposer.leads, "nobody else could"


@in_virtual_time
async def test_many_commands_on_a_follower_are_each_said_once() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        heard = []
        receive = leader.forwards.receive

        def counted(sender: str, forward: Forward) -> None:
            heard.append(sender)
            receive(sender, forward)

        leader.forwards.receive = counted  # type: ignore[method-assign]
        given = [follower.propose(add(f"s{it}"), f"{it}") for it in range(300)]
        await asyncio.gather(*given)
        assert heard == [follower.core.me] * 300


@in_virtual_time
async def test_what_the_leader_does_not_take_is_said_again_each_second_and_no_oftener() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, other) = await crew.leader(), await crew.followers()
        await crew.kill(leader.name)
        waiting = asyncio.create_task(outcome_of(follower.propose(add("web"), "1")))
        before = crew.net.carried[TOPICS.raft(leader.name)]
        await asyncio.sleep(1.9)
        assert crew.net.carried[TOPICS.raft(leader.name)] - before == 2
        assert await waiting == ADDED
        await crew.level()
        assert other.services == {"web"}


@in_virtual_time
async def test_an_answer_that_is_ahead_of_what_is_applied_here_is_not_asked_for_again() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        follower.elector.receive = lambda message: None  # type: ignore[method-assign]
        before = crew.net.carried.total()
        assert await follower.propose(add("web"), "1") == ADDED
        assert leader.services == {"web"}
        assert crew.net.carried.total() - before < 30


@in_virtual_time
async def test_a_command_that_is_too_large_is_refused_by_size_at_any_door() -> None:
    huge = AddServices(services=(a_service(env={"x": "y" * (1 << 20)}),))
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for mate in crew.all:
            with pytest.raises(InvalidInput, match="at most 900000 bytes"):
                await mate.propose(huge, "1")


@in_virtual_time
async def test_the_largest_command_passes_through_a_frame() -> None:
    large = AddServices(services=(a_service(env={f"x{it}": "y" * 127_000 for it in range(7)}),))
    async with crew_of("a", "b", "c") as crew:
        follower = (await crew.followers())[0]
        assert await follower.propose(large, "1") == ADDED
        await crew.level()


@in_virtual_time
async def test_whoever_waits_when_the_daemon_stops_is_told_that_the_outcome_is_unknown() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        crew.net.isolate(leader.name)
        waiting = [
            asyncio.create_task(mate.propose(add("web"), "1")) for mate in (leader, follower)
        ]
        await settled()
        for mate in (leader, follower):
            mate.proposer.close()
        for one in waiting:
            with pytest.raises(UnknownOutcome, match="the daemon stopped"):
                await one


@in_virtual_time
async def test_who_gives_up_takes_the_outcome_from_nobody_else() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        for mate in (leader, follower):
            patient, hasty = (asyncio.create_task(mate.propose(add("web"), "1")) for _ in range(2))
            await asyncio.sleep(0)
            hasty.cancel()
            assert await patient == ADDED


@in_virtual_time
async def test_a_follower_that_is_behind_answers_once_it_has_applied_as_much() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, other) = await crew.leader(), await crew.followers()
        crew.net.cut(leader.name, follower.name)
        await other.propose(add("web"), "1")
        crew.net.heal()
        assert await follower.propose(add("web"), "1") == ADDED
        assert follower.services == {"web"}


@in_virtual_time
async def test_a_node_without_a_log_takes_no_commands_and_says_why() -> None:
    async with crew_of("a", "b", "c") as crew:
        crew["a"].elector.fail("the log is lost")
        with pytest.raises(Unavailable, match="until it is restarted: the log is lost"):
            await crew["a"].propose(add("web"), "1")
        assert crew["a"].proposer.leader == ""
        assert not crew["a"].proposer.is_current


@in_virtual_time
async def test_a_wall_clock_that_jumps_a_year_changes_nothing() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (follower, _) = await crew.leader(), await crew.followers()
        term = leader.core.term
        for ahead_s in (366 * 86_400.0, -366 * 86_400.0, 0.0):
            crew.wall.ahead_s = ahead_s
            name = f"s{int(ahead_s)}"
            assert await follower.propose(add(name), name) == Applied(changed={name: "added"})
            await asyncio.sleep(60)
        assert leader.proposer.leads
        assert leader.core.term == term


class Client:
    """Adds services of its own names at any node, and keeps what it was told."""

    def __init__(self, crew: Crew, rng: Random) -> None:
        self._crew = crew
        self._rng = rng
        self.told: dict[str, object] = {}

    async def run(self, prefix: str, until_s: float) -> None:
        number = 0
        while self._crew.clock.now_s() < until_s:
            name, number = f"{prefix}{number}", number + 1
            if not self._crew.all:
                await asyncio.sleep(1)
                continue
            mate = self._rng.choice(self._crew.all)
            self.told[name] = await outcome_of(mate.propose(add(name), name))
            await asyncio.sleep(self._rng.uniform(0, 2))


async def disturb(crew: Crew, rng: Random, until_s: float) -> None:
    """Cuts, losses, deaths and returns, one after the other."""
    while crew.clock.now_s() < until_s:
        await asyncio.sleep(rng.uniform(1, 8))
        victim = rng.choice(crew.names)
        match rng.randrange(5):
            case 0:
                crew.net.isolate(victim)
            case 1:
                crew.net.cut(victim, rng.choice(crew.names))
            case 2:
                crew.net.loss = rng.choice((0.0, 0.05, 0.3))
            case 3 if victim in crew.mates:
                await crew.restart(victim)
            case _:
                crew.net.heal()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_nobody_is_told_what_is_not_so(seed: int) -> None:
    async def story() -> None:
        rng = Random(seed)
        crew = Crew("a", "b", "c", seed=seed)
        await crew.start()
        clients = Client(crew, rng)
        async with asyncio.TaskGroup() as tasks:
            for prefix in "pqr":
                tasks.create_task(clients.run(prefix, 300.0))
            tasks.create_task(disturb(crew, rng, 300.0))
        crew.net.heal()
        crew.net.loss = 0.0
        await crew.followers()
        await crew.level()
        done = crew["a"].services
        assert all(mate.state.saved() == crew["a"].state.saved() for mate in crew.all)
        for name, told in clients.told.items():
            if isinstance(told, Applied):
                assert name in done, f"{name} was acknowledged and is lost"
            elif isinstance(told, Unavailable):
                assert name not in done, f"{name} was refused and is done"
            else:
                assert isinstance(told, UnknownOutcome)
                assert await crew["a"].propose(add(name), name) == Applied(changed={name: "added"})
        assert len(done) > 20
        await crew.stop()

    tell_in_virtual_time(story())
