"""OpenTelemetry spans of sampled windows, from append to commit, as an exporter gets them."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pipelines import CHAT, SECOND_US, broker_for, committed, connector_for, header, load, sent

from pipeline import local
from pipeline.errors import InvalidInput
from pipeline.local import run_local
from pipeline.tasks.host import RunControl
from pipeline.tracing import Tracer, environment, tracer_of, window_trace

BEGIN_US = 1_790_000_000_000_000
WINDOWS = 6
UPSTREAM = b"00-%032x-%016x-01" % (0xABC, 0xDEF)
UNSAMPLED = b"00-%032x-%016x-00" % (0xABC, 0xDEF)
CHAIN = {
    "stages.said": {"encoder": "text_clean", "of": "chat"},
    "stages.words": {"encoder": "hash_text", "of": "said", "options": {"dim": 8}},
}


@pytest.fixture
def traced(monkeypatch):
    """Runs the chat through two stages; gives spans in the order of their ends, and results."""

    def run(share: float, parent: bytes | None = None):
        spec = load(CHAT, CHAIN)
        exporter = InMemorySpanExporter()
        processor = SimpleSpanProcessor(exporter)
        monkeypatch.setattr(local, "tracer_of", lambda name: Tracer(name, share, processor))
        broker = broker_for(spec)
        headers = [] if parent is None else [("traceparent", parent), ("tracestate", b"a=1")]
        for second in range(WINDOWS):
            at_us = BEGIN_US + second * SECOND_US
            broker.append(sent("in.chat", b"word", at_us, headers=headers))
        totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
        assert totals.windows == WINDOWS
        return exporter.get_finished_spans(), committed(broker, "out.results")

    return run


def by_trace(spans):
    found = {}
    for span in spans:
        found.setdefault(span.context.trace_id, {})[span.name] = span
    return found


def test_a_window_is_one_trace_from_its_append_to_its_commit(traced):
    spans, results = traced(share=1.0)
    traces = by_trace(spans)
    assert len(traces) == WINDOWS
    parts = {"queue said", "encode said", "queue words", "encode words", "fuse", "commit"}
    for record in results:
        _, trace_id, span_id, flags = header(record, "traceparent").split("-")
        trace = traces.pop(int(trace_id, 16))
        whole = trace.pop("window")
        assert (f"{whole.context.span_id:016x}", flags) == (span_id, "01")
        assert whole.parent is None
        assert whole.attributes["motet.stream"] == "s"
        assert whole.resource.attributes["service.name"] == "motet/chat"
        assert parts <= trace.keys() <= parts | {"read", "wait"}
        if "wait" in trace:
            assert trace["wait"].start_time == trace["fuse"].end_time
            assert trace["wait"].end_time == trace["commit"].start_time
        for span in trace.values():
            assert span.parent.span_id == whole.context.span_id
            assert whole.start_time <= span.end_time <= whole.end_time
        order = ["queue said", "encode said", "queue words", "encode words", "fuse", "commit"]
        starts = [trace[name].start_time for name in order]
        # the halves of a slot read the wall clock each by itself
        assert all(after >= before - 2_000_000 for before, after in itertools.pairwise(starts))
        assert len({span.context.span_id for span in trace.values()}) == len(trace)
    assert traces == {}


def test_a_window_that_waits_for_one_before_it_says_so(traced):
    spans, _ = traced(share=1.0)
    assert {span.name for span in spans} >= {"wait"}


def test_windows_that_a_record_closed_begin_with_its_append(traced):
    spans, _ = traced(share=1.0)
    read = [span for span in spans if span.name == "read"]
    assert read
    for span in read:
        assert span.start_time // 1000 in {BEGIN_US + n * SECOND_US for n in range(WINDOWS)}
        [whole] = [
            each for each in spans
            if each.name == "window" and each.context.trace_id == span.context.trace_id
        ]  # fmt: skip
        assert whole.start_time == span.start_time


def test_a_trace_of_upstream_goes_on_through_the_window_to_the_result(traced):
    spans, results = traced(0.0, UPSTREAM)
    wholes = [span for span in spans if span.name == "window"]
    assert len(wholes) == WINDOWS
    assert {span.context.trace_id for span in spans} == {0xABC}
    assert {span.parent.span_id for span in wholes} == {0xDEF}
    told = {header(record, "traceparent") for record in results}
    assert told == {f"00-{0xABC:032x}-{span.context.span_id:016x}-01" for span in wholes}
    assert {header(record, "tracestate") for record in results} == {"a=1"}


def test_what_upstream_does_not_sample_is_passed_on_as_it_is(traced):
    spans, results = traced(1.0, UNSAMPLED)
    assert spans == ()
    assert {header(record, "traceparent") for record in results} == {UNSAMPLED.decode()}


def test_windows_that_are_not_sampled_have_no_trace(traced):
    spans, results = traced(0.0)
    assert spans == ()
    assert {header(record, "traceparent") for record in results} == {None}


# -- which windows ----------------------------------------------------------------------------


def test_the_share_is_kept_and_is_the_same_in_every_process():
    sampled = [n for n in range(20_000) if window_trace("p", "s", n, (), 0.05) is not None]
    assert 850 < len(sampled) < 1150
    more = {n for n in range(20_000) if window_trace("p", "s", n, (), 0.1) is not None}
    assert more.issuperset(sampled)
    traces = [window_trace("p", "s", n, (), 1.0) for n in range(2_000)]
    assert len({trace.trace_id for trace in traces}) == len(traces)
    assert traces == [window_trace("p", "s", n, (), 1.0) for n in range(2_000)]


@given(st.text(), st.integers(), st.sampled_from(["read", "fuse", "commit"]))
def test_ids_have_the_lengths_of_the_standard(stream, start_us, name):
    trace = window_trace("p", stream, start_us, (), 1.0)
    assert 0 < trace.trace_id < 2**128
    assert 0 < trace.span_id < 2**64
    assert trace.child_id(name) != trace.span_id


# -- the environment --------------------------------------------------------------------------


def test_it_is_off_by_default(monkeypatch):
    monkeypatch.delenv("MOTET_TRACE_SHARE", raising=False)
    assert tracer_of("p") is None


@pytest.mark.parametrize("text", ["2", "-1", "some", "101%", "nan"])
def test_a_share_that_is_none_is_told(monkeypatch, text):
    monkeypatch.setenv("MOTET_TRACE_SHARE", text)
    with pytest.raises(InvalidInput, match=r"MOTET_TRACE_SHARE = .*: it is no share from 0 to 1"):
        tracer_of("p")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setenv("MOTET_TRACE_SHARE", "1%")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(InvalidInput, match=r"is not installed; pip install 'motet\[otel\]'"):
        tracer_of("p")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(InvalidInput, match="OTEL_TRACES_EXPORTER = pigeon: there is no such"):
        tracer_of("p")


def test_spans_go_to_the_console_where_that_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("MOTET_TRACE_SHARE", "100%")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert environment().items() >= {("MOTET_TRACE_SHARE", "100%")}
    tracer = tracer_of("p")
    trace = tracer.of("s", 5, ())
    tracer.part(trace, "fuse", 1, 2)
    tracer.close()
    assert '"name": "fuse"' in capsys.readouterr().err
