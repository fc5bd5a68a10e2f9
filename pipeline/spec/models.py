"""The pipeline file as frozen values: every duration in microseconds, every size in bytes.

Keys of the file are the aliases; attributes carry their unit. A value that stands here has
been checked alone and against the rest of the file (``pipeline.spec.checks``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from pipeline.lane.spec import LaneSpec
from pipeline.spec import derive
from pipeline.spec.environment import typed
from pipeline.spec.fields import (
    Bootstrap,
    Duration,
    Gpus,
    JsonPath,
    MediaTypeText,
    Names,
    Options,
    PartName,
    Percent,
    PipelineName,
    Real,
    Shift,
    Size,
    Start,
    Stream,
    Text,
    Token,
    Topic,
    Truth,
    Version,
    Wait,
    Whole,
)
from pipeline.spec.media_type import MediaType, parse_media_type
from pipeline.spec.span import Span

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
# a strict dataclass would not take a map
_DATACLASS_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Section(BaseModel):
    """A map of the file: frozen, and any key that is not declared is an error."""

    model_config = _CONFIG


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


class Replicas(Section):
    """How many actors a stage may have; a number in the file is both bounds."""

    min: Whole = Field(default=1, ge=1, le=10_000, description="fewest replicas")
    max: Whole = Field(default=0, ge=1, le=10_000, description="most replicas")

    @model_validator(mode="before")
    @classmethod
    def _number_is_both(cls, value: Any) -> Any:
        number = typed(value)
        if isinstance(number, int) and not isinstance(number, bool):
            return {"min": number, "max": number}
        return value

    @model_validator(mode="after")
    def _max_is_min(self) -> Self:
        if self.max == 0:
            self.__dict__["max"] = self.min
        if self.max < self.min:
            context = {"why": "has a max below its min", "remedy": "write {min: 1, max: 4}"}
            raise PydanticCustomError("motet", "{why}; {remedy}", context)
        return self


class Context(Section):
    """What a stage also gets, before and after its window."""

    before: Wait = Field(default=0, description="how much before the window")
    after: Wait = Field(
        default=0, description="how much after the window; every window waits for it"
    )


class StageSpec(Section):
    """One stage of the dataflow: an encoder and what it reads."""

    encoder: Text = Field(description="built-in name, or package.module:Class")
    of: Names = Field(description="inputs or stages that it reads: a name or a list")
    options: Options = Field(default_factory=dict, description="keyword arguments of the encoder")
    replicas: Replicas = Field(default_factory=lambda: Replicas(max=1), description="actors")
    num_gpus: Gpus = Field(default="auto", description="auto, 0, a whole number or 1/n, a replica")
    batch_max: Whole = Field(default=64, ge=1, le=100_000, description="most windows in one batch")
    latency_target_us: Duration | None = Field(
        default=None,
        alias="latency_target",
        description="batches stay small enough that a window waits and runs within it",
    )
    timeout_us: Duration = Field(
        default=30_000_000,
        alias="timeout",
        description="longest that it may take for a closed window",
    )
    context: Context = Field(default_factory=Context, description="what it gets around its window")
    out: Topic | None = Field(default=None, description="a topic for the stage's own output")
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name

    @property
    def replicas_min(self) -> int:
        return self.replicas.min

    @property
    def replicas_max(self) -> int:
        return self.replicas.max

    @property
    def before_us(self) -> int:
        """As the file declares it; ``PipelineSpec.stage_context`` is what the stage needs."""
        return self.context.before

    @property
    def after_us(self) -> int:
        """As the file declares it; ``PipelineSpec.stage_context`` is what the stage needs."""
        return self.context.after


_Weight = Annotated[Real, Field(gt=0)]


class FusionSpec(Section):
    """How the vectors of the stages in ``of`` become one (contract, Fusion)."""

    rule: Text = Field(description="weighted_sum, concat, or package.module:Class")
    of: dict[PartName, _Weight] = Field(min_length=1, description="stage -> weight above 0")
    normalize: Literal["l2", "none"] = Field(
        default="none", description="how each vector is normalised"
    )
    dim: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="length to project to"
    )
    head: Text | None = Field(default=None, description="folder of a trained head")
    abstain_below: Annotated[Real, Field(ge=0, le=1)] | None = Field(
        default=None, description="least probability of a label"
    )
    options: Options = Field(default_factory=dict, description="keyword arguments of a class")

    @model_validator(mode="after")
    def _normalize_by_rule(self) -> Self:
        if "normalize" not in self.model_fields_set and self.rule == "weighted_sum":
            self.__dict__["normalize"] = "l2"
        return self


class OutputsSpec(Section):
    """The topics that the pipeline writes, in one transaction with the offsets."""

    results: Topic = Field(description="fused results")
    late: Topic = Field(description="records that came too late for a window")
    dead_letter: Topic = Field(description="records and windows that cannot be processed")


class LimitsSpec(Section):
    """Bounds that keep a pipeline within its memory and a bad deploy from draining topics."""

    in_flight_bytes: Size = Field(
        default=256 << 20, description="closed windows on their way, a slot"
    )
    open_bytes: Size = Field(default=1 << 30, description="records kept for open windows, a lane")
    record_bytes: Size = Field(default=32 << 20, description="largest record")
    record_span_us: Duration = Field(
        default=60_000_000, alias="record_span", description="longest time that a record may cover"
    )
    pixels: Whole = Field(
        default=33_000_000, ge=1, le=1 << 40, description="most pixels of a picture"
    )
    decode_time_us: Duration = Field(
        default=5_000_000,
        alias="decode_time",
        description="longest that decoding a record may take",
    )
    dead_letter_rate: Percent = Field(
        default=0.05, description="share of an input's records over a minute at which the run stops"
    )


class MetricsSpec(Section):
    """Where /metrics and the live page are; an address that others reach needs a token."""

    host: Text = Field(default="127.0.0.1", description="address to bind")
    port: Whole = Field(
        default=9464, ge=0, le=65535, description="port to bind; 0 takes a free one"
    )
    token: Token = Field(default=None, description="demanded of every request where it is set")
    public: Truth = Field(default=False, description="whether others may read without a token")


class RaySpec(Section):
    """The Ray cluster."""

    address: Text = Field(
        default="auto", description="auto (a local Ray where none runs), or an address"
    )


class PipelineSpec(Section):
    """A whole pipeline, sound in itself: made by ``load`` and ``loads``, changed by
    ``spanned`` and ``beside`` only.

    ``inputs`` and ``stages`` keep the order of the file. It travels between processes.
    """

    version: Version = Field(default=1, description="version of this format")
    name: PipelineName = Field(description="the Kafka group id, and prefix of transactional ids")
    kafka: KafkaSpec = Field(default_factory=KafkaSpec)
    inputs: dict[PartName, InputSpec] = Field(min_length=1, description="name -> topic")
    windows: WindowsSpec
    start: Start = Field(default="earliest", description="where a pipeline that never ran begins")
    stages: dict[PartName, StageSpec] = Field(min_length=1, description="the dataflow, acyclic")
    fusion: FusionSpec
    outputs: OutputsSpec
    commit_interval_us: Duration = Field(
        default=250_000, alias="commit_interval", description="time between two commits"
    )
    slots: Whole = Field(
        default=4, ge=1, le=10_000, description="units of ownership; lanes map to them"
    )
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    metrics: MetricsSpec = Field(default_factory=MetricsSpec)
    ray: RaySpec = Field(default_factory=RaySpec)
    _folder: Path = PrivateAttr(default_factory=Path)
    _span: Span = PrivateAttr(default=Span())

    @property
    def folder(self) -> Path:
        """The folder of the file; secrets and user classes are found from it."""
        return self._folder

    @property
    def span(self) -> Span:
        """The event time that the run is restricted to; by default all of it."""
        return self._span

    def topics_in(self) -> tuple[str, ...]:
        """Topics of the inputs, in the file's order."""
        return tuple(source.topic for source in self.inputs.values())

    def topics_out(self) -> tuple[str, ...]:
        """Results, late, dead letters, then the stages' own topics in the file's order."""
        own = (stage.out for stage in self.stages.values() if stage.out is not None)
        return (self.outputs.results, self.outputs.late, self.outputs.dead_letter, *own)

    def readers_of(self, name: str) -> tuple[str, ...]:
        """Stages that read this input (or stage) directly, in the file's order."""
        return tuple(stage for stage, spec in self.stages.items() if name in spec.of)

    def inputs_of(self, stage: str) -> frozenset[str]:
        """Inputs that a stage reads, directly or through stages."""
        return derive.inputs_of(self, stage)

    def stage_order(self) -> tuple[str, ...]:
        """Stages, each after those that it reads; otherwise in the file's order."""
        return derive.stage_order(self)

    def stage_context(self, stage: str) -> tuple[int, int]:
        """``(before_us, after_us)`` that a stage needs around its window, resampling included."""
        return derive.stage_context(self, stage)

    def lane_spec(self) -> LaneSpec:
        """What decides about event time, for the lanes."""
        return derive.lane_spec(self)

    def decision_hash(self) -> str:
        """16 hex digits over all that decides about records (see ``derive.decision_hash``)."""
        return derive.decision_hash(self)

    def model_hash(self) -> str:
        """SHA-256 (hex) over all that decides what a window's result says."""
        return derive.model_hash(self)

    def public(self) -> Mapping[str, Any]:
        """The resolved file as JSON may show it: attribute names, secrets as ``***``."""
        return derive.public(self)
