"""An encoder of your own that gives boxes: where people are in a picture, and how many in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from pipeline.encoders.base import Clip, Said

WINDOW = (64, 128)  # pixels that the detector looks at, width and height
NEAR = 0.4  # of the frame's height


class People:
    """People who stand or walk, by OpenCV's HOG detector (Dalal and Triggs, 2005).

    Its weights are inside OpenCV. It gives text, such as "two people, the nearest is far", and as
    data `{"people": [...], "frames": n}`, each with `time_us`, `x`, `y`, `width`, `height` (pixels
    of its frame), `frame_width`, `frame_height` and `score`, from left to right.

    It looks for people of at least 96 pixels, all of them within the frame; `zoom` above 1
    enlarges frames first. `min_score`: nearer to 0 finds more people, and more that is none.
    """

    takes = ("image", "video")
    gives = "text"
    frames_max = 1  # of a window: the one in its middle

    def __init__(self, device: torch.device, *, zoom: float = 1.0, min_score: float = 0.5) -> None:
        cv2.setNumThreads(1)
        self._detector = cv2.HOGDescriptor()
        self._detector.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
        self._zoom = zoom
        self._min_score = min_score

    def encode(self, batch: Sequence[Clip]) -> list[Said]:
        return [self._window(clip) for clip in batch]

    def _window(self, clip: Clip) -> Said:
        times_us = clip.times_us or [clip.start_us] * len(clip.frames or ())
        shown = list(zip(times_us, clip.frames or (), strict=True))
        found = [box for at_us, frame in shown for box in self._boxes(at_us, frame)]
        return Said(_in_words(found), {"people": found, "frames": len(shown)})

    def _boxes(self, at_us: int, frame: np.ndarray) -> list[dict[str, Any]]:
        height, width = frame.shape[:2]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        pairs = zip(WINDOW, (width, height), strict=True)
        size = [max(least, round(side * self._zoom)) for least, side in pairs]
        boxes, scores = self._detector.detectMultiScale(
            cv2.resize(grey, size), winStride=(8, 8), scale=1.1
        )
        share = np.array([width / size[0], height / size[1]] * 2)
        found = []
        places = np.reshape(boxes, (-1, 4)).tolist()  # where there are none OpenCV gives ()
        for box, score in sorted(zip(places, np.ravel(scores).tolist(), strict=True)):
            if score >= self._min_score:
                x, y, w, h = (int(number) for number in np.rint(box * share))
                found.append(
                    {"time_us": at_us, "x": max(0, x), "y": max(0, y), "width": w, "height": h,
                     "frame_width": width, "frame_height": height, "score": round(score, 2)}
                )  # fmt: skip
        return found


def _in_words(found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return "nobody"
    many = {1: "one person", 2: "two people"}.get(len(found), "several people")
    nearest = max(box["height"] / box["frame_height"] for box in found)
    return f"{many}, the nearest is {'near' if nearest >= NEAR else 'far'}"
