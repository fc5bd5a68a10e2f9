"""The types of the file's fields: how each is written, read and described to an editor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.spec.environment import typed
from pipeline.spec.secret import Secret
from pipeline.spec.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    RFC3339_PATTERN,
    SIZE_PATTERN,
    Wrong,
    parse_duration,
    parse_percent,
    parse_size,
)
from pipeline.spec.values import (
    parse_bootstrap,
    parse_gpus,
    parse_matching,
    parse_names,
    parse_options,
    parse_start,
    parse_stream,
    parse_text,
    parse_token,
    parse_type,
    parse_version,
)

NAME = r"[a-z0-9][a-z0-9-]{0,62}"
PART_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
TOPIC = r"[A-Za-z0-9._-]{1,249}"
JSON_PATH = r"[^.\s]+(\.[^.\s]+)*"


def telling(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser that raises Wrong, as pydantic wants it: why and remedy travel in the context."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except Wrong as wrong:
            context = {"why": wrong.why, "remedy": wrong.remedy}
        raise PydanticCustomError("motet", "{why}; {remedy}", context)

    return validate


def _matching(pattern: str, why: str, remedy: str) -> PlainValidator:
    return PlainValidator(telling(partial(parse_matching, pattern, why, remedy)))


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


def _text_schema(pattern: str, *examples: str) -> WithJsonSchema:
    return _schema(type="string", pattern=f"^{pattern}$", examples=list(examples))


Duration = Annotated[
    int,
    PlainValidator(telling(parse_duration)),
    _text_schema(DURATION_PATTERN, "200ms", "2s", "5m", "24h"),
]
Wait = Annotated[
    int,
    PlainValidator(telling(partial(parse_duration, zero=True))),
    _text_schema(DURATION_PATTERN, "0ms", "200ms", "2s"),
]
Shift = Annotated[
    int,
    PlainValidator(telling(partial(parse_duration, signed=True))),
    _text_schema(rf"[+-]?{DURATION_PATTERN}", "-480ms", "0ms"),
]
Size = Annotated[
    int, PlainValidator(telling(parse_size)), _text_schema(SIZE_PATTERN, "256MiB", "1GiB")
]
Percent = Annotated[
    float, PlainValidator(telling(parse_percent)), _text_schema(PERCENT_PATTERN, "5%")
]
Whole = Annotated[int, BeforeValidator(typed)]
Real = Annotated[float, BeforeValidator(typed), Field(allow_inf_nan=False)]
Truth = Annotated[bool, BeforeValidator(typed), Field(strict=True)]

PipelineName = Annotated[
    str,
    _matching(
        NAME,
        "is not a name of 1 to 63 lower-case letters, digits and hyphens",
        "write one such as lobby-1 (a hyphen cannot be its first character)",
    ),
    _text_schema(NAME, "lobby"),
]
PartName = Annotated[
    str,
    _matching(
        PART_NAME,
        "is not a name of 1 to 63 letters, digits, hyphens and underscores",
        "rename it, such as mic_1",
    ),
    _text_schema(PART_NAME, "mic", "sound"),
]
Topic = Annotated[
    str,
    _matching(
        TOPIC,
        "is not a topic name that Kafka takes",
        "use 1 to 249 letters, digits, dots, underscores and hyphens",
    ),
    _text_schema(TOPIC, "lobby.audio"),
]
JsonPath = Annotated[
    str,
    _matching(JSON_PATH, "is not a path into JSON", "write it as data.audio"),
    _text_schema(JSON_PATH, "data.audio"),
]


Version = Annotated[Literal[1], PlainValidator(telling(parse_version)), _schema(const=1)]
Bootstrap = Annotated[
    str,
    PlainValidator(telling(parse_bootstrap)),
    _schema(type="string", examples=["127.0.0.1:9092"]),
]


MediaTypeText = Annotated[
    str,
    PlainValidator(telling(parse_type)),
    _schema(type="string", examples=["audio/L16;rate=16000;channels=1", "image/jpeg"]),
]


Stream = Annotated[
    str,
    PlainValidator(telling(parse_stream)),
    _text_schema(r"(key|partition|header:.+)", "key", "header:device"),
]


Start = Annotated[
    int | Literal["earliest", "latest"],
    PlainValidator(telling(parse_start)),
    _text_schema(rf"(earliest|latest|{RFC3339_PATTERN})", "earliest", "2026-01-31T12:00:00Z"),
]


Gpus = Annotated[
    float | Literal["auto"],
    PlainValidator(telling(parse_gpus)),
    _schema(
        anyOf=[
            {"const": "auto"},
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": "^1/[1-9][0-9]{0,4}$"},
        ]
    ),
]


Names = Annotated[
    tuple[str, ...],
    PlainValidator(telling(parse_names)),
    _schema(
        anyOf=[
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        ]
    ),
]


Options = Annotated[dict[str, Any], PlainValidator(telling(parse_options)), _schema(type="object")]


Token = Annotated[
    Secret | None,
    PlainValidator(telling(parse_token)),
    _schema(),
]


Text = Annotated[str, PlainValidator(telling(parse_text)), _schema(type="string", minLength=1)]
