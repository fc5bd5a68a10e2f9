"""The text of the pipeline files that ``motet init`` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.terminal import counted
from pipeline.spec.models import LimitsSpec
from pipeline.spec.units import format_duration, format_size

if TYPE_CHECKING:
    from pipeline.media.probe import TopicGuess

_ENCODERS = {
    "audio": ("sound", "log_mel"),
    "image": ("colour", "color_histogram"),
    "video": ("colour", "color_histogram"),
    "text": ("words", "hash_text"),
}
_HEADROOM = 2
_YAML_WORDS = frozenset({"on", "off", "yes", "no", "true", "false", "null", "y", "n"})

_STARTER = """\
# A pipeline: topics in, one fused result for each stream and window out, exactly once.
# It runs as it stands; lines such as `# slots: 4` show defaults, and what else can be set.
# Durations are written 200ms, 2s, 5m or 24h, sizes 256MiB.
version: 1

# The Kafka group id, and the prefix of the transactional ids.
name: {name}

kafka:
  # HOST:PORT, of several brokers with commas; the variable KAFKA goes before what stands here.
  bootstrap: ${{KAFKA:-127.0.0.1:9092}}
  # Any setting of kafka-python:
  # client: {{security_protocol: SSL}}

# The modalities. A record's key is its stream: equal keys meet in one window, whatever their topic.
# All topics have one number of partitions.
inputs:
  mic:
    topic: {name}.audio
    # audio/L16 is big-endian; numpy, browsers and most capture programs give
    # "audio/x-raw;format=S16LE;rate=16000;channels=1". Also audio/wav, audio/flac, audio/ogg.
    type: "audio/L16;rate=16000;channels=1"
    # How far the event times of a stream may run back: windows wait that much longer.
    # out_of_orderness: 200ms
    # Where the stream id is: key, header:NAME, or partition.
    # stream: key
    # Added to every event time, for a source that is late or early by a known time.
    # time_offset: 0ms
  camera:
    topic: {name}.video
    # Or image/png.
    type: image/jpeg
    # Where the value is JSON: the field that holds the picture, and the field of its time.
    # payload: {{json: data.frame, base64: true}}
    # time: {{json: data.ts, unit: ms}}
  chat:
    topic: {name}.text
    type: text/plain
    # Not every second has a text: windows do not wait for it.
    gating: false

# Half-open, [k*hop, k*hop + size) since the epoch. A stream or an input that falls silent is not
# waited for longer than `idle`.
windows: {{size: 1s, hop: 1s, idle: 5s}}

# Where a pipeline that never ran begins: earliest, latest, or a time such as 2026-01-31T12:00:00Z.
# start: earliest

# What is computed for each window. An encoder is a built-in name, or module:Class of a file
# beside this one; `motet try ENCODER FILES` shows what it gives.
stages:
  sound:
    encoder: log_mel
    of: mic
    options: {{n_mels: 64}}
    # replicas: {{min: 1, max: 4}}
    # num_gpus: auto
    # batch_max: 64
    # timeout: 30s
    # What the stage also gets of the time around its window:
    # context: {{before: 500ms, after: 0ms}}
  colour: {{encoder: color_histogram, of: camera}}
  words: {{encoder: hash_text, of: chat}}

# One vector a window. weighted_sum brings vectors of unequal length to `dim` numbers; where a
# stage has nothing, the others take over its weight. concat puts them one after another.
fusion:
  rule: weighted_sum
  of: {{sound: 0.3, colour: 0.4, words: 0.3}}
  dim: 128
  # normalize: l2

# Results, records that came too late for a window, and records that could not be used.
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead-letter}}

# Results and input positions are committed together, in one Kafka transaction a slot.
# commit_interval: 250ms
# slots: 4
# limits: {{record_bytes: 32MiB, record_span: 60s, dead_letter_rate: 5%}}

# Where /metrics and the live page are.
# metrics: {{host: 127.0.0.1, port: 9464}}

# A local Ray is started where none runs; or the address of a cluster.
# ray: {{address: auto}}
"""

_FITTED = """\
# Made from what some records of each topic look like; above each input stands what was seen, and
# how sure it is: sure, likely or guess. `motet init` without topics shows what else can be set.
version: 1
name: {name}
kafka: {{bootstrap: {bootstrap}}}

{notes}inputs:
{inputs}

windows: {{size: 1s, hop: 1s, idle: 5s}}

# What is computed for each window; take other encoders, or your own as module:Class.
stages:
{stages}

# The vectors one after another; `rule: weighted_sum` with `dim: 128` makes them one of 128.
fusion: {{rule: concat, of: {{{fused}}}}}

outputs: {{results: {out}.results, late: {out}.late, dead_letter: {out}.dead-letter}}
{limits}"""


def starter(name: str) -> str:
    """A pipeline of sound, pictures and text, with every key that a newcomer asks for."""
    return _STARTER.format(name=name)


def fitted(name: str, bootstrap: str, guesses: Sequence[TopicGuess], notes: Sequence[str]) -> str:
    """A pipeline whose inputs are the topics; at least one of them has no trouble."""
    names = input_names([guess.topic for guess in guesses])
    usable = [guess for guess in guesses if not guess.trouble]
    stages = {guess.topic: f"{names[guess.topic]}-{_ENCODERS[guess.kind][0]}" for guess in usable}
    return _FITTED.format(
        name=name,
        bootstrap=json.dumps(bootstrap),
        notes="".join(f"{_comment(note)}\n" for note in notes),
        inputs="\n\n".join(_input(names[guess.topic], guess) for guess in guesses),
        stages="\n".join(
            f"  {stages[g.topic]}: {{encoder: {_ENCODERS[g.kind][1]}, of: {names[g.topic]}}}"
            for g in usable
        ),
        fused=", ".join(f"{stage}: 1" for stage in stages.values()),
        out=_prefix(name, [guess.topic for guess in guesses]),
        limits=_limits(usable),
    )


def _input(name: str, guess: TopicGuess) -> str:
    lines = [_comment(f"{guess.topic}: {counted(guess.seen, 'record')} looked at", "  ")]
    lines += [_comment(f"{finding}", "  ") for finding in guess.findings]
    if guess.trouble:
        lines.append(_comment(f"left out: {guess.trouble}", "  "))
        lines.append(f"  # {name}: {{topic: {json.dumps(guess.topic)}, type: image/jpeg}}")
        return "\n".join(lines)
    keys = {
        "topic": json.dumps(guess.topic),
        "type": json.dumps(guess.type),
        "stream": json.dumps(guess.stream) if ":" in guess.stream else guess.stream,
    }
    if guess.payload is not None:
        base64 = ", base64: true" if guess.payload.base64 else ""
        keys["payload"] = f"{{json: {json.dumps(guess.payload.path)}{base64}}}"
    if guess.time is not None:
        keys["time"] = f"{{json: {json.dumps(guess.time.path)}, unit: {guess.time.unit}}}"
    keys["out_of_orderness"] = format_duration(guess.out_of_orderness_us)
    keys["gating"] = "true" if guess.gating else "false"
    lines.append(f"  {name}:")
    lines += [f"    {key}: {value}" for key, value in keys.items()]
    return "\n".join(lines)


def _comment(text: str, indent: str = "") -> str:
    """The text as lines of a comment, at most 100 characters wide where words allow it."""
    import textwrap

    width = max(40, 98 - len(indent))
    parts = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    first, *others = parts
    return "\n".join([f"{indent}# {first}", *(f"{indent}#   {part}" for part in others)])


def input_names(topics: Sequence[str]) -> dict[str, str]:
    """A name for each topic: its last part where that is its own, else all of it."""
    lasts = [_part_name(re.split(r"[._]", topic)[-1]) for topic in topics]
    names: dict[str, str] = {}
    for topic, last in zip(topics, lasts, strict=True):
        wanted = last if lasts.count(last) == 1 else _part_name(topic)
        name, number = wanted, 2
        while name in names.values():
            name, number = f"{wanted}-{number}", number + 1
        names[topic] = name
    return names


def _part_name(text: str) -> str:
    """Letters, digits, hyphens and underscores, with room for what is put behind; no number."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:40].strip("-")
    plain = re.match(r"[A-Za-z]", name) and name.lower() not in _YAML_WORDS
    return name if plain else f"in-{name}".strip("-")


def _prefix(name: str, topics: Iterable[str]) -> str:
    """What the output topics begin with, so that none of them is an input."""
    taken = set(topics)
    prefix, number = name, 2
    while taken & {f"{prefix}.{kind}" for kind in ("results", "late", "dead-letter")}:
        prefix, number = f"{name}-{number}", number + 1
    return prefix


def _limits(usable: Sequence[TopicGuess]) -> str:
    """Limits that the records which were seen would be over."""
    keys, default = [], LimitsSpec()
    longest_us = max(guess.longest_us for guess in usable)
    if longest_us > default.record_span_us:
        seconds = -(-longest_us * _HEADROOM // 1_000_000)
        keys.append(f"record_span: {seconds}s")
    largest_bytes = max(guess.largest_bytes for guess in usable)
    if largest_bytes > default.record_bytes:
        keys.append(f"record_bytes: {format_size(-(-largest_bytes * _HEADROOM >> 20) << 20)}")
    return (
        f"\n# As the longest or largest record asks.\nlimits: {{{', '.join(keys)}}}\n"
        if keys
        else ""
    )
