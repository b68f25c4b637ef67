"""Who forms a generation, who is shut out and who owns which shards, without processes."""

import asyncio
import itertools

import numpy as np
import pytest

from hornbeam.distribution.balance import Balance, Report, cheapest_counts
from hornbeam.distribution.membership import Accusations, Membership


@pytest.mark.parametrize("seed", range(20))
def test_cheapest_counts_are_the_best_of_all(seed):
    rng = np.random.RandomState(seed)
    workers, shards = rng.randint(1, 5), 2 ** rng.randint(0, 4)
    costs = list(rng.uniform(0.1, 3.0, workers))

    def slowest(counts):
        return max(n * cost for n, cost in zip(counts, costs, strict=True))

    found = cheapest_counts(shards, costs)
    ways = itertools.product(range(shards + 1), repeat=workers)
    best = min(slowest(counts) for counts in ways if sum(counts) == shards)
    assert sum(found) == shards
    assert slowest(found) == best


def test_ranges_follow_the_counts():
    membership = Membership.of(3, 1, ["a", "b", "c"], [3, 0, 5])
    assert membership.ranges == ((0, 3), (3, 3), (3, 8))
    assert membership.shards == 8
    assert membership == Membership(3, 1, ("a", "b", "c"), ((0, 3), (3, 3), (3, 8)))


class Fleet:
    """Workers whose speed is given, and a clock."""

    def __init__(self, shards, **costs):
        self.now, self.shards, self.costs = 0.0, shards, costs
        self.names, self.generation = list(costs), 0
        self.balance = Balance(lambda: self.now)
        self.done = {}
        self.form()

    def form(self):
        self.generation += 1
        self.counts = self.balance.counts(self.names, self.shards)
        self.balance.begin(self.names, self.counts)
        self.done = {name: (0, 0.0) for name in self.names}

    def work(self, seconds):
        """Run for some seconds; return how often shards were moved."""
        moves = 0
        for _ in range(seconds):
            self.now += 1.0
            step = max(
                n * self.costs[name] for n, name in zip(self.counts, self.names, strict=True)
            )
            for n, name in zip(self.counts, self.names, strict=True):
                steps, busy = self.done[name]
                more = int(1.0 / step)
                self.done[name] = (steps + more, busy + more * n * self.costs[name])
                self.balance.report(name, Report(self.generation, *self.done[name]))
            if self.balance.is_due(self.names, self.shards):
                moves += 1
                self.form()
        return moves


def test_a_slow_worker_gives_shards_away_and_gets_them_back():
    fleet = Fleet(8, a=0.01, b=0.01, c=0.01)
    assert fleet.work(30) == 0
    assert sorted(fleet.counts) == [2, 3, 3]
    fleet.costs["b"] = 0.03
    # Once more when what was measured before it became slow no longer counts.
    assert fleet.work(10) in (1, 2)
    assert fleet.counts[1] == 1
    fleet.costs["b"] = 0.01
    assert fleet.work(10) in (1, 2)
    assert sorted(fleet.counts) == [2, 3, 3]


def test_a_very_slow_worker_owns_nothing_and_is_tried_again_ever_less_often():
    fleet = Fleet(4, a=0.01, b=0.01, c=0.3)
    fleet.work(10)
    assert fleet.counts[2] == 0
    trials = [fleet.work(60) for _ in range(4)]
    assert trials[0] > trials[3] >= 0
    fleet.costs["c"] = 0.01
    fleet.work(400)
    assert fleet.counts[2] >= 1


def test_equal_workers_keep_their_shards_in_spite_of_noise():
    rng = np.random.RandomState(0)
    fleet = Fleet(4, a=0.01, b=0.01)
    for _ in range(200):
        fleet.costs = {name: 0.01 * rng.uniform(0.85, 1.15) for name in "ab"}
        assert fleet.work(1) == 0


def test_a_pair_that_fails_twice_loses_a_member():
    made = Accusations(memory=30)
    made.add(0, 1, "a", "c")
    made.add(0, 1, "c", "a")
    assert made.guilty(0, "abc") is None
    made.add(1, 2, "a", "c")
    assert made.guilty(1, "abc") == "c"
    # Of a pair, the one whom a third has lost too.
    made.add(1, 2, "b", "a")
    assert made.guilty(1, "abc") == "a"
    assert made.guilty(1, "bc") is None
    assert made.guilty(40, "abc") is None


ray = pytest.importorskip("ray")


class Handle:
    """A worker's handle: what the coordinator calls of it."""

    def __init__(self, answer):
        self.regroup = self
        self.answer = answer

    def remote(self, generation):
        return self.answer(generation)


def coordinator(start=3, minimum=1, silence=0.3, lease=0.5, patience=5.0):
    from hornbeam.distribution.ray.coordinator import Coordinator

    return Coordinator(4, start, minimum, 4, silence, patience, lease)


class Crew:
    """Workers that answer a coordinator and come when they are told to."""

    def __init__(self, coordinator, names):
        self.coordinator, self.names = coordinator, names
        self.silent, self.dead = set(), set()
        self.tasks, self.memberships = {}, {}

    async def enter(self):
        for name in self.names:
            await self.coordinator.register(name, [Handle(self._answer(name))])
            self.come(name, 0)

    def _answer(self, name):
        async def answer(generation):
            if name in self.dead:
                raise RuntimeError("its process is gone")
            if name in self.silent:
                await asyncio.sleep(60)
            if self.tasks[name].done():
                self.come(name, generation)
            return True

        return answer

    def come(self, name, generation, suspect=None):
        joining = self.coordinator.join(name, f"at {name}", generation, suspect and f"at {suspect}")
        self.tasks[name] = asyncio.ensure_future(joining)

    async def formed(self, *names):
        found = [await asyncio.wait_for(self.tasks[name], 5) for name in names]
        return [None if m is None else (m.generation, m.rank, m.ranges) for m in found]


def test_members_that_do_not_come_are_shut_out():
    async def scenario():
        c = coordinator()
        crew = Crew(c, ["0", "1", "2"])
        await crew.enter()
        assert await crew.formed("0", "1", "2") == [
            (1, rank, ((0, 1), (1, 2), (2, 4))) for rank in range(3)
        ]
        crew.dead.add("1")
        crew.come("0", 1, suspect="1")
        assert await crew.formed("0", "2") == [(2, rank, ((0, 2), (2, 4))) for rank in range(2)]
        crew.silent.add("2")
        crew.come("0", 2)
        assert await crew.formed("0") == [(3, 0, ((0, 4),))]
        # They come back to life.
        for zombie in "12":
            assert await c.join(zombie, f"at {zombie}", 1) is None
            assert await c.renew(zombie) is False
        status = await c.status()
        assert status["fenced"] == {"1": "its process is gone", "2": "it does not answer"}
        assert status["members"] == ["0"] and status["generation"] == 3

    asyncio.run(scenario())


def test_a_member_whose_lease_runs_out_is_shut_out():
    async def scenario():
        c = coordinator(start=2)
        crew = Crew(c, ["0", "1"])
        await crew.enter()
        await crew.formed("0", "1")
        for _ in range(14):
            assert await c.renew("0")
            await asyncio.sleep(0.1)
        assert (await crew.formed("0"))[0][0] == 2
        status = await c.status()
        assert status["fenced"] == {"1": "its lease has run out"}
        assert await c.renew("1") is False

    asyncio.run(scenario())


def test_a_pair_that_cannot_reach_each_other_loses_one():
    async def scenario():
        c = coordinator()
        crew = Crew(c, ["0", "1", "2"])
        await crew.enter()
        await crew.formed("0", "1", "2")
        crew.come("0", 1, suspect="2")
        assert len(await crew.formed("0", "1", "2")) == 3
        crew.come("2", 2, suspect="0")
        # Neither of the two has more to answer for: the later one goes.
        assert await crew.formed("2", "0", "1") == [
            None,
            (3, 0, ((0, 2), (2, 4))),
            (3, 1, ((0, 2), (2, 4))),
        ]

    asyncio.run(scenario())


def test_too_few_workers_are_a_problem_that_more_workers_solve():
    async def scenario():
        c = coordinator(start=1, minimum=2, patience=0.1)
        crew = Crew(c, ["0"])
        await crew.enter()
        await crew.formed("0")
        crew.come("0", 1)
        await asyncio.sleep(0.3)
        assert "2 are needed" in (await c.status())["problem"]
        crew.names = ["1"]
        await crew.enter()
        assert len(await crew.formed("0", "1")) == 2
        assert (await c.status())["problem"] is None

    asyncio.run(scenario())


def test_a_new_coordinator_goes_on_where_the_lost_one_was():
    async def scenario():
        lost = coordinator(start=2)
        crew = Crew(lost, ["0", "1"])
        await crew.enter()
        await crew.formed("0", "1")
        await lost.remove("9", "it was bad")
        status = await lost.status()

        c = crew.coordinator = coordinator(start=2)
        c._knows.clear()
        # A generation that the driver has not heard of was formed; a worker comes first.
        crew.come("0", 5)
        await asyncio.sleep(0.05)
        assert not (await c.status())["knows"]
        await c.restore(status, [(n, Handle(crew._answer(n))) for n in "01"])
        formed = await crew.formed("0", "1")
        assert [generation for generation, *_ in formed] == [6, 6]
        assert await c.join("9", "at 9", 1) is None

    asyncio.run(scenario())


def test_an_error_that_no_worker_should_have_is_told():
    async def scenario():
        c = coordinator(start=1)
        await c.fail("0", "worker 0: KeyError: 'x'")
        assert (await c.status())["failure"] == "worker 0: KeyError: 'x'"

    asyncio.run(scenario())


def test_the_last_who_knew_the_state_dies_while_another_copies_it():
    async def scenario():
        c = coordinator(start=1)
        crew = Crew(c, ["0"])
        await crew.enter()
        await crew.formed("0")
        await c.renew("0", Report(1, 10, 1.0, order=3))
        crew.names = ["1"]
        await crew.enter()
        await crew.formed("1", "0")
        crew.dead.add("0")
        crew.come("1", 2, suspect="0")
        assert (await crew.formed("1"))[0][0] == 3
        assert (await c.status())["losses_of_all"] == 0
        # The newcomer is a member of long standing, and knows nothing.
        await c.renew("1", Report(3, 0, 0.0, order=0))
        await asyncio.sleep(0.8)
        assert (await c.status())["losses_of_all"] == 1

    asyncio.run(scenario())
