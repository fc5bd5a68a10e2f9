"""Where faces are (OpenCV's cascade of Haar features; Viola and Jones, 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.base import Clip
from pipeline.encoders.image import FRAMES_MAX, evenly_spread
from pipeline.encoders.models.choices import own_file
from pipeline.encoders.models.image_network import timed_frames
from pipeline.encoders.models.image_pixels import Frame
from pipeline.encoders.models.weights import INSTALL, model_library
from pipeline.encoders.options import real, whole, wrong_option
from pipeline.errors import InvalidInput, Problem

_CASCADE = "haarcascade_frontalface_alt2.xml"


class Faces:
    """Faces that look at the camera: ``{"faces": [...], "frames": n}``.

    Each face is ``{"time_us", "x", "y", "width", "height", "frame_width", "frame_height"}``: its
    box in pixels of its frame, ``x`` and ``y`` from the frame's left upper corner, and the event
    time at which that frame begins; by time, then from left to right, then from the top.
    ``frames`` is how many were looked at (at most ``max_frames``, evenly spread).

    ``scale``: by how much the search grows from size to size; nearer to 1 finds more and takes
    longer. ``neighbours``: how many overlapping finds make a face; more of them lets fewer false
    ones through. ``min_size``: the least side of a face, as a share of the frame's shorter side.
    ``side``: frames with a longer side than this (pixels) are searched scaled down to it.
    ``cascade``: a cascade file (.xml) of the user's own. It computes on the CPU, on one thread,
    whatever the device.
    """

    takes = ("image", "video")
    gives = "data"

    def __init__(
        self, device: torch.device, *, max_frames: int = FRAMES_MAX, scale: float = 1.1,
        neighbours: int = 5, min_size: float = 0.08, side: int = 640, cascade: str | None = None,
    ) -> None:  # fmt: skip
        self.frames_max = whole("max_frames", max_frames, 1, 100_000)
        self._scale = real("scale", scale, 1.01, 2.0)
        self._neighbours = whole("neighbours", neighbours, 1, 100)
        self._min_size = real("min_size", min_size, 0.0, 1.0)
        self._side = whole("side", side, 64, 1 << 14, "pixels")
        self._cv2 = model_library("cv2")
        self._cv2.setNumThreads(1)
        self._cascade = _loaded(self._cv2, cascade)

    def encode(self, batch: Sequence[Clip]) -> list[dict[str, Any]]:
        return [self._window(clip) for clip in batch]

    def _window(self, clip: Clip) -> dict[str, Any]:
        shown = evenly_spread(timed_frames(clip), self.frames_max)
        found = [
            {"time_us": at_us, **box, "frame_width": frame.shape[1], "frame_height": frame.shape[0]}
            for at_us, frame in shown
            for box in self._boxes(frame)
        ]
        return {"faces": found, "frames": len(shown)}

    def _boxes(self, frame: Frame) -> list[dict[str, int]]:
        grey = self._cv2.cvtColor(frame, self._cv2.COLOR_RGB2GRAY)
        height, width = grey.shape
        share = min(1.0, self._side / max(height, width))
        if share < 1.0:
            size = max(1, round(width * share)), max(1, round(height * share))
            grey = self._cv2.resize(grey, size, interpolation=self._cv2.INTER_AREA)
        least = round(self._min_size * min(grey.shape))
        found = self._cascade.detectMultiScale(
            grey, self._scale, self._neighbours, minSize=(least, least)
        )
        boxes = [[round(int(number) / share) for number in box] for box in found]
        return [
            {"x": x, "y": y, "width": min(w, width - x), "height": min(h, height - y)}
            for x, y, w, h in sorted(boxes)
        ]


def _loaded(cv2: Any, given: str | None) -> Any:
    """The cascade of the package or of the user, InvalidInput where there is none in the file."""
    path = own_file("cascade", given, (".xml",)) if given else Path(cv2.data.haarcascades, _CASCADE)
    if not path.is_file():
        why = f"OpenCV {cv2.__version__} has no {_CASCADE}: version 5 left the cascades out"
        raise InvalidInput(Problem("encoder", "faces", why, INSTALL))
    try:
        cascade = cv2.CascadeClassifier(str(path))
    except (cv2.error, SystemError) as error:  # the second where its binding loses the first
        raise _no_cascade(path) from error
    if cascade.empty():
        raise _no_cascade(path)
    return cascade


def _no_cascade(path: Path) -> InvalidInput:
    return wrong_option("cascade", str(path), "holds no cascade", "give one as OpenCV saves it")
