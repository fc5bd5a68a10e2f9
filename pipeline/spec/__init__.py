"""The pipeline file: read, checked as a whole, and frozen (contract section 2)."""

from pipeline.spec.catalog import BUILTIN, Builtin, implementation, is_class_path
from pipeline.spec.derive import HEADER_READERS_VERSION
from pipeline.spec.loading import load, loads
from pipeline.spec.media_type import MediaType, parse_media_type
from pipeline.spec.models import (
    Context,
    EvaluationSpec,
    FusionSpec,
    InputSpec,
    KafkaSpec,
    LimitsSpec,
    MetricsSpec,
    OutputsSpec,
    PayloadSpec,
    PipelineSpec,
    RaySpec,
    Replicas,
    StageSpec,
    TimeSpec,
    WindowsSpec,
)
from pipeline.spec.schema import json_schema
from pipeline.spec.secret import Secret
from pipeline.spec.span import Span, beside, spanned
from pipeline.spec.units import (
    Wrong,
    format_duration,
    format_rfc3339,
    format_size,
    parse_duration,
    parse_rfc3339_us,
    parse_size,
)

__all__ = [
    "BUILTIN",
    "HEADER_READERS_VERSION",
    "Builtin",
    "Context",
    "EvaluationSpec",
    "FusionSpec",
    "InputSpec",
    "KafkaSpec",
    "LimitsSpec",
    "MediaType",
    "MetricsSpec",
    "OutputsSpec",
    "PayloadSpec",
    "PipelineSpec",
    "RaySpec",
    "Replicas",
    "Secret",
    "Span",
    "StageSpec",
    "TimeSpec",
    "WindowsSpec",
    "Wrong",
    "beside",
    "format_duration",
    "format_rfc3339",
    "format_size",
    "implementation",
    "is_class_path",
    "json_schema",
    "load",
    "loads",
    "parse_duration",
    "parse_media_type",
    "parse_rfc3339_us",
    "parse_size",
    "spanned",
]
