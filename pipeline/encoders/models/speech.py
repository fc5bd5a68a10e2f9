"""Speech to text: Whisper on the spans of speech, its words given to windows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.encoders.base import Clip, Said
from pipeline.encoders.models.voice import (
    FRAME_SAMPLES,
    FramedAudio,
    Grouping,
    Samples,
    Silero,
    Span,
    clip_audio,
    duration_us,
    padded,
    speech_spans,
)
from pipeline.encoders.models.whisper import Transcriber, Word, load_whisper
from pipeline.encoders.options import wrong_option
from pipeline.media.clips import nearest_sample
from pipeline.spec.catalog import AUDIO_RATE

if TYPE_CHECKING:
    import torch

# Utterances end at a longer pause than voice activity does, and Whisper hears some of what is
# around them: the first and last sound of a word is often below the threshold.
_PAUSE = "320ms"
_PAD_FRAMES = 6
# How far apart two transcripts may put one word. They differ by 20 to 100 ms where the audio ends
# at another place; two words of one spelling are hardly ever so near to each other.
NEAR_US = 250_000


class View(NamedTuple):
    """A stretch of the stream that is transcribed by itself."""

    samples: Samples
    start_us: int


def views(clip: Clip) -> tuple[View, View | None]:
    """What a window hears, and what the window before it heard, out of the same clip.

    With context of at least a window's length, the window's own view leaves out the first
    window's length of the clip; the view of the window before is the clip without its last. So
    both are, sample for sample, what each window gets for its own view. With less context the
    own view is the whole clip, and the other is not known.
    """
    samples, start_us = clip_audio(clip)
    size_us = clip.end_us - clip.start_us
    shift = nearest_sample(size_us, AUDIO_RATE)
    if shift == 0 or clip.start_us - start_us < size_us:
        return View(samples, start_us), None
    earlier = View(samples[: max(0, len(samples) - shift)], start_us)
    return View(samples[shift:], start_us + size_us), earlier


def window_words(
    own: Sequence[Word], earlier: Sequence[Word], start_us: int, end_us: int
) -> list[Word]:
    """The words of ``own`` that belong to the window ``[start_us, end_us)``.

    A word belongs to the window that its middle lies in. Two transcripts of one sound put its
    middle some hundredths of a second apart, so a word near ``start_us`` might be in both windows,
    or in none. ``earlier`` is the transcript of the window before: if its last word that lies
    before ``start_us`` is found in ``own`` close by, this window begins behind it; else, if its
    first word from ``start_us`` on is found, the window begins with that one.

    >>> said = [Word(" had", 700_000, 980_000, 1.0), Word(" he", 980_000, 1_060_000, 1.0)]
    >>> [word.text for word in window_words(said, [], 1_000_000, 2_000_000)]
    [' he']
    >>> before = [Word(" had", 700_000, 940_000, 1.0), Word(" he", 940_000, 1_040_000, 1.0)]
    >>> window_words(said, before, 1_000_000, 2_000_000)  # " he" is in the window before
    []
    """
    begin = next((i for i, word in enumerate(own) if word.middle_us >= start_us), len(own))
    split = next((i for i, word in enumerate(earlier) if word.middle_us >= start_us), len(earlier))
    taken = _same(own, earlier[split - 1], start_us)[-1:] if split else []
    free = _same(own, earlier[split], start_us)[:1] if split < len(earlier) else []
    if taken:
        begin = taken[0] + 1
    elif free:
        begin = free[0]
    return [word for word in own[begin:] if word.middle_us < end_us]


def _same(own: Sequence[Word], word: Word, start_us: int) -> list[int]:
    """Where ``word`` is in ``own``: nearest to its time; several where they are equally near."""
    spelled = _letters(word.text)
    found = [
        (abs(each.middle_us - word.middle_us), i)
        for i, each in enumerate(own)
        if abs(each.middle_us - start_us) < NEAR_US
        and abs(each.middle_us - word.middle_us) < NEAR_US
        and _letters(each.text) == spelled
    ]
    least = min(found, default=(0, 0))[0]
    return [i for distance, i in found if distance == least]


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text).casefold()


class Hearing:
    """Transcribes views; what is equal, byte for byte, is transcribed once.

    It lives for one batch. A transcript depends on the samples alone, so an utterance that lies
    whole in several windows' views is the same words in each: sharing it changes nothing.
    """

    def __init__(
        self, silero: Silero | None, utterances: Grouping, transcriber: Transcriber
    ) -> None:
        self._silero = silero
        self._grouping = utterances
        self._transcriber = transcriber
        self._utterances: dict[bytes, list[Span]] = {}
        self._words: dict[bytes, Sequence[Word]] = {}

    def words(self, view: View, low_us: int, high_us: int) -> list[Word]:
        """The words of the utterances that overlap ``[low_us, high_us)``, in event time."""
        said = []
        audio = FramedAudio.of(view.samples, view.start_us)
        for first, end in self._spans(audio):
            start_us = audio.time_us(first)
            if start_us < high_us and audio.time_us(end) > low_us:
                heard = self._heard(audio.samples[first * FRAME_SAMPLES : end * FRAME_SAMPLES])
                said += [
                    word._replace(start_us=start_us + word.start_us, end_us=start_us + word.end_us)
                    for word in heard
                ]
        return said

    def _spans(self, audio: FramedAudio) -> list[Span]:
        frames = -(-len(audio.samples) // FRAME_SAMPLES)
        if self._silero is None:
            return [Span(0, frames)] if np.any(audio.samples) else []
        key = _digest(audio.samples)
        if key not in self._utterances:
            spans = speech_spans(self._silero.probabilities(audio.samples).tolist(), self._grouping)
            self._utterances[key] = list(padded(spans, _PAD_FRAMES, frames))
        return self._utterances[key]

    def _heard(self, samples: Samples) -> Sequence[Word]:
        key = _digest(samples)
        if key not in self._words:
            self._words[key] = self._transcriber.words(samples)
        return self._words[key]


def _digest(samples: Samples) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(samples).data).digest()


class SpeechToText:
    """The words spoken in a window, joined: ``Said`` with ``{"words": [...]}`` as its data.

    Each word is ``{word, start_us, end_us, probability}`` in event time, ``word`` with the space
    before it, so that the words of a stream's windows, joined, are its text. Clip by clip, at
    temperature 0: the answer depends on the clip alone. The stage's context decides how good it
    is (docs/MODELS.md): an utterance that a view holds whole is the same in every window.
    """

    takes = "audio"
    gives = "text"
    rate = AUDIO_RATE

    def __init__(
        self,
        device: torch.device,
        *,
        model: str | None = None,
        language: str | None = None,
        beam_size: int = 5,
        compute_type: str | None = None,
        vad: bool = True,
        pause: str | float = _PAUSE,
        cpu_threads: int = 1,
    ) -> None:
        if not isinstance(vad, bool):
            raise wrong_option("vad", vad, "is neither true nor false", "write true or false")
        self._utterances = Grouping(min_silence_us=duration_us("pause", pause))
        self._silero = Silero() if vad else None
        whisper = load_whisper(device, model, compute_type, cpu_threads)
        self._transcriber = Transcriber(whisper, language, beam_size)

    def encode(self, batch: Sequence[Clip]) -> list[Said]:
        hearing = Hearing(self._silero, self._utterances, self._transcriber)
        return [self._of(clip, hearing) for clip in batch]

    def _of(self, clip: Clip, hearing: Hearing) -> Said:
        view, before = views(clip)
        own = hearing.words(view, clip.start_us - NEAR_US, clip.end_us)
        earlier: list[Word] = []
        if before is not None and any(_near(word, clip.start_us) for word in own):
            earlier = hearing.words(before, clip.start_us - NEAR_US, clip.start_us + NEAR_US)
        words = window_words(own, earlier, clip.start_us, clip.end_us)
        text = "".join(word.text for word in words).strip()
        return Said(text, {"words": list(_told(words))})


def _near(word: Word, start_us: int) -> bool:
    return abs(word.middle_us - start_us) < NEAR_US


def _told(words: Sequence[Word]) -> Iterator[dict[str, Any]]:
    for word in words:
        yield {
            "word": word.text,
            "start_us": word.start_us,
            "end_us": word.end_us,
            "probability": word.probability,
        }
