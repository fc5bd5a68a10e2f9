"""A run of ``motet demo``: topics of its own, the show, and the figures at its end."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
import uuid
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import typer

from pipeline import clock
from pipeline.cli.demo_teaching import demo_teaching
from pipeline.cli.demo_words import (
    How,
    Needs,
    introduction,
    next_steps,
    summary_lines,
    without_models,
)
from pipeline.cli.terminal import emit, on_terminal, say, stopping
from pipeline.demo.assets import PARTITIONS, pipeline_spec
from pipeline.demo.models import missing_package
from pipeline.demo.view import Rows, View
from pipeline.errors import InvalidInput

if TYPE_CHECKING:
    from pipeline.demo.measure import Seen
    from pipeline.demo.show import Outcome
    from pipeline.monitor import Monitor
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import Host
    from pipeline.teaching import Teaching

# Records of the demo are kept for an hour: enough to look at, and no disk fills up.
RETENTION = {"retention.ms": "3600000", "segment.ms": "600000", "retention.bytes": str(64 << 20)}

STAGE_END_S = 20.0  # of each stage: what it is at work on, on a busy machine


class Played(NamedTuple):
    """What was run, and how many results it left in its topic."""

    spec: PipelineSpec
    windows: int


class DemoRun:
    """Says the steps with their time, shows results as they come, and sums up."""

    def __init__(self, needs: Needs, how: How) -> None:
        self._began_us = clock.monotonic_us()
        self._how = how
        self._models = how.models and with_models()
        self._started_s: float | None = None
        for line in introduction(needs, how.seconds, self._models):
            say(line)
        # The host builds every encoder once before it starts them: by the time that Kafka runs,
        # what they import is loaded, which is the longer part of it.
        self._checked = ThreadPoolExecutor(1).submit(check_encoders, self._models)

    def step(self, what: str) -> None:
        say(f"{self._elapsed_s():6.1f} s  {what.removeprefix('motet: ')}")

    def play(self, connector: Connector, host: Host, bootstrap: str | None) -> Played:
        """Runs the demo to its end and says the figures; raises what it failed with.

        Models that are there and cannot be loaded are gone without too.
        """
        from pipeline.demo.show import Show

        lengths = self._await_encoders()
        name = f"demo-{uuid.uuid4().hex[:6]}"
        spec = pipeline_spec(name, bootstrap or "127.0.0.1:9092", self._models)
        create_topics(connector, spec)
        if bootstrap is None:
            self.step(f"topics {name}.* are made in memory; the pipeline starts")
        else:
            self.step(f"topics {name}.* are made at {bootstrap}")
            count = len(spec.stages)
            self.step(f"starting Ray, a process for each of {count} stages, ingest and fusion")
        self._view = _view(spec)
        taught = demo_teaching(spec, connector, lengths, bootstrap, models=self._models)
        with (
            stopping() as stop,
            taught as (spec, teaching),
            self._page(spec, connector, teaching) as monitor,
        ):
            outcome = Show(
                spec, connector, host, self._how.seconds, stop, self.step, self._shown, monitor.show
            ).run()
        if bootstrap is None:
            await_stages(spec)
        self._tell(outcome, spec)
        return Played(spec, outcome.measured.windows)

    def _await_encoders(self) -> dict[str, int]:
        """The lengths of the stages' vectors."""
        if not self._checked.done():
            self.step("loading the encoders")
        try:
            return self._checked.result()
        except InvalidInput as error:
            if not self._models:
                raise
            say(without_models(str(error).splitlines()[0]))
            self._models = False
            return check_encoders(self._models)

    @contextmanager
    def _page(
        self, spec: PipelineSpec, connector: Connector, teaching: Teaching | None
    ) -> Iterator[Monitor]:
        """The live page while the demo runs, at another port where the usual one is taken."""
        from pipeline.evaluation.live import live_evaluation
        from pipeline.monitor import serve

        live = live_evaluation(spec, connector, say)
        try:
            monitor = serve(spec, connector, live=live, teaching=teaching)
        except InvalidInput:
            host = spec.metrics.host
            monitor = serve(spec, connector, (host, 0), live=live, teaching=teaching)
        self._page_url = monitor.url
        self.step(f"the live page is at {monitor.url}")
        try:
            yield monitor
        finally:
            monitor.close()

    def _shown(self, seen: Seen) -> None:
        if self._started_s is None:
            self._started_s = self._elapsed_s()
            if self._how.browser and on_a_desktop():
                webbrowser.open(self._page_url)
            self.step("the first result. Each stage: its weight, its share (attribution);")
            say("          after: from the window's end until its result was read, committed")
        self._view.show(seen)

    def _tell(self, outcome: Outcome, spec: PipelineSpec) -> None:
        emit("")
        if self._started_s is None:
            emit("stopped before the first fused result")
            return
        for line in summary_lines(outcome, spec, self._started_s):
            emit(line)
        emit(f"page     was at {self._page_url} while it ran")

    def _elapsed_s(self) -> float:
        return (clock.monotonic_us() - self._began_us) / 1e6


def check_encoders(models: bool) -> dict[str, int]:
    """Builds each of the demo's encoders once, and gives the lengths of their vectors.

    Raises InvalidInput where one cannot be built.
    """
    from pipeline.encoders.checking import check_pipeline

    return check_pipeline(pipeline_spec("demo", "127.0.0.1:9092", models))


def with_models() -> bool:
    """Whether the models are there; says in one line where not."""
    missing = missing_package()
    if missing is not None:
        say(without_models(f"{missing} is not there; pip install 'motet[models]' brings it"))
    return missing is None


def tell_next(played: Played, bootstrap: str | None, embedded: bool) -> None:
    if played.windows == 0:
        return
    emit("next:")
    for what, command in next_steps(played.spec, played.windows, bootstrap, embedded):
        emit(f"  # {what}")
        emit(f"  {command}")


def await_stages(spec: PipelineSpec) -> None:
    """Waits for the stages' threads in this process to come out of their models.

    Where the interpreter ends while one of them is inside, the process dies of a signal.
    """
    for thread in threading.enumerate():
        if thread.name.rpartition("-")[0] in spec.stages:
            thread.join(STAGE_END_S)
    gc.unfreeze()  # what the run has frozen would be reported as leaked by extension modules


def create_topics(connector: Connector, spec: PipelineSpec) -> None:
    from pipeline.cli.connect import topics_of
    from pipeline.cli.topic_plan import wanted_topics

    wanted = wanted_topics(spec)
    control = connector.control()
    try:
        topics_of(control, [topic.name for topic in wanted])  # the first answer may be slow
        for topic in wanted:
            control.create_topic(topic.name, PARTITIONS, None, {**topic.config, **RETENTION})
    finally:
        control.close()


def on_a_desktop() -> bool:
    """Whether a browser would open a window, and not take over the terminal."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(shown)


def _view(spec: PipelineSpec) -> View:
    """Rows with bars on a terminal that can show them, else plain lines."""
    if not on_terminal() or "utf" not in (sys.stdout.encoding or "").lower():
        return View(emit, None)
    columns = shutil.get_terminal_size().columns
    return View(emit, Rows(list(spec.fusion.of), columns, _paint))


def _paint(text: str, colour: str) -> str:
    return typer.style(text, fg=colour)
