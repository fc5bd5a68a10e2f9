"""What follows from a pipeline file: contexts, the lanes' rules, and what identifies a run."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pipeline.lane.spec import InputRule, LaneSpec
from pipeline.spec import graph
from pipeline.spec.catalog import AUDIO_RATE, BUILTIN
from pipeline.spec.head_store import head_hash
from pipeline.spec.own_files import digests
from pipeline.spec.secret import masked

if TYPE_CHECKING:
    from pipeline.spec.models import InputSpec, PipelineSpec

RESAMPLING_CONTEXT_US = 50_000  # contract section 2, log_mel: no seam is heard

# Raised when a reader of payload headers decides otherwise than before about some record:
# it is part of the decision hash, so that no run goes on with another reader's windows.
HEADER_READERS_VERSION = 2


def inputs_of(spec: PipelineSpec, stage: str) -> frozenset[str]:
    return graph.sources({name: s.of for name, s in spec.stages.items()}, stage)


def stage_order(spec: PipelineSpec) -> tuple[str, ...]:
    return graph.order({name: s.of for name, s in spec.stages.items()})


def stage_context(spec: PipelineSpec, stage: str) -> tuple[int, int]:
    """The declared context, and 50 ms each side where a built-in may have to resample.

    It has to unless every audio input that it reads states exactly the encoder's rate in its
    ``type`` (contract section 2). A class of the user's gets what the file declares.
    """
    declared = spec.stages[stage]
    builtin = BUILTIN.get(declared.encoder)
    extra_us = 0
    if builtin is not None and "audio" in builtin.takes:
        rate = declared.options.get("rate", AUDIO_RATE)
        audio = [spec.inputs[n].media for n in declared.of if n in spec.inputs]
        if any(media.kind == "audio" and media.rate != rate for media in audio):
            extra_us = RESAMPLING_CONTEXT_US
    return declared.before_us + extra_us, declared.after_us + extra_us


def lane_spec(spec: PipelineSpec) -> LaneSpec:
    """B of an input is its out-of-orderness plus the largest ``after`` of all stages."""
    contexts = [stage_context(spec, stage) for stage in spec.stages]
    before_us = max(before for before, _ in contexts)
    after_us = max(after for _, after in contexts)
    return LaneSpec(
        inputs=tuple(
            InputRule(name, source.gating, source.out_of_orderness_us + after_us)
            for name, source in spec.inputs.items()
        ),
        size_us=spec.windows.size_us,
        hop_us=spec.windows.hop_us,
        idle_us=spec.windows.idle_us,
        before_us=before_us,
        after_us=after_us,
        align_wait_us=spec.windows.align_wait_us,
        open_bytes=spec.limits.open_bytes,
    )


def decision_hash(spec: PipelineSpec) -> str:
    """A hash of all that decides (stream, ts, end, soundness, closing) of a record.

    Not in it, because they decide nothing about a record: weights, heads, options, replicas
    and batch sizes; ``decode_time``; the out-of-orderness of an input that does not gate;
    ``open_bytes`` and ``align_wait``, which only raise the floor (design section 4).
    """
    lane = lane_spec(spec)
    decides: dict[str, Any] = {
        "header_readers": HEADER_READERS_VERSION,
        "inputs": {name: _decides(source) for name, source in spec.inputs.items()},
        "windows": [lane.size_us, lane.hop_us, lane.idle_us, spec.windows.future_max_us],
        "context": [lane.before_us, lane.after_us],
        "limits": [spec.limits.record_bytes, spec.limits.record_span_us, spec.limits.pixels],
    }
    if spec.span:
        decides["span"] = [spec.span.from_us, spec.span.to_us]
    return _sha256(decides)[:16]


def _decides(source: InputSpec) -> list[Any]:
    payload, time = source.payload, source.time
    return [
        source.topic,
        str(source.media),
        source.gating,
        source.out_of_orderness_us if source.gating else None,
        source.stream,
        [payload.json, payload.base64] if payload else None,
        [time.json, time.unit] if time else None,
        source.time_offset_us,
    ]


def model_hash(spec: PipelineSpec, head: str | None = None) -> str:
    """A hash of stages, what they read, their options and the fusion.

    The order of ``of`` counts, in a stage (it joins texts) and in the fusion (it lays out
    ``concat``); the order of the stages does not, and a secret among the options neither. What
    the options name of the user's files counts by its content (``own_files``). A
    head counts by ``head``, its hash ("" for none); where that is not given it is that of the head
    in force, read from its card. Raises InvalidInput where it is not there.
    """
    fusion = spec.fusion
    stages = {
        name: [
            stage.encoder, stage.of, masked(stage.options), stage_context(spec, name),
            *filter(None, [digests(spec, name)]),
        ]
        for name, stage in spec.stages.items()
    }  # fmt: skip
    options = masked(fusion.options)
    rule = [fusion.rule, list(fusion.of.items()), fusion.normalize, fusion.dim, options]
    found = head_hash(spec) if head is None else head or None
    return _sha256({"stages": stages, "fusion": [*rule, found, fusion.abstain_below]})


def public(spec: PipelineSpec) -> dict[str, Any]:
    shown = masked(spec.model_dump())
    assert isinstance(shown, dict)
    return shown


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
