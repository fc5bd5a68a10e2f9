"""The card of a trained head (``card.json``): what it is, and the features it was trained on.

Standard library only: ``validate`` and the model of a result need the card, not the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.secret import masked

if TYPE_CHECKING:
    from pipeline.spec.models import FusionSpec, PipelineSpec

CARD, TENSORS = "card.json", "head.safetensors"
FORMAT = 1
KEY = "fusion.head"

Card = dict[str, Any]

# What a head decides by; data, metrics, cost and versions in a card only tell of it.
_DECIDING = ("format", "head", "features", "tensors")
_HEAD = ("rule", "lengths", "weights", "normalize", "dim", "trained_weights")  # read here


def read_card(folder: Path, named: str, key: str = KEY) -> Card:
    """The card in a head's folder; ``named`` is what the user wrote. Raises InvalidInput."""
    path = folder / CARD
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror or 'unknown reason'})"
        remedy = "train it: motet train FILE --labels LABELS"
        raise InvalidInput(Problem(key, named, why, remedy)) from None
    except ValueError:
        why = f"{path} is no JSON"
        raise InvalidInput(Problem(key, named, why, "train it again")) from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        why = f"{path} has format {found}, and this version reads {FORMAT}"
        raise InvalidInput(Problem(key, named, why, "train it with this version of motet"))
    missing = [part for part in _DECIDING if part not in card]
    missing += [part for part in _HEAD if part not in (card.get("head") or {})]
    if missing:
        why = f"{path} has no {' and no '.join(missing)}"
        raise InvalidInput(Problem(key, named, why, "train it again"))
    return card


def card_hash(card: Card) -> str:
    """SHA-256 (hex) over what the head decides by: equal heads have equal hashes."""
    text = json.dumps({part: card[part] for part in _DECIDING}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def features_of(spec: PipelineSpec) -> dict[str, Any]:
    """By fused stage, all in the file that its vectors follow from, down to the kinds of inputs.

    Names of inputs, replicas, batches and topics are not in it: they change no vector.
    """
    return {stage: _stage(spec, stage) for stage in spec.fusion.of}


def _stage(spec: PipelineSpec, stage: str) -> dict[str, Any]:
    declared = spec.stages[stage]
    return {
        "encoder": declared.encoder,
        "options": masked(declared.options),
        "context_us": [declared.before_us, declared.after_us],
        "of": [
            {"input": spec.inputs[name].media.kind} if name in spec.inputs else _stage(spec, name)
            for name in declared.of
        ],
    }


def misfit(
    card: Card,
    fusion: FusionSpec,
    features: Mapping[str, Any] | None,
    lengths: Mapping[str, int] | None = None,
) -> Problem | None:
    """Why a head is none for this fusion; None where it is one.

    ``features``: as ``features_of`` gives them, ``lengths`` of the vectors: as far as known.
    """
    head, named = card["head"], str(fusion.head)
    if head["rule"] != fusion.rule:
        why = f"it is a head for the rule {head['rule']}, and fusion.rule is {fusion.rule}"
        remedy = f"write rule: {head['rule']}, or train one for {fusion.rule}"
        return Problem(KEY, named, why, remedy)
    trained, found = card["features"], features
    if found is None:
        trained, found = dict.fromkeys(head["lengths"]), dict.fromkeys(fusion.of)
    other = differences(trained, dict(found))
    other += [
        f"stages.{stage} gives {(lengths or {})[stage]} numbers, and gave {length}"
        for stage, length in head["lengths"].items()
        if (lengths or {}).get(stage, length) != length
    ]
    if head["normalize"] != fusion.normalize:
        other.append(f"fusion.normalize is {fusion.normalize}, and was {head['normalize']}")
    if fusion.rule == "weighted_sum":
        if head["dim"] != fusion.dim:
            other.append(f"fusion.dim is {fusion.dim}, and was {head['dim']}")
        if not head["trained_weights"]:
            weights = {stage: fusion.of.get(stage) for stage in head["weights"]}
            other += differences(head["weights"], weights, "fusion.of")
    if not other:
        return None
    why = f"it was trained on other features: {'; '.join(other)}"
    remedy = "set them back, or train it again with `motet train FILE`"
    return Problem(KEY, named, why, remedy)


def differences(trained: Any, found: Any, path: str = "stages") -> list[str]:
    """In words, each place where the features of a file are not those of a card."""
    if isinstance(trained, dict) and isinstance(found, dict):
        lines = []
        for name in [*trained, *(name for name in found if name not in trained)]:
            below = f"{path}.{name}"
            if name not in found:
                lines.append(f"{below} is not there, and was {_shown(trained[name])}")
            elif name not in trained:
                lines.append(f"{below} is {_shown(found[name])}, and was not there")
            else:
                lines += differences(trained[name], found[name], below)
        return lines
    if isinstance(trained, list) and isinstance(found, list) and len(trained) == len(found):
        pairs = enumerate(zip(trained, found, strict=True))
        return [line for at, pair in pairs for line in differences(*pair, f"{path}[{at}]")]
    if trained == found:
        return []
    return [f"{path} is {_shown(found)}, and was {_shown(trained)}"]


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "encoder" in value:
        return str(value["encoder"])
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
