"""The whole guess about one topic: what stands under ``inputs`` in a pipeline file, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.media.probe.formats import document_of
from pipeline.media.probe.json_value import (
    PayloadField,
    TimeField,
    find_payload,
    find_time,
    unread_field,
)
from pipeline.media.probe.kind import Kind, TypeGuess, guess_type
from pipeline.media.probe.placing import (
    OUT_OF_ORDERNESS_US,
    StreamGuess,
    TimeGuess,
    disorder,
    guess_stream,
    guess_time,
    spacing_us,
)
from pipeline.media.probe.sample import Finding, Placed, TopicSample

# Text that may miss a window, and pictures rarer than a file's idle time, are not waited for.
_SPARSE_US = {"text": 500_000, "image": 5_000_000}
_CROWDED = 4
_FUTURE_MAX_US = 60_000_000  # windows.future_max of a file that does not set it


@dataclass(slots=True)
class TopicGuess:
    """An input as a pipeline file would have it; ``trouble`` says why there can be none.

    ``streams``, ``first_us`` and ``last_us`` are of the sampled records, for what several topics
    say together.
    """

    topic: str
    partitions: int
    seen: int
    type: str = ""
    kind: Kind = "text"
    trouble: str = ""
    stream: str = "key"
    payload: PayloadField | None = None
    time: TimeField | None = None
    out_of_orderness_us: int = OUT_OF_ORDERNESS_US
    gating: bool = True
    spacing_us: int | None = None
    longest_us: int = 1
    largest_bytes: int = 0
    streams: frozenset[str] = frozenset()
    first_us: int = 0
    last_us: int = 0
    unread: str = ""
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As ``motet init --json`` has it; ``type`` is empty where there is trouble."""
        payload, time = self.payload, self.time
        return {
            "topic": self.topic,
            "partitions": self.partitions,
            "records": self.seen,
            "type": self.type,
            "trouble": self.trouble,
            "stream": self.stream,
            "payload": payload and {"json": payload.path, "base64": payload.base64},
            "time": time and {"json": time.path, "unit": time.unit},
            "out_of_orderness_us": self.out_of_orderness_us,
            "gating": self.gating,
            "findings": [finding._asdict() for finding in self.findings],
        }


def probe_topic(sample: TopicSample) -> TopicGuess:
    """What a topic's records are, by what they hold. Raises nothing."""
    records = sample.records
    guess = TopicGuess(sample.topic, sample.partitions, len(records))
    values = [record.value or b"" for record in records]
    if not any(values):
        what = "it is empty" if not records else "its records have no values"
        guess.trouble = f"{what}: publish some records and run this again"
        return guess
    if sample.compacted:
        guess.trouble = "it is compacted, so records that windows need vanish; use another topic"
        return guess
    guess.largest_bytes = max(map(len, values))
    payloads, timed, others = _unwrap(guess, sample, values)
    stream = guess_stream(records)
    time = guess_time(sample, timed, others)
    guess.stream, guess.time = stream.where, time.field
    placed = _placed(sample, payloads, stream, time)
    held = [payload for payload in payloads if payload]
    inside = guess.payload is not None or guess.time is not None
    _take_type(guess, guess_type([] if inside else records, held, placed, time.source != "kafka"))
    guess.findings += [*stream.findings, *time.findings]
    if placed:
        guess.streams = frozenset(each.stream for each in placed)
        guess.first_us = min(each.event_us for each in placed)
        guess.last_us = max(each.event_us for each in placed)
        guess.out_of_orderness_us, found = disorder(placed)
        guess.findings.append(found)
        guess.spacing_us = spacing_us(placed)
        _check_future(guess, placed)
        _check_crowded(guess)
    if not guess.trouble:
        _decide_gating(guess)
    return guess


def _unwrap(
    guess: TopicGuess, sample: TopicSample, values: Sequence[bytes]
) -> tuple[list[bytes | None], TimeField | None, list[str]]:
    """The payloads, out of JSON where they lie in it; None where a record has none there."""
    documents: list[dict[str, Any]] = []
    for value in values:
        document = document_of(value)
        documents.append(document if isinstance(document, dict) else {})
    wrapped = [document for document in documents if document]
    if len(wrapped) < 0.5 * len(values):
        return list(values), None, []
    payloads: list[bytes | None] = list(values)
    guess.payload = find_payload(wrapped)
    unread = unread_field(wrapped)
    if unread is not None and (guess.payload is None or not guess.payload.base64):
        guess.payload, guess.unread = None, unread
    elif guess.payload is None:
        text = "none of the JSON's fields is media or words, so all of it is taken as text"
        guess.findings.append(Finding("payload", text, "guess"))
    else:
        guess.findings.append(guess.payload.finding)
        payloads = [guess.payload.of(document) for document in documents]
    appended = [record.timestamp_us for record in sample.records]
    timed, others = find_time(documents, appended)
    return payloads, timed, others


def _placed(
    sample: TopicSample,
    payloads: Sequence[bytes | None],
    stream: StreamGuess,
    time: TimeGuess,
) -> list[Placed]:
    """The records that have a stream, a time and a payload, in log order of each run."""
    runs = [number for number, run in enumerate(sample.runs) for _ in run]
    placed = []
    for number, record, payload, event_us in zip(
        runs, sample.records, payloads, time.times_us, strict=True
    ):
        name = stream.of(record)
        if name is not None and payload and event_us is not None:
            placed.append(Placed(number, name, event_us, record.timestamp_us, payload))
    return placed


def _take_type(guess: TopicGuess, found: TypeGuess) -> None:
    guess.type, guess.kind, guess.trouble = found.type, found.kind, found.trouble
    if guess.unread:
        guess.type, guess.trouble = "", guess.unread
        return
    guess.longest_us = found.longest_us
    guess.findings += found.findings


def _check_future(guess: TopicGuess, placed: Sequence[Placed]) -> None:
    ahead_us = max(each.event_us - each.append_us for each in placed) + guess.longest_us
    if ahead_us > _FUTURE_MAX_US:
        text = (
            f"runs up to {ahead_us / 1e6:.0f} s ahead of Kafka's timestamps; more than "
            "windows.future_max (60s) are dead letters: set the sender's clock, or time_offset"
        )
        guess.findings.append(Finding("time", text, "sure"))


def _decide_gating(guess: TopicGuess) -> None:
    """Whether windows wait for the input: not where it is silent for longer than they last."""
    if guess.kind not in _SPARSE_US:
        return
    rare_us = _SPARSE_US[guess.kind]
    if guess.spacing_us is None:
        guess.gating = guess.kind != "text"
        text = f"too few records to see how often they come, and {guess.kind} often is"
        text += " rare" if not guess.gating else " not rare"
    else:
        guess.gating = guess.spacing_us <= rare_us
        text = f"a record every {guess.spacing_us / 1e6:.3g} s"
    waits = "windows wait for it" if guess.gating else "windows do not wait for it"
    guess.findings.append(Finding("gating", f"{text}: {waits}", "guess"))


def _check_crowded(guess: TopicGuess) -> None:
    """Sound cannot follow itself faster than it plays: then the times are not its own."""
    gap_us = guess.spacing_us
    if guess.kind == "audio" and gap_us is not None and gap_us * _CROWDED < guess.longest_us:
        text = (
            f"records of up to {guess.longest_us / 1e6:.3g} s come {gap_us / 1e6:.3g} s apart, "
            "so these are not the times at which they were taken: send ce_time"
        )
        guess.findings.append(Finding("time", text, "likely"))
