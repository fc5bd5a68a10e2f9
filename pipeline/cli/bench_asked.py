"""What ``motet bench encode`` is asked to measure, from its arguments; loads nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.arguments import duration_us, load_spec
from pipeline.errors import InvalidInput, Problem
from pipeline.spec.catalog import AVAILABLE, check_encoder, is_class_path

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

BATCH_MAX = 64  # a stage's `batch_max` where it is not given
SIZE = "1s"
TARGET = "100ms"
_PIPELINES = (".yaml", ".yml")
# What a built-in encoder cannot be built without, where all of them are measured.
_NEEDED: Mapping[str, Mapping[str, Any]] = {"librosa_feature": {"name": "spectral_contrast"}}


class Span(NamedTuple):
    """How long a window is, and what its stage's context adds (us)."""

    size_us: int
    before_us: int = 0
    after_us: int = 0


class Asked(NamedTuple):
    """One encoder to measure; ``named`` False: where it cannot be built it is left out.

    ``target_us`` None: the largest batch is chosen. ``spec``: the file of which it is a stage, and
    ``of`` what that stage reads.
    """

    title: str
    encoder: str
    options: Mapping[str, Any]
    folder: Path
    span: Span
    batch_max: int
    target_us: int | None
    named: bool
    spec: PipelineSpec | None = None
    of: tuple[str, ...] = ()


class Wishes(NamedTuple):
    """The flags; None where one is not given."""

    options: str
    size: str | None
    target: str | None
    batch_max: int | None


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Encoders (or one pipeline file) first, then sources; InvalidInput where one is neither.

    The first word that names no encoder begins the sources.
    """
    count = next((i for i, word in enumerate(words) if not _is_encoder(word)), len(words))
    if words and Path(words[0]).suffix.lower() in _PIPELINES:
        count = 1
    for word in words[count:]:
        if not Path(word).exists() and word.isidentifier():
            _refuse(word)
    return list(words[:count]), list(words[count:])


def _is_encoder(word: str) -> bool:
    return word in AVAILABLE or is_class_path(word)


def _refuse(word: str) -> None:
    """A word without a dot or a slash that is no file was meant to be an encoder."""
    from pipeline.spec.units import Wrong

    try:
        check_encoder(word)
    except Wrong as wrong:
        raise InvalidInput(Problem("ENCODER", word, wrong.why, wrong.remedy)) from None
    why = "an encoder stands before the sources"
    raise InvalidInput(Problem("SOURCE", word, why, "write encoders first, then files"))


def asked_for(first: Sequence[str], wishes: Wishes) -> list[Asked]:
    """An entry for each encoder, for each stage of a file; without any for each built-in one."""
    options = _options(wishes.options)
    if options and len(first) != 1:
        why, remedy = f"there are {len(first) or 'all'} encoders", "name one encoder with it"
        raise InvalidInput(Problem("--options", wishes.options, why, remedy))
    if first and Path(first[0]).suffix.lower() in _PIPELINES:
        if options:
            remedy = "write them in the file, or name one encoder"
            why = "a pipeline file says the options of its stages"
            raise InvalidInput(Problem("--options", wishes.options, why, remedy))
        return _stages(load_spec(Path(first[0])), wishes)
    target_us = duration_us("--target", wishes.target or TARGET)
    return [
        Asked(
            title=name,
            encoder=name,
            options=options if first else _NEEDED.get(name, {}),
            folder=Path.cwd(),
            span=Span(duration_us("--size", wishes.size or SIZE)),
            batch_max=wishes.batch_max or BATCH_MAX,
            target_us=target_us,
            named=bool(first),
        )
        for name in dict.fromkeys(first or AVAILABLE)
    ]


def _stages(spec: PipelineSpec, wishes: Wishes) -> list[Asked]:
    size_us = spec.windows.size_us if wishes.size is None else duration_us("--size", wishes.size)
    asked = []
    for name in spec.stage_order():
        stage = spec.stages[name]
        target_us = stage.latency_target_us
        if wishes.target is not None:
            target_us = duration_us("--target", wishes.target)
        asked.append(
            Asked(
                title=f"{name} ({stage.encoder})",
                encoder=stage.encoder,
                options=stage.options,
                folder=spec.folder,
                span=Span(size_us, stage.before_us, stage.after_us),
                batch_max=wishes.batch_max or stage.batch_max,
                target_us=target_us,
                named=True,
                spec=spec,
                of=stage.of,
            )
        )
    return asked


def _options(text: str) -> dict[str, Any]:
    remedy = "write a JSON object such as '{\"n_mels\": 32}'"
    try:
        found = json.loads(text)
    except ValueError as error:
        why = f"it is not JSON ({error})"
        raise InvalidInput(Problem("--options", text, why, remedy)) from None
    if not isinstance(found, dict):
        raise InvalidInput(Problem("--options", text, "it is no JSON object", remedy))
    return found
