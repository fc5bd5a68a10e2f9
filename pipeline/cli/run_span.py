"""``motet run --from --to --name``: a part of event time, and a backfill beside the live run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.arguments import time_us
from pipeline.cli.terminal import say

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec


def restricted(
    spec: PipelineSpec, begin: str | None, end: str | None, name: str | None, *, start_given: bool
) -> PipelineSpec:
    """The pipeline as it is to run; raises InvalidInput that names the flag."""
    from pipeline.spec import Span, beside, spanned

    span = Span(
        None if begin is None else time_us("--from", begin),
        None if end is None else time_us("--to", end),
    )
    if name is not None:
        spec = beside(spec, name)
    return spanned(spec, span, start_given=start_given)


def tell(spec: PipelineSpec, file_spec: PipelineSpec) -> None:
    """Says which windows a restricted run gives, and where a backfill writes them."""
    from pipeline.spec import format_rfc3339

    begin, end = spec.span.from_us, spec.span.to_us
    bounds = [] if begin is None else [f"from {format_rfc3339(begin)}"]
    bounds += [] if end is None else [f"to {format_rfc3339(end)}"]
    windows = f"windows {' '.join(bounds)}" if bounds else "all windows"
    if spec.name != file_spec.name:
        results = spec.outputs.results
        say(f"motet: backfill {spec.name} beside {file_spec.name}: {windows}, into {results}")
    elif bounds:
        say(f"motet: {spec.name}: only {windows}")
