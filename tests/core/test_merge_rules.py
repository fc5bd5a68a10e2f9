"""The order in which a lane applies its inputs, by example (contract section 3, Order)."""

from __future__ import annotations

from pipeline.lane import InputRule, LaneRecord, LaneSpec, Merge, Waiting
from pipeline.lane.merge import FRESH_US

MIC = InputRule("mic", gating=True, bound_us=0)
CAMERA = InputRule("camera", gating=True, bound_us=0)
CHAT = InputRule("chat", gating=False, bound_us=0)
ALIGN_WAIT_US = 30_000_000


def merge(*inputs: InputRule, fresh_us: int | None = FRESH_US, start: int = 0) -> Merge:
    spec = LaneSpec(inputs, size_us=10, hop_us=10, idle_us=5, align_wait_us=ALIGN_WAIT_US)
    return Merge(spec, {rule.name: start for rule in inputs}, fresh_us)


def record(
    input: str, offset: int, ts: int, end: int, append: int | None = None, stream: str | None = "s"
) -> LaneRecord:
    return LaneRecord(input, offset, end if append is None else append, stream, ts, end, 1)


def filled(*records: LaneRecord, inputs: tuple[InputRule, ...]) -> Merge:
    """A merge that has all there is and knows it."""
    one = merge(*inputs)
    for rule in inputs:
        mine = [r for r in records if r.input == rule.name]
        one.add(rule.name, mine, len(mine))
        one.ends(rule.name, len(mine), now_us=0)
    return one


def order(one: Merge, now_us: int = 0) -> list[tuple[str, int]]:
    taken = []
    while isinstance(answer := one.next(now_us), LaneRecord):
        taken.append((answer.input, answer.offset))
    return taken


# -- by which key


def test_gating_inputs_are_merged_by_the_end_of_their_records():
    one = filled(
        record("mic", 0, 5, 20), record("mic", 1, 20, 30), record("camera", 0, 15, 25),
        inputs=(MIC, CAMERA),
    )  # fmt: skip
    assert order(one) == [("mic", 0), ("camera", 0), ("mic", 1)]


def test_inputs_that_do_not_gate_are_merged_by_the_beginning_of_their_records():
    one = filled(record("mic", 0, 5, 20), record("chat", 0, 15, 25), inputs=(MIC, CHAT))
    assert order(one) == [("chat", 0), ("mic", 0)]


def test_a_record_counts_as_no_newer_than_its_kafka_timestamp():
    one = filled(
        record("mic", 0, 900, 999, append=10), record("camera", 0, 0, 20), inputs=(MIC, CAMERA)
    )
    assert order(one) == [("mic", 0), ("camera", 0)]


def test_an_unsound_record_holds_its_input_back_by_nothing():
    one = filled(
        record("mic", 0, 0, 0, append=30, stream=None), record("camera", 0, 0, 20),
        inputs=(MIC, CAMERA),
    )  # fmt: skip
    assert order(one) == [("mic", 0), ("camera", 0)]


def test_of_equal_records_those_that_do_not_gate_come_first_and_then_the_name_decides():
    zoom = InputRule("a-camera", gating=True, bound_us=0)
    one = filled(
        record("mic", 0, 5, 20), record("chat", 0, 20, 21), record("a-camera", 0, 0, 20),
        inputs=(MIC, CHAT, zoom),
    )  # fmt: skip
    assert order(one) == [("chat", 0), ("a-camera", 0), ("mic", 0)]


def test_each_partition_stays_in_log_order():
    one = filled(
        record("mic", 0, 50, 60), record("mic", 1, 0, 10), record("camera", 0, 0, 20),
        inputs=(MIC, CAMERA),
    )  # fmt: skip
    assert order(one) == [("camera", 0), ("mic", 0), ("mic", 1)]


# -- when to wait


def test_it_waits_for_an_input_whose_end_is_unknown():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    assert one.next(7) == Waiting("camera", ask=True, since_us=7, deadline_us=None)


def test_it_waits_for_an_input_that_is_behind():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    one.ends("camera", 3, now_us=7)
    assert one.next(7) == Waiting("camera", ask=False, since_us=7, deadline_us=None)
    one.add("camera", [], 2)  # a fetch that brought nothing but markers
    assert one.next(10**9) == Waiting("camera", ask=False, since_us=7, deadline_us=None)


def test_it_never_waits_for_an_input_that_is_caught_up():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    one.ends("camera", 0, now_us=7)
    assert order(one, now_us=7 + FRESH_US) == [("mic", 0)]


def test_markers_at_the_end_of_a_partition_are_not_waited_for():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    one.add("camera", [], 2)
    one.ends("camera", 2, now_us=7)
    assert order(one, now_us=7) == [("mic", 0)]


def test_an_end_older_than_a_poll_interval_says_nothing_any_more():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    one.ends("camera", 0, now_us=7)
    late_us = 8 + FRESH_US
    assert one.next(late_us) == Waiting("camera", ask=True, since_us=late_us, deadline_us=None)


def test_a_later_answer_with_a_smaller_end_does_not_make_an_input_caught_up():
    one = merge(MIC, CAMERA)
    one.add("mic", [record("mic", 0, 0, 10)], 1)
    one.ends("camera", 3, now_us=0)
    one.ends("camera", 0, now_us=1)
    assert one.next(1) == Waiting("camera", ask=False, since_us=1, deadline_us=None)


def test_an_input_that_does_not_gate_is_waited_for_at_most_align_wait_and_it_is_counted():
    one = merge(MIC, CHAT)
    one.add("mic", [record("mic", 0, 0, 10), record("mic", 1, 10, 20)], 2)
    one.ends("chat", 1, now_us=5)
    deadline_us = 5 + ALIGN_WAIT_US
    assert one.next(5) == Waiting("chat", ask=False, since_us=5, deadline_us=deadline_us)
    assert isinstance(one.next(deadline_us - 1), Waiting)
    assert one.align_waits_total == 0
    assert order(one, deadline_us) == [("mic", 0), ("mic", 1)]  # it is not waited for again
    assert one.align_waits_total == 2


def test_once_it_has_come_it_is_waited_for_anew():
    one = merge(MIC, CHAT)
    one.add("mic", [record("mic", 0, 0, 10), record("mic", 1, 10, 20)], 2)
    one.ends("chat", 2, now_us=5)
    assert isinstance(one.next(5), Waiting)
    deadline_us = 5 + ALIGN_WAIT_US
    assert isinstance(one.next(deadline_us), LaneRecord)
    one.add("chat", [record("chat", 0, 3, 4)], 1)
    assert order(one, deadline_us) == [("chat", 0)]
    assert one.next(deadline_us) == Waiting(
        "chat", ask=False, since_us=deadline_us, deadline_us=deadline_us + ALIGN_WAIT_US
    )


def test_with_nothing_fetched_there_is_nothing_to_wait_for():
    assert merge(MIC, CAMERA).next(0) is None


# -- what the shell asks


def test_the_position_is_the_first_offset_that_was_not_handed_out():
    one = merge(MIC, start=3)
    assert one.position("mic") == 3
    one.add("mic", [record("mic", 4, 0, 10), record("mic", 7, 10, 20)], 9)
    one.ends("mic", 9, now_us=0)
    assert (one.position("mic"), one.buffered("mic")) == (4, 2)
    one.next(0)
    assert one.position("mic") == 7
    one.next(0)
    assert (one.position("mic"), one.caught_up(0)) == (9, True)


def test_until_the_end_the_ends_at_the_start_hold_for_ever():
    one = merge(MIC, CAMERA, fresh_us=None)
    one.ends("mic", 1, now_us=0)
    one.ends("camera", 1, now_us=0)
    one.add("mic", [record("mic", 0, 0, 10), record("mic", 1, 10, 20)], 2)
    assert isinstance(one.next(10**12), Waiting)
    one.add("camera", [record("camera", 0, 0, 30)], 1)
    assert order(one, now_us=10**12) == [("mic", 0), ("camera", 0)]
    assert one.caught_up(10**12)
    assert (one.position("mic"), one.position("camera")) == (1, 1)
