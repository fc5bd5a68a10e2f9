"""How a stream was cut into records changes no bit of a window's features.

The product cuts windows to the sample and takes features of the window's samples, so what holds
for the samples (``pipeline.media.clips`` and ``raw_rows``) holds for every frame: there is no
state that a cut could break.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoders.audio import LogMel
from pipeline.encoders.raw_clip import RawClip
from pipeline.encoders.spectral import Spectral
from pipeline.features.bundle import NAMES
from pipeline.media.clips import assemble_audio, nearest_sample
from pipeline.media.decode import decode_audio
from pipeline.media.raw_rows import raw_row
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

LOG = LogRecord("t", 0, 0, 0, b"k", b"", [])
CPU = torch.device("cpu")
ENCODERS = {
    rate: [Spectral(CPU, features=NAMES, rate=rate, deviation=True), LogMel(CPU, rate=rate)]
    for rate in (8_000, 16_000, 44_100)
}


def stream(rate: int, seconds: float, seed: int = 0):
    loud = np.random.default_rng(seed).standard_normal(int(rate * seconds)) * 3_000
    return loud.astype("<i2")


def records(stream, rate: int, cuts, start_us: int) -> list[MediaRecord]:
    """The stream as S16LE records that begin at these samples, times floored to microseconds."""
    edges = sorted({0, *cuts, len(stream)})
    made = []
    for first, last in itertools.pairwise(edges):
        facts = Facts("audio", "S16LE", rate, 1, last - first)
        begin_us = start_us + first * 1_000_000 // rate
        end_us = begin_us + (last - first) * 1_000_000 // rate
        payload = stream[first:last].tobytes()
        made.append(MediaRecord("mic", "k", begin_us, end_us, facts, payload, LOG))
    return made


def overlapping(made, start_us: int, end_us: int):
    return [each for each in made if each.ts_us < end_us and each.end_us > start_us]


def features(sound, rate: int, start_us: int, end_us: int) -> bytes:
    """Of samples that are 16-bit still, or floats."""
    clips = [RawClip("k", start_us, end_us, None, rate, start_us) for _ in ENCODERS[rate]]
    for clip in clips:
        clip.sound = sound
    pairs = zip(ENCODERS[rate], clips, strict=True)
    return b"".join(encoder.encode([clip])[0].tobytes() for encoder, clip in pairs)


def assembled(made, rate: int, start_us: int, end_us: int) -> bytes:
    there = overlapping(made, start_us, end_us)
    decoded = [decode_audio(each.facts, each.payload) for each in there]
    audio = assemble_audio(there, decoded, start_us, end_us, rate)
    return features(audio.samples, rate, start_us, end_us)


def in_rows(made, rate: int, start_us: int, end_us: int) -> bytes:
    count = nearest_sample(end_us - start_us, rate)
    row = raw_row(overlapping(made, start_us, end_us), start_us, rate, count)
    assert row is not None
    return features(row, rate, start_us, end_us)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(ENCODERS)),
    st.lists(st.integers(1, 100_000), max_size=30),
    st.sampled_from([0, 100_000, 333_333, 999_999]),
    st.sampled_from([1_000_000, 512_000, 100_001]),
)
def test_cuts_change_no_bit(rate: int, cuts, start_us: int, size_us: int):
    sound = stream(rate, 2.5)
    whole = records(sound, rate, [], 0)
    pieces = records(sound, rate, [cut for cut in cuts if cut < len(sound)], 0)
    window = rate, start_us, start_us + size_us
    expected = assembled(whole, *window)
    assert in_rows(whole, *window) == expected
    assert assembled(pieces, *window) == expected
    assert in_rows(pieces, *window) == expected


@pytest.mark.parametrize("each", [1, 160, 997])
def test_records_of_one_length(each: int):
    """From one sample a record to a record that is no whole number of anything."""
    sound = stream(16_000, 0.25, seed=3)
    pieces = records(sound, 16_000, range(0, len(sound), each), 5_000_000)
    window = 16_000, 5_050_000, 5_150_000
    expected = assembled(records(sound, 16_000, [], 5_000_000), *window)
    assert assembled(pieces, *window) == expected == in_rows(pieces, *window)
