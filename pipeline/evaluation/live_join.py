"""Results and labels that are told in any order: what belongs together of what came lately.

Told everything and the time; it asks nobody (``pipeline.evaluation.live`` reads the topics).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator
from statistics import median
from typing import Generic, NamedTuple, TypeVar

from pipeline.evaluation.served import Answer, in_order, text_pairs
from pipeline.evaluation.text import Pair
from pipeline.training.labels import Label, LabelIndex

_Said = tuple[str, int, int, bool, bool]  # a time of a stream, and what is said of it
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Met(NamedTuple):
    """What belongs together just now.

    ``pairs``: answers of a head in the order of (stream, start), with what is true of them.
    ``unlabelled``: answers of a head without a label. ``delay_us``: the median time from an
    answer to its label, below 0 where that was first. ``waiting``: texts whose results are not
    all there.
    """

    pairs: list[tuple[Answer, str]]
    unlabelled: int
    texts: list[Pair]
    waiting: int
    delay_us: float | None


class LiveJoin:
    """The newest results and labels, whichever came first.

    Of labels of one time of a stream the newest stands, and one that says nothing takes back those
    before it. Invariants: which ones are kept, and so what has met, depends on what came and on
    the logs' times alone, not on the order in which it was told (of equal times the last told
    stands); at most ``most`` of either are kept, none that came over ``span_us`` ago. Each label
    is counted once, by what became of it; one that takes back is not.
    """

    def __init__(self, span_us: int, most: int, stage: str | None = None) -> None:
        """``stage``: the one whose text is compared; None: no texts are."""
        self._span_us = span_us
        self._stage = stage
        self._answers: _Newest[tuple[str, int], Answer] = _Newest(most)
        self._labels: _Newest[_Said, Label] = _Newest(most)
        self._met: set[Label] = set()
        self.met = self.unmet = 0  # labels; those that wait are in neither

    def answer(self, answer: Answer, at_us: int) -> None:
        """``at_us``: when its record was appended. One that is told again replaces the first."""
        self._answers.put((answer.stream, answer.start_us), at_us, answer)

    def label(self, label: Label, at_us: int) -> None:
        if label.label is not None or label.withdrawn or self._stage is not None:
            self._left(self._labels.put(_said(label), at_us, label))

    def join(self, now_us: int) -> Met:
        """Forgets what is too old, and puts together the rest."""
        since_us = now_us - self._span_us
        self._answers.drop(since_us)
        self._left(self._labels.drop(since_us))
        standing = self._standing()
        classes = LabelIndex(self._last(one for one in standing if one.label is not None))
        pairs: list[tuple[Answer, str]] = []
        delays_us: list[int] = []
        unlabelled = 0
        for answer in sorted(self._answers, key=lambda a: (a.stream, a.start_us)):
            if not answer.scores:
                continue
            label = classes.of(answer.stream, answer.start_us, answer.end_us)
            if label is None or label.label is None:
                unlabelled += 1
                continue
            pairs.append((answer, label.label))
            came_us = self._answers.at_us((answer.stream, answer.start_us))
            delays_us.append(self._labels.at_us(_said(label)) - came_us)
            self._meets(label)
        texts, waiting = self._texts(standing)
        return Met(pairs, unlabelled, texts, waiting, median(delays_us) if delays_us else None)

    def _standing(self) -> list[Label]:
        """The labels that were not taken back since."""
        gone_us = {one[:3]: self._labels.at_us(_said(one)) for one in self._labels if one.withdrawn}
        return [
            one
            for one in self._labels
            if not one.withdrawn
            and (one[:3] not in gone_us or self._labels.at_us(_said(one)) > gone_us[one[:3]])
        ]

    def _last(self, labels: Iterable[Label]) -> list[Label]:
        """Of those of one time, one alone and one with a text beside it, the newest."""
        found: dict[tuple[str, int, int], Label] = {}
        for one in sorted(labels, key=lambda label: self._labels.at_us(_said(label))):
            found[one[:3]] = one
        return list(found.values())

    def _texts(self, standing: list[Label]) -> tuple[list[Pair], int]:
        """A text counts once results reach from its start to its end, within half a window.

        One of which a part has left, or is not there yet, would be taken for misheard.
        """
        if self._stage is None:
            return [], 0
        answers = list(self._answers)
        by_stream = in_order(answers)
        whole, waiting = [], 0
        texts = self._last(one for one in standing if one.text is not None)
        for label in sorted(texts, key=str):
            own = by_stream.get(label.stream)
            if own and _reach(own[0], own[-1], label):
                whole.append(label)
                self._meets(label)
            else:
                waiting += 1
        return text_pairs(answers, whole, self._stage), waiting

    def _meets(self, label: Label) -> None:
        if label not in self._met:
            self._met.add(label)
            self.met += 1

    def _left(self, labels: list[Label]) -> None:
        for label in labels:
            if label in self._met:
                self._met.remove(label)
            elif not label.withdrawn:
                self.unmet += 1


def _said(label: Label) -> _Said:
    return *label[:3], label.label is not None, label.text is not None


def _reach(first: Answer, last: Answer, label: Label) -> bool:
    half_us = (first.end_us - first.start_us) // 2
    return first.start_us <= label.start_us + half_us and last.end_us >= label.end_us - half_us


class _Newest(Generic[Key, Value]):
    """Values by key, each with the time it came at; of two with one key the later one stands.

    Invariant: twice ``most`` are never exceeded, and after ``drop`` it is ``most``: those that
    came last, of equals the last by key.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Key, tuple[int, Value]] = {}

    def __iter__(self) -> Iterator[Value]:
        return (value for _, value in self._values.values())

    def at_us(self, key: Key) -> int:
        return self._values[key][0]

    def put(self, key: Key, at_us: int, value: Value) -> list[Value]:
        """Gives those that had to leave for it, or itself where a newer one stands."""
        known = self._values.get(key)
        stands = known is None or known[0] <= at_us
        if stands:
            self._values[key] = at_us, value
        left = [] if known is None or known[1] == value else [known[1] if stands else value]
        return [*left, *(self.drop() if len(self._values) > 2 * self._most else [])]

    def drop(self, since_us: int | None = None) -> list[Value]:
        """Gives those that came before, and those that are too many."""
        before = self._values
        kept = [one for one in before.items() if since_us is None or one[1][0] >= since_us]
        if len(kept) > self._most:
            kept = heapq.nlargest(self._most, kept, key=lambda one: (one[1][0], repr(one[0])))
        if len(kept) == len(before):
            return []
        self._values = dict(kept)
        return [value for key, (_, value) in before.items() if key not in self._values]
