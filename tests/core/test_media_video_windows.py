"""Frames of films in the clips of a stage: which, at what time and size, and only once decoded."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_pictures import by_ffmpeg, encoded, gops
from PIL import Image
from pipelines import jpeg, media

from pipeline.batching.batch import StageJob
from pipeline.encoders import films as films_module
from pipeline.encoders import picture_bytes
from pipeline.encoders.base import Clip
from pipeline.encoders.clips import ClipBuilder, StagePlan
from pipeline.encoders.frames import FrameWish
from pipeline.encoders.image import ColorHistogram, evenly_spread, window_frames
from pipeline.encoders.loading import check_protocol
from pipeline.encoders.picture_bytes import film_bytes
from pipeline.encoders.running import EncodeTask
from pipeline.errors import InvalidInput
from pipeline.media.facts import read_facts
from pipeline.media.film import read_film, shown_frames
from pipeline.media.film_decode import decode_film, scaled_size
from pipeline.record import MediaRecord
from pipeline.spec.media_type import parse_media_type

S = 1_000_000
FPS = 25
FRAME_US = S // FPS
TYPES = {"mp4": "video/mp4", "h264": "video/H264"}
CPU = torch.device("cpu")


def record(payload: bytes, ts_us: int = 0, form: str = "h264", offset: int = 0) -> MediaRecord:
    facts = read_facts(parse_media_type(TYPES[form]), payload, 1 << 25)
    end_us = ts_us + facts.duration_us
    return media("cam", ts_us, end_us, payload=payload, facts=facts, offset=offset)


def image(ts_us: int, offset: int = 0) -> MediaRecord:
    payload = jpeg((250, 0, 0))
    facts = read_facts(parse_media_type("image/jpeg"), payload, 1 << 25)
    return media("cam", ts_us, ts_us + 1, payload=payload, facts=facts, offset=offset)


def film(count: int = 50, options=(("g", "10"),), sizes=None, form: str = "h264", **more):
    """The records of a film, each of so many GOPs of ten frames, and its pictures by FFmpeg."""
    stream = encoded(count, form=form, options=options, **more)
    _, pictures = by_ffmpeg(stream, form)
    if form == "mp4":
        return [record(stream, form=form)], pictures
    records, at_us = [], 0
    for offset, payload in enumerate(gops(stream, sizes or [count // 10])):
        records.append(record(payload, at_us, offset=offset))
        at_us = records[-1].end_us
    return records, pictures


def window(records, start_us: int, end_us: int) -> StageJob:
    held = [r for r in records if r.ts_us < end_us and r.end_us > start_us]
    return StageJob("s", start_us, end_us, held)


def clips_of(jobs, wish: FrameWish | None = None, **context) -> list[Clip | None]:
    plan = StagePlan("colour", ("cam",), **context)
    builder = ClipBuilder(plan, ("image", "video"), None, wish or FrameWish())
    return [built.clip for built in builder.build(jobs)]


# -- which frames, and when -----------------------------------------------------------------


@pytest.mark.parametrize("form", ["mp4", "h264"])
def test_a_clip_has_the_frames_that_are_shown_in_its_window(form):
    records, pictures = film(form=form)
    [clip] = clips_of([window(records, 420_000, 1_000_001)])
    assert clip is not None
    assert clip.times_us == [FRAME_US * number for number in range(10, 26)]
    assert clip.ends_us == [FRAME_US * number for number in range(11, 27)]
    assert all((a == b).all() for a, b in zip(clip.frames, pictures[10:26], strict=True))


def test_context_brings_the_frames_around_the_window():
    records, pictures = film(sizes=[1] * 5)
    job = StageJob("s", S, 2 * S - 200_000, records)
    [clip] = clips_of([job], before_us=100_000, after_us=200_000)
    assert clip is not None
    assert clip.times_us == [FRAME_US * number for number in range(22, 50)]
    assert len(window_frames(clip)) == 20
    [few] = clips_of([job], FrameWish(3), before_us=100_000, after_us=200_000)
    assert [t // FRAME_US for t in few.times_us] == [22, 23, 24, 28, 35, 41, 45, 47, 49]
    chosen = evenly_spread(window_frames(clip), 3)
    assert all((a == b).all() for a, b in zip(window_frames(few), chosen, strict=True))
    numbers = [at_us // FRAME_US for at_us in few.times_us]
    assert all((f == pictures[n]).all() for f, n in zip(few.frames, numbers, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_neither_the_cut_into_records_nor_the_batch_mates_change_a_clip(data):
    cuts = data.draw(st.sampled_from([[5], [1] * 5, [2, 3], [3, 1, 1]]))
    size = data.draw(st.sampled_from([None, 40, (30, 50)]))
    wish = FrameWish(data.draw(st.sampled_from([None, 1, 4])), size)
    edges = data.draw(st.lists(st.integers(0, 49), min_size=1, max_size=6))
    spans = [(at * FRAME_US, (at + 7) * FRAME_US) for at in edges]
    whole, _ = film()
    records, _ = film(sizes=cuts)
    together = clips_of([window(records, *span) for span in spans], wish)
    for span, found in zip(spans, together, strict=True):
        [alone] = clips_of([window(whole, *span)], wish)
        assert found is not None
        assert alone is not None
        assert found.times_us == alone.times_us
        assert found.ends_us == alone.ends_us
        assert all((a == b).all() for a, b in zip(found.frames, alone.frames, strict=True))


def test_images_and_frames_of_films_stand_together_in_time_order():
    records, _ = film(20)
    records += [image(90_000, 7), image(2 * FRAME_US, 8)]
    [clip] = clips_of([StageJob("s", 0, 160_000, records)])
    assert clip is not None
    assert clip.times_us == [0, 40_000, 80_000, 80_000, 90_000, 120_000]
    assert [f.shape for f in clip.frames] == [(72, 128, 3)] * 3 + [(16, 16, 3)] * 2 + [(72, 128, 3)]


def test_a_clips_frames_are_its_own():
    records, pictures = film(20)
    jobs = [window(records, 0, S)] * 2
    first, second = clips_of(jobs, FrameWish(2))
    first.frames[0][:] = 0
    assert (second.frames[0] == pictures[5]).all()


# -- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "shape"), [
    (None, (72, 128)), (64, (36, 64)), (500, (72, 128)), ((20, 30), (20, 30)), (7, (4, 7)),
])  # fmt: skip
def test_frames_come_in_the_size_that_the_encoder_states(size, shape):
    records, pictures = film(10)
    [clip] = clips_of([window(records, 0, S)], FrameWish(2, size))
    assert clip is not None
    for frame, number in zip(clip.frames, (2, 7), strict=True):
        assert frame.shape == (*shape, 3)
        expected = Image.fromarray(pictures[number]).resize(shape[::-1], Image.Resampling.BOX)
        assert np.abs(frame.astype(int) - np.asarray(expected)).mean() < 4


def test_one_turned_by_its_header_comes_upright():
    payload = bytearray(encoded(5))
    at = payload.index(b"tkhd") + 44
    payload[at : at + 36] = b"".join(
        each.to_bytes(4, "big", signed=True)
        for each in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    turned = read_film("mp4", bytes(payload))
    assert turned.turn == 270
    found = decode_film(turned, bytes(payload), [0], 0).pictures[0]
    upright = by_ffmpeg(encoded(5), "mp4")[1][0]
    assert (found == np.rot90(upright, 3)).all()
    small = decode_film(turned, bytes(payload), [0], 0, (64, 36)).pictures[0]
    assert small.shape == (64, 36, 3)
    assert scaled_size(128, 72, (64, 36)) == (36, 64)


@pytest.mark.parametrize("value", [0, -1, 1.5, "4", True, (1, 0), (1, 2, 3), [5]])
def test_a_wish_that_is_no_number_is_told_of(value):
    encoder = ColorHistogram(CPU)
    encoder.frame_size = value
    with pytest.raises(InvalidInput, match="frame_size"):
        check_protocol(encoder, "x", "encoder")
    encoder.frame_size = (4, 5)
    check_protocol(encoder, "x", "encoder")


# -- work and memory ------------------------------------------------------------------------


@pytest.fixture
def passes(monkeypatch):
    """How many frames were decoded and how many were made pictures, by pass over a record."""
    made = []

    def counting(film, payload, wanted, last, *more):
        found = decode_film(film, payload, wanted, last, *more)
        made.append((last + 1, len(found.pictures)))
        return found

    monkeypatch.setattr(films_module, "decode_film", counting)
    return made


def test_a_record_that_several_windows_hold_is_decoded_once_and_only_as_far_as_needed(passes):
    records, _ = film(50, options=(("g", "10"), ("bf", "0")))
    jobs = [window(records, at, at + S) for at in range(0, 1_200_000, 200_000)]
    clips = clips_of([each for each in jobs if each.end_us <= 1_600_000], FrameWish(4))
    assert all(clip is not None and len(clip.frames) == 4 for clip in clips)
    assert passes == [(40, 16)]


class Counting(ColorHistogram):
    def __init__(self) -> None:
        super().__init__(CPU)
        self.batches: list[int] = []

    def encode(self, batch):
        self.batches.append(len(batch))
        return super().encode(batch)


class Greedy:
    """Says nothing of what it wants."""

    takes, gives, length = "video", "vector", 1

    def encode(self, batch):
        return [np.array([len(clip.frames)], np.float32) for clip in batch]


def test_pictures_that_do_not_fit_together_are_encoded_in_several_calls(monkeypatch):
    records, _ = film()
    jobs = [window(records, at, at + 200_000) for at in range(0, 2_000_000, 200_000)]
    whole = EncodeTask(ColorHistogram(CPU), StagePlan("colour", ("cam",))).run(jobs)
    one = film_bytes(jobs[0], 0, 0, FrameWish(4))
    assert 4 * 72 * 128 * 3 <= one <= 12 * 72 * 128 * 3
    monkeypatch.setattr(picture_bytes, "PICTURES_BYTES_MAX", 3 * one)
    encoder = Counting()
    parts = EncodeTask(encoder, StagePlan("colour", ("cam",))).run(jobs)
    assert encoder.batches == [3, 3, 3, 1]
    assert all((a.output == b.output).all() for a, b in zip(whole, parts, strict=True))


def test_a_window_whose_pictures_are_too_many_fails_alone_and_says_what_to_do(monkeypatch):
    records, _ = film()
    short, long = window(records, 0, 200_000), window(records, 0, 2 * S)
    limit = film_bytes(short, 0, 0, FrameWish())
    monkeypatch.setattr(picture_bytes, "PICTURES_BYTES_MAX", limit)
    first, second = EncodeTask(Greedy(), StagePlan("all", ("cam",))).run([short, long])
    assert first.output.tolist() == [5]
    assert second.failure is not None
    assert "state frames_max or frame_size on the encoder" in second.failure
    assert second.undecodable == []


# -- damage ---------------------------------------------------------------------------------


def damaged(payload: bytes, number: int, form: str = "h264") -> bytes:
    sample = read_film(form, payload).samples[number]
    middle = sample.start + sample.size // 2
    rng = random.Random(number)
    noise = bytes(rng.randrange(1, 256) for _ in range(24))
    return payload[:middle] + noise + payload[middle + 24 :]


def test_a_damaged_frame_spoils_itself_and_what_follows_until_the_next_key_frame(passes):
    [whole], pictures = film(30, options=(("g", "10"), ("bf", "0")))
    broken = record(damaged(bytes(whole.payload), 13))
    task = EncodeTask(ColorHistogram(CPU, max_frames=4), StagePlan("colour", ("cam",)))
    [clip] = clips_of([window([broken], 0, S + 200_000)])
    sound = [*range(13), *range(20, 30)]
    assert [at // FRAME_US for at in clip.times_us] == sound
    assert all((f == pictures[n]).all() for f, n in zip(clip.frames, sound, strict=True))
    inside = window([broken], 14 * FRAME_US, 18 * FRAME_US)
    partly = window([broken], 8 * FRAME_US, 18 * FRAME_US)
    passes.clear()
    lost, kept = task.run([inside, partly])
    assert lost.failure == "undecodable"
    [(name, why)] = lost.undecodable
    assert name == ("in.cam", 0, 0)
    assert why.startswith("h264: frame 13 cannot be decoded")
    assert kept.failure is None
    assert kept.undecodable == []
    [alone] = task.run([partly])
    assert (alone.output == kept.output).all()
    assert len(passes) == 4  # with the frames that were picked instead, once more each
    # the four evenly spread over what can be decoded: frames 8 to 12
    expected = Clip("s", 0, S, frames=[pictures[n] for n in (8, 9, 11, 12)])
    [vector] = ColorHistogram(CPU).encode([expected])
    assert np.allclose(kept.output, vector)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 29), st.sampled_from(["mp4", "h264"]), st.data())
def test_what_becomes_of_a_frame_does_not_hang_on_how_far_is_decoded(number, form, data):
    payload = damaged(encoded(30, form=form), number, form)
    whole = read_film(form, payload)
    count = len(whole.samples)
    everything = decode_film(whole, payload, range(count), count - 1)
    last = data.draw(st.integers(0, count - 1))
    part = decode_film(whole, payload, range(0, last + 1, 2), last)
    assert part.spoiled == {n for n in everything.spoiled if n <= last}
    assert everything.pictures.keys() | everything.spoiled == set(range(count))
    for n, found in part.pictures.items():
        assert (found == everything.pictures[n]).all()


def test_a_film_of_which_nothing_comes_out_is_undecodable():
    payload = encoded(10)
    sample = read_film("mp4", payload).samples[0]
    payload = payload[: sample.start] + bytes(sample.size) + payload[sample.start + sample.size :]
    [result] = EncodeTask(ColorHistogram(CPU), StagePlan("colour", ("cam",))).run(
        [window([record(payload, form="mp4")], 0, S)]
    )
    assert result.failure == "undecodable"
    assert len(result.undecodable) == 1


def test_a_header_that_states_less_than_its_frames_have_makes_no_large_picture():
    small, large = encoded(5, codec="mpeg4"), encoded(5, codec="mpeg4", size=(640, 360))
    size = (640).to_bytes(2, "big") + (360).to_bytes(2, "big")
    payload = large.replace(size, (64).to_bytes(2, "big") + (36).to_bytes(2, "big"))
    lying = read_film("mp4", payload)
    assert (lying.width, lying.height) == (64, 36)
    assert decode_film(lying, payload, [0], 4).spoiled == frozenset(range(5))
    assert not decode_film(read_film("mp4", small), small, [0], 4).spoiled


def test_frames_in_the_order_they_are_shown_last_until_the_next():
    whole = read_film("h264", encoded(30, form="h264"))
    order = [whole.samples[n] for n in shown_frames(whole.samples)]
    assert all(a.end_us == b.at_us for a, b in itertools.pairwise(order))
