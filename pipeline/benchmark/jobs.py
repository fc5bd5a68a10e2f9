"""The jobs that pipelines are measured with: their file, their records, and what must come out.

A window is a second of one stream. Record ``n`` is the same in every run: its stream, its part of
which window, its payload. Streams go side by side, as live sources do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import InvalidInput, Problem
from pipeline.slot.ports import OutRecord
from pipeline.spec.units import format_rfc3339

STREAMS, PARTITIONS, RATE = 32, 4, 16_000
SECOND_US = 1_000_000
VARIANTS = 64  # different payloads of each kind; window w has number w % VARIANTS
SOUND = "audio/L16;rate=16000;channels=1"


class Window(NamedTuple):
    """A window as a result names it; ``start_us`` from the begin of the job's event time."""

    stream: str
    start_us: int


@dataclass(frozen=True, slots=True)
class Job:
    """``inputs``: media types by name. ``pieces``: records of each input in a window, which they
    fill exactly. ``stages`` and ``fusion`` as they stand in the file.

    Invariant: the last record of a window ends where the window does, so where records need not be
    waited for (``out_of_orderness`` 0) a window closes with its own last record.
    """

    name: str
    says: str
    inputs: Mapping[str, str]
    stages: tuple[str, ...]
    fusion: str
    pieces: int
    windows: int  # by default
    by_name: bool = False  # run only where it is asked for: it needs motet[models]

    @property
    def records_per_window(self) -> int:
        return self.pieces * len(self.inputs)

    def file(self, name: str, source: str, bootstrap: str, wait_ms: int) -> str:
        """A pipeline file: ``source`` begins the names of the input topics, ``name`` all others.

        ``wait_ms``: how long records are waited for (``out_of_orderness``).
        """
        inputs = "".join(
            f'  {each}: {{topic: {source}.{each}, type: "{media}", out_of_orderness: {wait_ms}ms, '
            "gating: true}\n"
            for each, media in self.inputs.items()
        )
        stages = "".join(f"  {stage}\n" for stage in self.stages)
        return (
            f"version: 1\nname: {name}\nkafka: {{bootstrap: '{bootstrap}'}}\n"
            f"inputs:\n{inputs}windows: {{size: 1s}}\nstages:\n{stages}fusion: {self.fusion}\n"
            f"outputs: {{results: {name}.results, late: {name}.late, "
            f"dead_letter: {name}.dead-letter}}\nmetrics: {{port: 0}}\n"
        )

    def records(self, windows: int) -> int:
        """Of so many windows: a whole number of seconds of all streams (InvalidInput)."""
        if windows <= 0 or windows % STREAMS:
            remedy = f"give a multiple of {STREAMS}, the number of streams"
            why = "streams send side by side, a window each"
            raise InvalidInput(Problem("--windows", str(windows), why, remedy))
        return windows * self.records_per_window

    def record(self, number: int, source: str, begin_us: int, payloads: Payloads) -> OutRecord:
        """Record ``number``, with its event time in ``ce_time``."""
        tick, of_tick = divmod(number, STREAMS * len(self.inputs))
        stream, of_stream = divmod(of_tick, len(self.inputs))
        second, piece = divmod(tick, self.pieces)
        entry = tuple(self.inputs)[of_stream]
        media = self.inputs[entry]
        variant = (second * STREAMS + stream) % VARIANTS
        ts_us = begin_us + second * SECOND_US
        if media == SOUND:
            ts_us += piece * SECOND_US // self.pieces
            whole = payloads.sounds[variant]
            size = len(whole) // self.pieces
            value = whole[piece * size : (piece + 1) * size]
        else:
            ts_us += SECOND_US - 1  # it lasts a microsecond, the window's last
            value = (payloads.pictures if media == "image/jpeg" else payloads.texts)[variant]
        headers = (("ce_time", format_rfc3339(ts_us, "microseconds").encode()),)
        key = stream_name(stream).encode()
        return OutRecord(f"{source}.{entry}", stream % PARTITIONS, key, value, headers)

    def completes(self, number: int) -> Window | None:
        """The window whose last record this is."""
        tick, of_tick = divmod(number, STREAMS * len(self.inputs))
        stream, of_stream = divmod(of_tick, len(self.inputs))
        second, piece = divmod(tick, self.pieces)
        if piece != self.pieces - 1 or of_stream != len(self.inputs) - 1:
            return None
        return Window(stream_name(stream), second * SECOND_US)

    def window_bytes(self, payloads: Payloads) -> int:
        """Payload of a window, the mean over the variants."""
        kinds = {SOUND: payloads.sounds, "image/jpeg": payloads.pictures}
        return sum(
            sum(map(len, kinds.get(media, payloads.texts))) // VARIANTS
            for media in self.inputs.values()
        )


def stream_name(number: int) -> str:
    return f"stream-{number}"


class Payloads(NamedTuple):
    """Made from a seed (``pipeline.benchmark.payloads``): the same in every process."""

    sounds: list[bytes]
    pictures: list[bytes]
    texts: list[bytes]


_SOUND_STAGE = "sound: {encoder: log_mel, of: mic}"
_SUM = "{rule: weighted_sum, of: {sound: 1}, normalize: none}"
JOBS = {
    job.name: job
    for job in (
        Job(
            "audio",
            "one-second records of 16 kHz sound, 32 streams, log_mel",
            {"mic": SOUND},
            (_SOUND_STAGE,),
            _SUM,
            1,
            4_800,
        ),
        Job(
            "fused",
            "sound, a JPEG and a line of text a second, 32 streams, classical encoders, concat",
            {"mic": SOUND, "camera": "image/jpeg", "chat": "text/plain"},
            (
                _SOUND_STAGE,
                "colour: {encoder: color_histogram, of: camera}",
                "words: {encoder: hash_text, of: chat}",
            ),
            "{rule: concat, of: {sound: 1, colour: 1, words: 1}}",
            1,
            2_400,
        ),
        Job(
            "small",
            "records of 20 ms (640 bytes), 50 a window, 32 streams, log_mel",
            {"mic": SOUND},
            (_SOUND_STAGE,),
            _SUM,
            50,
            960,
        ),
        Job(
            "model",
            "a JPEG a second, 32 streams, EfficientNet-Lite0: what a network takes, and the rest",
            {"camera": "image/jpeg"},
            ("scene: {encoder: image_embedding, of: camera}",),
            "{rule: weighted_sum, of: {scene: 1}, normalize: none}",
            1,
            640,
            by_name=True,
        ),
    )
}


def job_named(name: str) -> Job:
    """InvalidInput where there is none of that name."""
    if name not in JOBS:
        raise InvalidInput(Problem("JOB", name, "is no job", f"take one of {', '.join(JOBS)}"))
    return JOBS[name]
