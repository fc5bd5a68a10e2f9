"""A part of event time that a run is restricted to, and a backfill beside the live run.

Both change a pipeline that was read already: ``motet run --from --to`` and ``--name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.fields import NAME
from pipeline.spec.units import format_duration, format_rfc3339

if TYPE_CHECKING:
    from pipeline.spec.models import PipelineSpec

TOPIC_CHARS_MAX = 249  # of Kafka


@dataclass(frozen=True, slots=True)
class Span:
    """Windows that begin at or after ``from_us`` and end at or before ``to_us``; None: no bound."""

    from_us: int | None = None
    to_us: int | None = None

    def __bool__(self) -> bool:
        return self.from_us is not None or self.to_us is not None

    def holds(self, start_us: int, end_us: int) -> bool:
        return (self.from_us is None or start_us >= self.from_us) and (
            self.to_us is None or end_us <= self.to_us
        )

    def indices(self, size_us: int, hop_us: int) -> tuple[int | None, int | None]:
        """The first and the last window ``[k*hop, k*hop + size)`` that it holds, by ``k``."""
        first = None if self.from_us is None else -(-self.from_us // hop_us)
        last = None if self.to_us is None else (self.to_us - size_us) // hop_us
        return first, last


def spanned(spec: PipelineSpec, span: Span, *, start_given: bool) -> PipelineSpec:
    """The pipeline restricted to a span; raises InvalidInput where no window fits into it.

    Unless the user says where to begin, a pipeline that never ran begins to read where the
    first record of the span can lie. A sound record ends at most ``future_max`` after its Kafka
    timestamp. So those with a timestamp before ``from - before - future_max`` end before all
    that a window of the span, or its context, reaches; and since every clock and the floor
    stand at or below the ends of the records that moved them, they close no such window, and
    make none late.
    """
    if not span:
        return spec
    _check(spec, span)
    update: dict[str, object] = {}
    if span.from_us is not None and not start_given:
        margin_us = spec.lane_spec().before_us + spec.windows.future_max_us
        update["start"] = max(0, span.from_us - margin_us)
    made = spec.model_copy(update=update)
    made._span = span
    return made


def _check(spec: PipelineSpec, span: Span) -> None:
    from_us, to_us = span.from_us, span.to_us
    if from_us is None or to_us is None:
        return
    given = f"{format_rfc3339(from_us)}, {format_rfc3339(to_us)}"
    if from_us >= to_us:
        why = "the end is not after the beginning"
        raise InvalidInput(Problem("--from, --to", given, why, "exchange them"))
    first, last = span.indices(spec.windows.size_us, spec.windows.hop_us)
    assert first is not None
    assert last is not None
    if first > last:
        size, hop = format_duration(spec.windows.size_us), format_duration(spec.windows.hop_us)
        why = f"no window lies in it: they last {size} and begin at every multiple of {hop}"
        start = first * spec.windows.hop_us
        nearest = f"{format_rfc3339(start)} to {format_rfc3339(start + spec.windows.size_us)}"
        raise InvalidInput(Problem("--from, --to", given, why, f"the next one is {nearest}"))


def beside(spec: PipelineSpec, name: str) -> PipelineSpec:
    """The pipeline under another name, into topics with ``.NAME`` appended; raises InvalidInput.

    Group and transactional ids follow the name, so it and the live run share nothing but what
    they read. Under its own name it is what it is.
    """
    if not re.fullmatch(NAME, name):
        why = "it is no name of 1 to 63 lower-case letters, digits and hyphens"
        raise InvalidInput(Problem("--name", name, why, "write one such as lobby-fix"))
    if name == spec.name:
        return spec
    outputs = {key: f"{topic}.{name}" for key, topic in spec.outputs}
    outs = {n: f"{s.out}.{name}" for n, s in spec.stages.items() if s.out is not None}
    _check_topics(spec, name, [*outputs.values(), *outs.values()])
    stages = {
        n: stage.model_copy(update={"out": outs[n]}) if n in outs else stage
        for n, stage in spec.stages.items()
    }
    update = {
        "name": name,
        "outputs": spec.outputs.model_copy(update=outputs),
        "stages": stages,
    }
    return spec.model_copy(update=update)


def _check_topics(spec: PipelineSpec, name: str, wanted: list[str]) -> None:
    taken = {*spec.topics_in(), *spec.topics_out()}
    problems = [
        Problem("--name", name, f"the file names topic {topic} for something else", "take another")
        for topic in wanted
        if topic in taken
    ]
    problems += [
        Problem("--name", name, f"{topic} is over {TOPIC_CHARS_MAX} characters", "take a shorter")
        for topic in wanted
        if len(topic) > TOPIC_CHARS_MAX
    ]
    if problems:
        raise InvalidInput(*problems)
