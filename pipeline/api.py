"""A pipeline in Python: one object that equals the pipeline file.

from pipeline.api import Pipeline

lobby = Pipeline(name="lobby", inputs={...}, windows={"size": "1s"}, ...)
print(lobby.run(local=True, until_end=True))
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec import PipelineSpec, load, loads
from pipeline.spec.yaml_text import write_yaml

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.tasks.host import Host, RunSummary

__all__ = ["Pipeline"]


class Pipeline:
    """Takes exactly the keys of the file, in the values that YAML gives: text, numbers, maps.

    Invariant: ``spec`` is what a file with the text of ``to_yaml()`` in ``folder`` loads as, so
    the same checks and errors, defaults, ``${NAME}`` and secret files hold.
    """

    def __init__(self, *, folder: Path | str = ".", **keys: Any) -> None:
        """``folder`` is where secret files and own classes are found; raises InvalidInput."""
        self._text = write_yaml({"version": 1, **keys})
        self._spec = loads(self._text, folder=Path(folder))

    @classmethod
    def load(cls, path: Path | str) -> Pipeline:
        """The pipeline of a file; raises InvalidInput with every problem of it."""
        made = cls.__new__(cls)
        made._spec = load(Path(path))
        made._text = Path(path).read_text(encoding="utf-8-sig")
        return made

    @property
    def spec(self) -> PipelineSpec:
        """The whole pipeline as it was read, with all defaults, frozen."""
        return self._spec

    @property
    def name(self) -> str:
        return self._spec.name

    def to_yaml(self) -> str:
        """The text of the file; that of a loaded one is as it was, comments included.

        What it refers to (``${NAME}``, ``{file: PATH}``) stays a reference.
        """
        return self._text

    def run(
        self,
        *,
        local: bool = False,
        until_end: bool = False,
        host: Host | None = None,
        connector: Connector | None = None,
        stop: threading.Event | None = None,
        say: Callable[[str], None] | None = None,
    ) -> RunSummary:
        """Runs it until it is stopped, or ``until_end``; the counts of what was committed.

        ``local``: in this process. On a cluster: ``host=run_on_cluster`` of ``actors``. ``stop``
        asks for a clean drain; where it is not given, Ctrl-C does. ``say`` takes lines for the
        user (default: stderr), ``connector`` another log than that of ``kafka``. Raises
        MotetError, as ``motet run`` shows it.
        """
        from pipeline.tasks.host import RunControl, summary

        chosen = self._host(local, host)
        if local:
            from pipeline.tasks.machine import demand_gpus

            demand_gpus(self._spec)
        with _stopping(stop) as asked:
            control = RunControl(until_end=until_end, stop=asked, say=say or _to_stderr)
            totals, seconds = chosen(self._spec, connector or self._kafka(), control)
        return summary(totals, seconds)

    def _host(self, local: bool, host: Host | None) -> Host:
        if local == (host is not None):
            why = "both are given" if local else "neither local nor host is given"
            remedy = "pass local=True, or host=run_on_cluster (from actors) for a Ray cluster"
            raise InvalidInput(Problem("run", "", why, remedy))
        if host is not None:
            return host
        from pipeline.local import run_local

        return run_local

    def _kafka(self) -> Connector:
        from pipeline.connectors.kafka import KafkaConnector

        return KafkaConnector(self._spec.kafka.bootstrap, self._spec.kafka.client)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self._spec == other._spec

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, {len(self._spec.stages)} stages)"


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def _stopping(given: threading.Event | None) -> Iterator[threading.Event]:
    """The event that asks for a drain; Ctrl-C sets it, where nobody else is to ask."""
    stop = given or threading.Event()
    if given is not None or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def asked(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
