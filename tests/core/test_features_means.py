"""The mean of log-mel in one call: the bits of the mean of its rows, wherever the clips lie, and
of what form their samples are.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoders.over_time import feature_config
from pipeline.features.int16 import floats
from pipeline.features.log_mel import log_mel, log_mel_means
from pipeline.media.pcm import INT16_FORMATS, int16_mono

CONFIG = feature_config(rate=16_000, n_fft=400, hop_length=160, n_mels=64)
BLOCK = np.random.default_rng(3).normal(0, 0.1, (6, 8_000)).astype(np.float32)
LOCKED = BLOCK.copy()
LOCKED.flags.writeable = False

PLACED = {
    "rows of one array": list(BLOCK),
    "rows that may not be written": list(LOCKED),
    "one row": list(BLOCK[2:3]),
    "rows in another order": [BLOCK[1], BLOCK[0], BLOCK[2]],
    "one row twice": [BLOCK[1], BLOCK[1]],
    "every second row": list(BLOCK[::2]),
    "parts of rows": [row[100:4_100] for row in BLOCK],
    "arrays of their own": [row.copy() for row in BLOCK],
    "of other lengths, and empty": [BLOCK[0, :5], BLOCK[1, :0], BLOCK[2], BLOCK[3, :7_999]],
    "empty": [BLOCK[0, :0]],
    "every second sample": [row[::2] for row in BLOCK],
}
ORDERS = ["<i2", ">i2"]


def as_float32(sound):
    """As a decoder makes it."""
    return int16_mono(sound.tobytes(), sound.dtype, 1) if sound.dtype.kind == "i" else sound


@pytest.mark.parametrize("clips", PLACED.values(), ids=PLACED)
def test_means_have_the_bits_of_the_mean_of_the_rows(clips):
    means = log_mel_means(clips, CONFIG)
    rows = log_mel(clips, CONFIG)
    expected = [r.double().mean(0).numpy() if len(r) else np.zeros(64) for r in rows]
    assert means is not None
    assert means.dtype == np.float64
    assert np.array_equal(means, np.stack(expected))


def in_16_bits(order):
    """By name, what stands for a batch of it."""
    block = np.random.default_rng(4).integers(-32_768, 32_768, (5, 8_000)).astype(order)
    octets = b"odd" + block[1].tobytes()
    return {
        "rows": list(block),
        "payloads": [np.frombuffer(row.tobytes(), order) for row in block],
        "at an odd address": [np.frombuffer(memoryview(octets)[3:], order)],
        "parts of rows": [row[99:7_000] for row in block],
        "every second sample": [row[::2] for row in block],
        "beside floats": [block[0], BLOCK[0], block[1][:0], BLOCK[1, :7], block[2]],
        "beside the other order": [block[0], block[1].byteswap().view(block.dtype.newbyteorder())],
        "silence": [np.zeros(8_000, order)],
    }


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", in_16_bits("<i2"))
def test_samples_of_16_bits_are_read_as_the_floats_that_they_stand_for(name, order):
    sounds = in_16_bits(order)[name]
    before = [sound.tobytes() for sound in sounds]
    means = log_mel_means(sounds, CONFIG)
    assert np.array_equal(means, log_mel_means([as_float32(sound) for sound in sounds], CONFIG))
    assert [sound.tobytes() for sound in sounds] == before


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*ORDERS, "<f4"]), st.integers(0, 3_000)), max_size=6))
def test_batches_of_any_forms_and_lengths(shapes):
    chance = np.random.default_rng(5)
    sounds = [
        (chance.normal(0, 0.1, count) * (1 if order == "<f4" else 9_999)).astype(order)
        for order, count in shapes
    ]
    means = log_mel_means(sounds, CONFIG)
    assert means is not None
    assert means.shape == (len(sounds), 64)
    for sound, mean in zip(sounds, means, strict=True):
        assert np.array_equal(log_mel_means([as_float32(sound)], CONFIG), [mean])


def test_what_is_not_made_in_one_call_is_left_to_the_others():
    odd = feature_config(rate=16_000, n_fft=401, hop_length=160, n_mels=64)
    assert log_mel_means(list(BLOCK), odd) is None
    assert log_mel_means(list(BLOCK), CONFIG, torch.device("meta")) is None


@pytest.mark.parametrize("form", INT16_FORMATS)
def test_every_sample_of_16_bits_is_what_numpy_makes_of_it(form):
    raw = np.arange(1 << 16, dtype=np.uint16).tobytes()
    expected = int16_mono(raw, INT16_FORMATS[form], 1)
    found = floats(np.frombuffer(raw, INT16_FORMATS[form]))
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert found.flags.writeable
    assert {expected.min(), expected.max()} == {-1.0, 32_767 / 32_768}
