"""Text to text: a translation that ``motet train`` made, or a transformers model of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.batching.length_buckets import length_buckets
from pipeline.encoders.base import Clip
from pipeline.encoders.models.choices import own_folder
from pipeline.encoders.models.transformer_folder import transformer
from pipeline.encoders.models.translation.files import (
    Translation,
    is_translation,
    load_translation,
)
from pipeline.encoders.models.translation.pieces import PAD, tidy
from pipeline.encoders.models.translation.search import search
from pipeline.encoders.options import whole, wrong_option

BEAM_MAX, LENGTH_MAX = 16, 1024
_PADDING_MAX = 1 / 8  # of what the network computes in one call
_BATCH = 64
_CHARACTERS_MAX = 100_000
_BOTH = "name a folder of motet train --task translate, or of save_pretrained, safetensors"


class TextToText:
    """Each line of a text, translated; a line without a word stays empty.

    ``model``: a folder that ``motet train --task translate`` made, or one with a transformers model
    that reads a text and writes another (config.json, safetensors, tokenizer). Nothing is
    downloaded, and no code in the folder is run. ``beam``: how many beginnings are kept, 1 for the
    likeliest piece at every step. Of a line at most ``max_length`` pieces are read, and as many are
    written; of a text the first 100,000 characters are looked at.

    Lines of like length go through the network together; a line is the same whatever its batch
    mates are.
    """

    takes = "text"
    gives = "text"

    def __init__(
        self, device: torch.device, *, model: str, beam: int = 4, max_length: int = 256
    ) -> None:
        device = torch.device(device)
        beam = whole("beam", beam, 1, BEAM_MAX, "1 is greedy")
        length_max = whole("max_length", max_length, 1, LENGTH_MAX, "pieces")
        folder = own_folder("model", model)
        self._writer: TrainedWriter | _Generator
        if is_translation(folder):
            self._writer = TrainedWriter(load_translation(folder, device), beam, length_max)
        else:
            self._writer = _Generator(folder, device, beam, length_max)
        self._writer.written(["warm"])

    def encode(self, batch: Sequence[Clip]) -> list[str]:
        texts = [(clip.text or "")[:_CHARACTERS_MAX].splitlines() for clip in batch]
        lines = list(dict.fromkeys(line for text in texts for line in text if line.strip()))
        found = dict(zip(lines, self._writer.written(lines), strict=True))
        return ["\n".join(found.get(line, "") for line in text) for text in texts]


class TrainedWriter:
    """Lines by a translation that was trained here."""

    def __init__(self, model: Translation, beam: int, length_max: int) -> None:
        self._model, self._beam, self._length_max = model, beam, length_max

    def written(self, lines: Sequence[str]) -> list[str]:
        network, source, target = self._model.network, self._model.source, self._model.target
        read = [source.ids(tidy(line, fold=True))[: self._length_max] for line in lines]
        found = [""] * len(lines)
        with torch.inference_mode():
            for length, places in length_buckets([*map(len, read)], _PADDING_MAX, _BATCH):
                rows = [read[place] + [PAD] * (length - len(read[place])) for place in places]
                ids = torch.tensor(rows, device=network.piece.weight.device)
                written = search(network, ids, self._beam, self._length_max)
                for place, pieces in zip(places, written, strict=True):
                    found[place] = target.text(pieces)
        return found


class _Generator:
    """Lines by a transformers model with an encoder and a decoder, as its ``generate`` has it."""

    def __init__(self, folder: Path, device: torch.device, beam: int, length_max: int) -> None:
        if not (folder / "config.json").is_file():
            why = "it has neither card.json nor config.json"
            raise wrong_option("model", str(folder), why, _BOTH)
        loaded = transformer(folder, "AutoModelForSeq2SeqLM", device)
        self._tokenizer, self._model, pieces_max = loaded
        self._length_max = min(length_max, pieces_max or length_max)
        self._how = {"num_beams": beam, "do_sample": False, "max_new_tokens": self._length_max}

    def written(self, lines: Sequence[str]) -> list[str]:
        cut = {"truncation": True, "max_length": self._length_max}
        read: list[list[int]] = self._tokenizer(list(lines), **cut)["input_ids"] if lines else []
        found = [""] * len(lines)
        with torch.inference_mode():
            for _, places in length_buckets([*map(len, read)], _PADDING_MAX, _BATCH):
                batch = self._tokenizer(
                    [lines[place] for place in places], padding=True, return_tensors="pt", **cut
                )
                ids = self._model.generate(**batch.to(self._model.device), **self._how)
                texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
                for place, text in zip(places, texts, strict=True):
                    found[place] = " ".join(text.split())
        return found
