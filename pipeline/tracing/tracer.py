"""Hands spans to OpenTelemetry's SDK; the one door to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pipeline import clock
from pipeline.errors import InvalidInput, Problem
from pipeline.tracing.window_trace import Trace, WindowTrace, window_trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

SHARE = "MOTET_TRACE_SHARE"
EXPORTER = "OTEL_TRACES_EXPORTER"
FLUSH_MS = 2_000
INSTALL = "pip install 'motet[otel]'"


class Tracer:
    """Spans of one pipeline's sampled windows, from one process.

    Times are told as the monotonic clock has them (``now_us``), or as the wall clock has.
    ``processor`` gets every span when it has ended; it must not block.
    """

    def __init__(self, pipeline: str, share: float, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._pipeline = pipeline
        self._share = share
        self._processor = processor
        self._resource = Resource.create({"service.name": f"motet/{pipeline}"})
        self._scope = InstrumentationScope("motet")
        # once, and the best of some: a thread may be held up between the two readings
        self._ahead_us = max(clock.wall_us() - clock.monotonic_us() for _ in range(5))

    def of(self, stream: str, start_us: int, trace: Trace) -> WindowTrace | None:
        """The trace of a window; None where it is not sampled."""
        return window_trace(self._pipeline, stream, start_us, trace, self._share)

    def wall_us(self, monotonic_us: int) -> int:
        return monotonic_us + self._ahead_us

    def part(self, trace: WindowTrace, name: str, begin_us: int, end_us: int, **told: Any) -> None:
        """A span inside the window's; times by the wall clock. ``told``: its attributes."""
        self._end(trace, name, trace.child_id(name), trace.span_id, begin_us, end_us, told)

    def whole(self, trace: WindowTrace, begin_us: int, end_us: int, **told: Any) -> None:
        """The window's own span."""
        self._end(trace, "window", trace.span_id, trace.parent_id, begin_us, end_us, told)

    def flush(self) -> None:
        """Sends what has ended, in FLUSH_MS at most: whoever waits may be killed then."""
        self._processor.force_flush(FLUSH_MS)

    def close(self) -> None:
        """Sends what is left."""
        self.flush()
        self._processor.shutdown()

    def _end(
        self,
        trace: WindowTrace,
        name: str,
        span_id: int,
        parent_id: int | None,
        begin_us: int,
        end_us: int,
        told: dict[str, Any],
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, TraceFlags

        def context(number: int, remote: bool) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(trace.trace_id, number, remote, flags)

        span = ReadableSpan(
            name,
            context(span_id, False),
            None if parent_id is None else context(parent_id, True),
            self._resource,
            {f"motet.{key}": value for key, value in told.items()},
            start_time=begin_us * 1000,
            end_time=max(begin_us, end_us) * 1000,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)


def tracer_of(pipeline: str) -> Tracer | None:
    """As the environment says; None where tracing is off. Raises InvalidInput.

    Spans wait in a bounded queue for a thread of the SDK that sends them; what finds it full is
    dropped, and holds up nothing.
    """
    share = _share(os.environ.get(SHARE) or "0")
    if not share:
        return None
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(os.environ.get(EXPORTER) or "otlp")
    except ModuleNotFoundError as error:
        why = f"it needs the package {error.name}, which is not installed"
        raise InvalidInput(Problem(SHARE, f"{share:g}", why, INSTALL)) from None
    return Tracer(pipeline, share, BatchSpanProcessor(exporter))


def environment() -> dict[str, str]:
    """What an actor needs to trace as the driver does."""
    return {name: text for name, text in os.environ.items() if name == SHARE or name[:5] == "OTEL_"}


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        why = "it is no share from 0 to 1"
        raise InvalidInput(Problem(SHARE, text, why, "write one such as 0.01 or 1%"))
    return share


def _exporter(name: str) -> Any:
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found,unused-ignore]
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    raise InvalidInput(Problem(EXPORTER, name, "there is no such exporter", "otlp or console"))
