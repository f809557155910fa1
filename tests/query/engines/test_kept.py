"""What is kept in memory is what is used, and no more than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from idac.query.engines.kept import Asked, Kept, Key

PART = 10


def key(number: int) -> Key:
    return ("file", number)


def scan(kept: Kept, asked: Asked, parts: int) -> int:
    """One scan of so many parts; the number of those that were there."""
    hits = 0
    for number in range(parts):
        before = asked.often(key(number))
        if kept.get(key(number)) is not None:
            hits += 1
        elif before is not None:
            kept.put(key(number), "columns", PART, before)
    return hits


def test_what_was_used_last_stays() -> None:
    kept = Kept(20 * PART)
    for number in range(30):
        kept.put(key(number), number, PART)
        kept.get(key(0))
    assert kept.bytes == 20 * PART
    assert [number for number in range(30) if kept.get(key(number)) is not None] == [0, *range(11, 30)]


def test_what_would_push_too_much_out_is_not_kept() -> None:
    kept = Kept(16 * PART)
    kept.put(key(0), "small", PART)
    kept.put(key(1), "large", PART + 1)
    assert (kept.get(key(0)), kept.get(key(1)), kept.bytes) == ("small", None, PART)
    # Not its older state either.
    kept.put(key(0), "grown", PART + 1)
    assert (kept.get(key(0)), kept.bytes) == (None, 0)


def test_nothing_is_kept_where_there_is_no_room() -> None:
    kept = Kept(0)
    kept.put(key(0), "value", 1)
    assert (kept.get(key(0)), kept.bytes) == (None, 0)


def test_a_file_that_is_gone_is_forgotten() -> None:
    kept = Kept(100 * PART)
    kept.put(("a", 1), "one", PART)
    kept.put(("b", 1), "other", PART)
    kept.forget("a")
    assert (kept.get(("a", 1)), kept.get(("b", 1)), kept.bytes) == (None, "other", PART)


def test_a_scan_of_more_than_there_is_room_for_finds_what_there_is_room_for() -> None:
    kept, asked = Kept(20 * PART), Asked()
    assert [scan(kept, asked, 50) for _ in range(6)] == [0, 0, 0, 20, 20, 20]


def test_a_scan_pushes_out_what_is_no_longer_used_and_nothing_else() -> None:
    kept, asked = Kept(20 * PART), Asked()
    cones: list[Key] = [("cone", number) for number in range(4)]
    for cone in cones:
        kept.put(cone, "rows", PART)
    for _ in range(4):
        kept.get(cones[0])
        scan(kept, asked, 50)
    assert [kept.get(cone) for cone in cones] == ["rows", None, None, None]
    assert scan(kept, asked, 50) == 19


def test_only_what_is_asked_for_a_third_time_is_asked_for_often() -> None:
    asked = Asked()
    first, second, third = (asked.often(key(1)) for _ in range(3))
    assert (first, second) == (None, None)
    assert third is not None
    fourth = asked.often(key(1))
    assert fourth is not None
    assert fourth > third
    # Ten thousand others later it is forgotten.
    for number in range(2, 10_002):
        asked.often(key(number))
    assert asked.often(key(1)) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.booleans()), max_size=60))
def test_bytes_are_those_of_what_is_there_and_within_the_bound(steps: list[tuple[int, int, bool]]) -> None:
    kept, sizes = Kept(100), dict.fromkeys(range(10), 0)
    for number, size, is_scan in steps:
        kept.put(key(number), "value", size, float("inf") if is_scan else None)
        sizes[number] = size
        there = [n for n in sizes if kept.get(key(n)) is not None]
        assert kept.bytes == sum(sizes[n] for n in there) <= 100
