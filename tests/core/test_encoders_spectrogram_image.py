"""spectrogram_image: where a tone lies in the picture, what a shade means, and the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip
from pipeline.encoders.outputs import checked
from pipeline.encoders.spectrogram_image import SpectrogramImage, color_map
from pipeline.errors import InvalidInput
from pipeline.features.log_mel import log_mel
from pipeline.features.mel import MelConfig

CPU = torch.device("cpu")
RATE = 16_000


def clip_of(line, rate: int = RATE) -> Clip:
    end_us = len(line) * 1_000_000 // rate
    return Clip("s", 0, end_us, np.asarray(line, np.float32), rate, 0)


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.5):
    times = np.arange(round(seconds * RATE)) / RATE
    return amplitude * np.sin(2 * np.pi * hertz * times)


def noise(seed: int, count: int = RATE):
    return 0.1 * np.random.default_rng(seed).standard_normal(count)


def picture(line, **options):
    [image] = SpectrogramImage(CPU, **options).encode([clip_of(line)])
    return image


def test_without_resizing_the_shades_are_log_mels_decibels():
    """101 frames of 80 bands, one pixel each: row 0 is the highest band."""
    line = noise(1)
    image = picture(line, height=80, width=101, db_min=-40, db_max=10)
    config = MelConfig(RATE, 512, 160, 80)
    db = log_mel([line.astype(np.float32)], config)[0].double().numpy()
    expected = ((db + 40) / 50).clip(0, 1).T[::-1] * 255
    assert np.abs(image[..., 0] - expected).max() <= 0.51
    assert (image == image[..., :1]).all()


def test_time_runs_to_the_right_and_low_notes_are_at_the_bottom():
    line = np.concatenate([tone(300), np.zeros(RATE), tone(5_000)])
    image = picture(line)[..., 0].astype(int)
    thirds = [image[:, 5:70], image[:, 80:144], image[:, 155:220]]
    heights = [int(third.sum(axis=1).argmax()) for third in (thirds[0], thirds[2])]
    assert heights[0] > 190
    assert heights[1] < 60
    assert thirds[1].max() < thirds[0].max() / 4


def test_a_shade_is_a_level_in_every_window():
    """20 dB less are as many shades less, whatever else is in the window; by peak none are."""
    loud, quiet = picture(tone(1_000)), picture(tone(1_000, amplitude=0.05))
    assert int(loud.max()) - int(quiet.max()) == pytest.approx(20 / 80 * 255, abs=1.5)
    both = picture(np.concatenate([tone(1_000), tone(1_000, amplitude=0.05)]))
    assert abs(int(both[:, 140:210].max()) - int(quiet.max())) <= 1
    by_peak = [picture(tone(1_000, amplitude=a), scale="peak") for a in (0.5, 0.05)]
    assert by_peak[0].max() == by_peak[1].max() > 245  # but for the smoothing
    assert np.abs(by_peak[0].astype(int) - by_peak[1].astype(int)).max() <= 1
    assert not picture(np.zeros(RATE)).any()
    assert (picture(np.zeros(RATE), scale="peak") == 255).all()  # all of it is the peak


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6_000), min_size=1, max_size=6),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    scale=st.sampled_from(["fixed", "peak"]),
    color=st.sampled_from(["grey", "cubehelix"]),
)
def test_a_picture_of_its_size_with_the_same_bytes_in_every_batch(
    counts, height, width, scale, color
):
    options = {"height": height, "width": width, "scale": scale, "color": color}
    encoder, other = SpectrogramImage(CPU, **options), SpectrogramImage(CPU, **options)
    clips = [clip_of(noise(seed, count)) for seed, count in enumerate(counts)]
    clips += [empty_clip(encoder), Clip("s", 0, 1_000_000)]
    together, backwards = encoder.encode(clips), other.encode(clips[::-1])[::-1]
    for clip, first, second in zip(clips, together, backwards, strict=True):
        [alone] = encoder.encode([clip])
        assert checked("image", first).shape == (height, width, 3)
        assert first.tobytes() == second.tobytes() == alone.tobytes()
        first[:] = 7  # the picture is the caller's own
    assert [each.tobytes() for each in encoder.encode(clips)] == [e.tobytes() for e in backwards]


def test_context_is_left_out():
    line = noise(2, 3 * RATE).astype(np.float32)
    around = Clip("s", 1_000_000, 2_000_000, line, RATE, 0)
    encoder = SpectrogramImage(CPU)
    [image] = encoder.encode([around])
    [expected] = encoder.encode([clip_of(line[RATE : 2 * RATE])])
    assert image.tobytes() == expected.tobytes()


def test_the_colours_grow_brighter_evenly():
    grey, colors = color_map("grey"), color_map("cubehelix")
    assert (grey == np.arange(256)[:, None]).all()
    assert colors[0].tolist() == [0, 0, 0]
    assert colors[255].tolist() == [255, 255, 255]
    brightness = colors @ np.array([0.30, 0.59, 0.11])  # the weights of the formula's own source
    assert np.abs(brightness - np.arange(256)).max() < 2
    assert len(np.unique(colors, axis=0)) == 256
    assert np.ptp(colors.astype(int), axis=1).max() > 60


@pytest.mark.parametrize(
    "options",
    [{"height": 0}, {"width": 5_000}, {"db_max": -60}, {"db_min": "low"}, {"scale": "auto"},
     {"color": "jet"}, {"n_mels": 0}, {"n_fft": 1}, {"hop_length": 0}, {"rate": 0}],
)  # fmt: skip
def test_wrong_options(options: dict):
    with pytest.raises(InvalidInput, match=rf"options\.{next(iter(options))}"):
        SpectrogramImage(CPU, **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_cpus_picture():
    clips = [clip_of(noise(seed, 20_000 - 97 * seed)) for seed in range(9)]
    here = SpectrogramImage(CPU).encode(clips)
    encoder = SpectrogramImage(torch.device("cuda"))
    there = encoder.encode(clips)
    for clip, ours, theirs in zip(clips, here, there, strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        assert encoder.encode([clip])[0].tobytes() == theirs.tobytes()
