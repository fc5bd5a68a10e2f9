"""A run that is restricted to a part of event time: what the pipeline becomes, what passes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHAT, LOBBY, load

from pipeline.errors import InvalidInput
from pipeline.lane import Applied, ClosedWindow, LaneRecord
from pipeline.spec import Span, beside, spanned
from pipeline.tasks.span import SpanFilter

S = 1_000_000
NOON_US = 1_769_860_800 * S  # 2026-01-31T12:00:00Z


def chat(span: Span, **windows: str):
    spec = load(CHAT, {f"windows.{key}": value for key, value in windows.items()})
    return spanned(spec, span, start_given=False)


def test_without_a_span_a_pipeline_is_what_it_was():
    spec = load(CHAT)
    assert spanned(spec, Span(), start_given=False) is spec
    assert not spec.span
    assert beside(spec, "chat") is spec


def test_a_span_decides_about_records_so_it_is_part_of_the_decision_hash():
    spec = load(CHAT)
    spans = [Span(), Span(NOON_US), Span(None, NOON_US), Span(NOON_US, NOON_US + 10 * S)]
    specs = [spanned(spec, span, start_given=True) for span in spans]
    assert len({s.decision_hash() for s in specs}) == len(spans)
    assert specs[0].decision_hash() == spec.decision_hash()
    again = spanned(spec, Span(NOON_US), start_given=True)
    assert again.decision_hash() == specs[1].decision_hash()
    assert again.model_hash() == spec.model_hash()


def test_a_span_travels_between_processes():
    made = pickle.loads(pickle.dumps(chat(Span(NOON_US, NOON_US + S))))
    assert made.span == Span(NOON_US, NOON_US + S)
    assert made.folder == load(CHAT).folder


def test_reading_begins_where_no_record_before_can_reach_the_span_unless_told_otherwise():
    spec = load(LOBBY, {"stages.sound.context": {"before": "4s"}, "windows.future_max": "90s"})
    at = spanned(spec, Span(NOON_US, None), start_given=False)
    assert at.start == NOON_US - 94 * S
    assert spanned(spec, Span(NOON_US), start_given=True).start == "earliest"
    assert spanned(spec, Span(None, NOON_US), start_given=False).start == "earliest"
    assert spanned(spec, Span(S), start_given=False).start == 0


@pytest.mark.parametrize(
    ("begin", "end", "windows", "said"),
    [
        (1, 1, {}, "the end is not after the beginning"),
        (2, 1, {}, "the end is not after the beginning"),
        (0.5, 2.4, {"size": "2s"}, "no window lies in it: they last 2s and begin at every"),
        (0.1, 1.05, {"hop": "100ms"}, "the next one is 2026-01-31T12:00:00.100000Z to"),
    ],
)
def test_a_span_that_holds_no_window_is_refused(begin, end, windows, said):
    with pytest.raises(InvalidInput) as error:
        chat(Span(NOON_US + round(begin * S), NOON_US + round(end * S)), **windows)
    assert str(error.value).startswith("--from, --to = 2026-01-31T12:00:0")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_beside_the_live_run_everything_that_is_written_has_a_name_of_its_own():
    spec = load(LOBBY, {"stages.words.out": "out.words"})
    made = beside(spec, "fix-1")
    assert made.name == "fix-1"
    assert made.topics_in() == spec.topics_in()
    assert made.topics_out() == tuple(f"{topic}.fix-1" for topic in spec.topics_out())
    assert made.stages["words"].name == "words"
    assert made.folder == spec.folder
    assert made.decision_hash() == spec.decision_hash()
    assert spec.outputs.results == "out.results"


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({}, "Not_This", "--name = Not_This: it is no name of 1 to 63"),
        ({"inputs.mic.topic": "out.late.x"}, "x", "the file names topic out.late.x for something"),
        ({"outputs.late": "out.results.x"}, "x", "the file names topic out.results.x for some"),
        ({"outputs.late": "l" * 245}, "a-name", "is over 249 characters"),
    ],
)
def test_a_name_that_cannot_be_is_refused(changes, name, said):
    with pytest.raises(InvalidInput) as error:
        beside(load(LOBBY, changes), name)
    assert said in str(error.value)
    assert str(error.value).startswith(f"--name = {name}: ")


bounds = st.none() | st.integers(0, 20 * S)


@given(
    size=st.integers(1, 5),
    parts=st.integers(1, 4),
    bounds=st.tuples(bounds, bounds),
    ts=st.integers(0, 15 * S),
    length=st.integers(1, 6 * S),
    share=st.floats(0, 1),
)
def test_exactly_the_fates_in_windows_of_the_span_pass(size, parts, bounds, ts, length, share):
    size_us, hop_us = size * S, size * S // parts
    begin, end = bounds
    spec = load(CHAT, {"windows.size": f"{size}s", "windows.hop": f"{hop_us / 1000:g}ms"})
    hop_us = spec.windows.hop_us
    if begin is not None and end is not None and end < begin + size_us + hop_us:
        end = begin + size_us + hop_us
    passing = SpanFilter(spanned(spec, Span(begin, end), start_given=False))

    def held(k: int) -> bool:
        start = k * hop_us
        return (begin is None or start >= begin) and (end is None or start + size_us <= end)

    record = LaneRecord("chat", 0, ts, "s", ts, ts + length)
    overlapped = [
        k
        for k in range(-60, 200)
        if k * hop_us < record.end_us and k * hop_us + size_us > record.ts_us
    ]
    missed = round(share * len(overlapped))  # late for the first ones, always
    late, fused = overlapped[:missed], overlapped[missed:]
    closed = [ClosedWindow("s", k * hop_us, k * hop_us + size_us, {}, ()) for k in overlapped]
    applied = Applied(closed, tuple(k * hop_us for k in late), 7, len(fused), 1)
    found = passing.applied(record, applied)
    assert found.late == tuple(k * hop_us for k in late if held(k))
    assert found.fused == sum(map(held, fused))
    assert (found.clock_us, found.forced) == (7, 1)
    assert [w.start_us // hop_us for w in passing.closed(closed)] == list(filter(held, overlapped))
    if any(map(held, overlapped)):
        assert passing.last_start_us(record.end_us) == hop_us * max(filter(held, overlapped))


@pytest.mark.parametrize(("floor", "over"), [(None, False), (7 * S - 1, False), (7 * S, True)])
def test_a_span_is_over_once_the_floor_has_reached_the_end_of_its_last_window(floor, over):
    made = chat(Span(None, 7 * S + 400_000), size="2s", hop="1s")
    assert SpanFilter(made).passed(floor) is over
    assert SpanFilter(load(CHAT)).passed(floor) is False
