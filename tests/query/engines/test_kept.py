"""What is kept in memory is what is used, and no more than there is room for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from idac.query.engines.kept import ENTRY_BYTES, Asked, Kept, Key

#: What one part takes, beside what it takes to keep it.
PART = 10


def room(parts: int) -> Kept:
    return Kept(parts * (PART + ENTRY_BYTES))


def parts(kept: Kept) -> float:
    return kept.bytes / (PART + ENTRY_BYTES)


def key(number: int) -> Key:
    return ("file", number)


def scan(kept: Kept, asked: Asked, count: int) -> int:
    """One scan of so many parts; the number of those that were there."""
    hits = 0
    for number in range(count):
        before = asked.often_before(key(number))
        if kept.get(key(number)) is not None:
            hits += 1
        elif before is not None:
            kept.put(key(number), "columns", PART, before)
    return hits


def test_what_was_used_last_stays() -> None:
    kept = room(20)
    for number in range(30):
        kept.put(key(number), number, PART)
        kept.get(key(0))
    assert parts(kept) == 20
    assert [number for number in range(30) if kept.get(key(number)) is not None] == [0, *range(11, 30)]


def test_what_would_push_too_much_out_is_not_kept() -> None:
    kept = room(16)
    kept.put(key(0), "small", PART)
    kept.put(key(1), "large", PART + 1)
    assert (kept.get(key(0)), kept.get(key(1)), parts(kept)) == ("small", None, 1)
    # Not its older state either.
    kept.put(key(0), "grown", PART + 1)
    assert (kept.get(key(0)), kept.bytes) == (None, 0)


def test_nothing_is_kept_where_there_is_no_room() -> None:
    kept = Kept(0)
    kept.put(key(0), "value", 1)
    assert (kept.get(key(0)), kept.bytes, kept.has_room) == (None, 0, False)
    assert room(1).has_room


def test_a_file_that_is_gone_is_forgotten() -> None:
    kept = room(100)
    kept.put(("a", 1), "one", PART)
    kept.put(("b", 1), "other", PART)
    kept.forget("a")
    assert (kept.get(("a", 1)), kept.get(("b", 1)), parts(kept)) == (None, "other", 1)


def test_a_scan_of_more_than_there_is_room_for_finds_what_there_is_room_for() -> None:
    kept, asked = room(20), Asked(1_000)
    assert [scan(kept, asked, 50) for _ in range(6)] == [0, 0, 0, 20, 20, 20]


def test_a_scan_pushes_out_what_is_no_longer_used_and_nothing_else() -> None:
    kept, asked = room(20), Asked(1_000)
    others: list[Key] = [("other", number) for number in range(4)]
    for other in others:
        kept.put(other, "rows", PART)
    for _ in range(4):
        kept.get(others[0])
        scan(kept, asked, 50)
    assert [kept.get(other) for other in others] == ["rows", None, None, None]
    assert scan(kept, asked, 50) == 19


def test_what_finds_no_room_pushes_nothing_out() -> None:
    kept = Kept(16 * (10_000 + ENTRY_BYTES))
    for number, size in enumerate([0, *[10_000] * 15, 5_000]):
        kept.put(key(number), "value", size)
    # The oldest alone does not make room, and the next one was used since.
    kept.put(key(99), "value", 10_000, kept._entries[key(0)].used)
    assert kept.get(key(99)) is None
    assert all(kept.get(key(number)) is not None for number in range(17))
    # With leave to do so, both go.
    kept.put(key(99), "value", 10_000)
    assert [number for number in (*range(17), 99) if kept.get(key(number)) is None] == [0, 1]


def test_only_what_is_asked_for_a_third_time_is_asked_for_often() -> None:
    asked = Asked(1_000)
    first, second, third = (asked.often_before(key(1)) for _ in range(3))
    assert (first, second) == (None, None)
    assert third is not None
    fourth = asked.often_before(key(1))
    assert fourth is not None
    assert fourth > third
    # With a thousand others since it is forgotten.
    for number in range(2, 1_002):
        asked.often_before(key(number))
    assert asked.often_before(key(1)) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.booleans()), max_size=60))
def test_bytes_are_those_of_what_is_there_and_within_the_bound(steps: list[tuple[int, int, bool]]) -> None:
    limit = 16 * (12 + ENTRY_BYTES)
    kept, sizes = Kept(limit), dict.fromkeys(range(10), 0)
    for number, size, is_scan in steps:
        kept.put(key(number), "value", size, float("inf") if is_scan else None)
        sizes[number] = size + ENTRY_BYTES
        there = [n for n in sizes if kept.get(key(n)) is not None]
        assert kept.bytes == sum(sizes[n] for n in there) <= limit


def test_threads_may_keep_ask_and_forget_at_once() -> None:
    kept, asked = room(20), Asked(10)

    def work(start: int) -> None:
        for step in range(3_000):
            number = (start + step * step) % 40
            before = asked.often_before(key(number))
            found = kept.get(key(number))
            assert found in (None, number)
            kept.put(key(number), number, PART, before if step % 3 else None)
            if step % 500 == 499:
                kept.forget("file")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    there = [number for number in range(40) if kept.get(key(number)) is not None]
    assert parts(kept) == len(there) <= 20
