"""Read sentences with their words, as clips and as a stream, and the word error rate of a text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.demo import assets
from pipeline.encoders.base import Clip
from pipeline.local import run_local
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.spec import loads
from pipeline.tasks.host import RunControl
from pipeline.tasks.results import rfc3339

RATE = 16_000
SECOND_US = 1_000_000
EPOCH_US = 1_700_000_001 * SECOND_US  # a whole second that lies inside a frame of 32 ms
RECORD_US = 500_000

Line = NDArray[np.float32]


class Reading(NamedTuple):
    name: str
    samples: Line  # float32, mono, 16 kHz
    text: str


@cache
def sentences() -> tuple[Reading, ...]:
    """The five vendored sentences, their words as the NOTICE of the media has them."""
    media = Path(assets.__file__).parent / "media"
    notice = (media / "NOTICE").read_text("utf-8")
    found = []
    for file in sorted((media / "speech").glob("*.flac")):
        match = re.search(rf"{file.name}  (.+(\n {{20,}}.+)*)", notice)  # and indented lines after
        assert match, f"{file.name} has no transcript in the NOTICE"
        samples, rate = soundfile.read(file, dtype="float32")
        assert rate == RATE
        found.append(Reading(file.stem, samples, " ".join(match[1].split())))
    return tuple(found)


def whole_clip(samples: Line) -> Clip:
    """A window that is as long as the samples, without context."""
    length_us = len(samples) * SECOND_US // RATE
    return Clip("s", EPOCH_US, EPOCH_US + length_us, samples, RATE, EPOCH_US)


def window_clips(line: Line, before_s: float, after_s: float, size_s: float = 1) -> list[Clip]:
    """The windows of a stream that begins at EPOCH_US, as a stage with this context gets them."""
    before, after, size = (round(s * RATE) for s in (before_s, after_s, size_s))
    windows = -(-len(line) // size)
    lead, trail = np.zeros(before, np.float32), np.zeros(windows * size + after, np.float32)
    padded = np.concatenate((lead, line, trail))
    size_us, before_us = round(size_s * SECOND_US), round(before_s * SECOND_US)
    clips = []
    for number in range(windows):
        start_us = EPOCH_US + number * size_us
        samples = padded[number * size : number * size + before + size + after].copy()
        clips.append(Clip("s", start_us, start_us + size_us, samples, RATE, start_us - before_us))
    return clips


class Errors(NamedTuple):
    wrong: int
    words: int

    @property
    def rate(self) -> float:
        return self.wrong / max(1, self.words)

    def __str__(self) -> str:
        return f"{self.rate:.3f} ({self.wrong} of {self.words} words)"


def word_errors(references: Sequence[str], said: Sequence[str]) -> Errors:
    """By jiwer, both sides through Whisper's English normaliser as transformers has it."""
    import jiwer
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normal = EnglishTextNormalizer({})
    done = jiwer.process_words([normal(t) for t in references], [normal(t) for t in said])
    wrong = done.substitutions + done.deletions + done.insertions
    return Errors(wrong, done.hits + done.substitutions + done.deletions)


def speech_pipeline(context: Mapping[str, str], size: str = "1s") -> dict[str, Any]:
    return {
        "name": "readings",
        "inputs": {"mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"}},
        "windows": {"size": size},
        "stages": {
            "speech": {
                "encoder": "speech_to_text", "of": "mic", "context": dict(context),
                "timeout": "10m", "out": "out.speech",
            },
            "sound": {"encoder": "log_mel", "of": "mic"},
        },
        "fusion": {"rule": "concat", "of": {"sound": 1}},
        "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
        "slots": 1,
    }  # fmt: skip


def run_stream(tree: Mapping[str, Any], line: Line) -> list[dict[str, Any]]:
    """The results of a stream that ``motet run --local --until-end`` gives, by time."""
    spec = loads(yaml.safe_dump(dict(tree), sort_keys=False), folder=Path(), environ={})
    broker = MemoryBroker()
    for topic in (*spec.topics_in(), *spec.topics_out()):
        broker.create_topic(topic, 1)
    step = RATE * RECORD_US // SECOND_US
    for number, first in enumerate(range(0, len(line), step)):
        at_us = EPOCH_US + number * RECORD_US
        value = np.clip(np.rint(line[first : first + step] * 32768), -32768, 32767)
        headers = [("ce_time", rfc3339(at_us))]
        payload = value.astype(">i2").tobytes()
        broker.append(OutRecord("in.mic", 0, b"s", payload, headers, at_us))
    run_local(spec, MemoryConnector(broker, pending_wait_s=0.02), RunControl(until_end=True))
    source = MemoryConnector(broker, fetch_records=1 << 30, fetch_bytes=1 << 40).source()
    source.assign({TopicPartition("out.results", 0): 0})
    values = [json.loads(r.value or b"") for fetch in source.poll(0) for r in fetch.records]
    return sorted(values, key=lambda value: value["window"]["start_us"])


def joined(results: Sequence[Mapping[str, Any]], stage: str = "speech") -> str:
    """The text of a stream: the words of its windows, as Whisper wrote them."""
    words = [word["word"] for result in results for word in result["data"][stage]["words"]]
    return "".join(words).strip()
