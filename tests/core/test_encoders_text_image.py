"""text_image: what is drawn where, any text at all, and the same bytes."""

from __future__ import annotations

import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from pipeline.encoders.base import Clip
from pipeline.encoders.outputs import checked
from pipeline.encoders.text_image import TextImage
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
ANY = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)
LINE = 30  # pixels of a line at the default size


def picture(text: str | None, **options):
    [image] = TextImage(CPU, **options).encode([Clip("s", 0, 1, text=text)])
    return image


def lines_of(image) -> list[int]:
    """The lines that hold ink, counted from the top."""
    ink = (image[..., 0] < 128).any(axis=1)
    return sorted({(row - 8) // LINE for row in np.flatnonzero(ink)})


@settings(deadline=None)
@given(
    texts=st.lists(ANY, min_size=1, max_size=4),
    size=st.sampled_from([{}, {"height": 40, "width": 40, "font_size": 11, "margin": 0}]),
)
def test_any_text_gives_the_same_bytes_in_every_batch(texts: list[str], size: dict[str, int]):
    encoder, other = TextImage(CPU, **size), TextImage(CPU, **size)
    clips = [Clip("s", 0, 1, text=text) for text in texts]
    together, backwards = encoder.encode(clips), other.encode(clips[::-1])[::-1]
    for clip, first, second in zip(clips, together, backwards, strict=True):
        assert checked("image", first).shape == (
            size.get("height", 224),
            size.get("width", 224),
            3,
        )
        [alone] = encoder.encode([clip])
        assert first.tobytes() == second.tobytes() == alone.tobytes()


@settings(deadline=None)
@given(st.text(string.ascii_letters + " \n", max_size=300))
def test_nothing_is_drawn_over_the_margins(text: str):
    image = picture(text, margin=12)
    inner = np.zeros(image.shape[:2], bool)
    inner[12:-12, 10:-10] = True  # a letter's own overhang is a pixel or two
    assert (image[~inner] == 255).all()
    assert (image == image[..., :1]).all()  # black on white, and greys between


def test_no_text_is_a_white_picture():
    for text in (None, "", " \n\n", "\x00\u200b"[:1]):
        assert (picture(text) == 255).all()


def test_lines_break_at_newlines_and_spaces_and_what_is_below_is_left_out():
    assert lines_of(picture("one")) == [0]
    assert lines_of(picture("one\n\nthree")) == [0, 2]
    assert lines_of(picture("several words need several lines here")) == [0, 1, 2]
    assert lines_of(picture("word " * 500)) == list(range(6))
    assert picture("word " * 500).tobytes() == picture("word " * 100_000).tobytes()


def test_a_word_wider_than_the_picture_is_broken_and_nothing_of_it_is_lost():
    word = "abcdefghijklmnopqrstuvwxyz" * 3
    encoder = TextImage(CPU)
    pieces = list(encoder._wrapped(f"a {word} b"))
    assert "".join(pieces).replace(" ", "") == f"a{word}b"
    assert len(pieces) > 4
    assert len(next(encoder._wrapped("W" * 1_000_000))) == 9  # laid out only as far as needed


def test_a_picture_says_its_text():
    """Each character that the font has looks unlike all others, and the rest are one box."""
    encoder = TextImage(CPU, height=40, width=40, margin=4)
    printable = string.digits + string.ascii_letters + string.punctuation
    looks = {picture(c, height=40, width=40, margin=4).tobytes() for c in printable}
    assert len(looks) >= len(printable) - 1  # a capital i may look like a small L
    boxes = encoder.encode([Clip("s", 0, 1, text=c) for c in "éЖ漢ع👍"])
    assert len({box.tobytes() for box in boxes}) == 1
    assert boxes[0].tobytes() not in looks
    assert (boxes[0] < 128).any()


def test_a_font_of_the_users(tmp_path):
    own = tmp_path / "own.ttf"
    own.write_bytes(ImageFont.load_default(10).font_bytes)
    assert picture("Lift 2", font=str(own)).tobytes() == picture("Lift 2").tobytes()
    (tmp_path / "broken.ttf").write_text("no font")
    for path in (tmp_path / "broken.ttf", tmp_path / "missing.ttf"):
        with pytest.raises(InvalidInput, match=r"options\.font.*no font that can be read"):
            TextImage(CPU, font=str(path))


@pytest.mark.parametrize(
    "options",
    [{"height": 0}, {"width": 4_097}, {"font_size": 3}, {"font_size": 220}, {"margin": -1},
     {"font": 7}, {"font_size": 24, "height": 40}],
)  # fmt: skip
def test_wrong_options(options: dict):
    with pytest.raises(InvalidInput, match=rf"options\.{next(iter(options))}"):
        TextImage(CPU, **options)
