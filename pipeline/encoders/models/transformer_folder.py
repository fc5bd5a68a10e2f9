"""A transformers model and its tokenizer, from a folder of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipeline.encoders.models.weights import model_library
from pipeline.encoders.options import wrong_option
from pipeline.errors import InvalidInput
from pipeline.spec.user_class import one_line


class Transformer(NamedTuple):
    """``pieces_max``: most word pieces that it reads, where it says so."""

    tokenizer: Any
    model: Any
    pieces_max: int | None


def transformer(folder: Path, kind: str, device: torch.device) -> Transformer:
    """``kind``: the class that loads it (``AutoModel``). Raises InvalidInput where it cannot.

    Safetensors only, since a pickle is a program; nothing is downloaded and no code in it is run.
    """
    transformers = model_library("transformers")
    transformers.utils.logging.disable_progress_bar()
    local = {"local_files_only": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
        model = getattr(transformers, kind).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **local
        )
    except InvalidInput:
        raise
    except Exception as error:  # the library has no error of its own for a wrong folder
        why = f"it cannot be loaded ({one_line(error)})"
        remedy = "name a folder as save_pretrained writes it: model and tokenizer, safetensors"
        raise wrong_option("model", str(folder), why, remedy) from error
    model.to(device).eval()
    positions = getattr(model.config, "max_position_embeddings", None)
    known = [most for most in (positions, tokenizer.model_max_length) if most]
    return Transformer(tokenizer, model, min(known, default=None))
