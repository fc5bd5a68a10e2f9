"""What waits for the broker: bounded, the oldest goes first, and nothing goes unsaid."""

from __future__ import annotations

import re
import threading

from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline.connectors.files import FileRecord, Target
from pipeline.connectors.live_buffer import LiveBuffer, mixed

S = 1_000_000
OVERHEAD_BYTES = 1_000


def record(number: int, size: int = 100, due_us: int = 0) -> FileRecord:
    payload = b"x" * size
    return FileRecord(
        due_us, due_us, due_us, Target("t"), "s", number, "text/plain", payload, 1, "a"
    )


@given(
    steps=st.lists(st.one_of(st.none(), st.integers(0, 5_000)), max_size=60),
    bytes_max=st.integers(1, 20_000),
)
def test_it_never_holds_more_than_it_may_and_what_it_gives_is_in_order(steps, bytes_max):
    """A number puts a record of that size, None takes one; the model is a plain list."""
    said: list[str] = []
    buffer = LiveBuffer(bytes_max, 1, said.append)
    model: list[tuple[int, int]] = []
    dropped = 0
    for number, size in enumerate(steps):
        if size is None:
            taken = buffer.take(0)
            assert (taken and taken.sequence) == (model.pop(0)[0] if model else None)
            continue
        buffer.put(record(number, size))
        model.append((number, size))
        while len(model) > 1 and sum(s + OVERHEAD_BYTES for _, s in model) > bytes_max:
            model.pop(0)
            dropped += 1
        assert buffer.dropped == dropped
    assert bool(said) == bool(dropped)
    told = [re.search(r"records dropped so far, oldest first: (\d+) ", line) for line in said]
    assert all(found and 1 <= int(found[1]) <= dropped for found in told)
    assert [r.sequence for r in iter(lambda: buffer.take(0), None)] == [n for n, _ in model]


def test_a_record_that_is_larger_than_all_of_it_goes_through():
    buffer = LiveBuffer(10, 1, print)
    buffer.put(record(0, 1 << 20))
    assert buffer.take(0).sequence == 0
    assert buffer.dropped == 0


def test_who_takes_is_woken_by_a_record_and_by_the_end_of_the_last_source():
    buffer = LiveBuffer(1 << 20, 2, print)
    threading.Timer(0.05, buffer.put, [record(7)]).start()
    assert buffer.take(30).sequence == 7
    buffer.ended()
    assert not buffer.over
    threading.Timer(0.05, buffer.ended).start()
    assert buffer.take(30) is None
    assert buffer.over


def test_files_play_beside_live_sources_in_real_time():
    buffer = LiveBuffer(1 << 20, 1, print)
    now_us = clock.wall_us()
    files = iter([record(n, due_us=n * 60_000) for n in range(3)])
    records = mixed(buffer, files, now_us, threading.Event(), lambda: None)
    assert [next(records).sequence, clock.wall_us() - now_us >= 0] == [0, True]
    buffer.put(record(100))
    assert next(records).sequence == 100, "a live record does not wait for a file's"
    buffer.ended()
    assert [r.sequence for r in records] == [1, 2]
    assert clock.wall_us() - now_us >= 120_000


def test_a_stop_ends_the_sources_first_and_then_sends_what_they_held():
    buffer, stop = LiveBuffer(1 << 20, 1, print), threading.Event()

    def end() -> None:
        buffer.put(record(1))  # what a reader has cut last
        buffer.ended()

    buffer.put(record(0))
    records = mixed(buffer, iter([record(9, due_us=1 << 60)]), 0, stop, end)
    assert next(records).sequence == 0
    stop.set()
    assert [r.sequence for r in records] == [1]
