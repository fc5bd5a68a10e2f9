"""How good the answers are while they come (``pipeline.spec.models``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.spec.fields import Duration, PartName, Topic, Truth, Whole
from pipeline.spec.section import Section


class EvaluationSpec(Section):
    """Results that are compared with labels while the pipeline runs; it decides nothing."""

    labels: Topic = Field(description="topic of labels, as `motet train --labels` takes them")
    text: PartName | None = Field(
        default=None, description="stage whose text is compared with the labels' text"
    )
    span_us: Duration = Field(
        default=3_600_000_000,
        alias="span",
        description="how long results and labels wait for each other; figures are over them",
    )
    windows: Whole = Field(
        default=10_000, ge=1, le=1_000_000, description="most results kept, and most labels"
    )
    normalizer: Literal["plain", "english", "none"] = Field(
        default="plain", description="what texts go through before they are compared"
    )
    chinese: Truth = Field(default=False, description="whether BLEU counts characters")
