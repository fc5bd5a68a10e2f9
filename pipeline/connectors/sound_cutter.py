"""Sound as it becomes records: mixed, resampled, cut to chunks, and written in the type asked for.

Everything is float32 and rounded once at the end, so 16-bit samples that need no conversion come
out bit for bit. Resampling is ``soxr`` HQ over all samples of a run as one stream: chunks show no
seam, and ``n`` samples become ``round(n * to / from)``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pipeline.connectors.files import Piece
from pipeline.connectors.sound_file import Samples
from pipeline.errors import InvalidInput, Problem
from pipeline.spec.media_type import parse_media_type

CONTAINERS = {
    "audio/wav": ("WAV", "PCM_16"),
    "audio/flac": ("FLAC", "PCM_16"),
    "audio/ogg": ("OGG", "VORBIS"),
    "audio/mpeg": ("MP3", "MPEG_LAYER_III"),  # with a tag that states its samples exactly
}
MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MPEG_CHANNELS_MAX = 2
DTYPES = {"S16BE": ">i2", "S16LE": "<i2", "F32LE": "<f4"}
WRITABLE = frozenset({*CONTAINERS, *DTYPES.values()})


class AudioForm(NamedTuple):
    """How audio is written into a record: a content type, its rate and channels, and a codec.

    ``codec`` is a numpy dtype for raw samples (``>i2``, ``<i2``, ``<f4``), otherwise the
    media type of a container.
    """

    content_type: str
    codec: str
    rate: int
    channels: int


def audio_form(content_type: str | None, rate: int, channels: int) -> AudioForm:
    """The form that a media type asks for; what it leaves open is taken from the source.

    L16 is big-endian (RFC 2586). Raises InvalidInput for a type that cannot be written.
    """
    if content_type is None:
        return AudioForm(f"audio/L16;rate={rate};channels={channels}", ">i2", rate, channels)
    wanted = parse_media_type(content_type)
    codec = DTYPES.get(wanted.format, f"{wanted.kind}/{wanted.subtype}")
    if codec not in WRITABLE:
        remedy = f"give the input one of audio/L16, audio/x-raw, {', '.join(CONTAINERS)}"
        why = "publish cannot write this type"
        if wanted.format == "aac":
            why += ": AAC in ADTS does not say where in its frames the sound begins"
        raise InvalidInput(Problem("type", content_type, why, remedy))
    rate, channels = wanted.rate or rate, wanted.channels or channels
    if codec == "audio/mpeg":
        if rate not in MPEG_RATES:
            why, remedy = f"MPEG audio has no rate of {rate} Hz", "write audio/mpeg;rate=48000"
            raise InvalidInput(Problem("type", content_type, why, remedy))
        channels = channels if channels <= MPEG_CHANNELS_MAX else 1
    return AudioForm(content_type, codec, rate, channels)


class SoundCutter:
    """Blocks of samples in, records out: ``begin``, ``feed`` as often as there is more, ``end``.

    Invariant: a run, from ``begin`` to ``end``, is sound without a gap; its records hold every
    sample of it once, and each but the last is ``chunk_us`` long to the sample. The start of a
    record is computed from its first sample's number: no drift over hours.
    """

    def __init__(self, rate: int, form: AudioForm, chunk_us: int) -> None:
        self._rate = rate
        self._form = form
        self._chunk_us = chunk_us
        self._due_us = 0
        self.begin(0)

    def begin(self, at_us: int) -> None:
        """A run whose first sample is at ``at_us``."""
        self._at_us = at_us
        self._edges = Edges(self._form.rate, self._chunk_us)
        self._done = 0  # samples of the run that are in records
        self._resampler: Any = None
        if self._rate != self._form.rate:
            import soxr

            self._resampler = soxr.ResampleStream(
                self._rate, self._form.rate, self._form.channels, dtype="float32", quality="HQ"
            )

    def feed(self, block: Samples) -> Iterator[Piece]:
        """The records that a block of shape (n, channels), float32, completes."""
        mixed = _mixed(block, self._form.channels)
        if self._resampler is not None:
            mixed = self._resampler.resample_chunk(mixed).reshape(-1, self._form.channels)
        for chunk in self._edges.feed(mixed):
            yield self._piece(chunk)

    def end(self) -> Iterator[Piece]:
        """What is left of the run."""
        if self._resampler is not None:
            nothing = np.zeros((0, self._form.channels), np.float32)
            rest = self._resampler.resample_chunk(nothing, last=True)
            for chunk in self._edges.feed(rest.reshape(-1, self._form.channels)):
                yield self._piece(chunk)
        chunk = self._edges.rest()
        if len(chunk):
            yield self._piece(chunk)

    def _piece(self, chunk: Samples) -> Piece:
        first, self._done = self._done, self._done + len(chunk)
        at_us = self._at_us + first * 1_000_000 // self._form.rate
        end_us = self._at_us + self._done * 1_000_000 // self._form.rate
        self._due_us = max(self._due_us, end_us)
        payload = _written(chunk, self._form)
        return Piece(at_us, end_us, self._due_us, self._form.content_type, payload)


class Edges:
    """Cuts blocks of shape (n, channels) at the samples ``floor(k * chunk * rate)``."""

    def __init__(self, rate: int, chunk_us: int) -> None:
        self._rate, self._chunk_us = rate, chunk_us
        self._held: list[Samples] = []
        self._have, self._done, self._number = 0, 0, 1

    def feed(self, block: Samples) -> Iterator[Samples]:
        """The chunks that the block completes."""
        if not len(block):
            return
        self._held.append(block)
        self._have += len(block)
        while self._done + self._have >= (edge := self._edge()):
            self._number += 1
            if edge == self._done:
                continue  # a chunk shorter than a sample
            joined = np.concatenate(self._held) if len(self._held) > 1 else self._held[0]
            yield joined[: edge - self._done]
            self._held = [joined[edge - self._done :]]
            self._have -= edge - self._done
            self._done = edge

    def rest(self) -> Samples:
        """What lies behind the last edge; shape (0, 1) where there is nothing."""
        return np.concatenate(self._held) if self._have else np.zeros((0, 1), np.float32)

    def _edge(self) -> int:
        return self._number * self._chunk_us * self._rate // 1_000_000


def _mixed(block: Samples, channels: int) -> Samples:
    """The same sound in another number of channels: the mean of all, in each of them."""
    if block.shape[1] == channels:
        return block
    mono = block.mean(axis=1, dtype=np.float32, keepdims=True)
    return np.ascontiguousarray(np.broadcast_to(mono, (len(block), channels)))


def _written(block: Samples, form: AudioForm) -> bytes:
    if form.codec in CONTAINERS:
        import soundfile

        kind, subtype = CONTAINERS[form.codec]
        out = io.BytesIO()
        soundfile.write(out, block, form.rate, format=kind, subtype=subtype)
        return out.getvalue()
    if form.codec == "<f4":
        return bytes(block.astype("<f4").tobytes())
    rounded = np.clip(np.rint(block * 32768.0), -32768, 32767)
    return bytes(rounded.astype(form.codec).tobytes())
