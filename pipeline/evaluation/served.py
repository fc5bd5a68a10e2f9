"""Committed results beside labels: what was answered about a window, and what is true of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.bootstrap import ratio_interval
from pipeline.evaluation.text import Pair
from pipeline.training.labels import Label, LabelIndex
from pipeline.training.metrics import Floats, scored

KEY = "--labels"


class Answer(NamedTuple):
    """A committed result, as far as it is compared. ``scores`` None: no head answered."""

    stream: str
    start_us: int
    end_us: int
    label: str | None
    scores: Mapping[str, float] | None
    texts: Mapping[str, str]


def answer_of(value: Mapping[str, Any]) -> Answer:
    """Of a result's value (contract section 4)."""
    window, output = value["window"], value["output"]
    return Answer(
        value["stream"],
        window["start_us"],
        window["end_us"],
        output.get("label"),
        output.get("scores"),
        value["text"],
    )


def scored_labels(answers: Iterable[Answer], index: LabelIndex) -> dict[str, Any] | None:
    """Figures of the labels that a head gave; None where no labelled window has one.

    ``abstained`` answers count as wrong in ``accuracy``; ``accuracy_answered`` is of the others.
    A window whose true label the head never learned counts as wrong too.
    """
    rows = []
    for answer in answers:
        label = index.of(answer.stream, answer.start_us, answer.end_us)
        if answer.scores and label is not None and label.label is not None:
            rows.append((answer, label.label))
    if not rows:
        return None
    names = sorted({n for answer, _ in rows for n in answer.scores or ()} | {t for _, t in rows})
    truth = np.array([names.index(true) for _, true in rows], np.intp)
    scores = np.array([[(a.scores or {}).get(name, 0.0) for name in names] for a, _ in rows])
    right = [float(answer.label == true) for answer, true in rows]
    answered = [float(answer.label is not None) for answer, _ in rows]
    streams = [answer.stream for answer, _ in rows]
    found = scored(truth, scores)
    return {
        "labels": names,
        **found,
        "accuracy": sum(right) / len(rows),
        "accuracy_interval": ratio_interval(right, [1.0] * len(rows), streams),
        "auc": area_under_curve(truth, scores),
        "abstained": len(rows) - int(sum(answered)),
        "accuracy_answered": sum(right) / sum(answered) if any(answered) else None,
        "streams": len(set(streams)),
    }


def area_under_curve(truth: np.ndarray[Any, Any], scores: Floats) -> float | None:
    """Mean over the labels of each one against the rest, of those with rows on both sides."""
    from sklearn.metrics import roc_auc_score

    areas = []
    for label in range(scores.shape[1]):
        is_it = truth == label
        if is_it.any() and not is_it.all():
            areas.append(roc_auc_score(is_it, scores[:, label]))
    return float(np.mean(areas)) if areas else None


def text_pairs(answers: Sequence[Answer], labels: Iterable[Label], stage: str) -> list[Pair]:
    """By transcript, the texts of the windows that lie in it, joined by time.

    A window lies in a transcript that covers more than half of it. Of windows that overlap, as
    with ``hop`` below ``size``, every next one that begins where the last taken has ended counts:
    the words of the others are the same again. A window without text has said nothing.
    """
    by_stream = in_order(answers)
    longest_us = max((a.end_us - a.start_us for a in answers), default=0)
    pairs = []
    for label in labels:
        if label.text is None:
            continue
        heard, reached_us = [], label.start_us
        windows = 0
        own = by_stream.get(label.stream, [])
        first = bisect_left(own, label.start_us - longest_us, key=lambda a: a.start_us)
        for answer in own[first : bisect_left(own, label.end_us, key=lambda a: a.start_us)]:
            inside = min(answer.end_us, label.end_us) - max(answer.start_us, label.start_us)
            taken = 2 * inside > answer.end_us - answer.start_us
            if taken and (not windows or answer.start_us >= reached_us):
                windows += 1
                reached_us = answer.end_us
                heard.append(answer.texts.get(stage, ""))
        if windows:
            said = " ".join(filter(None, heard))
            pairs.append(Pair(label.stream, label.start_us, label.text, said))
    return pairs


def in_order(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """By stream, in the order of time."""
    by_stream: dict[str, list[Answer]] = {}
    for answer in sorted(answers, key=lambda a: (a.stream, a.start_us)):
        by_stream.setdefault(answer.stream, []).append(answer)
    return by_stream


def text_stage(answers: Iterable[Answer], asked: str | None) -> str | None:
    """The stage whose text is compared; raises InvalidInput where it must be named."""
    stages = sorted({stage for answer in answers for stage in answer.texts})
    if asked is not None:
        if asked not in stages:
            why = "no result has text of it"
            remedy = f"name one of {', '.join(stages)}" if stages else "run a stage that gives text"
            raise InvalidInput(Problem("--stage", asked, why, remedy))
        return asked
    if len(stages) > 1:
        why = f"results have text of {', '.join(stages)}"
        raise InvalidInput(Problem("--stage", "", why, "name the one that labels are about"))
    return stages[0] if stages else None
