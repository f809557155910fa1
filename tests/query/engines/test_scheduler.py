"""Who runs next: round robin between owners, lanes of their own, and no place lost whatever ends a wait."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from idac.core.errors import Busy, Cancelled, ResourceExhausted, UserError
from idac.query.scheduler import FairScheduler, Place, Watchdog
from services.waiting import until


@dataclass
class Queue:
    """Queries that wait in threads of their own, one after the other; what happened to each is noted."""

    scheduler: FairScheduler
    served: list[str] = field(default_factory=list)
    errors: dict[str, UserError] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def add(self, owner: str, query_id: str, lane: str = "heavy", timeout_s: float = 60) -> None:
        """Begin to wait, surely after those before."""
        before = self.scheduler.waiting

        def wait() -> None:
            try:
                with self.scheduler.acquire(lane, owner, query_id, timeout_s):
                    self.served.append(query_id)
            except UserError as error:
                self.errors[query_id] = error

        thread = threading.Thread(target=wait)
        thread.start()
        self.threads.append(thread)
        until(lambda: self.scheduler.waiting == before + 1)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def one_place() -> FairScheduler:
    return FairScheduler({"heavy": 1, "interactive": 1}, max_queued=10, max_per_owner=8)


def assert_all_free(scheduler: FairScheduler, lane: str, count: int) -> None:
    """Every place of the lane can be had at once, and none twice."""
    assert scheduler.waiting == 0
    places = [scheduler.acquire(lane, "last", f"last {i}", 0.001) for i in range(count)]
    assert {p.number for p in places} == set(range(count))
    for place in places:
        place.release()


def test_a_long_queue_of_one_owner_delays_nobody_else() -> None:
    queue = Queue(one_place())
    held = queue.scheduler.acquire("heavy", "a", "a0", 1)
    for query_id in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.add(query_id[0], query_id)
    held.release()
    queue.join()
    assert queue.served == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    assert_all_free(queue.scheduler, "heavy", 1)


def test_who_comes_later_takes_a_turn_before_the_second_query_of_others() -> None:
    queue = Queue(one_place())
    held = queue.scheduler.acquire("heavy", "x", "x", 1)
    for query_id in ("a1", "a2", "a3"):
        queue.add("a", query_id)
    queue.add("late", "late")
    held.release()
    queue.join()
    assert queue.served == ["a1", "late", "a2", "a3"]


def test_a_full_lane_keeps_nobody_from_the_other() -> None:
    queue = Queue(one_place())
    held = queue.scheduler.acquire("heavy", "a", "a0", 1)
    queue.add("a", "a1")
    with queue.scheduler.acquire("interactive", "a", "small", 0.001) as place:
        assert (place.lane, place.number) == ("interactive", 0)
        assert queue.served == []
    held.release()
    queue.join()


def test_a_query_that_is_stopped_while_it_waits_leaves_its_turn_to_the_next() -> None:
    queue = Queue(one_place())
    held = queue.scheduler.acquire("heavy", "x", "x", 1)
    for query_id in ("a1", "a2", "b1"):
        queue.add(query_id[0], query_id)
    assert queue.scheduler.cancel("a1")
    until(lambda: "a1" in queue.errors)
    assert not queue.scheduler.cancel("a1")
    assert not queue.scheduler.cancel("never heard of")
    held.release()
    queue.join()
    assert queue.served == ["a2", "b1"]
    assert isinstance(queue.errors["a1"], Cancelled)
    assert queue.errors["a1"].text == "The query was stopped while it waited for its turn."
    assert_all_free(queue.scheduler, "heavy", 1)


def test_a_query_that_was_stopped_before_it_could_wait_does_not_wait() -> None:
    scheduler = one_place()
    with scheduler.acquire("heavy", "x", "x", 1), pytest.raises(Cancelled):
        scheduler.acquire("heavy", "a", "a1", 60, lambda: True)
    with pytest.raises(Cancelled):
        scheduler.acquire("heavy", "a", "a1", 60, lambda: True)
    assert_all_free(scheduler, "heavy", 1)


def test_a_query_whose_time_is_over_before_its_turn_says_so() -> None:
    scheduler = one_place()
    with scheduler.acquire("heavy", "x", "x", 1), pytest.raises(ResourceExhausted) as caught:
        scheduler.acquire("heavy", "a", "a1", 0.01)
    assert caught.value.text == (
        "The query's time was over before it got its turn. Given: 0.01 s. "
        "Try again later, or submit it as an asynchronous job with a longer execution duration."
    )
    assert_all_free(scheduler, "heavy", 1)


def test_a_place_given_back_twice_is_given_back_once() -> None:
    scheduler = one_place()
    first = scheduler.acquire("heavy", "a", "a", 1)
    first.release()
    second = scheduler.acquire("heavy", "b", "b", 1)
    first.release()
    with pytest.raises(ResourceExhausted):
        scheduler.acquire("heavy", "c", "c", 0.001)
    second.release()


def test_a_service_that_stops_sends_everybody_away() -> None:
    queue = Queue(one_place())
    held = queue.scheduler.acquire("heavy", "x", "x", 1)
    queue.add("a", "a1")
    queue.add("b", "b1")
    queue.scheduler.close()
    queue.join()
    expected = "This part of the service is stopping. Try again in a minute."
    assert [type(e) for e in queue.errors.values()] == [Busy, Busy]
    assert {e.text for e in queue.errors.values()} == {expected}
    with pytest.raises(Busy):
        queue.scheduler.acquire("interactive", "late", "late", 1)
    held.release()


def test_under_any_mix_of_ends_no_place_is_shared_and_none_is_lost() -> None:
    places = 3
    scheduler = FairScheduler({"heavy": places}, max_queued=1000, max_per_owner=1000)
    in_use: Counter[int] = Counter()
    guard = threading.Lock()
    ends: Counter[str] = Counter()

    def hold(place: Place, rng: random.Random) -> None:
        with guard:
            in_use[place.number] += 1
            assert in_use[place.number] == 1
        for _ in range(rng.randrange(50)):
            rng.random()
        with guard:
            in_use[place.number] -= 1
        place.release()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for turn in range(150):
            query_id = f"{seed}-{turn}"
            if rng.random() < 0.3:
                scheduler.cancel(f"{rng.randrange(8)}-{turn}")
            try:
                place = scheduler.acquire("heavy", f"owner {seed % 3}", query_id, rng.choice([0.0, 0.0005, 60]))
            except (Cancelled, ResourceExhausted) as error:
                ends[type(error).__name__] += 1
            else:
                hold(place, rng)
                ends["served"] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(ends.values()) == 8 * 150
    assert ends["served"] > 0
    assert set(in_use) <= set(range(places))
    assert not any(in_use.values())
    assert_all_free(scheduler, "heavy", places)


# -- the watchdog ------------------------------------------------------------------------------------------------------


@pytest.fixture
def barks() -> tuple[threading.Event, Callable[[], float | None]]:
    heard = threading.Event()

    def bark() -> None:
        heard.set()

    return heard, bark


def test_the_watchdog_calls_back_after_the_deadline(
    barks: tuple[threading.Event, Callable[[], float | None]],
) -> None:
    heard, bark = barks
    Watchdog().watch(0.001, bark)
    assert heard.wait(60)


def test_a_nearer_deadline_that_comes_later_is_kept_first(
    barks: tuple[threading.Event, Callable[[], float | None]],
) -> None:
    heard, bark = barks
    watchdog, far = Watchdog(), threading.Event()
    watchdog.watch(3600, far.set)
    watchdog.watch(0.001, bark)
    assert heard.wait(60)
    assert not far.is_set()


def test_what_is_forgotten_is_not_called(barks: tuple[threading.Event, Callable[[], float | None]]) -> None:
    heard, bark = barks
    watchdog, forgotten = Watchdog(), threading.Event()
    number = watchdog.watch(0.05, forgotten.set)
    watchdog.forget(number)
    watchdog.forget(number)
    watchdog.watch(0.1, bark)
    assert heard.wait(60)
    assert not forgotten.is_set()


def test_a_callback_that_asks_for_it_is_called_again() -> None:
    calls: list[int] = []
    done = threading.Event()

    def bark() -> float | None:
        calls.append(1)
        if len(calls) < 3:
            return 0.001
        done.set()
        return None

    Watchdog().watch(0.001, bark)
    assert done.wait(60)
    assert len(calls) == 3
