"""One suite over the built-in encoders of vectors: the protocol (contract section 2)."""

from __future__ import annotations

import pickle
import zlib

import numpy as np
import pytest
import torch

from pipeline.encoders.base import Clip, Encoder
from pipeline.encoders.loading import empty_clip, kinds_taken, load_encoder, vector_length
from pipeline.encoders.outputs import checked
from pipeline.spec.catalog import AVAILABLE, BUILTIN

CPU = torch.device("cpu")
VARIANTS = [
    ("log_mel", {}),
    ("log_mel", {"n_mels": 40, "n_fft": 512, "rate": 8_000}),
    ("mfcc", {}),
    ("mfcc", {"n_mfcc": 13, "lifter": 22, "n_fft": 400, "hop_length": 160, "n_mels": 40}),
    ("mfcc", {"deltas": 2, "deviation": True}),
    ("chroma", {}),
    ("spectral", {}),
    ("spectral", {"features": ["rms", "log_mel", "mfcc_delta2", "chroma"], "deviation": True}),
    ("librosa_feature", {"name": "spectral_centroid"}),
    ("librosa_feature", {"name": "chroma_stft", "tuning": 0.0, "n_fft": 1024}),
    ("color_histogram", {}),
    ("color_histogram", {"bins": 5, "max_frames": 1}),
    ("hash_text", {}),
    ("hash_text", {"dim": 7}),
    ("log_mel", {"pooling": "frames"}),
    ("mfcc", {"pooling": "frames", "steps": 5, "deltas": 1}),
    ("text_tokens", {}),
    ("text_tokens", {"steps": 7, "vocabulary": 100}),
]
LENGTHS = [64, 40, 20, 13, 120, 12, 6, 322, 2, 24, 24, 15, 64, 7, 2048, 200, 32, 7]


def test_every_built_in_that_gives_a_vector_without_weights_is_in_the_suite():
    """The others have suites of their own (test_encoders_NAME.py)."""
    vectors = {n for n in AVAILABLE if BUILTIN[n].gives == "vector" and not BUILTIN[n].models}
    assert {name for name, _ in VARIANTS} == vectors


@pytest.fixture(scope="module")
def built():
    cache = {}

    def build(name, options):
        key = name, repr(options)
        if key not in cache:
            cache[key] = load_encoder(name, options, CPU)
        return cache[key]

    return build


@pytest.fixture(params=range(len(VARIANTS)), ids=lambda i: f"{VARIANTS[i][0]}-{VARIANTS[i][1]}")
def case(request, built):
    return built(*VARIANTS[request.param]), request.param


def full_clip(encoder, seed: int) -> Clip:
    """A window of one second with something in it of every kind that the encoder takes."""
    rng = np.random.default_rng(zlib.crc32(b"clip") + seed)
    clip = Clip(f"stream-{seed}", 1_000_000 * seed, 1_000_000 * (seed + 1))
    takes = kinds_taken(encoder)
    if "audio" in takes:
        clip.rate = encoder.rate
        clip.samples = (0.2 * rng.standard_normal(clip.rate)).astype(np.float32)
        clip.samples_start_us = clip.start_us
    if "image" in takes:
        shapes = rng.integers(1, 40, (seed % 7 + 1, 2))
        clip.frames = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in shapes]
        clip.times_us = [clip.start_us + 1_000 * n for n in range(len(clip.frames))]
    if "text" in takes:
        clip.text = " ".join(f"word{n}" for n in rng.integers(0, 50, seed + 1))
    return clip


def test_the_protocol(case):
    encoder, _ = case
    assert isinstance(encoder, Encoder)


def test_it_takes_and_gives_what_the_catalogue_says(case):
    encoder, number = case
    catalogued = BUILTIN[VARIANTS[number][0]]
    assert set(kinds_taken(encoder)) == set(catalogued.takes)
    assert encoder.gives == catalogued.gives


def test_the_length_is_stated_and_kept(case):
    encoder, number = case
    assert vector_length(encoder) == encoder.length == LENGTHS[number]
    [vector] = encoder.encode([full_clip(encoder, 3)])
    assert vector.dtype == np.float32
    assert checked("vector", vector, encoder.length) is not None
    assert np.any(vector)


def test_an_empty_clip_gives_zeros(case):
    encoder, _ = case
    [vector] = encoder.encode([empty_clip(encoder)])
    np.testing.assert_array_equal(vector, np.zeros(encoder.length, np.float32))
    assert vector.dtype == np.float32


def test_a_clip_without_its_kind_gives_zeros(case):
    encoder, _ = case
    [vector] = encoder.encode([Clip("s", 0, 1_000_000)])
    np.testing.assert_array_equal(vector, np.zeros(encoder.length, np.float32))


def test_an_empty_batch_gives_nothing(case):
    encoder, _ = case
    assert list(encoder.encode([])) == []


def test_a_batch_is_its_singles_to_the_bit(case):
    encoder, _ = case
    clips = [full_clip(encoder, seed) for seed in range(11)]
    clips.insert(4, empty_clip(encoder))
    together = encoder.encode(clips)
    backwards = encoder.encode(clips[::-1])[::-1]
    singles = [encoder.encode([clip])[0] for clip in clips]
    assert len({vector.tobytes() for vector in singles}) == len(clips)
    for first, second, third in zip(together, backwards, singles, strict=True):
        assert first.tobytes() == second.tobytes() == third.tobytes()


def test_another_instance_gives_the_same_bits(case):
    encoder, number = case
    clips = [full_clip(encoder, seed) for seed in range(3)]
    other = load_encoder(*VARIANTS[number], CPU)
    for ours, theirs in zip(encoder.encode(clips), other.encode(clips), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_a_clip_is_not_written_to(case):
    encoder, _ = case
    clip = full_clip(encoder, 1)
    for array in (clip.samples, *(clip.frames or ())):
        if array is not None:
            array.flags.writeable = False
    before = pickle.dumps(clip)
    encoder.encode([clip])
    assert pickle.dumps(clip) == before
