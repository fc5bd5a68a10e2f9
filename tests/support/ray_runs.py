"""Live runs on Ray inside the test's own process, for what only the supervisor can tell."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from kafka_user import await_that

from actors.supervisor import Supervisor, run_on_ray
from pipeline.connectors.kafka import KafkaConnector
from pipeline.spec import PipelineSpec
from pipeline.tasks.host import RunControl


@contextmanager
def running(spec: PipelineSpec, said: list[str]) -> Iterator[Supervisor]:
    """A live run, which has begun; at the end it is asked to stop, and does."""
    held: list[Supervisor] = []
    steering = RunControl(say=said.append)
    connector = KafkaConnector(spec.kafka.bootstrap)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_on_ray, spec, connector, steering, held.append)
        try:
            await_that("begun", lambda: held or run.done(), 150)
            yield held[0] if held else run.result()
        finally:
            steering.stop.set()
            run.result(60)
