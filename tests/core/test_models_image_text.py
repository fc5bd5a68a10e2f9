"""image_to_text: text that is drawn is read to the letter; other pictures are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_media import OFFLINE_MODELS, clip_of, photo, written

from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.encoders.models.ocr import _in_lines, _Word
from pipeline.errors import InvalidInput

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")
BOARD = ["Platform 4: 10:42 to Vienna", "Mind the gap", "100 % organic, since 1987"]


@pytest.fixture(scope="module")
def reader():
    return load_encoder("image_to_text", {}, CPU)


@pytest.fixture(scope="module")
def only_text():
    return load_encoder("image_to_text", {"labels": False, "max_frames": 3}, CPU)


@pytest.mark.parametrize("size", [16, 32])
def test_drawn_text_is_read_to_the_letter(reader, size):
    assert reader.encode([clip_of(written(*BOARD, size=size))]) == ["\n".join(BOARD)]


def test_the_text_of_a_window_does_not_depend_on_its_mates(reader):
    clips = [clip_of(written("Mind the gap", size=24)), clip_of(photo("flower.jpg"))]
    alone = [reader.encode([clip])[0] for clip in clips]
    assert reader.encode(clips) == alone
    assert reader.encode(clips[::-1]) == alone[::-1]
    assert alone == ["Mind the gap", "a picture of a daisy"]


def test_nothing_in_sight_is_an_empty_text(reader, only_text):
    assert reader.encode([empty_clip(reader), clip_of(np.zeros((0, 3, 3), np.uint8))]) == ["", ""]
    grey, flower = clip_of(np.full((90, 160, 3), 90, np.uint8)), clip_of(photo("flower.jpg"))
    assert only_text.encode([grey, flower]) == ["", ""]
    assert reader.encode([]) == []


def test_frames_are_read_in_order_and_nothing_twice(only_text):
    first, second = written("Chapter one", width=320), written("The end", width=320)
    assert only_text.encode([clip_of(first, first, second)]) == ["Chapter one\nThe end"]


def test_a_lone_letter_is_told_where_it_is_asked_for(only_text):
    eight = written("8", size=60, width=200, height=120)
    assert only_text.encode([clip_of(eight)]) == [""]
    every = load_encoder("image_to_text", {"labels": False, "min_letters": 1}, CPU)
    assert every.encode([clip_of(eight)]) == ["8"]


def test_a_tiny_picture_is_no_error(only_text):
    assert only_text.encode([clip_of(np.zeros((1, 1, 3), np.uint8))]) == [""]


def test_runs_side_by_side_are_one_line():
    words = [
        _Word(100, 140, 300, "gap"),
        _Word(104, 142, 20, "Mind the"),
        _Word(20, 60, 20, "EXIT"),
    ]
    assert _in_lines(words) == ["EXIT", "Mind the gap"]


@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(1, 50), st.floats(0, 1e3)), max_size=30))
def test_every_run_is_in_one_line_whatever_their_order(boxes):
    words = [_Word(t, t + h, x, f"w{n}") for n, (t, h, x) in enumerate(boxes)]
    lines = _in_lines(words)
    assert sorted(" ".join(lines).split()) == sorted(word.text for word in words)
    assert _in_lines(words[::-1]) == lines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "yes"}, "options.labels"), ({"text_score": 2}, "options.text_score"),
        ({"max_frames": 0}, "options.max_frames"), ({"detector": "none.onnx"}, "no such file"),
        ({"recognizer": "net.ts"}, "ends in .onnx"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        load_encoder("image_to_text", options, CPU)
    assert "\n" not in str(caught.value)
