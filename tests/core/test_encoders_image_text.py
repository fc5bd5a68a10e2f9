"""color_histogram and hash_text, by hand."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encoders.base import Clip
from pipeline.encoders.image import ColorHistogram, evenly_spread, window_frames
from pipeline.encoders.text import HashText
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")


def clip_of(frames, times_us=None, ends_us=None, start_us=0, end_us=1_000) -> Clip:
    return Clip("s", start_us, end_us, frames=frames, times_us=times_us, ends_us=ends_us)


def plain(red: int, green: int, blue: int, shape=(4, 6)):
    return np.full((*shape, 3), (red, green, blue), np.uint8)


def test_one_colour_falls_into_one_class_a_channel():
    [vector] = ColorHistogram(CPU, bins=4).encode([clip_of([plain(0, 64, 255)])])
    expected = np.zeros(12, np.float32)
    expected[[0, 4 + 1, 8 + 3]] = 1 / 3
    np.testing.assert_allclose(vector, expected, rtol=1e-6)


def test_the_vector_is_the_mean_of_frames_of_any_size():
    frames = [plain(0, 0, 0, (1, 1)), plain(255, 255, 255, (50, 70))]
    [vector] = ColorHistogram(CPU, bins=2).encode([clip_of(frames)])
    np.testing.assert_allclose(vector, np.full(6, 1 / 6), rtol=1e-6)


def test_the_shares_add_up_to_one_for_every_number_of_classes():
    frame = np.random.default_rng(1).integers(0, 256, (33, 17, 3), np.uint8)
    for bins in (1, 2, 3, 7, 8, 100, 256):
        [vector] = ColorHistogram(CPU, bins=bins).encode([clip_of([frame])])
        assert vector.sum() == pytest.approx(1, abs=1e-5)
        red = np.bincount(frame[..., 0].ravel().astype(int) * bins // 256, minlength=bins)
        np.testing.assert_allclose(vector[:bins], red / frame.size, rtol=1e-6)


def test_at_most_max_frames_evenly_spread():
    frames = [plain(n, n, n) for n in range(10)]
    [vector] = ColorHistogram(CPU, bins=256).encode([clip_of(frames)])
    assert np.flatnonzero(vector[:256]).tolist() == [1, 3, 6, 8]
    [vector] = ColorHistogram(CPU, bins=256, max_frames=1).encode([clip_of(frames)])
    assert np.flatnonzero(vector[:256]).tolist() == [5]


@given(st.integers(0, 300), st.integers(1, 50))
def test_evenly_spread(count: int, most: int):
    taken = evenly_spread(range(count), most)
    assert len(taken) == min(count, most)
    assert taken == sorted(set(taken))
    if count > most:
        gaps = np.diff([-taken[0] - 1, *taken, 2 * count - 1 - taken[-1]])
        assert gaps.max() - gaps.min() <= 2  # mirrored at both ends: no side is favoured


def test_context_frames_are_left_out_and_lasting_ones_are_not():
    frames = [plain(n, n, n) for n in range(4)]
    clip = clip_of(frames, [50, 90, 150, 200], [60, 101, 151, 300], start_us=100, end_us=200)
    assert [int(frame[0, 0, 0]) for frame in window_frames(clip)] == [1, 2]
    clip.ends_us = None
    assert [int(frame[0, 0, 0]) for frame in window_frames(clip)] == [2]


@pytest.mark.parametrize("options", [{"bins": 0}, {"bins": 257}, {"max_frames": 0}, {"bins": 1.5}])
def test_wrong_options_of_the_histogram(options: dict):
    with pytest.raises(InvalidInput, match=f"options.{next(iter(options))}"):
        ColorHistogram(CPU, **options)


def test_words_are_hashed_by_crc32_with_a_sign():
    [vector] = HashText(CPU, dim=16).encode([Clip("s", 0, 1, text="Lift, lift! door_2")])
    expected = np.zeros(16, np.float32)
    for word, count in ((b"lift", 2), (b"door_2", 1)):
        code = zlib.crc32(word)
        expected[(code % 2**31) % 16] += count * (1 if code < 2**31 else -1)
    np.testing.assert_array_equal(vector, expected)


def test_case_form_and_order_do_not_count():
    texts = ["STRASSE ﬁn", "fin\nstraße", "ｓｔｒａｓｓｅ fin"]
    vectors = HashText(CPU, dim=997).encode([Clip("s", 0, 1, text=text) for text in texts])
    assert len({vector.tobytes() for vector in vectors}) == 1
    assert np.count_nonzero(vectors[0]) == 2


def test_both_signs_occur():
    [vector] = HashText(CPU, dim=4096).encode(
        [Clip("s", 0, 1, text=" ".join(map(str, range(200))))]
    )
    assert (vector > 0).sum() > 50
    assert (vector < 0).sum() > 50


def test_another_process_gives_the_same_bits():
    """Python's own hash() differs in every process."""
    program = (
        "from pipeline.encoders.text import HashText; "
        "from pipeline.encoders.base import Clip; "
        "c = Clip('s', 0, 1, text='to be or not to be'); "
        "print(HashText(None).encode([c])[0].tobytes().hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    [here] = HashText(CPU).encode([Clip("s", 0, 1, text="to be or not to be")])
    assert run.stdout.strip() == here.tobytes().hex()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text(text: str):
    [vector] = HashText(CPU).encode([Clip("s", 0, 1, text=text)])
    assert np.isfinite(vector).all()
