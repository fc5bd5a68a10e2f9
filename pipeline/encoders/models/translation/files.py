"""The folder that ``motet train --task translate`` makes: ``card.json`` and safetensors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.models.translation.network import Sizes, TranslationNetwork
from pipeline.encoders.models.translation.pieces import Pieces
from pipeline.encoders.options import wrong_option
from pipeline.errors import InvalidInput
from pipeline.spec.user_class import one_line

CARD, TENSORS = "card.json", "model.safetensors"
KIND, FORMAT = "translation", 1
TENSORS_BYTES_MAX = 1 << 30
AGAIN = "train it again: motet train --task translate --pairs PAIRS -o FOLDER"
Card = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Translation:
    """A network and the pieces of its two sides; in float64, in which it was not trained.

    In float32 two continuations may be so near that the order of a sum decides between them, and
    that order hangs on how many texts are computed at once. In float64 this is a thousand million
    times rarer: a text is the same whatever its batch mates are.
    """

    network: TranslationNetwork
    source: Pieces
    target: Pieces

    def as_json(self) -> dict[str, Any]:
        return {
            "network": self.network.sizes.as_json(),
            "source": self.source.as_json(),
            "target": self.target.as_json(),
        }


def is_translation(folder: Path) -> bool:
    """Whether a folder has a card, of whatever kind."""
    return (folder / CARD).is_file()


def load_translation(folder: Path, device: torch.device) -> Translation:
    """Raises InvalidInput where the folder holds something else, or not all of it."""
    card = _card(folder)
    tensors = _tensors(folder, card)
    try:
        made = card["model"]
        source, target = (Pieces(**made[side]) for side in ("source", "target"))
        network = TranslationNetwork(Sizes(**made["network"]))
        if (len(source), len(target)) != (network.sizes.source, network.sizes.target):
            raise ValueError("its pieces are not as many as its network has")
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = f"its arrays do not fit its card ({one_line(error)})"
        raise _wrong(folder, why, AGAIN) from error
    network.double().to(device).eval().requires_grad_(False)
    return Translation(network, source, target)


def _card(folder: Path) -> Card:
    path = folder / CARD
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror or 'unknown reason'})"
        raise _wrong(folder, why, AGAIN) from None
    except ValueError:
        raise _wrong(folder, f"{path} is no JSON", AGAIN) from None
    kind = card.get("kind") if isinstance(card, dict) else None
    if kind != KIND:
        found = "a head" if isinstance(card, dict) and "head" in card else "something else"
        why = f"it holds {found}, and no translation, by its {CARD}"
        raise _wrong(folder, why, "name a folder that motet train --task translate made")
    if card.get("format") != FORMAT:
        why = f"{path} has format {card.get('format')}, and this version reads {FORMAT}"
        raise _wrong(folder, why, AGAIN)
    return dict(card)


def _tensors(folder: Path, card: Card) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / TENSORS
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= TENSORS_BYTES_MAX else b""
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror or 'unknown reason'})"
        raise _wrong(folder, why, AGAIN) from None
    if not data:
        why = f"{path} has {size} bytes, and a translation has 1 to {TENSORS_BYTES_MAX}"
        raise _wrong(folder, why, AGAIN)
    told = card.get("tensors")
    if hashlib.sha256(data).hexdigest() != (told or {}).get("sha256"):
        why = f"{path} is not the file that {CARD} was written with"
        raise _wrong(folder, why, "copy both files of the folder again")
    try:
        return dict(load(data))
    except SafetensorError as error:
        why = f"{path} cannot be read ({one_line(error)})"
        raise _wrong(folder, why, AGAIN) from None


def _wrong(folder: Path, why: str, remedy: str) -> InvalidInput:
    return wrong_option("model", str(folder), why, remedy)
