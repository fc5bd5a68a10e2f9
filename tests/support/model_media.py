"""What the tests of encoders with weights share: real pictures, drawn ones, and no network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pipeline.encoders.base import Clip

NEEDS_MODELS = [
    pytest.mark.models,
    pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs motet[models]"),
]
OFFLINE_MODELS = [*NEEDS_MODELS, pytest.mark.usefixtures("offline_on_one_thread")]


@contextmanager
def offline_on_one_thread() -> Iterator[None]:
    """Whatever would reach out fails, and so does the test.

    One thread: two that wait for each other on a busy machine take several times as long.
    """

    def refuse(_socket: object, address: object) -> None:
        raise AssertionError(f"a connection to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


def photo(name: str) -> np.ndarray:
    """``china.jpg`` (a Chinese temple) or ``flower.jpg`` (a daisy), 427 x 640, of scikit-learn."""
    file = distribution("scikit-learn").locate_file(f"sklearn/datasets/images/{name}")
    return np.asarray(Image.open(Path(str(file))).convert("RGB"))


def clip_of(*frames: np.ndarray, stream: str = "s") -> Clip:
    """A window of one second in which the frames follow each other evenly."""
    step_us = 1_000_000 // max(1, len(frames))
    times_us = [step_us * place for place in range(len(frames))]
    ends_us = [at_us + step_us for at_us in times_us]
    return Clip(stream, 0, 1_000_000, frames=list(frames), times_us=times_us, ends_us=ends_us)


def written(*lines: str, size: int = 32, width: int = 640, height: int = 360) -> np.ndarray:
    """Dark text on light ground, in Pillow's own font."""
    picture = Image.new("RGB", (width, height), (232, 230, 222))
    font = ImageFont.load_default(size)
    for place, line in enumerate(lines):
        at = (20, 20 + place * 2 * size)
        ImageDraw.Draw(picture).text(at, line, fill=(20, 24, 60), font=font)
    return np.asarray(picture)


def with_faces(*faces: tuple[int, int, int], width: int = 480, height: int = 320) -> np.ndarray:
    """Drawn faces at (x, y), ``side`` pixels wide: enough of a face for the cascade."""
    picture = Image.new("RGB", (width, height), (120, 150, 180))
    for x, y, side in faces:
        _draw_face(ImageDraw.Draw(picture), x, y, side)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))


def _draw_face(draw: ImageDraw.ImageDraw, x: int, y: int, side: int) -> None:
    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        return x + left * side, y + top * side, x + right * side, y + bottom * side

    dark, shade = (60, 40, 30), (150, 105, 88)
    draw.ellipse(box(0, 0, 1, 1.3), fill=(224, 182, 150))
    draw.pieslice(box(-0.02, -0.08, 1.02, 0.75), 180, 360, fill=dark)  # hair
    for eye in (0.3, 0.7):
        draw.ellipse(box(eye - 0.12, 0.46, eye + 0.12, 0.58), fill=(245, 240, 235))
        draw.ellipse(box(eye - 0.055, 0.465, eye + 0.055, 0.575), fill=dark)
        draw.rectangle(box(eye - 0.14, 0.36, eye + 0.14, 0.41), fill=dark)
        draw.rectangle(box(eye - 0.14, 0.43, eye + 0.14, 0.47), fill=shade)
    draw.rectangle(box(0.43, 0.77, 0.57, 0.8), fill=shade)
    draw.ellipse(box(0.32, 0.92, 0.68, 1.04), fill=(150, 60, 60))
