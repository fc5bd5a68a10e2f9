"""How good the answers of the last span are: of what has met, for Prometheus and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.evaluation.live_join import Met
from pipeline.evaluation.served import Answer
from pipeline.evaluation.text import Pair, normalizer, scorers
from pipeline.spec.evaluation_model import EvaluationSpec
from pipeline.spec.units import format_rfc3339
from pipeline.tasks.figures import Figures
from pipeline.training.metrics import confusion

CLASSES_SHOWN = 20  # of a confusion matrix: labels come from a topic, and may be of any number
SLICES = 24
_Json = dict[str, Any]


def scored_labels(pairs: Sequence[tuple[Answer, str]]) -> _Json | None:
    """Accuracy and its kin of answers beside what is true; None where there are none.

    An answer without a label (``abstain_below``) is wrong. Balanced accuracy is the mean recall
    of the labels that occur. ``confusion``: rows are what is true, columns what was answered, the
    last one for no label; the labels that occur most, ``other_labels`` are left out.
    """
    if not pairs:
        return None
    right = np.array([answer.label == true for answer, true in pairs])
    occurs = Counter(true for _, true in pairs)
    hits = Counter(true for answer, true in pairs if answer.label == true)
    names = _commonest(pairs)
    numbers = {name: at for at, name in enumerate(names)}
    shown = [(a, t) for a, t in pairs if t in numbers and (a.label is None or a.label in numbers)]
    truth = np.array([numbers[true] for _, true in shown], np.intp)
    found = np.array([numbers.get(a.label or "", len(names)) for a, _ in shown], np.intp)
    every = {name for pair in pairs for name in (pair[0].label, pair[1]) if name is not None}
    return {
        "windows": len(pairs),
        "right": int(right.sum()),
        "abstained": sum(answer.label is None for answer, _ in pairs),
        "accuracy": float(right.mean()),
        "balanced_accuracy": sum(hits[name] / count for name, count in occurs.items())
        / len(occurs),
        "labels": names,
        "confusion": confusion(truth, found, len(names) + 1)[: len(names)].tolist(),
        "other_labels": len(every) - len(names),
        "over_time": _over_time(pairs, right),
    }


def _commonest(pairs: Sequence[tuple[Answer, str]]) -> list[str]:
    counts = Counter(true for _, true in pairs)
    counts.update(answer.label for answer, _ in pairs if answer.label is not None)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return sorted(ranked[:CLASSES_SHOWN])


def _over_time(pairs: Sequence[tuple[Answer, str]], right: np.ndarray[Any, Any]) -> list[_Json]:
    """Equal slices of the event time that the windows lie in, those without a window left out."""
    starts_us = np.array([answer.start_us for answer, _ in pairs], np.int64)
    first_us = int(starts_us.min())
    slice_us = (int(starts_us.max()) - first_us) // SLICES + 1
    slices = (starts_us - first_us) // slice_us
    return [
        {
            "start": format_rfc3339(first_us + int(each) * slice_us, "milliseconds"),
            "windows": int((slices == each).sum()),
            "right": int(right[slices == each].sum()),
        }
        for each in np.unique(slices)
    ]


def scored_texts(pairs: Sequence[Pair], normalizer_name: str, *, chinese: bool) -> _Json:
    """WER (jiwer) and BLEU (sacrebleu) over all pairs together, as ``motet evaluate`` has them.

    None where no reference has a word. Raises InvalidInput where one of the two is not installed.
    """
    _, sacrebleu = scorers()
    normalize = normalizer(normalizer_name)
    references = [normalize(pair.reference) for pair in pairs]
    heard = [normalize(pair.heard) for pair in pairs]
    errors = sum(_word_errors(*both) for both in zip(references, heard, strict=True))
    words = sum(len(reference.split()) for reference in references)
    bleu = sacrebleu.BLEU(tokenize="zh" if chinese else "13a", effective_order=False)
    return {
        "texts": len(pairs),
        "words": words,
        "wer": errors / words if words else None,
        "bleu": bleu.corpus_score(heard, [references]).score if words else None,
    }


@lru_cache(maxsize=4096)
def _word_errors(reference: str, heard: str) -> int:
    if not reference:  # jiwer takes no empty reference
        return len(heard.split())
    jiwer, _ = scorers()
    found = jiwer.process_words(reference, heard)
    return int(found.substitutions + found.deletions + found.insertions)


def state_of(met: Met, spec: EvaluationSpec) -> _Json:
    """The figures as ``/api/state`` has them."""
    labels = scored_labels(met.pairs)
    text = None
    if spec.text is not None:
        text = {
            "stage": spec.text,
            "normalizer": spec.normalizer,
            "waiting": met.waiting,
            **scored_texts(met.texts, spec.normalizer, chinese=spec.chinese),
        }
    return {
        "topic": spec.labels,
        "span_seconds": spec.span_us / 1e6,
        "unlabelled": met.unlabelled,
        "label_delay_seconds": None if met.delay_us is None else met.delay_us / 1e6,
        "classes": labels,
        "text": text,
    }


def told(state: _Json, figures: Figures) -> None:
    """The same as gauges; what is not known has none."""
    classes, text = state["classes"], state["text"]
    right, abstained, labelled = 0, 0, 0
    if classes is not None:
        right, abstained, labelled = (classes[k] for k in ("right", "abstained", "windows"))
        figures.gauge("motet_live_accuracy", classes["accuracy"])
        figures.gauge("motet_live_balanced_accuracy", classes["balanced_accuracy"])
    for answer, count in (
        ("right", right),
        ("wrong", labelled - right - abstained),
        ("none", abstained),
        ("unlabelled", state["unlabelled"]),
    ):
        figures.gauge("motet_live_windows", count, answer)
    if state["label_delay_seconds"] is not None:
        figures.gauge("motet_live_label_delay_seconds", state["label_delay_seconds"])
    if text is not None:
        figures.gauge("motet_live_texts", text["texts"], text["stage"])
        for name, key in (("motet_live_word_error_rate", "wer"), ("motet_live_bleu", "bleu")):
            if text[key] is not None:
                figures.gauge(name, text[key], text["stage"])
