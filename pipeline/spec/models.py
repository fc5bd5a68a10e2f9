"""The pipeline file as frozen values: every duration in microseconds, every size in bytes.

Keys of the file are the aliases; attributes carry their unit. A value that stands here has
been checked alone and against the rest of the file (``pipeline.spec.checks``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from pipeline.lane.spec import LaneSpec
from pipeline.spec import derive
from pipeline.spec.evaluation_model import EvaluationSpec
from pipeline.spec.fields import (
    Duration,
    PartName,
    Percent,
    PipelineName,
    Real,
    Size,
    Start,
    Text,
    Token,
    Topic,
    Truth,
    Version,
    Whole,
)
from pipeline.spec.input_models import InputSpec, KafkaSpec, PayloadSpec, TimeSpec, WindowsSpec
from pipeline.spec.own_files import Digests
from pipeline.spec.section import Section
from pipeline.spec.span import Span
from pipeline.spec.stage_models import Context, FusionSpec, Replicas, StageSpec

__all__ = [
    "Context",
    "EvaluationSpec",
    "FusionSpec",
    "InputSpec",
    "KafkaSpec",
    "LimitsSpec",
    "MetricsSpec",
    "OutputsSpec",
    "PayloadSpec",
    "PipelineSpec",
    "RaySpec",
    "Replicas",
    "Section",
    "StageSpec",
    "TimeSpec",
    "WindowsSpec",
]


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
    ingest: Truth = Field(
        default=False,
        description="whether visitors of the page may write: media into the inputs, labels",
    )


class RaySpec(Section):
    """The Ray cluster."""

    address: Text = Field(
        default="auto", description="auto (a local Ray where none runs), or an address"
    )
    cpus: Annotated[Real, Field(gt=0)] | None = Field(
        default=None, description="CPUs of the cluster that it may take; all that are free"
    )
    gpus: Whole | None = Field(
        default=None, ge=0, description="GPUs of the cluster that it may take; all that are free"
    )
    owners: Whole | None = Field(
        default=None, ge=1, le=10_000, description="ingest and fusion actors; one for every 4 CPUs"
    )
    autoscaler: Truth = Field(
        default=False, description="whether Ray's autoscaler adds nodes for what has no place"
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
    evaluation: EvaluationSpec | None = Field(
        default=None, description="labels to compare results with while they come"
    )
    ray: RaySpec = Field(default_factory=RaySpec)
    _folder: Path = PrivateAttr(default_factory=Path)
    _span: Span = PrivateAttr(default=Span())
    _digests: Digests = PrivateAttr(default_factory=Digests)

    @property
    def folder(self) -> Path:
        """The folder of the file; secrets and user classes are found from it."""
        return self._folder

    @property
    def span(self) -> Span:
        """The event time that the run is restricted to; by default all of it."""
        return self._span

    @property
    def digests(self) -> Digests:
        """Hashes of the user's files that were read so far (``own_files``)."""
        return self._digests

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

    def model_hash(self, head: str | None = None) -> str:
        """SHA-256 (hex) over all that decides what a window's result says (``derive``)."""
        return derive.model_hash(self, head)

    def public(self) -> Mapping[str, Any]:
        """The resolved file as JSON may show it: attribute names, secrets as ``***``."""
        return derive.public(self)
