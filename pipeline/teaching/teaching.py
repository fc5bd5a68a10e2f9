"""Teach it: what the page asks and sends (``/api/teach``), put together for one run.

Off unless the file says ``metrics.ingest: true``. Whoever asks has been let in by the handler: its
host, its token where there is one, and for what is sent that a page of ours sends it. Beside that
each request that changes something carries the session that ``GET /api/teach`` gave.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline.errors import InvalidInput, MotetError, Refused
from pipeline.monitor.handler import Answer, Post, Request, Route, text
from pipeline.slot.ports import Connector
from pipeline.spec import PipelineSpec
from pipeline.teaching.figures import summary
from pipeline.teaching.heads import Heads
from pipeline.teaching.pool import Key, Seen
from pipeline.teaching.training_process import TrainingProcess
from pipeline.teaching.watching import Watch
from pipeline.training.options import kind_for, kinds_for, no_head_for

SESSION_HEADER = "X-Motet-Session"
BODY_BYTES_MAX = 4_096
OFFERED, OFFERED_MAX = 6, 24
CLASSES_MAX = 64  # of a topic; the page has keys for nine
LABEL_CHARS_MAX = 64
STREAM_BYTES_MAX = 256

AUTO = "auto"  # of `motet train --head`: the kind that does best

_Json = dict[str, Any]


class Wrong(Exception):
    """A request that cannot be done; ``str`` says why."""


class Teaching:
    """Labels, training and heads of one run; every method may be called by any thread.

    Invariant: nothing is written, started or deployed but by a request with the session's token.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        heads: Heads,
        command: Sequence[str] | None,
        *,
        sequences: bool = False,
    ) -> None:
        """``spec``: as ``teachable`` made it. ``command``: the arguments of ``motet`` that train
        on the run's topics, to which the labels and the folder are added; None: none can.
        ``sequences``: whether a stage gives one, for heads that read it step by step.
        """
        assert spec.evaluation is not None
        self._spec = spec
        self._labels = spec.evaluation.labels
        results = spec.outputs.results
        self._watch = Watch(connector, results, self._labels, f"motet/{spec.name}/page")
        self._heads = heads
        self._command = command
        self._rule = spec.fusion.rule
        self._kinds = kinds_for(self._rule, sequences)
        self._training = TrainingProcess()
        self._session = secrets.token_urlsafe(24)

    def routes(self) -> dict[str, Route]:
        return {"/api/teach": self._state}

    def posts(self) -> dict[str, Post]:
        orders: Mapping[str, Callable[[_Json], None]] = {
            "label": self._label,
            "skip": self._skip,
            "train": self._train,
            "stop": lambda _: self._training.stop(),
            "deploy": lambda _: self._deploy(),
            "rollback": lambda _: self._roll_back(),
        }
        return {
            f"/api/teach/{name}": Post(self._guarded(order), BODY_BYTES_MAX)
            for name, order in orders.items()
        }

    def close(self) -> None:
        self._training.close()
        self._watch.close()

    # -- what it answers ----------------------------------------------------------------------

    def _state(self, request: Request) -> Answer:
        stream = request.query.get("stream") or None
        given = request.query.get("count", str(OFFERED))
        if not given.isdecimal() or len(given) > 3:
            return text(400, f"count = {given[:40]}: not a number; write ?count={OFFERED}")
        return _json(self._told(min(int(given), OFFERED_MAX), stream))

    def _told(self, count: int, stream: str | None) -> _Json:
        offered, labels = self._watch.ask(count, stream)
        ended = self._training.told()
        return {
            "ingest": True,
            "session": self._session,
            "size_us": self._spec.windows.size_us,
            **labels,
            "offered": [_offer(seen) for seen in offered],
            "training": {
                "command": None if self._command is None else self._shown_command(),
                "kinds": [AUTO, *self._kinds] if len(self._kinds) > 1 else self._kinds,
                "usual": kind_for(None, self._rule),
                "unfit": None if self._kinds else str(no_head_for(self._rule)),
                "now": self._training.view(),
                "result": None if ended is None else summary(ended),
            },
            "heads": self._heads.told(),
        }

    def _guarded(self, order: Callable[[_Json], None]) -> Callable[[Request, bytes], Answer]:
        def answer(request: Request, body: bytes) -> Answer:
            if request.headers.get("Content-Type", "").partition(";")[0].strip() != _JSON:
                return text(415, "send application/json")
            session = request.headers.get(SESSION_HEADER, "")
            if not hmac.compare_digest(session.encode("utf-8", "replace"), self._session.encode()):
                return text(403, f"{SESSION_HEADER} is not this run's: load the page again")
            given = _object(body)
            if given is None:
                return text(400, "send one JSON object")
            try:
                order(given)
            except (Wrong, InvalidInput) as error:
                return text(400, " ".join(str(error).split()))
            except Refused as error:
                return text(409, " ".join(str(error).split()))
            except MotetError as error:
                return text(502, " ".join(str(error).split()))
            return _json(self._told(OFFERED, _stream_of(given)))

        return answer

    # -- what it does -------------------------------------------------------------------------

    def _label(self, given: _Json) -> None:
        label = given.get("label")
        if label is not None:
            if not isinstance(label, str) or not label.isprintable() or not label.strip():
                raise Wrong("label: write the name of a class, or null to take one back")
            label = label.strip()
            if len(label) > LABEL_CHARS_MAX:
                raise Wrong(f"label: {len(label)} characters; at most {LABEL_CHARS_MAX} are taken")
            known = self._watch.classes()
            if label not in known and len(known) >= CLASSES_MAX:
                raise Wrong(f"label: there are {CLASSES_MAX} classes already; take one of them")
        self._watch.write(self._window(given), label)

    def _skip(self, given: _Json) -> None:
        self._watch.skip(self._window(given), again=given.get("again") is True)

    def _window(self, given: _Json) -> Key:
        """The window that is named; only windows of this pipeline can be labelled here."""
        stream, start, end = (given.get(name) for name in Key._fields)
        if not isinstance(stream, str) or not 0 < len(stream.encode()) <= STREAM_BYTES_MAX:
            raise Wrong("stream: write the window's stream")
        size_us = self._spec.windows.size_us
        if type(start) is not int or type(end) is not int or end - start != size_us:
            raise Wrong("start_us, end_us: write those of a window of this pipeline")
        return Key(stream, start, end)

    def _train(self, given: _Json) -> None:
        if self._command is None:
            raise Wrong(NO_TRAINING)
        if not self._kinds:  # whatever was trained could not be deployed into this run
            raise Wrong(str(no_head_for(self._rule)))
        head = given.get("head")
        if head is not None and head not in (AUTO, *self._kinds):
            known = ", ".join((AUTO, *self._kinds))
            raise Wrong(f"head: no kind that this file takes; take one of {known}, or null")
        counts = self._watch.classes()
        if len(counts) < 2:
            have = "1 class has" if counts else "no class has"
            raise Wrong(f"{have} labels: label windows of two classes at least")
        kind = [] if head is None else ["--head", head]
        self._training.start([*self._command, *self._where(), *kind, "--keep-rule", "--json"])

    def _where(self) -> list[str]:
        return ["--labels", self._labels, "--out", str(self._heads.taught)]

    def _shown_command(self) -> str:
        return " ".join(["motet", *(self._command or ()), *self._where()])

    def _deploy(self) -> None:
        ended, now = self._training.told(), self._training.view()
        if ended is None or now is None or now["running"]:
            raise Wrong("nothing was trained here yet: train first")
        self._heads.deploy(ended["sha256"])

    def _roll_back(self) -> None:
        self._heads.roll_back()


NO_TRAINING = (
    "training reads the topics again in a process of its own, which a broker in memory does not "
    "allow: run it on Kafka"
)
_JSON = "application/json"


def _offer(seen: Seen) -> _Json:
    return {**seen.key._asdict(), "margin": seen.margin, **seen.told}


def _object(body: bytes) -> _Json | None:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return given if isinstance(given, dict) else None


def _stream_of(given: _Json) -> str | None:
    """Of which the next windows are wanted; None: of all."""
    stream = given.get("of")
    return stream if isinstance(stream, str) and stream else None


def _json(value: _Json) -> Answer:
    return Answer(200, orjson.dumps(value), _JSON)
