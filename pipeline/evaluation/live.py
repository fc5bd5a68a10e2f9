"""Results compared with labels while they come: reads both topics beside the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline import clock
from pipeline.connectors.topic_reader import Positions, TopicReader
from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.live_figures import state_of, told
from pipeline.evaluation.live_join import LiveJoin
from pipeline.evaluation.served import Answer, answer_of
from pipeline.evaluation.text import normalizer, scorers
from pipeline.slot.ports import Connector, Control, LogRecord, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.spec.evaluation_model import EvaluationSpec
from pipeline.tasks.figures import Figures
from pipeline.training.labels import change_of
from pipeline.training.rows import parsed

EVERY_US = 1_000_000  # between two looks at what has met
SHARE = 50  # a look is followed by a rest that is so many times longer: at most 2 % of a core


class LiveEvaluation:
    """One thread that reads results and labels from ``span`` ago on, and tells how good they are.

    Invariants: it reads by ports of its own, so that it holds up nothing of the run, and its
    failure ends nothing of it: that is told by ``state`` and tried again. After a restart it
    reads what it had read before, and comes to the same figures.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        asked: EvaluationSpec,
        connector: Connector,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Raises InvalidInput where what texts are measured by is not installed."""
        if asked.text is not None:
            _check_scorers(asked.text, asked.normalizer)
        self._results, self._asked = spec.outputs.results, asked
        self._say = say
        self._join = LiveJoin(asked.span_us, asked.windows, asked.text)
        self._lock = threading.Condition()
        self._figures = Figures()
        self._unreadable = 0
        self._problem: str | None = None
        self._next_us = 0
        self._look()
        topics = (self._results, asked.labels)
        self._reader = TopicReader(connector, topics, self, self._lock, "monitor-live")
        self._reader.wake()

    def figures(self) -> Figures:
        """Of the last look; may be asked from any thread, as ``state``."""
        with self._lock:
            return self._figures.copy()

    def state(self) -> dict[str, Any]:
        """As ``/api/state`` has it."""
        with self._lock:
            return {**self._state, "problem": self._problem}

    def close(self) -> None:
        self._reader.close()

    # -- called by the thread that reads ------------------------------------------------------

    def begin(
        self, control: Control, partitions: Mapping[str, Sequence[TopicPartition]]
    ) -> Positions:
        """What may still meet: from ``span`` ago, and no more results than are kept."""
        both = [at for of_topic in partitions.values() for at in of_topic]
        starts = control.offsets_at(both, clock.wall_us() - self._asked.span_us)
        ends = control.stable_ends(both)
        return {at: max(starts[at], ends[at] - 2 * self._asked.windows) for at in both}

    def take(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self._take(record)
        self._tell(None)
        if clock.monotonic_us() >= self._next_us:
            self._look()

    def caught_up(self) -> None:
        """It looks at what has met all the while."""

    def failed(self, problem: str) -> None:
        self._tell(problem)

    def done(self) -> bool:
        return False  # not before the run is

    def _take(self, record: LogRecord) -> None:
        at_us = min(record.timestamp_us, clock.wall_us())
        if record.topic == self._results:
            answer = _answer(record.value, self._asked.text)
            if answer is not None:
                self._join.answer(answer, at_us)
                return
        else:
            label = change_of(parsed(record.value, record.key))
            if not isinstance(label, str):
                self._join.label(label, at_us)
                return
            place = f"{record.topic}-{record.partition}@{record.offset}"
            if not self._unreadable:
                self._say(f"motet: warning: label {place}: {label}; it is left out")
        self._unreadable += 1

    def _look(self) -> None:
        began_us = clock.monotonic_us()
        state = state_of(self._join.join(clock.wall_us()), self._asked)
        labels = {
            "met": self._join.met,
            "unmet": self._join.unmet,
            "unreadable": self._unreadable,
        }
        figures = Figures()
        told(state, figures)
        for outcome, count in labels.items():
            figures.count("motet_live_labels_total", count, outcome)
        with self._lock:
            self._state, self._figures = {**state, "labels": labels}, figures
        now_us = clock.monotonic_us()
        self._next_us = now_us + max(EVERY_US, SHARE * (now_us - began_us))

    def _tell(self, problem: str | None) -> None:
        with self._lock:
            new = problem is not None and problem != self._problem
            self._problem = problem
        if new:
            self._say(f"motet: warning: live evaluation: {problem}")


def live_evaluation(
    spec: PipelineSpec, connector: Connector, say: Callable[[str], None] = lambda _line: None
) -> LiveEvaluation | None:
    """That of a pipeline file, at work; None where it asks for none. Raises InvalidInput."""
    asked = spec.evaluation
    return None if asked is None else LiveEvaluation(spec, asked, connector, say)


def _check_scorers(stage: str, named: str) -> None:
    try:
        scorers()
        normalizer(named)
    except InvalidInput as error:
        [problem] = error.problems
        assert isinstance(problem, Problem)
        raise InvalidInput(problem._replace(key="evaluation.text", value=stage)) from None


def _answer(value: bytes | None, stage: str | None) -> Answer | None:
    """A result as far as it is compared; None where a record is none."""
    try:
        answer = answer_of(orjson.loads(value or b""))
        texts = {} if stage is None else {stage: str(answer.texts.get(stage, ""))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    times = (answer.start_us, answer.end_us)
    sound = isinstance(answer.stream, str) and all(isinstance(each, int) for each in times)
    return answer._replace(texts=texts) if sound and answer.start_us < answer.end_us else None
