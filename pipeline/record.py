"""The typed media record: what ingest decides about a log record, and nothing more.

What stands here is a pure function of the record's bytes and the pipeline file
(contract section 3), so a replay decides the same on any machine at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from pipeline.slot.ports import Headers, LogRecord

Kind = Literal["audio", "image", "video", "text"]
Reason = Literal["late", "undecodable", "too-large", "future", "encode-failed", "bad-record"]
LETTERED: list[Reason] = [one for one in get_args(Reason) if one != "late"]  # it has its own topic


@dataclass(frozen=True, slots=True)
class Facts:
    """What a payload's own header says; zeros where a kind has no such number.

    ``format`` is the codec that decoding proper needs: ``S16BE``, ``S16LE``, ``F32LE``,
    ``wav``, ``flac``, ``ogg``, ``mpeg``, ``aac``, ``jpeg``, ``png``, ``webp``,
    ``mp4``, ``h264``, ``text``. ``width`` and ``height`` of a film are those of a frame;
    ``duration_us`` is to its last frame's end, 0 where the payload does not say.
    """

    kind: Kind
    format: str
    rate: int = 0
    channels: int = 0
    samples: int = 0  # per channel
    width: int = 0
    height: int = 0
    frames: int = 0  # that are shown
    duration_us: int = 0


def header_texts(headers: Headers) -> dict[str, str]:
    """By name, of equal names the last; empty where a header has no value."""
    return {name: (value or b"").decode("utf-8", "replace") for name, value in headers}


class MediaRecord(NamedTuple):
    """A sound record: its payload covers ``[ts_us, end_us)`` of ``stream``."""

    input: str
    stream: str
    ts_us: int
    end_us: int
    facts: Facts
    payload: bytes | memoryview
    log: LogRecord


@dataclass(frozen=True, slots=True)
class UnsoundRecord:
    """A record that goes to the dead-letter topic as it is read, and moves no clock."""

    input: str
    reason: Reason
    error: str
    log: LogRecord
