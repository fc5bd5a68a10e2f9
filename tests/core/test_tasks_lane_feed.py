"""A lane between its fetches and its state machine: the replay, the gaps, silence, the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lane import InputRule, LaneCut, LaneRecord, LaneSpec, Waiting
from pipeline.tasks.lane_feed import LaneFeed

SPEC = LaneSpec(
    inputs=(InputRule("a", True, 10), InputRule("b", True, 10)), size_us=100, hop_us=100, idle_us=50
)
START = LaneCut(0, {"a": 0, "b": 0}, {"a": 0, "b": 0})


def record(input: str, offset: int, end_us: int, stream: str = "s") -> LaneRecord:
    return LaneRecord(input, offset, end_us, stream, end_us - 20, end_us, 1)


def add(feed: LaneFeed, input: str, *records: LaneRecord, position: int | None = None) -> None:
    if position is None:
        position = records[-1].offset + 1
    feed.add(input, list(records), position)


def know(feed: LaneFeed, now_us: int = 0, **ends: int) -> None:
    for name, end in ends.items():
        feed.merge.ends(name, end, now_us)


def steps(feed: LaneFeed, now_us: int = 0) -> list[tuple[str, int]]:
    found = []
    while isinstance(step := feed.step(now_us), tuple) and not isinstance(step, Waiting):
        applied, _ = step
        found.append((applied.input, applied.offset))
    return found


def test_records_pass_in_the_order_of_the_merge_once_both_inputs_are_known():
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 0, 50), record("a", 1, 90))
    assert isinstance(feed.step(0), Waiting)
    assert feed.asks(0) == ["b"]
    assert feed.ahead() == ["a"]
    add(feed, "b", record("b", 0, 70))
    know(feed, a=2, b=1)
    assert steps(feed) == [("a", 0), ("b", 0), ("a", 1)]
    assert feed.changed
    assert feed.ahead() == []
    assert feed.lane.positions == {"a": 2, "b": 1}


def test_a_replay_is_silent_and_nothing_past_a_position_is_applied_before_it_ends():
    resumed = LaneCut(7, {"a": 3, "b": 5}, {"a": 1, "b": 2}, floor_us=0)
    feed = LaneFeed(SPEC, resumed, None)
    assert feed.lane.positions == {"a": 1, "b": 2}
    assert feed.lane.replaying
    # one fetch that goes past the committed position: the rest of it waits
    add(feed, "a", *(record("a", n, 30 * n) for n in (1, 2, 3, 4)))
    assert feed.lane.positions == {"a": 3, "b": 2}
    assert feed.merge.buffered("a") == 2
    assert feed.step(0) is None
    assert feed.asks(0) == []
    assert feed.silence(10**9) == []
    feed.pass_gaps()
    assert not feed.changed
    add(feed, "b", record("b", 2, 40), record("b", 3, 60))
    assert feed.lane.replaying
    add(feed, "b", record("b", 4, 80), record("b", 6, 95))
    assert not feed.lane.replaying
    assert not feed.changed
    know(feed, a=5, b=7)
    assert steps(feed) == [("a", 3), ("b", 6), ("a", 4)]


def test_a_replay_may_end_in_a_gap_or_hold_no_record_at_all():
    resumed = LaneCut(7, {"a": 9, "b": 5}, {"a": 1, "b": 5}, floor_us=0)
    feed = LaneFeed(SPEC, resumed, None)
    add(feed, "a", record("a", 1, 30), position=6)
    assert feed.lane.positions["a"] == 6
    add(feed, "a", position=12)  # compaction took the rest of it
    assert not feed.lane.replaying
    assert feed.lane.positions == {"a": 9, "b": 5}
    feed.pass_gaps()
    assert feed.lane.positions == {"a": 12, "b": 5}
    assert feed.changed


def test_positions_pass_gaps_only_up_to_what_is_fetched_and_not_applied():
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 4, 50), position=9)
    feed.pass_gaps()
    assert feed.lane.positions == {"a": 4, "b": 0}
    know(feed, a=9, b=0)
    assert steps(feed) == [("a", 4)]
    feed.changed = False
    feed.pass_gaps()
    assert feed.lane.positions == {"a": 9, "b": 0}
    assert feed.changed
    feed.changed = False
    feed.pass_gaps()
    assert not feed.changed


def test_silence_closes_what_is_open_only_while_all_inputs_are_known_to_be_caught_up():
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 0, 50))
    know(feed, 1_000, a=1, b=0)
    assert steps(feed, 1_000) == [("a", 0)]
    assert feed.lane.floor_us == -10
    late = 1_000 + 10**6
    assert feed.silence(late) == []  # the ends are too old
    assert feed.asks(late) == ["a", "b"]
    know(feed, late, a=1, b=1)
    assert feed.silence(late) == []  # b is behind
    know(feed, late, a=1, b=0)
    add(feed, "b", position=1)
    [window] = feed.silence(late)
    assert (window.start_us, window.end_us) == (0, 100)
    assert feed.changed
    assert feed.asks(late + 10**6) == []  # nothing is open: nobody needs to know


def test_silence_rises_by_what_has_passed_since_the_last_rise():
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 0, 50))
    know(feed, 1_000, a=1, b=0)
    steps(feed, 1_000)
    assert feed.silence(1_030) == []
    assert feed.lane.floor_us == 20
    assert feed.silence(1_030) == []
    assert feed.lane.floor_us == 20
    assert feed.silence(1_109) == []
    assert feed.lane.floor_us == 99
    assert [w.end_us for w in feed.silence(1_110)] == [100]


def test_the_time_that_an_answer_was_under_way_is_no_silence():
    """A process that was frozen, or a slow line: records may have come that are not seen yet."""
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 0, 50))
    know(feed, 1_000, a=1, b=0)
    steps(feed, 1_000)
    for name, end in {"a": 1, "b": 0}.items():
        feed.merge.ends(name, end, now_us=1_000_000, asked_us=1_010)
    assert feed.silence(1_000_000) == []
    assert feed.lane.floor_us == 0
    assert feed.silence(1_000_000) == []
    assert feed.lane.floor_us == 0
    know(feed, 1_000_001, a=1, b=0)
    assert [w.end_us for w in feed.silence(1_000_001)] == [100]


def test_an_answer_that_took_too_long_says_nothing_of_now():
    feed = LaneFeed(SPEC, START, None)
    add(feed, "a", record("a", 0, 50))
    for name, end in {"a": 1, "b": 0}.items():
        feed.merge.ends(name, end, now_us=60_000_000, asked_us=1_000)
    assert isinstance(feed.step(60_000_000), Waiting)
    assert feed.asks(60_000_000) == ["b"]
    know(feed, 60_000_001, b=0)
    assert steps(feed, 60_000_001) == [("a", 0)]


def test_a_run_to_an_end_ignores_what_lies_behind_it_and_knows_no_silence():
    feed = LaneFeed(SPEC, START, {"a": 2, "b": 1})
    assert feed.asks(10**9) == []
    add(feed, "a", record("a", 0, 50), record("a", 1, 80), record("a", 2, 900))
    assert feed.finish({"a": 2, "b": 1}) is None
    add(feed, "b", record("b", 0, 60), record("b", 1, 70))
    assert steps(feed, 10**9) == [("a", 0), ("b", 0), ("a", 1)]
    assert feed.silence(10**12) == []
    feed.pass_gaps()
    assert feed.lane.positions == {"a": 2, "b": 1}
    feed.changed = False
    [window] = feed.finish({"a": 2, "b": 1})
    assert window.end_us == 100
    assert feed.lane.floor_us == 100
    assert feed.finished
    assert feed.changed
    assert feed.finish({"a": 2, "b": 1}) is None  # once


def test_a_run_to_an_end_that_is_reached_closes_nothing_and_is_finished():
    feed = LaneFeed(SPEC, START, {"a": 0, "b": 0})
    assert feed.finish({"a": 0, "b": 0}) == []
    assert feed.finished


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_and_any_fetches_of_the_replay_go_on_to_the_same_windows(data):
    """Property a, through the feed: chunks of fetches, gaps, and where it was cut."""
    logs = {}
    for name in ("a", "b"):
        offsets = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=12), label=name)
        places = [sum(offsets[: n + 1]) for n in range(len(offsets))]
        ends = data.draw(
            st.lists(st.integers(1, 400), min_size=len(places), max_size=len(places)), label=name
        )
        logs[name] = [record(name, at, end) for at, end in zip(places, ends, strict=True)]
    ends = {name: log[-1].offset + 1 for name, log in logs.items()}

    def copies(name: str, start: int) -> list[LaneRecord]:
        return [record(name, r.offset, r.end_us) for r in logs[name] if r.offset >= start]

    def feed_all(feed: LaneFeed, chunks: bool) -> None:
        for name in data.draw(st.permutations(["a", "b"])) if chunks else ["a", "b"]:
            left = copies(name, feed.lane.positions[name])
            while left:
                size = data.draw(st.integers(1, len(left))) if chunks else len(left)
                part, left = left[:size], left[size:]
                feed.add(name, part, left[0].offset if left else ends[name])
            feed.add(name, [], ends[name])

    def run(feed: LaneFeed, stop_after: int | None) -> list[tuple[int, tuple]]:
        windows = []
        applied = 0
        while stop_after is None or applied < stop_after:
            step = feed.step(0)
            if not isinstance(step, tuple) or isinstance(step, Waiting):
                feed.pass_gaps()
                windows += feed.finish(ends) or []
                break
            windows += step[1].closed
            applied += 1
        return [
            (w.start_us, tuple((n, r.offset) for n, rs in w.content.items() for r in rs))
            for w in windows
        ]

    whole = LaneFeed(SPEC, START, dict(ends))
    feed_all(whole, chunks=False)
    expected = run(whole, None)

    first = LaneFeed(SPEC, START, dict(ends))
    feed_all(first, chunks=True)
    found = run(first, data.draw(st.integers(0, 20), label="cut after"))
    cut = first.lane.cut()
    second = LaneFeed(SPEC, cut, dict(ends))
    feed_all(second, chunks=True)
    assert not second.lane.replaying
    found += run(second, None)
    assert found == expected
    assert second.lane.floor_us == whole.lane.floor_us
