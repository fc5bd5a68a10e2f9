"""Which inputs a visitor of the page can speak into, and why not into the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.connectors.files import Target
from pipeline.connectors.sound_cutter import audio_form
from pipeline.errors import InvalidInput
from pipeline.spec import PipelineSpec
from pipeline.spec.media_type import MediaKind
from pipeline.spec.models import InputSpec

# The rate that a browser may have, where the type does not say one.
_ANY_RATE = 48_000


class Spoken(NamedTuple):
    """One input as a visitor may serve it.

    ``rate``: of its sound in Hz, 0 where the browser's own is taken. ``why_not``: in words, where
    nothing can be sent there.
    """

    name: str
    kind: MediaKind
    target: Target
    rate: int
    gating: bool
    time_offset_us: int
    why_not: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "type": self.target.content_type,
            "rate": self.rate or None,
            "gating": self.gating,
            "why_not": self.why_not,
        }


def spoken_inputs(spec: PipelineSpec) -> Mapping[str, Spoken]:
    """All inputs of the file, by name and in its order."""
    return {name: _spoken(name, given) for name, given in spec.inputs.items()}


def _spoken(name: str, given: InputSpec) -> Spoken:
    media = given.media
    header = given.stream.removeprefix("header:") if given.stream.startswith("header:") else None
    target = Target(given.topic, str(media), header)
    why_not = _why_not(given)
    offset_us = given.time_offset_us
    return Spoken(name, media.kind, target, media.rate, given.gating, offset_us, why_not)


def _why_not(given: InputSpec) -> str | None:
    media = given.media
    if given.stream == "partition":
        return "a partition of it is one stream, so yours would be mixed with another's"
    if given.payload is not None or given.time is not None:
        return "its records are JSON, which only their own sender knows how to write"
    if media.kind == "video":
        return f"it takes films ({media}), and a page sends pictures"
    if media.kind == "audio":
        try:
            audio_form(str(media), _ANY_RATE, 1)
        except InvalidInput:
            return f"sound cannot be written as {media} here"
    return None
