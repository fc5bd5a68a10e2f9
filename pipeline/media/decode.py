"""Decoding proper, for the encoder side: it may fail, and then it is the record's fault.

Everything here raises UndecodableRecord and nothing else (but MemoryError, which is the
machine's); DecodeTimeout, which is one, where the time that a decoder is given is up. The facts are
those that the header readers gave for the same payload. Decoders also warn, of a broken EXIF block
for instance: the host silences that, since only it owns the filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UndecodableRecord
from pipeline.media.compressed_audio import decode_compressed
from pipeline.media.facts import Payload
from pipeline.media.framed_audio import decode_framed
from pipeline.media.pcm import INT16_FORMATS, float_mono, int16_mono, wav_mono
from pipeline.media.pictures import decode_picture
from pipeline.media.time_limit import NO_LIMIT, TimeLimit
from pipeline.record import Facts

Samples = NDArray[np.float32]
Frame = NDArray[np.uint8]
_Decoded = TypeVar("_Decoded")
# "<_io.BytesIO object at 0x7f12>": the text goes into a dead letter, the same in every run.
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")


def decode_audio(facts: Facts, payload: Payload, limit: TimeLimit = NO_LIMIT) -> Samples:
    """Float32 of shape (facts.samples,) at facts.rate, mono by the mean of the channels.

    Full scale is 1.0: integers are divided by it, and floats beyond it are clipped to [-1, 1].
    What can be decoded counts, and the rest up to facts.samples is zeros, since the record's
    place in event time was decided by its header. Where nothing can be decoded, or a sample is
    NaN or infinite, the record is undecodable.
    """
    return _guarded(_audio, facts, payload, limit)


def decode_image(facts: Facts, payload: Payload, limit: TimeLimit = NO_LIMIT) -> Frame:
    """Uint8 RGB of shape (height, width, 3), turned upright by its EXIF orientation.

    As Pillow's ``convert("RGB")``: alpha is left out (not blended), grey is repeated, CMYK is
    converted without a profile; 16-bit grey keeps its upper 8 bits. Of several pictures in one
    payload the first. A picture that is cut off is undecodable.
    """
    return _guarded(decode_picture, facts, payload, limit)


def decode_text(facts: Facts, payload: Payload, limit: TimeLimit = NO_LIMIT) -> str:
    """The text, without a byte order mark at its start."""
    return _guarded(_text, facts, payload, limit)


def _guarded(
    decode: Callable[[Facts, Payload, TimeLimit], _Decoded],
    facts: Facts,
    payload: Payload,
    limit: TimeLimit,
) -> _Decoded:
    try:
        return decode(facts, payload, limit)
    except (UndecodableRecord, MemoryError):
        raise
    except Exception as error:  # a decoder's own, and there are many of them
        said = _ADDRESS.sub("the payload", " ".join(str(error).split()))
        raise UndecodableRecord(f"{facts.format}: {type(error).__name__}: {said}") from error


def _audio(facts: Facts, payload: Payload, limit: TimeLimit) -> Samples:
    if facts.format in INT16_FORMATS:
        return int16_mono(payload, INT16_FORMATS[facts.format], facts.channels)
    if facts.format == "F32LE":
        return float_mono(np.frombuffer(payload, "<f4"), facts.channels, facts.format)
    decode = _DECODERS.get(facts.format, decode_compressed)
    samples = decode(facts, payload, limit)
    if len(samples) == 0:
        raise UndecodableRecord(f"{facts.format}: no sample can be decoded")
    if len(samples) < facts.samples:
        whole = np.zeros(facts.samples, np.float32)
        whole[: len(samples)] = samples
        return whole
    return samples[: facts.samples]


def _wav(_: Facts, payload: Payload, __: TimeLimit) -> Samples:
    return wav_mono(payload)


_DECODERS: dict[str, Callable[[Facts, Payload, TimeLimit], Samples]] = {
    "wav": _wav,
    "mpeg": decode_framed,
    "aac": decode_framed,
}


def _text(_: Facts, payload: Payload, __: TimeLimit) -> str:
    return str(payload, "utf-8-sig")
