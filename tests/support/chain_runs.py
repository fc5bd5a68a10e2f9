"""The chains of docs/examples/chains on a real Kafka, as a user runs them, and what is in them.

Records go in by kafka-python, ``motet topics create`` and ``motet run --local --until-end`` do the
rest, and what is looked at are committed records. A run under a name of its own
(``motet run --name``) puts the same inputs through other options.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import av
import numpy as np
import soxr
import torch
from kafka.consumer.fetcher import ConsumerRecord
from kafka_user import BEGIN_US, LOCAL, KafkaUser
from numpy.typing import NDArray
from PIL import Image

from pipeline.cli import main
from pipeline.encoders.base import Clip
from pipeline.spec import PipelineSpec, load

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "chains"
RATE, SECOND_US = 16_000, 1_000_000
LINES = (
    "the patient in bed four asks for water",
    "please call the doctor on duty",
    "her pulse is steady and the fever is gone",
    "a child is crossing the road near the school",
    "the light is green but the street is blocked",
    "slow down before the bridge and keep to the right",
    "my card was stolen and i want to close the account",
    "the payment went through on monday morning",
    "somebody is knocking at the front door",
    "the train to vienna leaves from the other platform",
    "there is smoke in the kitchen",
    "turn the music down and close the window",
)


class Sent(NamedTuple):
    """A record of the chain's one input."""

    value: bytes
    time_us: int
    stream: str = "s"


class Ran(NamedTuple):
    """``results`` and each stage's own topic, both by stream and time."""

    summary: dict[str, Any]
    results: list[dict[str, Any]]
    out: dict[str, list[ConsumerRecord]]

    def texts(self, stage: str) -> list[str]:
        return [result["text"][stage] for result in self.results]


class Chains:
    """Files of the folder on one broker; topics are made when they are first needed."""

    def __init__(self, user: KafkaUser) -> None:
        self._user = user

    def spec(self, name: str) -> PipelineSpec:
        return load(FOLDER / f"{name}.yaml", environ={"KAFKA": self._user.bootstrap})

    def send(self, name: str, records: Iterable[Sent]) -> None:
        """To the chain's input, whose topics are made."""
        self._motet("topics", "create", self._file(name))
        [declared] = self.spec(name).inputs.values()
        for value, time_us, stream in records:
            self._user.send(declared.topic, stream, value, time_us)
        self._user.producer.flush()

    def run(self, name: str, variant: str | None = None, **options: Any) -> Ran:
        """All that was sent, to the end; ``options``: ``stage__option=value`` of this variant."""
        flags = [] if variant is None else ["--name", variant]
        if variant is not None:
            self._motet("topics", "create", self._file(name), *flags)
        for key, value in options.items():
            stage, option = key.split("__")
            flags += ["--set", f"stages.{stage}.options.{option}={value}"]
        told = self._motet("run", self._file(name), *LOCAL, "--set", "metrics.port=0", *flags)
        spec, suffix = self.spec(name), "" if variant is None else f".{variant}"
        outs = {stage: s.out for stage, s in spec.stages.items() if s.out}
        found = {
            stage: sorted(self._user.read(f"{topic}{suffix}"), key=lambda r: (r.key, time_of(r)))
            for stage, topic in outs.items()
        }
        results = [json.loads(r.value) for r in self._user.read(f"{spec.outputs.results}{suffix}")]
        results.sort(key=lambda r: (r["stream"], r["window"]["start_us"]))
        return Ran(json.loads(told.splitlines()[-1]), results, found)

    def _file(self, name: str) -> Path:
        return FOLDER / f"{name}.yaml"

    def _motet(self, *arguments: object) -> str:
        """What a command line prints; one that fails is an error."""
        sink = io.StringIO()
        known = mock.patch.dict(os.environ, KAFKA=self._user.bootstrap)
        with known, contextlib.redirect_stdout(sink):
            code = main([str(argument) for argument in arguments])
        if code:
            raise RuntimeError(f"motet {' '.join(map(str, arguments))}: exit code {code}")
        return sink.getvalue()


# -- records in -----------------------------------------------------------------------------------


def texts(lines: Sequence[str], step_us: int) -> list[Sent]:
    """A line at the beginning of each window."""
    return [Sent(line.encode(), BEGIN_US + n * step_us) for n, line in enumerate(lines)]


def pictures(frames: Sequence[NDArray[np.uint8]], step_us: int) -> list[Sent]:
    found = []
    for number, frame in enumerate(frames):
        sink = io.BytesIO()
        Image.fromarray(frame).save(sink, "PNG")
        found.append(Sent(sink.getvalue(), BEGIN_US + number * step_us))
    return found


def sounds(lines: Sequence[NDArray[np.float32]], step_us: int, stream: str = "s") -> list[Sent]:
    """Each in records of half a second from the beginning of a window of its own."""
    found, piece = [], RATE // 2
    for number, line in enumerate(lines):
        value = np.clip(np.rint(line * 32768), -32768, 32767).astype(">i2")
        for first in range(0, len(value), piece):
            at_us = BEGIN_US + number * step_us + first * SECOND_US // RATE
            found.append(Sent(value[first : first + piece].tobytes(), at_us, stream))
    return found


# -- records out ----------------------------------------------------------------------------------


def header(record: ConsumerRecord, name: str) -> str:
    [found] = [value.decode() for key, value in record.headers if key == name]
    return found


def time_of(record: ConsumerRecord) -> int:
    """Its ``ce_time``, in microseconds since 1970."""
    at = datetime.fromisoformat(header(record, "ce_time"))
    return round(at.timestamp() * 1000) * 1000


def played(record: ConsumerRecord) -> tuple[NDArray[np.int16], int]:
    """What FFmpeg's decoder makes of a record of audio/L16, and its rate by the content type."""
    kind, *parameters = header(record, "content-type").split(";")
    told = dict(each.split("=") for each in parameters)
    if (kind, told["channels"]) != ("audio/L16", "1"):
        raise ValueError(f"{kind} with {told} is no audio/L16 of one channel")
    options = {"sample_rate": told["rate"], "ch_layout": "mono"}
    with av.open(io.BytesIO(record.value), format="s16be", options=options) as opened:
        rate = opened.streams.audio[0].rate
        frames = [frame.to_ndarray().ravel() for frame in opened.decode(audio=0)]
    return np.concatenate(frames), rate


def heard(records: Sequence[ConsumerRecord]) -> list[str]:
    """What Whisper, outside of any pipeline, hears in records of audio."""
    from pipeline.encoders.models.speech import SpeechToText

    clips = []
    for record in records:
        samples, rate = played(record)
        line = soxr.resample(samples.astype(np.float32) / 32768, rate, RATE).astype(np.float32)
        clips.append(Clip("s", 0, len(line) * SECOND_US // RATE, line, RATE, 0))
    return [str(said) for said in SpeechToText(torch.device("cpu")).encode(clips)]
