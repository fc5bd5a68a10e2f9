"""The newest results by what they say: added as they come, embedded when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.search.meaning import Embedder
from pipeline.search.passages import Passage, passages_of
from pipeline.search.words import word_scores

PASSAGES_MAX = 20_000  # 384 numbers and at most 400 characters each: about 50 MB
BATCH = 64
MEANING_SCORE_MIN = 0.2  # texts that have nothing to do with each other stay below it


class Hit(NamedTuple):
    """A result whose ``passage`` answers the question; ``score`` is at most 1.

    ``windows``: how many windows of the stream say exactly the same; this is the newest.
    """

    score: float
    result_id: str
    stream: str
    start_us: int
    end_us: int
    passage: Passage
    windows: int = 1


class _Entry(NamedTuple):
    stream: str
    start_us: int
    end_us: int
    passages: tuple[Passage, ...]


class SearchIndex:
    """Which results say something, and what.

    Invariant: it holds the passages of all results that were added and begin at or after the
    newest that was left out, at most ``passages_max`` in all, and one vector for each different
    text among them, once embedded. One thread at a time.
    """

    def __init__(self, embedder: Embedder | None = None, passages_max: int = PASSAGES_MAX) -> None:
        """Without an embedder it searches by words."""
        self._embedder = embedder
        self._passages_max = passages_max
        self._entries: dict[str, _Entry] = {}
        self._uses: dict[str, int] = {}  # of each text
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._begin_us: int | None = None  # results that begin before it are left out
        self.passages = 0
        self.left_out = 0  # results that are older than those it has room for

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def by(self) -> str:
        return "words" if self._embedder is None else "meaning"

    @property
    def pending(self) -> int:
        """Texts that are not embedded yet, and are not searched until they are."""
        return 0 if self._embedder is None else len(self._uses) - len(self._vectors)

    def add(self, result: Mapping[str, Any]) -> None:
        """A result's value; one of the same stream and start is replaced."""
        passages = tuple(passages_of(result))
        window, stream = result["window"], result["stream"]
        result_id = f"{stream}/{window['start_us']}"
        self._drop(result_id)
        if not passages:
            return
        if self._begin_us is not None and window["start_us"] < self._begin_us:
            self.left_out += 1
            return
        self._entries[result_id] = _Entry(stream, window["start_us"], window["end_us"], passages)
        self.passages += len(passages)
        for passage in passages:
            self._uses[passage.text] = self._uses.get(passage.text, 0) + 1
        if self.passages > self._passages_max:
            self._make_room()

    def keep_only(self, result_ids: Collection[str]) -> None:
        for result_id in [each for each in self._entries if each not in result_ids]:
            self._drop(result_id)

    def embed(self, on: Callable[[int], bool] = lambda _done: True) -> None:
        """Embeds what is pending, texts of the newest windows first, BATCH at a time.

        ``on`` is told how many texts are done, and whether to go on is what it answers.
        """
        if self._embedder is None or not self.pending:
            return
        newest = sorted(self._entries.values(), key=lambda entry: -entry.start_us)
        texts = dict.fromkeys(p.text for entry in newest for p in entry.passages)
        waiting = [text for text in texts if text not in self._vectors]
        for begin in range(0, len(waiting), BATCH):
            batch = waiting[begin : begin + BATCH]
            found = self._embedder.vectors(batch)
            self._vectors.update((t, row.copy()) for t, row in zip(batch, found, strict=True))
            if not on(begin + len(batch)):
                return

    def find(self, question: str, limit: int, stream: str | None = None) -> list[Hit]:
        """The best hits, one for each text of a stream; of equal scores the newest first."""
        scores = self._scores(question)
        best: dict[tuple[str, Passage], Hit] = {}
        for result_id, entry in self._entries.items():
            if stream is not None and entry.stream != stream:
                continue
            score, passage = max(
                ((scores.get(p.text, 0.0), p) for p in entry.passages), key=lambda each: each[0]
            )
            if score <= (0.0 if self._embedder is None else MEANING_SCORE_MIN):
                continue
            same = best.get((entry.stream, passage))
            hit = Hit(score, result_id, entry.stream, entry.start_us, entry.end_us, passage)
            if same is not None:
                newest = hit if hit.start_us > same.start_us else same
                hit = newest._replace(windows=same.windows + 1)
            best[entry.stream, passage] = hit
        order = sorted(best.values(), key=lambda hit: (-hit.score, -hit.start_us, hit.stream))
        return order[:limit]

    def _scores(self, question: str) -> dict[str, float]:
        """By text, of those that can be searched now."""
        if self._embedder is None:
            texts: Sequence[str] = list(self._uses)
            found = word_scores(question, texts)
        else:
            texts = list(self._vectors)
            if not texts:
                return {}
            found = np.stack(list(self._vectors.values())) @ self._embedder.vectors([question])[0]
        return dict(zip(texts, found.tolist(), strict=True))

    def _make_room(self) -> None:
        """Drops the oldest, a sixteenth of all at once: to sort them for each one would be slow."""
        room = self._passages_max - self._passages_max // 16
        last_us: int | None = None
        for result_id in sorted(self._entries, key=lambda each: self._entries[each].start_us):
            start_us = self._entries[result_id].start_us
            if self.passages <= room and start_us != last_us:
                break  # windows that begin together stay or go together
            last_us, self._begin_us = start_us, start_us + 1
            self._drop(result_id)
            self.left_out += 1

    def _drop(self, result_id: str) -> None:
        entry = self._entries.pop(result_id, None)
        if entry is None:
            return
        self.passages -= len(entry.passages)
        for passage in entry.passages:
            self._uses[passage.text] -= 1
            if not self._uses[passage.text]:
                del self._uses[passage.text]
                self._vectors.pop(passage.text, None)
