"""A trained head as a directory: ``card.json`` and ``head.safetensors``, never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.drift import references_of
from pipeline.fusion.head_kinds import build_head
from pipeline.fusion.heads import Head, HeadSpec
from pipeline.fusion.products import Rows
from pipeline.spec.head_card import CARD, FORMAT, KEY, TENSORS, Card, card_hash, read_card
from pipeline.spec.user_class import one_line

TENSORS_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class LoadedHead:
    """A head whose arrays fit its card; ``sha256`` names it in ``model``."""

    spec: HeadSpec
    tensors: dict[str, Rows]
    card: Card
    sha256: str

    def under(self, weights: Mapping[str, float]) -> HeadSpec:
        """As a file runs it that gives these weights: its own hold only where they were trained."""
        if self.spec.trained_weights:
            return self.spec
        return replace(self.spec, weights={stage: weights[stage] for stage in self.spec.weights})


def save_head(
    folder: Path,
    spec: HeadSpec,
    tensors: Mapping[str, Rows],
    features: Mapping[str, Any],
    told: Mapping[str, Any],
) -> str:
    """Writes a head, the card last; gives its hash. ``told``: data, metrics, cost, versions.

    A head that was there before is replaced file by file: who reads between the two finds that
    they do not belong together, and is told so.
    """
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    card: Card = {
        "format": FORMAT,
        "head": spec.as_json(),
        "features": dict(features),
        "tensors": {"file": TENSORS, "sha256": hashlib.sha256(data).hexdigest()},
        **told,
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / TENSORS, data)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(folder / CARD, f"{text}\n".encode())
    return card_hash(card)


def replace_file(path: Path, data: bytes) -> None:
    """At once: who reads finds the old bytes or the new ones."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def load_head(folder: Path, named: str = "", key: str = KEY) -> LoadedHead:
    """The head in a folder; ``named`` is what the user wrote. Raises InvalidInput."""
    named = named or str(folder)
    card = read_card(folder, named, key)
    tensors = _tensors(folder / TENSORS, card, named, key)
    try:
        spec = HeadSpec.of(card["head"])
        _try(spec, build_head(spec, tensors))
        references_of(card)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        why = f"its arrays do not fit its card ({one_line(error)})"
        raise InvalidInput(Problem(key, named, why, "train it again")) from error
    return LoadedHead(spec, tensors, card, card_hash(card))


def _tensors(path: Path, card: Card, named: str, key: str) -> dict[str, Rows]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= TENSORS_BYTES_MAX else b""
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror or 'unknown reason'})"
        raise InvalidInput(Problem(key, named, why, "train it again")) from None
    if not data:
        why = f"{path} has {size} bytes, and a head has 1 to {TENSORS_BYTES_MAX}"
        raise InvalidInput(Problem(key, named, why, "train it again"))
    if hashlib.sha256(data).hexdigest() != card["tensors"].get("sha256"):
        why = f"{path} is not the file that {CARD} was written with"
        raise InvalidInput(Problem(key, named, why, "copy both files of the head again"))
    try:
        return dict(load(data))
    except SafetensorError as error:
        why = f"{path} cannot be read ({one_line(error)})"
        raise InvalidInput(Problem(key, named, why, "train it again")) from None


def _try(spec: HeadSpec, head: Head) -> None:
    """One window of zeros, all there and nothing there: shapes fit, and the logits are finite."""
    terms = [head.term(stage, np.zeros((2, spec.lengths[stage]))) for stage in head.stages]
    masks = np.array([[True] * len(terms), [False] * len(terms)])
    logits = head.combine(head.stages, terms, masks).logits
    if logits.shape != (2, len(spec.labels)) or not np.isfinite(logits).all():
        raise ValueError(f"logits of shape {logits.shape} for {len(spec.labels)} labels")
