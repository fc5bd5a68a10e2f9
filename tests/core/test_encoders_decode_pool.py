"""Decoding ahead and side by side: it overlaps with the network, is bounded, changes nothing."""

from __future__ import annotations

import gc
import io
import threading
from functools import cache

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_pictures import encoded
from PIL import Image

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.pace import BatchPace
from pipeline.clock import monotonic_us, thread_us
from pipeline.encoders import contents as contents_module
from pipeline.encoders import decode_pool
from pipeline.encoders.decode_pool import DecodePool, decode_threads
from pipeline.encoders.frames import FrameWish
from pipeline.encoders.picture_bytes import decoded_bytes
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import Begun, EncodeTask
from pipeline.media.facts import read_facts
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type
from pipeline.tasks.micro_batcher import MicroBatcher

S = 1_000_000
PATIENCE_S = 30.0


def record(media: str, payload: bytes, ts_us: int, offset: int, span_us: int = 1) -> MediaRecord:
    facts = read_facts(parse_media_type(media), payload, 33_000_000)
    if facts.kind == "audio":
        span_us = facts.samples * S // facts.rate
    elif facts.duration_us:
        span_us = facts.duration_us
    log = LogRecord(f"in.{facts.kind}", 0, offset, ts_us, b"s", payload, [])
    return MediaRecord(facts.kind, "s", ts_us, ts_us + span_us, facts, payload, log)


def picture(seed: int, broken: bool = False) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    payload = file.getvalue()
    return payload[: len(payload) // 2] if broken else payload


def flac(seed: int) -> bytes:
    file = io.BytesIO()
    wave = np.random.default_rng(seed).normal(0, 0.1, 12_000).astype(np.float32)
    soundfile.write(file, wave, 8_000, format="FLAC")
    return file.getvalue()


def film(damaged: bool) -> bytes:
    payload = encoded(50, form="h264", options=(("g", "10"),))
    if not damaged:
        return payload
    middle = len(payload) // 2
    return payload[:middle] + bytes(range(1, 40)) + payload[middle + 39 :]


@cache
def stream() -> tuple[MediaRecord, ...]:
    """Eight seconds: pictures (two of them broken), sound in FLAC, and films of two seconds."""
    pictures = [record("image/png", picture(n, n in (3, 9)), n * S // 2, n) for n in range(16)]
    sound = [record("audio/flac", flac(n), n * 3 * S // 2, n) for n in range(5)]
    films = [record("video/H264", film(n == 1), n * 2 * S, n) for n in range(4)]
    return (*sound, *pictures, *films)


class Everything:
    """Gives all that it sees and hears, and scribbles over it before it looks at the next."""

    takes, gives = ("audio", "image", "video"), "vector"
    frames_max, frame_size = 9, 24

    def encode(self, batch):
        outputs = []
        for clip in batch:
            outputs.append(self._of(clip))
            for each in clip.frames or ():
                each[:] = 0
            if clip.samples is not None:
                clip.samples[:] = 0
        return outputs

    def _of(self, clip):
        seen = [np.asarray(clip.times_us or [], np.float32)]
        seen += [frame.reshape(-1).astype(np.float32) for frame in clip.frames or ()]
        if clip.samples is not None:
            seen.append(clip.samples)
        return np.concatenate(seen)


PLAN = StagePlan("all", ("audio", "image", "video"), before_us=300_000)


def window(start_us: int, size_us: int) -> StageJob:
    low_us, high_us = start_us - 300_000, start_us + size_us
    held = [r for r in stream() if r.ts_us < high_us and r.end_us > low_us]
    return StageJob("s", start_us, start_us + size_us, held)


def same(found: JobResult, expected: JobResult) -> bool:
    if found.failure is None and expected.failure is None:
        outputs = found.output.tobytes() == expected.output.tobytes()
    else:
        outputs = found.failure == expected.failure
    return outputs and sorted(found.undecodable) == sorted(expected.undecodable)


@pytest.fixture(scope="module")
def pool():
    made = DecodePool(3, thread_us)
    yield made
    made.close()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_neither_threads_nor_what_was_begun_nor_cuts_nor_mates_change_a_result(pool, data):
    starts = data.draw(st.lists(st.integers(0, 14).map(lambda n: n * S // 2), max_size=8))
    jobs = [window(at, data.draw(st.sampled_from([S // 2, S]))) for at in starts]
    task = EncodeTask(Everything(), PLAN, pool)
    begun: list[Begun] = []
    rest = list(jobs)
    while rest:  # as batches come
        count = data.draw(st.integers(1, len(rest)))
        ahead = data.draw(st.booleans())
        begun += task.begin(rest[:count]) if ahead else [Begun(job) for job in rest[:count]]
        rest = rest[count:]
    found: list[JobResult] = []
    while begun:  # as the door merges and cuts them
        count = data.draw(st.integers(1, len(begun)))
        found += task.finish(begun[:count])
        begun = begun[count:]
    for job, result in zip(jobs, found, strict=True):
        [alone] = EncodeTask(Everything(), PLAN).run([job])
        assert same(result, alone)


def test_the_stream_of_the_law_has_what_the_law_is_about():
    results = EncodeTask(Everything(), PLAN).run([window(n * S, S) for n in range(8)])
    lost = {name for result in results for name, _ in result.undecodable}
    assert {("in.image", 0, 3), ("in.image", 0, 9)} <= lost
    assert all(result.failure is None for result in results)


# -- ahead ------------------------------------------------------------------------------------


class Held:
    """An encoder that waits, as one waits for its device, until it is let go."""

    takes, gives, length = "image", "vector", 1

    def __init__(self) -> None:
        self.runs, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def encode(self, batch):
        self.runs.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        return [np.ones(1, np.float32) for _ in batch]


def test_a_batch_that_waits_is_decoded_while_the_one_before_runs(pool, monkeypatch):
    decoded = threading.Event()
    decode = contents_module._DECODERS["image"]

    def decoding(facts, payload, limit):
        found = decode(facts, payload, limit)
        if payload == picture(1):
            decoded.set()
        return found

    monkeypatch.setitem(contents_module._DECODERS, "image", decoding)
    encoder = Held()
    task = EncodeTask(encoder, StagePlan("x", ("image",)), pool)
    batcher = MicroBatcher(task.finish, BatchPace(8, None), monotonic_us, task.begin)
    thread = threading.Thread(target=batcher.serve)
    thread.start()
    done = threading.Semaphore(0)
    outcomes = []

    def reply(outcome):
        outcomes.append(outcome)
        done.release()

    batcher.put([StageJob("s", 0, S, [record("image/png", picture(0), 0, 0)])], reply)
    assert encoder.runs.acquire(timeout=PATIENCE_S)
    batcher.put([StageJob("s", 0, S, [record("image/png", picture(1), 0, 1)])], reply)
    assert decoded.wait(PATIENCE_S), "the encoder still runs the first"
    assert not outcomes
    encoder.go.release(2)
    assert done.acquire(timeout=PATIENCE_S)
    assert done.acquire(timeout=PATIENCE_S)
    assert [results[0].failure for results, _ in outcomes] == [None, None]
    batcher.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def jobs_of_pictures(count: int) -> list[StageJob]:
    return [
        StageJob("s", n * S, (n + 1) * S, [record("image/png", picture(n), n * S, n)])
        for n in range(count)
    ]


def test_what_is_decoded_ahead_is_bounded_and_given_back_when_its_batch_is_gone(pool, monkeypatch):
    task = EncodeTask(Everything(), StagePlan("x", ("image",)), pool)
    jobs = jobs_of_pictures(6)
    one = decoded_bytes(jobs[0], 0, 0, FrameWish())
    assert one == 48 * 64 * 3
    monkeypatch.setattr(decode_pool, "AHEAD_BYTES_MAX", 4 * one)
    first = task.begin(jobs[:3])
    second = task.begin(jobs[3:])
    assert all(each.builder is not None for each in first)
    assert all(each.builder is None for each in second)
    assert len(task.finish(first[:2])) == 2
    assert all(each.builder is None for each in task.begin(jobs[3:]))  # one is still to run
    del first  # a batch that is never run gives it back too
    gc.collect()
    third = task.begin(jobs[2:])
    assert all(each.builder is not None for each in third)
    results = task.finish([*second, *third])
    assert [result.failure for result in results] == [None] * 7


def test_nothing_is_begun_for_what_is_cheap_or_without_threads(pool):
    text = StageJob("s", 0, S, [record("text/plain", b"good day", 0, 0)])
    raw = StageJob("s", 0, S, [record("audio/L16;rate=8000", bytes(16_000), 0, 0)])
    task = EncodeTask(Everything(), PLAN, pool)
    assert [each.builder for each in task.begin([text, raw])] == [None, None]
    alone = EncodeTask(Everything(), PLAN)
    assert [each.builder for each in alone.begin(jobs_of_pictures(2))] == [None, None]


def test_out_of_memory_in_a_thread_of_the_pool_reaches_the_run(pool, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setitem(contents_module._DECODERS, "image", exhausted)
    task = EncodeTask(Everything(), PLAN, pool)
    begun = task.begin(jobs_of_pictures(2))
    with pytest.raises(MemoryError):
        task.finish(begun)


def test_a_pool_does_what_was_submitted_before_it_is_closed_and_ends_its_threads():
    before = set(threading.enumerate())
    made = DecodePool(2, thread_us)
    mine = set(threading.enumerate()) - before
    tasks = [made.submit(lambda n=n: n * n) for n in range(10)]
    made.close()
    assert [task.result(PATIENCE_S) for task in tasks] == [n * n for n in range(10)]
    assert {thread.daemon for thread in mine} == {True}
    for thread in mine:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.parametrize(("cores", "threads"), [(0, 1), (1, 1), (2, 2), (64, 8)])
def test_threads_are_as_many_as_cores_within_reason(cores, threads):
    assert decode_threads(cores) == threads
