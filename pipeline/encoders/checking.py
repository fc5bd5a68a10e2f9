"""The encoders of a whole pipeline, checked against each other before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from pipeline.encoders.base import Encoder
from pipeline.encoders.loading import kinds_taken, load_encoder, sequence_shape, vector_length
from pipeline.encoders.plan import StagePlan
from pipeline.errors import InvalidInput, Problem
from pipeline.spec.models import PipelineSpec
from pipeline.spec.sequence import SequenceShape
from pipeline.spec.vector_lengths import unequal_lengths

# Frames are frames: an encoder of pictures reads those of a video and the other way round.
_READABLE = {"image": ("image", "video"), "video": ("video", "image")}


class Checked(NamedTuple):
    """By stage: the lengths of vectors, and the shapes of those that are sequences."""

    lengths: dict[str, int]
    sequences: dict[str, SequenceShape]


def check_pipeline(spec: PipelineSpec) -> dict[str, int]:
    """As ``check_encoders``; gives the lengths of vectors alone."""
    return check_encoders(spec).lengths


def check_encoders(spec: PipelineSpec) -> Checked:
    """Builds every stage's encoder once, on the CPU, and asks those that give vectors for them.

    Raises InvalidInput with all problems: classes that cannot be found or built, a stage that
    reads what its encoder does not take, a fused stage that gives no vector, and unequal lengths
    that ``weighted_sum`` has no ``dim`` for.
    """
    problems: list[Problem | str] = []
    gives: dict[str, str] = {name: source.media.kind for name, source in spec.inputs.items()}
    lengths: dict[str, int] = {}
    sequences: dict[str, SequenceShape] = {}
    for stage in spec.stage_order():
        key = f"stages.{stage}.encoder"
        named = spec.stages[stage].encoder
        try:
            encoder = load_encoder(
                named, spec.stages[stage].options, torch.device("cpu"), spec.folder, key=key
            )
            gives[stage] = encoder.gives
            wrong = _wrong_sources(spec, stage, encoder, gives)
            problems.extend(wrong)
            if encoder.gives == "vector":
                sources = spec.stages[stage].of
                # one that could not be built has been told of; this one's length hangs on it
                known = all(n in lengths or gives.get(n, "vector") != "vector" for n in sources)
                if not wrong and known:
                    read = sum(lengths.get(name, 0) for name in sources)
                    lengths[stage] = vector_length(encoder, read, name=named, key=key)
                    shape = sequence_shape(encoder, lengths[stage], name=named, key=key)
                    sequences |= {} if shape is None else {stage: shape}
        except InvalidInput as error:
            problems.extend(error.problems)
    problems.extend(_wrong_fusion(spec, gives, lengths))
    if problems:
        raise InvalidInput(*problems)
    return Checked(lengths, sequences)


def stage_plan(spec: PipelineSpec, stage: str, lengths: Mapping[str, int]) -> StagePlan:
    """What an EncodeTask of this stage needs; ``lengths`` as ``check_pipeline`` gave them."""
    declared = spec.stages[stage]
    return StagePlan(
        name=stage,
        of=declared.of,
        before_us=declared.before_us,
        after_us=declared.after_us,
        upstream_lengths={name: lengths[name] for name in declared.of if name in lengths},
        length=lengths.get(stage),
        decode_time_us=spec.limits.decode_time_us,
    )


def _wrong_sources(
    spec: PipelineSpec, stage: str, encoder: Encoder, gives: Mapping[str, str]
) -> list[Problem]:
    """Names in ``of`` that the encoder cannot read; those that could not be built are passed by."""
    declared = spec.stages[stage]
    key, takes, problems = f"stages.{stage}.of", kinds_taken(encoder), []
    for name in declared.of:
        kind = gives.get(name)
        if kind is None or any(each in takes for each in _READABLE.get(kind, (kind,))):
            continue
        why = f"gives {kind}, and {declared.encoder} takes {' or '.join(takes)}"
        remedy = f"name an input or a stage that gives {' or '.join(takes)}"
        problems.append(Problem(key, name, why, remedy))
    heard = [name for name in declared.of if gives.get(name) == "audio"]
    if len(heard) > 1 and not problems:
        why = "a clip has one signal, and these are several"
        remedy = "make a stage for each of them and fuse their vectors"
        problems.append(Problem(key, ", ".join(heard), why, remedy))
    return problems


def _wrong_fusion(
    spec: PipelineSpec, gives: Mapping[str, str], lengths: Mapping[str, int]
) -> list[Problem]:
    problems = []
    for stage in spec.fusion.of:
        if gives.get(stage, "vector") != "vector":
            why = f"gives {gives[stage]}, and fusion takes vectors"
            remedy = "name a stage that gives a vector, or put one behind it that reads it"
            problems.append(Problem(f"fusion.of.{stage}", "", why, remedy))
    unequal = unequal_lengths(spec.fusion, lengths)
    return problems if unequal is None else [*problems, unequal]
