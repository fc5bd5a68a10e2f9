"""Where somebody speaks: Silero VAD, and the spans that its probabilities make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.models.weights import Weights, model_library, weights_path
from pipeline.encoders.options import real, wrong_option
from pipeline.media.clips import nearest_sample
from pipeline.spec.catalog import AUDIO_RATE
from pipeline.spec.units import Wrong, parse_duration

if TYPE_CHECKING:
    import torch

Samples = NDArray[np.float32]

FRAME_SAMPLES = 512
FRAME_US = 32_000  # exactly, at 16 kHz: so frames lie on a grid of event time
_OVERLAP_SAMPLES = 64  # of the frame before, which the network sees too
_BLOCK_FRAMES = 512  # of one call: bounds its memory
_HYSTERESIS = 0.15  # speech ends this far below the threshold, as in Silero's own code

SILERO = Weights(
    "silero-vad",
    "silero_vad/data/silero_vad_16k_sequence.onnx",
    "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
)


class Span(NamedTuple):
    """Frames ``[first, end)``."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Grouping:
    """How probabilities become spans: Silero's own rule (``get_speech_timestamps``)."""

    threshold: float = 0.5
    min_speech_us: int = 250_000
    min_silence_us: int = 100_000


class Silero:
    """Silero VAD 6 on the CPU by onnxruntime: 16 kHz in, one probability each 32 ms out.

    A recurrent network, begun anew in each call: the same samples give the same bits. It takes
    3 ms for a second of audio on one core; a GPU would wait for each small step.
    """

    def __init__(self) -> None:
        onnxruntime = model_library("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(weights_path(SILERO)), options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """One for each 512 samples, the last frame filled up with zeros; float32, shape (n,)."""
        count = -(-len(samples) // FRAME_SAMPLES)
        frames = np.zeros((count + 1, FRAME_SAMPLES), np.float32)  # one of silence before
        frames.reshape(-1)[FRAME_SAMPLES : FRAME_SAMPLES + len(samples)] = samples
        seen = np.concatenate((frames[:-1, -_OVERLAP_SAMPLES:], frames[1:]), axis=1)
        hidden = cell = np.zeros((1, 1, 128), np.float32)
        found = [np.zeros(0, np.float32)]
        for first in range(0, count, _BLOCK_FRAMES):
            fed = {"input": seen[first : first + _BLOCK_FRAMES], "h": hidden, "c": cell}
            values, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], fed)
            found.append(values.reshape(-1))
        return np.concatenate(found)


def speech_spans(probabilities: Sequence[float], grouping: Grouping) -> list[Span]:
    """The spans of speech, in order and apart: equal to Silero's ``get_speech_timestamps``.

    Speech begins at a frame of at least the threshold, and ends where it stays 0.15 below it for
    ``min_silence_us``; spans of ``min_speech_us`` or less are dropped. Speech that is not over
    lasts to the end.
    """
    below = max(grouping.threshold - _HYSTERESIS, 0.01)
    spans = []
    first = silent = None
    for frame, probability in enumerate(probabilities):
        if probability >= grouping.threshold:
            silent = None
            if first is None:
                first = frame
        elif probability < below and first is not None:
            silent = frame if silent is None else silent
            if (frame - silent) * FRAME_US >= grouping.min_silence_us:
                spans.append(Span(first, silent))
                first = silent = None
    if first is not None:
        spans.append(Span(first, len(probabilities)))
    return [span for span in spans if (span.end - span.first) * FRAME_US > grouping.min_speech_us]


def padded(spans: Sequence[Span], pad: int, frames: int) -> Iterator[Span]:
    """Each span with ``pad`` frames around it, at most half-way to its neighbour."""
    halves = [(one.end + other.first + 1) // 2 for one, other in itertools.pairwise(spans)]
    for span, low, high in zip(spans, [0, *halves], [*halves, frames], strict=False):
        yield Span(max(low, span.first - pad), min(high, span.end + pad))


@dataclass(frozen=True, slots=True)
class FramedAudio:
    """A clip's samples on the grid of frames: frame i covers ``first_us + i * 32 ms``.

    The grid is that of event time itself (multiples of 32 ms since 1970), so neighbouring windows
    cut the stream into the same frames. What the grid wants before the samples is zeros.
    """

    first_us: int
    samples: Samples

    @classmethod
    def of(cls, samples: Samples, start_us: int) -> FramedAudio:
        first_us = start_us // FRAME_US * FRAME_US
        lead = np.zeros(nearest_sample(start_us - first_us, AUDIO_RATE), np.float32)
        return cls(first_us, np.concatenate((lead, samples)))

    def time_us(self, frame: int) -> int:
        return self.first_us + frame * FRAME_US


def clip_audio(clip: Clip) -> tuple[Samples, int]:
    """The samples of a clip with its context, and the event time of the first.

    Raises ValueError where they are not at 16 kHz.
    """
    if clip.samples is None:
        return np.zeros(0, np.float32), clip.start_us
    if clip.rate not in (None, AUDIO_RATE):
        raise ValueError(f"the clip has {clip.rate} Hz, and the network hears {AUDIO_RATE} Hz")
    start_us = clip.start_us if clip.samples_start_us is None else clip.samples_start_us
    return clip.samples, start_us


def duration_us(name: str, value: Any) -> int:
    """An option that is a duration (``250ms``), or a number of milliseconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(real(name, value, 0, 60_000, "ms") * 1000)
    try:
        return parse_duration(value, zero=True)
    except Wrong as wrong:
        raise wrong_option(name, value, wrong.why, wrong.remedy) from wrong


class VoiceActivity:
    """Speech in a window: ``{speech_ratio, segments, probabilities, first_us, step_us}``.

    segments: ``{start_us, end_us}`` in event time, cut to the window. speech_ratio: the share of
    the window that they cover. probabilities: of the frames of 32 ms whose middle lies in the
    window, the first of which begins at ``first_us``; so each frame of a stream is in exactly one
    of its windows. The network hears a clip from its beginning: give the stage context, since
    what it says of a sound hangs on the second before it.
    """

    takes = "audio"
    gives = "data"
    rate = AUDIO_RATE

    def __init__(
        self,
        device: torch.device,
        *,
        threshold: float = 0.5,
        min_speech: str | float = "250ms",
        min_silence: str | float = "100ms",
    ) -> None:
        self._grouping = Grouping(
            real("threshold", threshold, 0.01, 1),
            duration_us("min_speech", min_speech),
            duration_us("min_silence", min_silence),
        )
        self._silero = Silero()
        self._silero.probabilities(np.zeros(FRAME_SAMPLES, np.float32))

    def encode(self, batch: Sequence[Clip]) -> list[dict[str, Any]]:
        return [self._of(clip) for clip in batch]

    def _of(self, clip: Clip) -> dict[str, Any]:
        audio = FramedAudio.of(*clip_audio(clip))
        found = self._silero.probabilities(audio.samples)
        segments = []
        for span in speech_spans(found.tolist(), self._grouping):
            start_us = max(clip.start_us, audio.time_us(span.first))
            end_us = min(clip.end_us, audio.time_us(span.end))
            if start_us < end_us:
                segments.append({"start_us": start_us, "end_us": end_us})
        spoken_us = sum(each["end_us"] - each["start_us"] for each in segments)
        inside = [
            frame
            for frame in range(len(found))
            if clip.start_us <= audio.time_us(frame) + FRAME_US // 2 < clip.end_us
        ]
        return {
            "speech_ratio": spoken_us / max(1, clip.end_us - clip.start_us),
            "segments": segments,
            "probabilities": [round(float(found[frame]), 4) for frame in inside],
            "first_us": audio.time_us(inside[0]) if inside else clip.start_us,
            "step_us": FRAME_US,
        }
