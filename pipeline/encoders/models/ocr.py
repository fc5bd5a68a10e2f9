"""Text that is to be read in pictures (RapidOCR with PP-OCRv6); without any, what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from pipeline.encoders.base import Clip
from pipeline.encoders.image import evenly_spread
from pipeline.encoders.models.choices import own_file
from pipeline.encoders.models.image import ImageLabels
from pipeline.encoders.models.image_names import as_sentence
from pipeline.encoders.models.image_network import shown_frames
from pipeline.encoders.models.image_pixels import Frame
from pipeline.encoders.models.weights import Weights, model_library, weights_path
from pipeline.encoders.options import flag, real, whole

DETECTOR = Weights(
    "rapidocr",
    "rapidocr/models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
RECOGNIZER = Weights(
    "rapidocr",
    "rapidocr/models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)
_SIDE_MAX = 2000  # RapidOCR scales frames with a longer side (pixels) down to it


class _Word(NamedTuple):
    """A run of text with the box around it, in pixels."""

    top: float
    bottom: float
    left: float
    text: str


class ImageToText:
    """The text in a window's pictures, line by line from top to bottom, joined by newline.

    At most ``max_frames`` frames are read, evenly spread (default 1: it takes some tenths of a
    second each); a line that an earlier one of them had is not told again. What was recognised
    with less than ``text_score`` is left out, and so is a line of fewer than ``min_letters``
    letters and digits: a lone "8" is most often the rim of a cup. Text that stands on its
    head is not read. Where nothing can be read and ``labels`` is true, the likeliest one or two
    labels of ``image_labels`` of at least ``min_score``, as a sentence; without any it is empty.

    ``detector``, ``recognizer``: PP-OCR models of the user's own, as ONNX with the characters in
    the metadata. Nothing is ever downloaded. ONNX Runtime uses CUDA where its package has it.
    """

    takes = ("image", "video")
    gives = "text"

    def __init__(
        self, device: torch.device, *, max_frames: int = 1, text_score: float = 0.7,
        min_letters: int = 2, labels: bool = True, min_score: float = 0.1,
        detector: str | None = None, recognizer: str | None = None,
    ) -> None:  # fmt: skip
        self.frames_max = whole("max_frames", max_frames, 1, 1000)
        self.frame_size = _SIDE_MAX
        self._letters_min = whole("min_letters", min_letters, 1, 100)
        score = real("text_score", text_score, 0.0, 1.0)
        least = real("min_score", min_score, 0.0, 1.0)
        self._labels: ImageLabels | None = None
        if flag("labels", labels):
            self._labels = ImageLabels(device, top=2, min_score=least, max_frames=self.frames_max)
        found = model_library("rapidocr")
        onnx = "EngineConfig.onnxruntime"
        self._read = found.RapidOCR(params={
            "Global.log_level": "critical",  # else a warning for every frame without text
            "Global.text_score": score,
            "Global.use_cls": False,
            "Global.max_side_len": _SIDE_MAX,
            "Det.model_path": str(_model("detector", detector, DETECTOR)),
            "Rec.model_path": str(_model("recognizer", recognizer, RECOGNIZER)),
            f"{onnx}.intra_op_num_threads": 1,
            f"{onnx}.inter_op_num_threads": 1,
            f"{onnx}.use_cuda": _cuda(torch.device(device)),
            f"{onnx}.cuda_ep_cfg.device_id": torch.device(device).index or 0,
        })  # fmt: skip
        self._lines(_sample())  # loads both models, and has run them once

    def encode(self, batch: Sequence[Clip]) -> list[str]:
        texts = [self._text(clip) for clip in batch]
        silent = [place for place, text in enumerate(texts) if not text]
        if self._labels is not None and silent:
            seen = self._labels.encode([batch[place] for place in silent])
            for place, shown in zip(silent, seen, strict=True):
                texts[place] = as_sentence(shown["labels"])
        return texts

    def _text(self, clip: Clip) -> str:
        told: dict[str, None] = {}  # in order, each once
        for frame in evenly_spread(shown_frames(clip), self.frames_max):
            told.update(dict.fromkeys(self._lines(frame)))
        return "\n".join(told)

    def _lines(self, frame: Frame) -> list[str]:
        found = self._read(np.ascontiguousarray(frame[..., ::-1]))  # it reads blue, green, red
        texts = getattr(found, "txts", None)
        if texts is None:
            return []  # no box was found, or nothing in it could be read
        words = []
        for box, text in zip(found.boxes, texts, strict=True):
            left, top = box.min(axis=0)
            words.append(_Word(float(top), float(box[:, 1].max()), float(left), text.strip()))
        return [line for line in _in_lines(words) if _letters(line) >= self._letters_min]


def _sample() -> Frame:
    """A picture with a word in it, so that every part has something to do."""
    picture = Image.new("RGB", (160, 64), "white")
    ImageDraw.Draw(picture).text((20, 12), "motet", fill="black", font=ImageFont.load_default(32))
    return np.asarray(picture)


def _in_lines(words: Sequence[_Word]) -> list[str]:
    """Runs whose middle lies between top and bottom of a line's first one are of that line."""
    lines: list[list[_Word]] = []
    for word in sorted(words):
        middle = (word.top + word.bottom) / 2
        if lines and lines[-1][0].top <= middle <= lines[-1][0].bottom:
            lines[-1].append(word)
        else:
            lines.append([word])
    return [" ".join(w.text for w in sorted(line, key=lambda w: w.left)) for line in lines]


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _model(option: str, given: Any, ours: Weights) -> Any:
    return weights_path(ours) if given is None else own_file(option, given, (".onnx",))


def _cuda(device: torch.device) -> bool:
    known = model_library("onnxruntime").get_available_providers()
    return device.type == "cuda" and "CUDAExecutionProvider" in known
