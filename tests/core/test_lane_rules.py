"""Event time by example: each test reads as a sentence of the contract (section 3, Lane).

Times are seconds here: windows of 10, B = 2, idle = 6, so A = 8, unless a test says otherwise.
"""

from __future__ import annotations

import pickle

import pytest

from pipeline.lane import Applied, ClosedWindow, InputRule, Lane, LaneCut, LaneRecord, LaneSpec

S = 1_000_000
MIC = InputRule("mic", gating=True, bound_us=2 * S)
CAMERA = InputRule("camera", gating=True, bound_us=2 * S)
CHAT = InputRule("chat", gating=False, bound_us=0)


def spec(
    *inputs: InputRule,
    size: float = 10,
    hop: float | None = None,
    before: float = 0,
    after: float = 0,
    open_bytes: int = 1 << 30,
) -> LaneSpec:
    return LaneSpec(
        inputs or (MIC,),
        round(size * S),
        round((hop or size) * S),
        idle_us=6 * S,
        before_us=round(before * S),
        after_us=round(after * S),
        open_bytes=open_bytes,
    )


def fresh(of: LaneSpec) -> Lane:
    zeros = {rule.name: 0 for rule in of.inputs}
    return Lane(of, LaneCut(0, zeros, dict(zeros)))


class Host:
    """Gives a lane records in seconds, with the next offset of each input."""

    def __init__(self, of: LaneSpec, lane: Lane | None = None) -> None:
        self.spec = of
        self.lane = lane or fresh(of)
        self.log: list[tuple[str, int, int, str | None, int, int, int]] = []

    def gives(
        self,
        input: str,
        stream: str | None,
        ts: float,
        end: float,
        append: float | None = None,
        size: int = 1,
    ) -> Applied:
        stamp = end if append is None else append
        offset = self.lane.positions[input]
        times = (round(ts * S), round(end * S), size)
        self.log.append((input, offset, round(stamp * S), stream, *times))
        return self.lane.apply(LaneRecord(*self.log[-1]))

    def replays(self, cut: LaneCut, inputs: tuple[str, ...]) -> Lane:
        """A lane that came back from the cut, one input replayed after the other."""
        lane = Lane(self.spec, cut)
        for name in inputs:
            for record in self.log:
                if record[0] == name and cut.froms[name] <= record[1] < cut.positions[name]:
                    assert lane.replaying
                    assert lane.apply(LaneRecord(*record)).closed == []
        assert not lane.replaying
        return lane


def host(*inputs: InputRule, **options: float) -> Host:
    return Host(spec(*inputs, **options))


def spans(closed: list[ClosedWindow]) -> list[tuple[str, float, float]]:
    return [(w.stream, w.start_us / S, w.end_us / S) for w in closed]


def offsets(window: ClosedWindow) -> dict[str, list[int]]:
    return {name: [r.offset for r in records] for name, records in window.content.items()}


# -- windows


def test_windows_are_half_open():
    h = host()
    h.gives("mic", "s", 0, 10)
    h.gives("mic", "s", 10, 20)
    (window,) = h.gives("mic", "s", 20, 30).closed
    assert spans([window]) == [("s", 10, 20)]
    assert offsets(window) == {"mic": [1]}


def test_windows_are_aligned_to_the_epoch_on_both_of_its_sides():
    h = host()
    closed = h.gives("mic", "s", -3, 3, append=0).closed
    assert spans(closed + h.lane.finish()) == [("s", -10, 0), ("s", 0, 10)]


def test_a_lane_that_has_seen_nothing_has_no_clock_that_anything_could_miss():
    h = host()
    assert h.lane.floor_us is None
    applied = h.gives("mic", "s", -10_000, -9_999, append=0)
    assert (applied.late, applied.fused) == ((), 1)


def test_a_record_is_content_of_every_window_that_it_overlaps():
    h = host(size=10, hop=5)
    assert h.gives("mic", "s", 9, 11).fused == 3
    windows = h.lane.finish()
    assert spans(windows) == [("s", 0, 10), ("s", 5, 15), ("s", 10, 20)]
    assert [offsets(window) for window in windows] == [{"mic": [0]}] * 3


def test_a_window_that_nothing_overlaps_is_never_emitted():
    h = host()
    h.gives("mic", "s", 0, 1)
    h.gives("mic", "s", 30, 31)
    assert spans(h.lane.finish()) == [("s", 30, 40)]


def test_content_is_in_log_order_and_of_one_stream():
    h = host()
    h.gives("mic", "s", 2, 3)
    h.gives("mic", "other", 2, 3)
    h.gives("mic", "s", 1, 2)
    windows = h.lane.finish()
    assert [(window.stream, offsets(window)) for window in windows] == [
        ("other", {"mic": [1]}),
        ("s", {"mic": [0, 2]}),
    ]


# -- clocks and closing


def test_a_stream_that_sends_in_time_gets_its_windows_at_their_end_plus_b():
    h = host()
    h.gives("mic", "s", 0, 10)
    assert h.gives("mic", "s", 10, 11.999).closed == []
    assert spans(h.gives("mic", "s", 11, 12).closed) == [("s", 0, 10)]


def test_a_window_closes_when_the_clock_of_every_gating_input_has_reached_its_end():
    h = host(MIC, CAMERA)
    h.gives("mic", "s", 0, 1)
    assert h.gives("mic", "s", 11, 12).closed == []
    assert h.gives("camera", "s", 10, 11).closed == []
    (window,) = h.gives("camera", "s", 11, 12).closed
    assert (spans([window]), window.present) == ([("s", 0, 10)], ("mic",))


def test_an_input_that_does_not_gate_opens_windows_and_is_not_waited_for():
    h = host(MIC, CHAT)
    h.gives("chat", "s", 3, 3.1)
    (window,) = h.gives("mic", "s", 11, 12).closed
    assert (spans([window]), window.present) == ([("s", 0, 10)], ("chat",))


def test_one_stream_that_lags_makes_no_other_late_and_is_not_made_late():
    h = host()
    h.gives("mic", "quick", 6, 7)
    assert h.gives("mic", "slow", 0, 1).late == ()
    assert h.gives("mic", "quick", 11, 12).closed != []
    assert h.gives("mic", "slow", 1, 2).late == ()


def test_closed_windows_come_by_start_and_then_by_stream():
    h = host()
    for stream in ("b", "a"):
        h.gives("mic", stream, 0, 11)
    closed = h.gives("mic", "c", 40, 41).closed
    assert spans(closed) == [("a", 0, 10), ("b", 0, 10), ("a", 10, 20), ("b", 10, 20)]


# -- lateness: one fate for each record and window


def test_a_record_is_late_once_its_own_inputs_clock_has_reached_the_windows_end():
    h = host(MIC, CAMERA)
    h.gives("camera", "s", 0, 1)
    h.gives("mic", "s", 11, 12)  # the mic's clock is at 10, the camera's is not
    applied = h.gives("mic", "s", 3, 4)
    assert (applied.late, applied.clock_us, applied.fused) == ((0,), 10 * S, 0)
    assert h.gives("camera", "s", 4, 5).late == ()
    (window,) = h.gives("camera", "s", 11, 12).closed
    assert offsets(window) == {"camera": [0, 1]}
    assert window.present == ("camera",)


def test_a_record_may_be_late_for_one_window_and_in_time_for_the_next():
    h = host(size=10, hop=5)
    h.gives("mic", "s", 11, 12)
    applied = h.gives("mic", "s", 7, 8)  # windows 0-10 and 5-15; the clock is at 10
    assert (applied.late, applied.fused) == ((0,), 1)


def test_what_does_not_gate_is_late_by_the_least_of_the_gating_clocks():
    h = host(MIC, CAMERA, CHAT)
    h.gives("mic", "s", 11, 12)
    assert h.gives("chat", "s", 4, 4.1).late == ()
    h.gives("camera", "s", 11, 12)
    applied = h.gives("chat", "s", 5, 5.1)
    assert (applied.late, applied.clock_us) == ((0,), 10 * S)


def test_a_record_is_judged_before_it_moves_its_own_clock():
    h = host()
    applied = h.gives("mic", "s", 0, 35)
    assert (applied.late, applied.fused) == ((), 4)
    assert spans(applied.closed) == [("s", 0, 10), ("s", 10, 20), ("s", 20, 30)]


def test_a_late_record_opens_no_window_and_is_in_none():
    h = host()
    h.gives("mic", "s", 31, 32)
    applied = h.gives("mic", "s", 5, 6)
    assert (applied.late, applied.closed) == ((0,), [])
    assert spans(h.lane.finish()) == [("s", 30, 40)]


# -- the floor


def test_a_silent_stream_is_waited_for_no_longer_than_a_after_the_lanes_other_records():
    h = host()
    h.gives("mic", "silent", 0, 1)
    assert h.gives("mic", "s", 17, 17.999).closed == []
    assert spans(h.gives("mic", "s", 17, 18).closed) == [("silent", 0, 10)]
    assert h.lane.floor_us == 10 * S
    assert h.gives("mic", "silent", 9, 10).late == (0,)


def test_a_silent_input_is_waited_for_no_longer_than_a():
    h = host(MIC, CAMERA)
    h.gives("mic", "s", 0, 1)
    assert h.gives("mic", "s", 16, 17).closed == []
    assert spans(h.gives("mic", "s", 17, 18).closed) == [("s", 0, 10)]


def test_any_input_raises_the_floor():
    h = host(MIC, CHAT)
    h.gives("mic", "s", 0, 1)
    assert spans(h.gives("chat", "t", 17, 18).closed) == [("s", 0, 10)]


def test_a_clock_that_runs_ahead_moves_only_itself_where_the_log_stamps_the_truth():
    h = host()
    h.gives("mic", "s", 0, 1)
    h.gives("mic", "mad", 500, 501, append=2)
    assert h.lane.floor_us == -6 * S
    assert h.gives("mic", "s", 2, 3).late == ()
    assert h.gives("mic", "mad", 3, 4).late == (0,)


def test_a_record_with_an_old_end_does_not_lower_the_floor():
    h = host()
    h.gives("mic", "s", 20, 21)
    h.gives("mic", "t", 5, 6)
    assert h.lane.floor_us == 13 * S


def test_an_unsound_record_moves_the_position_and_no_clock():
    h = host()
    h.gives("mic", "s", 0, 1)
    before = h.lane.floor_us
    applied = h.gives("mic", None, 0, 0, append=10_000)
    assert (applied.closed, applied.late, applied.fused) == ([], (), 0)
    assert (h.lane.floor_us, h.lane.positions) == (before, {"mic": 2})


# -- context


def test_content_reaches_before_and_after_the_window_and_presence_does_not():
    gating = InputRule("mic", gating=True, bound_us=5 * S)  # out of order by 2, after 3
    h = host(gating, CHAT, before=4, after=3)
    h.gives("chat", "s", 5, 5.9)
    h.gives("mic", "s", 6, 7)
    h.gives("mic", "s", 12, 13)
    h.gives("chat", "s", 22, 23)
    h.gives("mic", "s", 23, 24)
    (window,) = [w for w in h.lane.finish() if w.start_us == 10 * S]
    assert offsets(window) == {"mic": [0, 1], "chat": [1]}
    assert window.present == ("mic",)


def test_context_opens_no_window():
    h = host(before=4)
    h.gives("mic", "s", 8, 9)
    assert spans(h.lane.finish()) == [("s", 0, 10)]


def test_a_record_too_late_for_a_window_is_not_its_context_either():
    gating = InputRule("mic", gating=True, bound_us=5 * S)
    h = host(gating, CAMERA, after=3)
    h.gives("camera", "s", 5, 6)
    h.gives("mic", "s", 14, 15)  # the mic's clock is at 10
    assert h.gives("mic", "s", 11, 12).late == ()
    (window, _) = h.lane.finish()
    assert offsets(window) == {"camera": [0]}


# -- silence, the end, force


def test_in_silence_the_floor_rises_with_the_time_that_passes():
    h = host()
    h.gives("mic", "s", 0, 1)  # the floor is at -7
    assert h.lane.silence(16_999_999) == []
    h.gives("mic", "s", 1, 2)
    assert spans(h.lane.silence(1)) == [("s", 0, 10)]


def test_silence_never_raises_the_floor_above_the_largest_open_end():
    h = host()
    h.gives("mic", "s", 0, 1)
    assert spans(h.lane.silence(3600 * S)) == [("s", 0, 10)]
    assert h.lane.floor_us == 10 * S
    assert h.gives("mic", "back again", 10, 11).late == ()


def test_where_nothing_is_open_silence_moves_nothing():
    h = host()
    assert h.lane.silence(3600 * S) == []
    h.gives("mic", "s", 0, 1)
    h.lane.finish()
    assert h.lane.silence(3600 * S) == []
    assert h.lane.floor_us == 10 * S


def test_at_the_end_the_floor_rises_to_the_largest_open_end():
    h = host(MIC, CAMERA)
    h.gives("mic", "s", 0, 21, append=1)
    h.gives("camera", "t", 0, 1)
    assert spans(h.lane.finish()) == [("s", 0, 10), ("t", 0, 10), ("s", 10, 20), ("s", 20, 30)]
    assert (h.lane.floor_us, h.lane.top_us) == (30 * S, 30 * S)
    assert h.lane.finish() == []


def test_over_open_bytes_the_oldest_windows_close_and_it_is_counted():
    h = host(open_bytes=100)
    assert h.gives("mic", "r", 1, 2, size=40).forced == 0
    assert h.gives("mic", "s", 2, 3, size=60).forced == 0  # 100 bytes are not more than 100
    applied = h.gives("mic", "t", 11, 12, size=1)
    assert spans(applied.closed) == [("r", 0, 10), ("s", 0, 10)]
    assert (applied.forced, h.lane.floor_us, h.lane.kept_bytes) == (1, 10 * S, 1)


def test_force_goes_on_until_what_is_kept_fits_or_nothing_is_open():
    h = host(open_bytes=10)
    applied = h.gives("mic", "s", 0, 25, append=1, size=11)
    assert spans(applied.closed) == [("s", 0, 10), ("s", 10, 20), ("s", 20, 30)]
    assert (applied.forced, h.lane.open_windows) == (1, 0)
    applied = h.gives("mic", "t", 31, 55, append=1, size=11)
    assert (applied.forced, h.lane.open_windows) == (1, 0)


# -- the cut, and recovery


def test_a_cut_says_what_is_applied_and_what_must_be_read_again():
    h = host(MIC, CHAT)
    h.gives("mic", "s", 0, 1)
    h.gives("mic", "s", 19, 20)
    h.lane.skip_to("mic", 5)
    first, second = h.lane.cut(), h.lane.cut()
    assert (first.number, second.number) == (1, 2)
    assert second.positions == {"mic": 5, "chat": 0}
    assert second.froms == {"mic": 1, "chat": 0}  # the first record's only window has closed
    assert (second.floor_us, second.top_us) == (12 * S, 10 * S)


def test_a_lane_comes_back_with_its_open_windows_and_emits_no_window_again():
    h = host(MIC, CAMERA, before=9)
    h.gives("camera", "s", 11, 12)
    h.gives("mic", "s", 8, 9)
    h.gives("mic", "s", 11, 12.5)
    assert h.lane.top_us == 10 * S
    back = h.replays(h.lane.cut(), ("mic", "camera"))
    (window,) = back.finish()
    assert spans([window]) == [("s", 10, 20)]
    assert offsets(window) == {"mic": [0, 1], "camera": [0]}


def test_a_lane_comes_back_knowing_who_was_late():
    h = host(MIC, CAMERA)
    h.gives("mic", "s", 11, 12)
    h.gives("mic", "s", 3, 4)
    back = Host(h.spec, h.replays(h.lane.cut(), ("mic", "camera")))
    assert back.gives("mic", "s", 4, 5).late == (0,)
    assert back.gives("camera", "s", 5, 6).late == ()


def test_a_replay_may_interleave_its_inputs_otherwise():
    """Chat was late for window 0 and is fused into it in this replay; nobody may ever notice."""
    h = host(MIC, CHAT)
    h.gives("mic", "s", 11, 13)
    assert h.gives("chat", "s", 5, 11.5).late == (0,)
    assert h.lane.top_us is None
    cut = h.lane.cut()
    back = h.replays(cut, ("chat", "mic"))
    assert back.top_us is None
    assert back.open_windows == h.lane.open_windows == 1
    assert [offsets(window) for window in back.finish()] == [{"mic": [0], "chat": [0]}]


def test_a_replay_ends_where_the_offsets_end_even_without_a_record_there():
    h = host()
    h.gives("mic", "s", 0, 1)
    h.lane.skip_to("mic", 4)
    lane = Lane(spec(), h.lane.cut())
    lane.apply(LaneRecord(*h.log[0]))
    assert lane.replaying
    lane.skip_to("mic", 4)
    assert not lane.replaying


def test_during_a_replay_neither_silence_nor_force_raises_the_floor():
    of = spec(open_bytes=4)
    cut = LaneCut(3, {"mic": 9}, {"mic": 0}, floor_us=5 * S)
    lane = Lane(of, cut)
    applied = lane.apply(LaneRecord("mic", 0, 6 * S, "s", 5 * S, 6 * S, 100))
    assert (applied.closed, applied.forced) == ([], 0)
    assert lane.silence(3600 * S) == []
    assert lane.floor_us == 5 * S


def test_an_offset_that_was_applied_already_is_refused():
    h = host()
    h.gives("mic", "s", 0, 1)
    with pytest.raises(ValueError, match="offset 0 is below position 1"):
        h.lane.apply(LaneRecord(*h.log[0]))


# -- bounds


def test_a_lane_holds_no_more_after_a_long_run_than_after_a_short_one():
    def held(seconds: int) -> int:
        h = host(MIC, CAMERA, CHAT, size=2, hop=1, before=1)
        for second in range(seconds):
            for name in ("mic", "camera", "chat"):
                h.gives(name, f"s{second // 50}", second, second + 1)
        h.lane.cut()
        assert h.lane.stream_count == 1
        return len(pickle.dumps(h.lane))

    assert held(6_000) < held(1_500) * 1.1


def test_streams_that_the_floor_has_passed_are_forgotten():
    h = host()
    for i in range(500):
        h.gives("mic", f"s{i}", 0, 1)
    assert h.lane.stream_count == 500
    assert len(h.gives("mic", "s", 99, 100).closed) == 500
    assert (h.lane.stream_count, h.lane.kept_bytes) == (1, 1)
