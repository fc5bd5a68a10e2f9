"""From a name in the pipeline file to an encoder, with every way to be wrong told in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.encoders.base import Clip, Encoder
from pipeline.errors import InvalidInput, Problem
from pipeline.spec.catalog import AUDIO_RATE, check_encoder, implementation
from pipeline.spec.own_files import resolved
from pipeline.spec.sequence import STEPS_MAX, WIDTH_MAX, SequenceShape
from pipeline.spec.units import Wrong
from pipeline.spec.user_class import build, load_class, one_line

TAKES = ("audio", "image", "video", "text", "vector")
GIVES = (*TAKES, "data")
SEQUENCES = ("sequence", "tokens")
_PAIRS = ("frame_size", *SEQUENCES)


def encoder_class(name: str, folder: Path | None, key: str) -> Any:
    """The class of a built-in name or of ``package.module:Class``; its protocol is checked."""
    try:
        check_encoder(name)
    except Wrong as wrong:
        raise InvalidInput(Problem(key, name, wrong.why, wrong.remedy)) from wrong
    return load_class(implementation(name), folder, key)


def load_encoder(
    name: str,
    options: Mapping[str, Any],
    device: torch.device,
    folder: Path | None = None,
    *,
    key: str = "encoder",
) -> Encoder:
    """Builds the encoder ``name`` (a built-in, or ``package.module:Class``) on the device.

    ``folder`` is the pipeline file's: the user's own classes and files are found from it.
    ``key`` is its key in the file (``stages.sound.encoder``). Raises InvalidInput, naming the
    key or the option, where the class cannot be found or built, or keeps not to the protocol.
    """
    cls = encoder_class(name, folder, key)
    parent, _, last = key.rpartition(".")
    prefix = f"{parent}." if parent else ""
    if last != "encoder":
        prefix = f"{key}."
    encoder = build(cls, name, {"device": device}, resolved(name, options, folder), key, prefix)
    check_protocol(encoder, name, key)
    return encoder  # type: ignore[no-any-return]


def check_protocol(encoder: Any, name: str, key: str) -> None:
    """Raises InvalidInput unless takes, gives and encode are what the contract says."""
    takes, gives = kinds_taken(encoder), getattr(encoder, "gives", None)
    if not takes or not all(kind in TAKES for kind in takes):
        why = f"its takes is {getattr(encoder, 'takes', None)!r}"
        remedy = f"set takes to one of {', '.join(TAKES)}, or a tuple of them"
        raise InvalidInput(Problem(key, name, why, remedy))
    if not isinstance(gives, str) or gives not in GIVES:
        remedy = f"set gives to one of {', '.join(GIVES)}"
        raise InvalidInput(Problem(key, name, f"its gives is {gives!r}", remedy))
    if not callable(getattr(encoder, "encode", None)):
        raise InvalidInput(
            Problem(key, name, "it has no encode", "define encode(self, batch) -> outputs")
        )
    for attribute in ("length", "rate", "frames_max", "frame_size", *SEQUENCES):
        value = getattr(encoder, attribute, None)
        pair = attribute in _PAIRS and isinstance(value, tuple) and len(value) == 2
        if value is not None and not all(_from_one(each) for each in (value if pair else (value,))):
            why = f"its {attribute} is {value!r}"
            raise InvalidInput(
                Problem(key, name, why, f"set {attribute} to a whole number, or leave it out")
            )


def _from_one(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and bool(value > 0)


def kinds_taken(encoder: Any) -> tuple[Any, ...]:
    """``takes`` as a tuple."""
    takes = getattr(encoder, "takes", ())
    return (takes,) if isinstance(takes, str) else tuple(takes) if takes else ()


def empty_clip(encoder: Any, vector_length: int = 0) -> Clip:
    """A clip of a window in which nothing is, with the fields of the kinds that are taken."""
    takes = kinds_taken(encoder)
    clip = Clip(stream="", start_us=0, end_us=0)
    if "audio" in takes:
        clip.samples = np.zeros(0, np.float32)
        clip.rate = getattr(encoder, "rate", None) or AUDIO_RATE
        clip.samples_start_us = 0
    if "image" in takes or "video" in takes:
        clip.frames, clip.times_us, clip.ends_us = (), (), ()
    if "text" in takes:
        clip.text = ""
    if "vector" in takes:
        clip.vector = np.zeros(vector_length, np.float32)
    return clip


def vector_length(
    encoder: Any, upstream_length: int = 0, *, name: str = "", key: str = "encoder"
) -> int:
    """The length of the encoder's vectors: it states ``length``, or is asked with one empty clip.

    ``upstream_length`` is that of the vector it reads, where it takes one.
    """
    stated = getattr(encoder, "length", None)
    if stated is not None:
        return int(stated)
    remedy = "state length on the class, or let encode take an empty clip"
    try:
        outputs: Sequence[Any] = encoder.encode([empty_clip(encoder, upstream_length)])
        shape = tuple(int(n) for n in outputs[0].shape)
    except Exception as error:
        why = f"it states no length, and an empty clip fails with {one_line(error)}"
        raise InvalidInput(Problem(key, name, why, remedy)) from error
    if len(outputs) != 1 or len(shape) != 1 or shape[0] == 0:
        why = f"it states no length, and gives {len(outputs)} outputs of shape {shape}"
        raise InvalidInput(Problem(key, name, why, "give one 1-D vector for each clip"))
    return shape[0]


def sequence_shape(
    encoder: Any, length: int, *, name: str = "", key: str = "encoder"
) -> SequenceShape | None:
    """What an encoder states of its vectors as sequences, which have to have that ``length``."""
    stated = [one for one in SEQUENCES if getattr(encoder, one, None) is not None]
    if not stated:
        return None
    value = getattr(encoder, stated[0])
    remedy = "set sequence to (steps, width), or tokens to (steps, vocabulary)"
    if len(stated) > 1 or not isinstance(value, tuple):
        why = f"its {' and '.join(stated)} tell no shape"
        raise InvalidInput(Problem(key, name, why, remedy))
    shape = SequenceShape(int(value[0]), int(value[1]), stated[0] == "tokens")
    if shape.length != length or shape.steps > STEPS_MAX or shape.width > WIDTH_MAX:
        why = f"its {stated[0]} is {value}, and its vectors have {length} numbers"
        remedy = f"{remedy}, at most {STEPS_MAX} and {WIDTH_MAX}"
        raise InvalidInput(Problem(key, name, why, remedy))
    return shape
