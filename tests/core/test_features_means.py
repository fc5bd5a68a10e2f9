"""The mean of log-mel in one call: the bits of the mean of its rows, wherever the clips lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.encoders.over_time import feature_config
from pipeline.features.framing import line_of
from pipeline.features.log_mel import log_mel, log_mel_means
from pipeline.media.int16_rows import int16_rows
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
AS_THEY_LIE = {"rows of one array", "rows that may not be written", "one row"}


@pytest.mark.parametrize("clips", PLACED.values(), ids=PLACED)
def test_means_have_the_bits_of_the_mean_of_the_rows(clips):
    means = log_mel_means(clips, CONFIG)
    rows = log_mel(clips, CONFIG)
    expected = [r.double().mean(0).numpy() if len(r) else np.zeros(64) for r in rows]
    assert means is not None
    assert means.dtype == np.float64
    assert np.array_equal(means, np.stack(expected))


@pytest.mark.parametrize("name", PLACED)
def test_only_rows_of_one_array_in_their_order_are_taken_as_they_lie(name):
    line = line_of(PLACED[name])
    assert np.array_equal(line, np.concatenate(PLACED[name]))
    lies_there = any(np.shares_memory(line, clip) for clip in PLACED[name])
    assert lies_there == (name in AS_THEY_LIE)


def test_what_is_not_made_in_one_call_is_left_to_the_others():
    odd = feature_config(rate=16_000, n_fft=401, hop_length=160, n_mels=64)
    assert log_mel_means(list(BLOCK), odd) is None
    assert log_mel_means(list(BLOCK), CONFIG, torch.device("meta")) is None
    assert line_of([]).shape == (0,)


@pytest.mark.parametrize("form", INT16_FORMATS)
def test_every_sample_of_16_bits_is_what_numpy_makes_of_it(form):
    raw = np.arange(1 << 16, dtype=np.uint16).tobytes()
    expected = int16_mono(raw, INT16_FORMATS[form], 1)
    assert np.array_equal(int16_rows([raw], form, len(raw) // 2), [expected])
    assert {expected.min(), expected.max()} == {-1.0, 32_767 / 32_768}
