"""W3C trace context: which of the traces that fed a window its result goes on with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHAT, SECOND_US, broker_for, committed, connector_for, header, load, sent

from pipeline.lane import ClosedWindow, LaneRecord
from pipeline.local import run_local
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.tasks.host import RunControl
from pipeline.tasks.trace_context import trace_headers, trace_of

BEGIN_US = 1_790_000_000_000_000


def parent(number: int) -> bytes:
    return b"00-%032x-%016x-01" % (number, number)


def test_a_result_goes_on_with_the_trace_of_the_record_that_it_waited_for():
    spec = load(CHAT)
    broker = broker_for(spec)
    for second, headers in enumerate(
        [
            [("traceparent", parent(1)), ("tracestate", b"vendor=1")],
            [],
            [("traceparent", b"00-garbage"), ("tracestate", b"vendor=2")],
        ]
    ):
        at_us = BEGIN_US + second * SECOND_US
        broker.append(sent("in.chat", b"first", at_us, headers=[("traceparent", parent(9))]))
        broker.append(sent("in.chat", b"second", at_us + 1000, headers=headers))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    results = committed(broker, "out.results")
    assert [header(r, "traceparent") for r in results] == [parent(1).decode(), None, None]
    assert [header(r, "tracestate") for r in results] == ["vendor=1", None, None]


# -- which one --------------------------------------------------------------------------------


def record(name: str, append_us: int, ts_us: int = 0, number: int | None = None) -> LaneRecord:
    headers = [] if number is None else [("traceparent", parent(number))]
    log = LogRecord(f"in.{name}", 0, append_us, append_us, b"s", b"", headers)
    body = MediaRecord(name, "s", ts_us, ts_us + 1, Facts("text", "text"), b"", log)
    return LaneRecord(name, append_us, append_us, "s", ts_us, ts_us + 1, 0, body)


def window(**content: list[LaneRecord]) -> ClosedWindow:
    present = sorted(n for n, rs in content.items() if any(0 <= r.ts_us < 10 for r in rs))
    return ClosedWindow("s", 0, 10, content, tuple(present))


def test_of_several_inputs_it_is_the_newest_that_has_one():
    content = {
        "cam": [record("cam", 5, number=5), record("cam", 7, number=7)],
        "chat": [record("chat", 6, number=6)],
        "mic": [record("mic", 9)],
    }
    assert trace_of(window(**content)) == (("traceparent", parent(7)),)


def test_what_is_only_context_of_the_window_has_no_say():
    content = {"cam": [record("cam", 1, number=1), record("cam", 2, ts_us=10, number=2)]}
    assert trace_of(window(**content)) == (("traceparent", parent(1)),)
    assert trace_of(window(cam=content["cam"][:0], chat=[record("chat", 1)])) == ()


@given(st.permutations(["a", "b", "c"]), st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_it_hangs_on_the_log_and_on_no_order_of_the_inputs(names, appends):
    content = {
        name: [record(name, at, number=ord(name))] for name, at in zip("abc", appends, strict=True)
    }
    shuffled = {name: content[name] for name in names}
    assert trace_of(window(**shuffled)) == trace_of(window(**content))


# -- which ones are sound ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"00-" + b"1" * 32 + b"-" + b"0" * 16 + b"-01",
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",
        parent(1).upper().replace(b"1", b"A"),
        parent(1) + b"-more",
        parent(1) + b"\n",
        parent(1)[:-1],
    ],
)
def test_what_is_no_trace_parent_is_not_passed_on(value):
    assert trace_headers([("traceparent", value), ("tracestate", b"a=1")]) == ()


def test_a_trace_state_without_a_parent_or_too_long_is_left_out():
    assert trace_headers([("tracestate", b"a=1")]) == ()
    long = [("traceparent", parent(1)), ("tracestate", b"a=" + b"1" * 512)]
    assert trace_headers(long) == (("traceparent", parent(1)),)


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.binary())))
def test_no_header_makes_it_fail(headers):
    assert trace_headers(headers) == ()
