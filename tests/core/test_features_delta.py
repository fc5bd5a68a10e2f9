"""Derivatives over time against librosa's, and laws of their own."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.features.delta import delta

ROWS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.floats(-1_000, 1_000, width=32),
)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from([1, 2]))
def test_it_is_librosas(rows, order: int):
    [ours] = delta([torch.from_numpy(rows)], order)
    mode = "interp" if len(rows) >= 9 else "nearest"
    theirs = librosa.feature.delta(rows.T, order=order, mode=mode).T
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, atol=5e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from([1, 2]))
def test_clips_are_apart(clips, order: int):
    together = delta([torch.from_numpy(rows) for rows in clips], order)
    for rows, ours in zip(clips, together, strict=True):
        assert torch.equal(ours, delta([torch.from_numpy(rows)], order)[0])


@pytest.mark.parametrize("frames", [9, 10, 33])
def test_a_line_has_its_slope_and_a_parabola_its_curvature(frames: int):
    time = torch.arange(frames, dtype=torch.float32)[:, None]
    line, parabola = 3 * time - 7, 0.5 * time**2 - 4 * time
    torch.testing.assert_close(delta([line], 1)[0], torch.full_like(line, 3.0))
    torch.testing.assert_close(delta([line], 2)[0], torch.zeros_like(line), atol=1e-5, rtol=0)
    torch.testing.assert_close(delta([parabola], 2)[0], torch.ones_like(line))


def test_no_frames():
    [none] = delta([torch.zeros((0, 13))], 1)
    assert none.shape == (0, 13)
