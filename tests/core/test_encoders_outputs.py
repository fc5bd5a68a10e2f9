"""What an encoder may give back, and in what form it is kept."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch

from pipeline.encoders.base import Audio
from pipeline.encoders.outputs import all_sound, checked
from pipeline.encoders.quiet import Quiet


@pytest.mark.parametrize(
    "given",
    [np.array([1, 2], np.float32), np.array([1.0, 2.0]), np.array([1, 2]), torch.tensor([1.0, 2.0]),
     np.arange(1, 5, dtype=np.float32)[::1][:2], torch.ones(2, 3, requires_grad=True)[0][:2] + 0],
)  # fmt: skip
def test_vectors_become_float32(given):
    vector = checked("vector", given, 2)
    assert vector.dtype == np.float32
    assert vector.shape == (2,)
    assert vector.flags.c_contiguous


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1.0, 2.0], "gives list where an array"),
        (None, "gives NoneType"),
        (np.zeros((2, 2), np.float32), r"shape \(2, 2\), not a 1-D"),
        (np.zeros(2, complex), "complex128"),
        (np.array(["a", "b"]), "not a 1-D float32"),
        (np.zeros(3, np.float32), "3 numbers where its length is 2"),
        (np.array([1e39, 0.0]), "gives infinity"),
        (np.array([np.nan, np.inf], np.float32), "gives NaN"),
    ],
)
def test_what_is_no_vector(given, told: str):
    with pytest.raises((TypeError, ValueError), match=told):
        checked("vector", given, 2)


ODD_VECTORS = {
    "a list": [0.0, 0.0],
    "float64": np.zeros(2),
    "whole numbers": np.zeros(2, int),
    "bool": np.zeros(2, bool),
    "another length": np.zeros(3, np.float32),
    "two axes": np.zeros((1, 2), np.float32),
    "no axis": np.float32(1) * np.ones(()),
    "NaN": np.array([0, np.nan], np.float32),
    "infinity": np.array([-np.inf, 0], np.float32),
    "every other number": np.zeros(4, np.float32)[::2],
    "a tensor": torch.zeros(2),
    "an array of a class": np.ma.zeros(2, np.float32),
}


@pytest.mark.parametrize("length", [2, None])
def test_a_batch_of_sound_vectors_is_one_look(length):
    rows = list(np.arange(8, dtype=np.float32).reshape(4, 2))
    assert all_sound(rows, length)
    assert all(checked("vector", row, length) is row for row in rows)
    assert not all_sound(rows, 3)
    assert not all_sound([np.zeros((), np.float32)], length)


@pytest.mark.parametrize("odd", ODD_VECTORS.values(), ids=ODD_VECTORS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_with_one_that_is_not_as_it_will_be_kept_is_looked_at_each_for_itself(odd, place):
    rows = list(np.ones((2, 2), np.float32))
    rows.insert(place, odd)
    assert not all_sound(rows, 2)


def test_texts():
    assert checked("text", "grüß") == "grüß"
    with pytest.raises(TypeError, match="bytes, not str"):
        checked("text", b"raw")
    with pytest.raises(UnicodeEncodeError):
        checked("text", "half a pair \ud800")


def test_audio():
    for given in (Audio(np.zeros(3, np.float32), 8_000), (np.zeros(3), np.int64(8_000))):
        audio = checked("audio", given)
        assert (audio.samples.dtype, audio.rate, type(audio.rate)) == (np.float32, 8_000, int)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros(3), "not audio with samples and rate"),
        ((np.zeros((3, 2)), 8_000), "not 1-D float32"),
        ((np.zeros(3, np.int16), 8_000), "int16"),
        ((np.zeros(3), 8_000.0), "float, not a whole number of Hz"),
        ((np.zeros(3), 0), "rate of 0 Hz"),
        ((np.array([np.nan]), 8_000), "NaN or infinity in its samples"),
    ],
)
def test_what_is_no_audio(given, told: str):
    with pytest.raises((TypeError, ValueError), match=told):
        checked("audio", given)


def test_images():
    given = np.zeros((2, 3, 3), np.uint8)
    assert checked("image", given) is given
    assert checked("video", torch.zeros((2, 3, 3), dtype=torch.uint8)).dtype == np.uint8
    for wrong in (
        given.astype(np.float32),
        given[..., :2],
        given[0],
        np.zeros((0, 3, 3), np.uint8),
    ):
        with pytest.raises(TypeError, match="not a uint8 image"):
            checked("image", wrong)


def test_data_is_what_json_holds():
    assert checked("data", {"a": (1, 2.5), "ü": {"b": None}}) == {"a": [1, 2.5], "ü": {"b": None}}


@pytest.mark.parametrize(
    "given",
    [["a"], {"a": float("nan")}, {"a": np.float32(1)}, {"a": {1, 2}}, {"a": "\ud800"}, {(1, 2): 3}],
)
def test_what_is_no_data(given):
    with pytest.raises((TypeError, ValueError)):
        checked("data", given)


def test_quiet_ends_with_the_last_that_leaves():
    """In this order plain catch_warnings would leave the process silent for good."""
    quiet, entered, leave = Quiet(), threading.Event(), threading.Event()

    def other():
        with quiet:
            entered.set()
            assert leave.wait(30)

    before = list(warnings.filters)
    thread = threading.Thread(target=other)
    with quiet:
        thread.start()
        assert entered.wait(30)
    warnings.warn("still silent", stacklevel=1)  # errors are raised elsewhere in the suite
    leave.set()
    thread.join(30)
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="loud"):
        warnings.warn("loud", stacklevel=1)
