"""What is computed: the stages and their fusion (``pipeline.spec.models``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from pipeline.spec.environment import typed
from pipeline.spec.fields import (
    Duration,
    Gpus,
    Names,
    Options,
    PartName,
    Real,
    Size,
    Text,
    Topic,
    Wait,
    Whole,
)
from pipeline.spec.section import Section


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
    gpu_memory_bytes: Size | None = Field(
        default=None,
        alias="gpu_memory",
        description="memory of its GPU that a replica may take at most",
    )
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

    rule: Text = Field(
        description="weighted_sum, concat, gated, attention, late, or package.module:Class"
    )
    of: dict[PartName, _Weight] = Field(min_length=1, description="stage -> weight above 0")
    normalize: Literal["l2", "none"] = Field(
        default="none", description="how each vector is normalised"
    )
    dim: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="length to project to"
    )
    head: Text | None = Field(default=None, description="folder of a trained head, from the file's")
    abstain_below: Annotated[Real, Field(ge=0, le=1)] | None = Field(
        default=None, description="least probability of a label: below it there is none"
    )
    options: Options = Field(default_factory=dict, description="keyword arguments of a class")

    @model_validator(mode="after")
    def _normalize_by_rule(self) -> Self:
        if "normalize" not in self.model_fields_set and self.rule == "weighted_sum":
            self.__dict__["normalize"] = "l2"
        return self
