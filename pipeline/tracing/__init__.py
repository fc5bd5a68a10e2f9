"""Spans of sampled windows for OpenTelemetry; off unless MOTET_TRACE_SHARE says otherwise."""

from __future__ import annotations

from pipeline.tracing.tracer import Tracer, environment, tracer_of
from pipeline.tracing.window_trace import Trace, WindowTrace, window_trace

__all__ = ["Trace", "Tracer", "WindowTrace", "environment", "tracer_of", "window_trace"]
