"""How good a translation is on pairs that it has not seen: greedy, by beam, and word for word."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.encoders.models.text_to_text import TrainedWriter
from pipeline.encoders.models.translation.files import Translation
from pipeline.evaluation.text import Pair as Scored
from pipeline.evaluation.text import scored_text
from pipeline.training.fitting import repeatable
from pipeline.training.metrics import standard_error
from pipeline.training.translate.dictionary import HAN, Dictionary
from pipeline.training.translate.pairs import Pair, Parts

GAP_WARNED = 0.05  # of exact matches, and more than two standard errors
LENGTH_MAX = 256
Writer = Callable[[Sequence[str]], Sequence[str]]


def measured(model: Translation, parts: Parts, beam: int) -> dict[str, Any]:
    """Figures on the held-out pairs, and greedy on as many of the training pairs.

    BLEU by characters (sacrebleu's ``zh``) where most targets have Han characters. Raises
    InvalidInput where sacrebleu or jiwer is not installed.
    """
    test = parts.test
    chinese = 2 * sum(bool(HAN.search(pair.target)) for pair in test) > len(test)
    dictionary = Dictionary(parts.train)
    greedy = TrainedWriter(model, 1, LENGTH_MAX).written
    ways: dict[str, tuple[Writer, Sequence[Pair]]] = {
        "greedy": (greedy, test),
        "beam": (TrainedWriter(model, beam, LENGTH_MAX).written, test),
        "dictionary": (lambda lines: [dictionary.translated(line) for line in lines], test),
        "train": (greedy, parts.train[:: max(1, len(parts.train) // len(test))]),
    }
    with repeatable(0, model.network.piece.weight.device):  # one thread, as in training
        found: dict[str, Any] = {
            name: _figures(way, pairs, chinese) for name, (way, pairs) in ways.items()
        }
    return found | {
        "beam_size": beam,
        "gap": found["train"]["exact"] - found["greedy"]["exact"],
    }


def _figures(way: Writer, pairs: Sequence[Pair], chinese: bool) -> dict[str, Any]:
    began_s = time.process_time()
    written = way([pair.source for pair in pairs])
    cpu_s = time.process_time() - began_s
    rows = [
        Scored(str(number), 0, pair.target, text)
        for number, (pair, text) in enumerate(zip(pairs, written, strict=True))
    ]
    scores = scored_text(rows, "none", chinese=chinese)
    return {
        "rows": len(rows),
        "exact": scores["exact"]["share"],
        "exact_interval": scores["exact"]["interval"],
        "bleu": scores["bleu"]["score"],
        "bleu_signature": scores["bleu"]["signature"],
        "chrf": scores["chrf"]["score"],
        "chrf_signature": scores["chrf"]["signature"],
        "cpu_ms_per_text": 1e3 * cpu_s / len(rows),
    }


def warnings_of(found: dict[str, Any]) -> list[str]:
    """What the figures say against the model, for the user to read."""
    told = []
    greedy, dictionary = found["greedy"], found["dictionary"]
    spread = standard_error(greedy["exact"], greedy["rows"])
    if found["gap"] > max(GAP_WARNED, 2 * spread):
        told.append(
            f"over-fitting: {found['train']['exact']:.3f} exact in training and "
            f"{greedy['exact']:.3f} held out; give more pairs, or a smaller --hidden"
        )
    if max(greedy["bleu"], found["beam"]["bleu"]) <= dictionary["bleu"]:
        told.append("it is no better than word for word: give more pairs, or more --epochs")
    return told
