"""What comes in: the cluster, the inputs and their windows (``pipeline.spec.models``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PlainValidator, PrivateAttr, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from pipeline.spec.fields import (
    Bootstrap,
    Duration,
    JsonPath,
    MediaTypeText,
    Shift,
    Stream,
    Topic,
    Truth,
    Wait,
)
from pipeline.spec.media_type import MediaType, parse_media_type
from pipeline.spec.section import Section

# a strict dataclass would not take a map
_DATACLASS_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _checked_client(value: Any) -> dict[str, Any]:
    """Each setting was checked by kafka_client.check_setting, where its secret was read."""
    if not isinstance(value, dict):
        raise PydanticCustomError("dict_type", "must be a map")
    return value


_Client = Annotated[
    dict[str, Any], PlainValidator(_checked_client), WithJsonSchema({"type": "object"})
]


class KafkaSpec(Section):
    """The cluster. ``client`` holds kafka-python's settings; those that are secret hide it."""

    bootstrap: Bootstrap = Field(
        default="127.0.0.1:9092", description="HOST:PORT of brokers, by comma"
    )
    client: _Client = Field(
        default_factory=dict, description="settings of kafka-python: security_protocol, sasl_..."
    )


@dataclass(frozen=True, config=_DATACLASS_CONFIG)
class PayloadSpec:
    """The payload stands inside a JSON value, at a dotted path."""

    json: Annotated[JsonPath, Field(description="dotted path of the payload in the JSON value")]
    base64: Annotated[Truth, Field(description="whether it is base64 text")] = False


@dataclass(frozen=True, config=_DATACLASS_CONFIG)
class TimeSpec:
    """The event time stands inside a JSON value: a number since the epoch, or RFC 3339 text."""

    json: Annotated[JsonPath, Field(description="dotted path of the time in the JSON value")]
    unit: Annotated[
        Literal["s", "ms", "us", "ns", "rfc3339"],
        Field(description="what the number counts since 1970, or rfc3339 for text"),
    ]


class InputSpec(Section):
    """One modality: a topic, what its records are, and how their event time is read."""

    topic: Topic = Field(description="the topic")
    type: MediaTypeText = Field(description="media type of the payloads")
    out_of_orderness_us: Wait = Field(
        default=200_000, alias="out_of_orderness", description="how far event times may run back"
    )
    gating: Truth = Field(default=True, description="whether windows wait for this input")
    stream: Stream = Field(default="key", description="which stream a record belongs to")
    payload: PayloadSpec | None = Field(
        default=None, description="where the payload is inside JSON"
    )
    time: TimeSpec | None = Field(default=None, description="where the event time is inside JSON")
    time_offset_us: Shift = Field(
        default=0, alias="time_offset", description="added to the event time of every record"
    )
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name

    @property
    def media(self) -> MediaType:
        """``type``, parsed."""
        return parse_media_type(self.type)


class WindowsSpec(Section):
    """Half-open windows ``[k*hop, k*hop + size)``, and how long they are waited for."""

    size_us: Duration = Field(alias="size", description="length of a window")
    hop_us: Duration = Field(
        default=0, alias="hop", description="from one window's start to the next's"
    )
    idle_us: Wait = Field(
        default=5_000_000,
        alias="idle",
        description="how long a silent stream or input is waited for",
    )
    future_max_us: Duration = Field(
        default=60_000_000,
        alias="future_max",
        description="how far an end may be past Kafka's timestamp",
    )
    align_wait_us: Wait = Field(
        default=30_000_000,
        alias="align_wait",
        description="longest wait for an input that does not gate",
    )

    @model_validator(mode="after")
    def _hop_is_size(self) -> Self:
        if self.hop_us == 0:
            self.__dict__["hop_us"] = self.size_us  # frozen: this is still its construction
        return self
