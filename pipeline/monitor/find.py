"""The newest results by what they say, for the page (``GET /api/find``).

The page's stand-in for ``motet find``, which searches the whole topic: here it is what the feed
of results holds, and a search takes a bounded time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pipeline import clock
from pipeline.errors import InvalidInput, MotetError
from pipeline.monitor.handler import Answer, Request, Route, text
from pipeline.monitor.results import ResultFeed, TooManyReaders

if TYPE_CHECKING:
    from pipeline.search import Hit, SearchIndex
    from pipeline.search.meaning import Embedder

PATH = "/api/find"
QUESTION_CHARS_MAX = 500
HITS_MAX = 20
HITS = 8
PASSAGES_MAX = 8_000
EMBED_US_MAX = 2_500_000  # of one search; what is left is embedded by the next one
OPEN_S = 10.0
WAIT_S = 5.0


class Finder:
    """One search at a time. Nothing is loaded, read or embedded before somebody searches.

    Invariant: its index holds what results of the feed say, and no others.
    ``embedder`` makes what compares meanings; where it raises InvalidInput (an extra that is not
    installed), searches go by words.
    """

    def __init__(self, feed: ResultFeed, embedder: Callable[[], Embedder] | None = None) -> None:
        self._feed = feed
        self._embedder = embedder or _meaning
        self._lock = threading.Lock()
        self._index: SearchIndex | None = None
        self._known: Mapping[str, bytes] = {}  # what the index was made of
        self._without: str | None = None  # why it searches by words

    def routes(self) -> dict[str, Route]:
        return {PATH: self._answer}

    def _answer(self, request: Request) -> Answer:
        query = request.query
        question, limit = query.get("text", "").strip(), query.get("limit", str(HITS))
        if not question or len(question) > QUESTION_CHARS_MAX:
            remedy = f"write ?text= with 1 to {QUESTION_CHARS_MAX} characters"
            return text(400, f"text: it has {len(question)} characters; {remedy}")
        if not limit.isdecimal() or not 1 <= int(limit[:6]) <= HITS_MAX:
            return text(400, f"limit = {limit[:40]}: write a number from 1 to {HITS_MAX}")
        if not self._lock.acquire(timeout=WAIT_S):
            return text(503, "another search is at work", Retry_After="2")
        try:
            found = self._find(question, int(limit), query.get("stream") or None)
        except TooManyReaders:
            return text(503, "too many readers of results; ask again", Retry_After="10")
        except MotetError as error:
            return text(503, " ".join(str(error).split()), Retry_After="2")
        finally:
            self._lock.release()
        return Answer(200, orjson.dumps(found), "application/json")

    # -- under the lock -----------------------------------------------------------------------

    def _find(self, question: str, limit: int, stream: str | None) -> dict[str, Any]:
        reader = self._feed.open(None, 0, None, OPEN_S)  # so that the feed has read what there is
        try:
            kept = self._feed.kept()
        finally:
            self._feed.leave(reader)
        index = self._filled(kept)
        until_us = clock.monotonic_us() + EMBED_US_MAX
        index.embed(lambda _done: clock.monotonic_us() < until_us)
        hits = index.find(question, limit, stream)
        return {
            "text": question,
            "by": index.by,
            "without": self._without,
            "results": len(index),
            "pending": index.pending,
            "hits": [_hit(hit, kept[hit.result_id]) for hit in hits],
        }

    def _filled(self, kept: Mapping[str, bytes]) -> SearchIndex:
        """The index with what results the feed has now, and no others."""
        if self._index is None:
            self._index = self._made()
        for result_id, value in kept.items():
            if self._known.get(result_id) is not value:
                self._add(self._index, value)
        self._index.keep_only(kept.keys())
        self._known = kept
        return self._index

    def _made(self) -> SearchIndex:
        from pipeline.search import SearchIndex

        try:
            return SearchIndex(self._embedder(), PASSAGES_MAX)
        except InvalidInput as error:
            self._without = " ".join(str(error).split())
            return SearchIndex(None, PASSAGES_MAX)

    @staticmethod
    def _add(index: SearchIndex, value: bytes) -> None:
        try:
            index.add(orjson.loads(value))
        except (ValueError, LookupError, TypeError, AttributeError):
            return  # a record of another make in the topic: it says nothing that we could find


def _meaning() -> Embedder:
    """On one core of the CPU: GPUs and the other cores are the pipeline's."""
    import torch

    from pipeline.search import Meaning

    torch.set_num_threads(1)
    return Meaning("cpu")


def _hit(hit: Hit, value: bytes) -> dict[str, Any]:
    """``result`` is the whole value, so that the page can show it as any other."""
    return {
        "result_id": hit.result_id,
        "stream": hit.stream,
        "start_us": hit.start_us,
        "end_us": hit.end_us,
        "score": round(hit.score, 4),
        "source": hit.passage.source,
        "kind": hit.passage.kind,
        "snippet": hit.passage.text,
        "windows": hit.windows,
        "result": orjson.loads(value),
    }
