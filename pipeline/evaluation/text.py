"""Word and character error rates, BLEU and chrF, with the normaliser named.

Word error rate is (substitutions + deletions + insertions) / reference words over all rows
together, by jiwer; BLEU (Papineni et al., 2002) and chrF (Popovic, 2015) by sacrebleu, with the
signature that says how they were computed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.bootstrap import ratio_interval

INSTALL = "pip install 'motet[train]'"
NORMALIZERS = ("plain", "english", "none")

Normalizer = Callable[[str], str]


class Pair(NamedTuple):
    """What was said in a stream from a time on, and what was heard."""

    stream: str
    start_us: int
    reference: str
    heard: str


def normalizer(name: str) -> Normalizer:
    """``plain``: NFKC, small letters, no punctuation. ``english``: Whisper's (transformers).

    Raises InvalidInput for another name, or where ``english`` is not installed.
    """
    if name == "plain":
        return plain
    if name == "none":
        return lambda text: " ".join(text.split())
    if name != "english":
        remedy = f"take one of {', '.join(NORMALIZERS)}"
        raise InvalidInput(Problem("--normalizer", name, "there is no such normaliser", remedy))
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    except ImportError:
        why, remedy = "it needs transformers", "pip install 'motet[models]', or take plain"
        raise InvalidInput(Problem("--normalizer", name, why, remedy)) from None
    normalize: Normalizer = EnglishTextNormalizer({})  # type: ignore[no-untyped-call]
    return normalize


def plain(text: str) -> str:
    """``It's  10 o'clock!`` -> ``its 10 oclock``: apostrophes join, other punctuation parts."""
    folded = (
        unicodedata.normalize("NFKC", text)
        .casefold()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    kept = ("" if c == "'" else " " if unicodedata.category(c)[0] in "PS" else c for c in folded)
    return " ".join("".join(kept).split())


def scorers() -> tuple[Any, Any]:
    """jiwer and sacrebleu; raises InvalidInput where one of them is not installed."""
    try:
        import jiwer
        import sacrebleu
    except ImportError as error:
        why = f"{error.name} is not installed"
        raise InvalidInput(Problem("figures", "text", why, INSTALL)) from None
    return jiwer, sacrebleu


def scored_text(pairs: Sequence[Pair], named: str, *, chinese: bool = False) -> dict[str, Any]:
    """All figures of these pairs; ``chinese``: BLEU by characters (sacrebleu's ``zh``).

    Pairs whose reference is empty after normalising count what was heard as insertions in the
    error rates. Raises InvalidInput where jiwer or sacrebleu is not installed, or no pair has a
    word.
    """
    jiwer, sacrebleu = scorers()
    normalize = normalizer(named)
    references = [normalize(pair.reference) for pair in pairs]
    heard = [normalize(pair.heard) for pair in pairs]
    streams = [pair.stream for pair in pairs]
    found: dict[str, Any] = {"rows": len(pairs), "normalizer": named}
    for name, count in (("wer", jiwer.process_words), ("cer", jiwer.process_characters)):
        rows = [
            _errors(count, r, h, by_words=name == "wer")
            for r, h in zip(references, heard, strict=True)
        ]
        found[name] = _rate(rows, streams)
    if not found["wer"]["reference"]:
        why, remedy = "no reference has a word", "give rows with text"
        raise InvalidInput(Problem("--labels", "", why, remedy))
    bleu = sacrebleu.BLEU(tokenize="zh" if chinese else "13a", effective_order=False)
    chrf = sacrebleu.CHRF()
    for name, metric in (("bleu", bleu), ("chrf", chrf)):
        score = metric.corpus_score(heard, [references])
        found[name] = {"score": score.score, "signature": str(metric.get_signature())}
    exact = [float(r == h) for r, h in zip(references, heard, strict=True)]
    found["exact"] = {
        "share": sum(exact) / len(exact),
        "interval": ratio_interval(exact, [1.0] * len(exact), streams),
    }
    return found


class _Errors(NamedTuple):
    substitutions: int
    deletions: int
    insertions: int
    reference: int


def _errors(count: Callable[..., Any], reference: str, heard: str, *, by_words: bool) -> _Errors:
    length = len(reference.split() if by_words else reference)
    if not length:  # jiwer takes no empty reference
        return _Errors(0, 0, len(heard.split() if by_words else heard), 0)
    found = count(reference, heard)
    return _Errors(found.substitutions, found.deletions, found.insertions, length)


def _rate(rows: Sequence[_Errors], streams: Sequence[str]) -> dict[str, Any]:
    errors = [row.substitutions + row.deletions + row.insertions for row in rows]
    lengths = [row.reference for row in rows]
    total = sum(lengths)
    return {
        "rate": sum(errors) / total if total else None,
        "interval": ratio_interval(errors, lengths, streams),
        "substitutions": sum(row.substitutions for row in rows),
        "deletions": sum(row.deletions for row in rows),
        "insertions": sum(row.insertions for row in rows),
        "reference": total,
    }
