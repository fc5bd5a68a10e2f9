"""Small pipelines for tests: the file as a tree with changes, records, and an in-memory log."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.lane import ClosedWindow, LaneRecord
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord, OutRecord, TopicPartition
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.results import rfc3339

SECOND_US = 1_000_000
RATE = 8_000

LOBBY: dict[str, Any] = {
    "name": "lobby",
    "inputs": {
        "mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
        "cam": {"topic": "in.cam", "type": "image/jpeg"},
        "chat": {"topic": "in.chat", "type": "text/plain", "gating": False},
    },
    "windows": {"size": "1s"},
    "stages": {
        "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8, "rate": RATE}},
        "colour": {"encoder": "color_histogram", "of": "cam"},
        "words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 8}},
    },
    "fusion": {"rule": "concat", "of": {"sound": 1, "colour": 1, "words": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "commit_interval": "20ms",
    "slots": 2,
}

# One input of text, for what does not hang on media.
CHAT: dict[str, Any] = {
    "name": "chat",
    "inputs": {"chat": {"topic": "in.chat", "type": "text/plain"}},
    "windows": {"size": "1s"},
    "stages": {"words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 8}}},
    "fusion": {"rule": "concat", "of": {"words": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "commit_interval": "20ms",
    "slots": 1,
}


def load(
    base: Mapping[str, Any], changes: Mapping[str, Any] | None = None, folder: Path | None = None
) -> PipelineSpec:
    """The tree with dotted keys set (None takes one out), as a pipeline file."""
    tree = copy.deepcopy(dict(base))
    for key, value in (changes or {}).items():
        *way, last = key.split(".")
        at = tree
        for part in way:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(last)
        else:
            at[last] = value
    return loads(yaml.safe_dump(tree, sort_keys=False), folder=folder or Path(), environ={})


# -- records --------------------------------------------------------------------------------


def jpeg(colour: tuple[int, int, int], size: int = 16) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(sink, "JPEG")
    return sink.getvalue()


def broken_jpeg() -> bytes:
    """A frame header that can be read, before a body that cannot."""
    rng = np.random.default_rng(0)
    sink = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(sink, "JPEG")
    return sink.getvalue()[:900]


def tone(hertz: float, seconds: float, at_s: float = 0.0) -> bytes:
    """Big-endian 16-bit samples, as audio/L16 has them."""
    times = at_s + np.arange(round(seconds * RATE)) / RATE
    return (8_000 * np.sin(2 * np.pi * hertz * times)).astype(">i2").tobytes()


def sent(
    topic: str,
    value: bytes,
    ts_us: int | None,
    *,
    stream: str | None = "s",
    lane: int = 0,
    length_us: int | None = None,
    append_us: int | None = None,
    headers: Iterable[tuple[str, bytes]] = (),
) -> OutRecord:
    """A record as a producer sends it; appended at its event time unless told otherwise."""
    own = list(headers)
    if ts_us is not None:
        own.append(("ce_time", rfc3339(ts_us)))
    if length_us is not None:
        own.append(("ce_mediadur", b"%d" % length_us))
    key = None if stream is None else stream.encode()
    return OutRecord(topic, lane, key, value, own, ts_us if append_us is None else append_us)


def media(
    input: str,
    ts_us: int,
    end_us: int,
    *,
    offset: int = 0,
    payload: bytes = b"payload",
    stream: str = "s",
    lane: int = 0,
    facts: Facts | None = None,
) -> MediaRecord:
    """A record as ingest has read it."""
    log = LogRecord(f"in.{input}", lane, offset, ts_us, stream.encode(), payload, [])
    return MediaRecord(input, stream, ts_us, end_us, facts or Facts("text", "text"), payload, log)


def closed(
    start_us: int, *records: MediaRecord, size_us: int = SECOND_US, stream: str = "s"
) -> ClosedWindow:
    """A closed window that holds these records, as a lane gives it."""
    content: dict[str, list[LaneRecord]] = {}
    present = set()
    for body in records:
        size = len(body.payload)
        content.setdefault(body.input, []).append(
            LaneRecord(body.input, body.log.offset, 0, stream, body.ts_us, body.end_us, size, body)
        )
        if body.end_us > start_us and body.ts_us < start_us + size_us:
            present.add(body.input)
    return ClosedWindow(stream, start_us, start_us + size_us, content, tuple(sorted(present)))


# -- the log --------------------------------------------------------------------------------


def broker_for(spec: PipelineSpec, lanes: int = 2, **settings: Any) -> MemoryBroker:
    """A broker with all topics of the file."""
    broker = MemoryBroker()
    for topic in (*spec.topics_in(), *spec.topics_out()):
        broker.create_topic(topic, lanes, **settings)
    return broker


def connector_for(broker: MemoryBroker, **settings: Any) -> MemoryConnector:
    """Who asks for offsets that an own broken transaction hides need not wait for them long."""
    return MemoryConnector(broker, pending_wait_s=0.02, **settings)


def committed(broker: MemoryBroker, topic: str) -> list[LogRecord]:
    """All committed records of a topic, partition by partition."""
    info = broker.info(topic)
    assert info is not None
    source = MemoryConnector(broker, fetch_records=1 << 30, fetch_bytes=1 << 40).source()
    source.assign({TopicPartition(topic, lane): 0 for lane in range(info.partitions)})
    fetches = sorted(source.poll(0), key=lambda fetch: fetch.partition)
    return [record for fetch in fetches for record in fetch.records]


def values(broker: MemoryBroker, topic: str) -> list[dict[str, Any]]:
    """The JSON of all committed records of a topic."""
    return [json.loads(record.value or b"null") for record in committed(broker, topic)]


def header(record: LogRecord | OutRecord, name: str) -> str | None:
    """The one header of this name; two of them fail the test."""
    found = [value.decode() for key, value in record.headers if key == name]
    assert len(found) <= 1, f"{name} stands there {len(found)} times"
    return found[0] if found else None
