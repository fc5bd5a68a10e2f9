"""Event times of live sources: true to the fastest packet, steady, and mended after a leap."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.connectors.live_clock import (
    AHEAD_US_MAX,
    BACK_US_MAX,
    BURST_US_MAX,
    Arrival,
    LiveClock,
)

S = 1_000_000
NOW_US = 1_790_000_000 * S
delays = st.lists(st.integers(0, 400_000), min_size=1, max_size=30)


def sent(delays_us: list[int], each_us: int = 40_000, zero_us: int = 0) -> list[Arrival]:
    """Packets that were taken at NOW_US, NOW_US + each, ..., and came so much later.

    They come in their order, as over TCP. The source counts from ``zero_us``.
    """
    arrivals = itertools.accumulate(
        (NOW_US + n * each_us + delay for n, delay in enumerate(delays_us)), max
    )
    return [Arrival(at, zero_us + n * each_us) for n, at in enumerate(arrivals)]


@given(delays_us=delays, zero_us=st.integers(-(1 << 40), 1 << 50))
def test_times_are_late_by_the_way_of_the_fastest_packet_and_no_more(delays_us, zero_us):
    clock, packets = LiveClock(), sent(delays_us, zero_us=zero_us)
    clock.settle(packets)
    late_us = [clock.at(*packet) - (NOW_US + n * 40_000) for n, packet in enumerate(packets)]
    fastest_us = min(p.arrival_us - NOW_US - n * 40_000 for n, p in enumerate(packets))
    assert set(late_us) == {fastest_us}
    assert clock.leaps == 0
    assert clock.laid()(zero_us) == NOW_US + fastest_us


@given(delays_us=delays, later_us=delays)
def test_no_time_lies_ahead_of_the_arrival_that_it_was_laid_by(delays_us, later_us):
    """And jitter after that moves nothing: the source's own clock counts."""
    clock, packets = LiveClock(), sent(delays_us + later_us)
    first = packets[: len(delays_us)]
    clock.settle(first)
    times = [clock.at(*packet) for packet in packets]
    assert all(at <= p.arrival_us for at, p in zip(times, first, strict=False))
    assert {b - a for a, b in itertools.pairwise(times)} <= {40_000}


def test_what_a_server_held_for_us_is_older_than_our_coming():
    clock = LiveClock()
    held = [Arrival(NOW_US + n * 1_000, n * 40_000) for n in range(100)]  # 4 s at once
    clock.settle(held)
    assert clock.at(*held[0]) == NOW_US + 99_000 - 99 * 40_000
    assert clock.at(*held[-1]) == held[-1].arrival_us


def test_what_gives_more_than_any_server_holds_plays_from_now_on():
    clock = LiveClock()
    fast = [Arrival(NOW_US + n, n * 100_000) for n in range(BURST_US_MAX // 100_000 + 1)]
    clock.settle(fast)
    assert clock.at(*fast[0]) == NOW_US


def test_a_device_that_stamps_by_the_wall_clock_is_believed():
    clock = LiveClock()
    stamped = [Arrival(NOW_US + 30_000, NOW_US), Arrival(NOW_US + 80_000, NOW_US + 40_000)]
    clock.settle(stamped, device=True)
    assert clock.at(*stamped[0]) == NOW_US
    since_boot = [Arrival(NOW_US + 30_000, 77 * S)]
    clock.settle(since_boot, device=True)
    assert clock.at(*since_boot[0]) == NOW_US + 30_000


@given(
    leap_us=st.one_of(st.integers(-(1 << 40), -BACK_US_MAX - 1 - S), st.integers(12 * S, 1 << 40))
)
def test_after_a_leap_times_go_on_by_the_wall_clock(leap_us):
    clock = LiveClock()
    clock.settle([Arrival(NOW_US, 0)])
    for n in range(25):
        clock.at(NOW_US + n * 40_000, n * 40_000)
    before = clock.laid()
    assert clock.at(NOW_US + S, S + leap_us) == NOW_US + S
    assert clock.at(NOW_US + S + 40_000, S + leap_us + 40_000) == NOW_US + S + 40_000
    assert clock.leaps == 1
    assert before(S - 40_000) == NOW_US + S - 40_000, "what came before keeps its place"


def test_a_source_that_stood_still_is_caught_up_with_and_a_stall_of_the_network_is_not():
    stopped, stalled = LiveClock(), LiveClock()
    for clock in (stopped, stalled):
        clock.settle([Arrival(NOW_US, 0)])
    for n in range(1, 25 * 40):
        media_us = n * 40_000
        taken_us = NOW_US + media_us
        # for 12 s nothing is taken; then the source counts on as if nothing had been
        pause_us = 12 * S if n > 25 * 5 else 0
        stopped.at(taken_us + pause_us, media_us)
        # what was taken in these 12 s all comes at their end
        held = 25 * 5 < n <= 25 * 17
        stalled.at(max(taken_us, NOW_US + 17 * S) if held else taken_us, media_us)
    assert stopped.leaps == 1
    assert stopped.laid()(40 * S) == NOW_US + 52 * S
    assert stalled.leaps == 0
    assert stalled.laid()(40 * S) == NOW_US + 40 * S


def test_a_time_so_far_ahead_cannot_be_meant():
    clock = LiveClock()
    clock.settle([Arrival(NOW_US, 0)])
    assert clock.at(NOW_US, AHEAD_US_MAX) == NOW_US + AHEAD_US_MAX
    assert clock.at(NOW_US, AHEAD_US_MAX + 1) == NOW_US
