"""What crosses actors comes out as it went in."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.packing import (
    pack,
    pack_messages,
    pack_results,
    unpack,
    unpack_messages,
    unpack_results,
)
from pipeline.batching.batch import JobResult, StageJob
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.tasks.messages import Opened, Settled


def media(offset: int, payload: bytes) -> MediaRecord:
    log = LogRecord("t", 1, offset, 5, b"key", payload, (("h", b"v"),))
    return MediaRecord("mic", "s", 0, 10, Facts("text", "text"), payload, log)


def shipped(value):
    return pickle.loads(pickle.dumps(value, protocol=5))


def test_a_record_that_windows_share_crosses_once():
    first, second = media(1, b"abc"), media(2, b"")
    jobs = [
        StageJob("s", 0, 5, [first, second], deadline_us=130),
        StageJob("s", 5, 10, [second], {"up": "text"}),
    ]
    packed = shipped(pack(jobs, now_us=100))
    assert [bytes(p) for p in packed.payloads] == [b"abc", b""]
    back = unpack(packed, now_us=7_000)
    assert [job.deadline_us for job in back] == [7_030, None]  # as much time is left
    assert [(j.stream, j.start_us, j.end_us, j.upstream) for j in back] == [
        ("s", 0, 5, {}),
        ("s", 5, 10, {"up": "text"}),
    ]
    assert back[0].records[1] is back[1].records[0]
    record = back[0].records[0]
    assert (record.stream, record.ts_us, record.end_us, record.facts) == ("s", 0, 10, first.facts)
    assert bytes(record.payload) == b"abc"
    assert record.log[:3] == ("t", 1, 1)


outputs = st.one_of(
    st.none(),
    st.text(),
    st.integers(0, 4).map(lambda n: np.arange(n, dtype=np.float32)),
    st.just({"a": [1]}),
    st.just(np.zeros((2, 2, 3), np.uint8)),
)


def same(left, right) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and np.array_equal(left, right)
    return type(left) is type(right) and left == right


@given(st.lists(st.tuples(outputs, st.booleans())))
def test_results_keep_their_outputs_failures_and_order(given):
    results = [
        JobResult(failure="why", undecodable=[(("t", 0, 1), "bad")]) if failed else JobResult(out)
        for out, failed in given
    ]
    back = unpack_results(shipped(pack_results(results)))
    assert len(back) == len(results)
    for one, other in zip(results, back, strict=True):
        assert same(one.output, other.output)
        assert (one.failure, one.undecodable) == (other.failure, other.undecodable)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), outputs)))
def test_messages_keep_their_outputs_and_order(given):
    messages = []
    for number, (stage, output) in enumerate(given):
        messages.append(Opened(0, number, "s", 0, 1, ("mic",), (), {}, (stage,)))
        messages.append(Settled(0, number, stage, output, None, (), ()))
    back = unpack_messages(shipped(pack_messages(messages)))
    assert [m._replace(output=0) if isinstance(m, Settled) else m for m in back] == [
        m._replace(output=0) if isinstance(m, Settled) else m for m in messages
    ]
    for one, other in zip(messages, back, strict=True):
        if isinstance(one, Settled):
            assert same(one.output, other.output)
