"""The pipeline on a real Ray and a real Kafka: calm, and with a SIGKILL for each role."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from kafka_user import await_that

from actors.cluster import check_resources
from actors.supervisor import Supervisor, run_on_ray
from pipeline.connectors.kafka import KafkaConnector
from pipeline.errors import InvalidInput
from pipeline.local import run_local
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.host import RunControl
from pipeline.tasks.planning import Resources, gpus_of
from pipeline.tasks.view import View

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

STREAMS, SECONDS, LANES = 8, 50, 4
BEGIN_US = 1_790_000_000_000_000

PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  mic: {{topic: {prefix}.audio, type: "audio/L16;rate=16000;channels=1"}}
  chat: {{topic: {prefix}.text, type: text/plain, gating: false}}
windows: {{size: 1s}}
slots: 2
commit_interval: 50ms
limits: {{in_flight_bytes: 128KiB}}  # a few windows a commit: a fault falls into the middle
stages:
  sound: {{encoder: log_mel, of: mic, num_gpus: {gpus}, batch_max: 16}}
  words: {{encoder: hash_text, of: chat}}
fusion: {{rule: weighted_sum, of: {{sound: 0.6, words: 0.4}}, dim: 16}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


class Job:
    """Input topics that several pipelines read, each into topics of its own."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.connector = KafkaConnector(bootstrap)
        self._bootstrap = bootstrap
        self._prefix = prefix
        self.control = self.connector.control()
        for topic in (f"{prefix}.audio", f"{prefix}.text"):
            self.control.create_topic(topic, LANES, 1, {})
        self._publish()

    def spec(self, name: str, gpus: str = "0") -> PipelineSpec:
        text = PIPELINE.format(name=name, bootstrap=self._bootstrap, prefix=self._prefix, gpus=gpus)
        spec = loads(text, folder=Path())
        for topic in spec.topics_out():
            if self.control.topics([topic])[topic] is None:
                self.control.create_topic(topic, LANES, 1, {})
        return spec

    def file(self, name: str, folder) -> str:
        path = folder / f"{name}.yaml"
        path.write_text(
            PIPELINE.format(name=name, bootstrap=self._bootstrap, prefix=self._prefix, gpus="0")
        )
        self.spec(name)
        return str(path)

    def results(self, name: str) -> list[tuple[int, bytes]]:
        """Committed results as (lane, value without the pipeline's name), in log order."""
        topic = f"{name}.results"
        partitions = [TopicPartition(topic, lane) for lane in range(LANES)]
        ends = self.control.stable_ends(partitions)
        source = self.connector.source()
        source.assign(dict.fromkeys(partitions, 0))
        found = []
        positions = dict.fromkeys(partitions, 0)
        while any(positions[tp] < ends[tp] for tp in partitions):
            for fetch in source.poll(1.0):
                positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
                for record in fetch.records:
                    value = json.loads(record.value)
                    del value["model"]
                    found.append((fetch.partition, json.dumps(value).encode()))
        source.close()
        return found

    def _publish(self) -> None:
        rng = np.random.default_rng(7)
        publisher = self.connector.publisher()
        for second in range(SECONDS):
            for stream in range(STREAMS):
                at_us = BEGIN_US + second * 1_000_000 + stream * 1000
                key, lane = f"cam-{stream}".encode(), stream % LANES
                samples = rng.integers(-9000, 9000, 16000).astype(">i2").tobytes()
                publisher.send(OutRecord(f"{self._prefix}.audio", lane, key, samples, (), at_us))
                if second % 3 == 0:
                    text = f"words of stream {stream} at {second}".encode()
                    publisher.send(OutRecord(f"{self._prefix}.text", lane, key, text, (), at_us))
        publisher.flush()
        publisher.close()


@pytest.fixture(scope="module")
def job(kafka) -> Job:
    return Job(kafka, "cluster")


@pytest.fixture(scope="module")
def calm(job: Job) -> list[tuple[int, bytes]]:
    """What a calm run in one process gives: the truth for all others."""
    totals, _ = run_local(job.spec("calm"), job.connector, RunControl(until_end=True))
    results = sorted(job.results("calm"))
    assert totals.windows == len(results) >= STREAMS * SECONDS
    assert totals.late == totals.dead_letter == 0
    return results


def committed_offsets(job: Job, name: str) -> int:
    """How far the log of results has come, markers included."""
    partitions = [TopicPartition(f"{name}.results", lane) for lane in range(LANES)]
    return sum(job.control.stable_ends(partitions).values())


def await_results(job: Job, name: str, more: int = 20) -> None:
    """Returns once so much more is committed: a run that has not ended is in its middle then."""
    least = committed_offsets(job, name) + more
    await_that("results", lambda: committed_offsets(job, name) >= least)


@contextmanager
def running(job: Job, name: str) -> Iterator[Supervisor]:
    """A run to the end of the input, which has begun; at the end it has ended as it should."""
    began: Future[Supervisor] = Future()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            run_on_ray, job.spec(name), job.connector, RunControl(until_end=True), began.set_result
        )
        run.add_done_callback(lambda _: began.done() or began.cancel())
        try:
            yield began.result(150)
        finally:
            run.result(120)


def test_a_calm_run_on_ray_gives_the_results_of_one_process_on_the_gpu_it_demands(
    job, calm, ray_address
):
    spec = job.spec("steady", gpus="1")
    ready = threading.Event()
    shown: list[tuple[View, bool]] = []
    control = RunControl(
        until_end=True, ready=ready, show=lambda view: shown.append((view, ready.is_set()))
    )
    devices: list[dict[str, dict[str, object]]] = []
    totals, _ = run_on_ray(
        spec, job.connector, control, lambda run: devices.append(dict(run.view.devices))
    )
    assert sorted(job.results("steady")) == calm
    assert totals.windows == len(calm)
    assert totals.records == {"mic": STREAMS * SECONDS, "chat": STREAMS * -(-SECONDS // 3)}
    [(view, was_ready)] = shown
    assert not was_ready
    snapshot = view.snapshot()
    figures = snapshot.figures
    assert (snapshot.host, snapshot.not_ready) == ("ray", None)
    for name, count in totals.records.items():
        assert figures.value("motet_records_total", name) == count
    assert figures.value("motet_windows_total") == totals.windows
    assert figures.value("motet_windows_incomplete_total", "chat") == totals.incomplete["chat"] > 0
    assert figures.histograms["motet_stage_queue_seconds", ("sound",)].count == totals.windows
    assert 0 < figures.histograms["motet_end_to_end_seconds", ()].count < totals.windows
    assert [(lane.lane, lane.slot) for lane in snapshot.lanes] == [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert all(lane.positions == lane.ends for lane in snapshot.lanes)
    lags = [values for (name, _), values in figures.gauges.items() if "lag_records" in name]
    assert lags == [[0]] * 2 * LANES
    assert sorted((r.stage, r.device) for r in snapshot.replicas) == [
        ("sound", "cpu"),
        ("words", "cpu"),
    ]
    [gpus] = [given["gpus"] for name, given in devices[0].items() if name.startswith("sound")]
    assert len(gpus) == 1, "it was assigned as demanded"


class Fault(NamedTuple):
    role: str
    signal: signal.Signals
    counted: tuple[str, str]  # the role and the cause of the restart


FAULTS = (
    Fault("encoder", signal.SIGKILL, ("encoder", "died")),
    Fault("ingest", signal.SIGKILL, ("ingest", "died")),
    Fault("fusion", signal.SIGKILL, ("fusion", "died")),
    Fault("fusion", signal.SIGSTOP, ("owner", "unanswered")),
)


def test_killed_actors_and_one_that_does_not_answer_change_nothing(job, calm, ray_address):
    """All in one run. It commits nothing without the actor that is hit: so each is hit in the
    middle of the run, after the successor of the one before has come to work."""
    expected: dict[str, int] = {}
    with running(job, "faults") as supervisor:
        for fault in FAULTS:
            await_results(job, "faults")
            os.kill(supervisor.pids()[fault.role][0], fault.signal)
            expected[fault.counted[0]] = 1
            await_that(f"{fault} is seen", lambda: supervisor.restarts == expected)
    assert supervisor.restarts == expected
    assert sorted(job.results("faults")) == calm
    figures = supervisor.view.snapshot().figures
    assert figures.value("motet_records_total", "mic") == STREAMS * SECONDS
    assert figures.value("motet_records_total", "chat") == STREAMS * -(-SECONDS // 3)
    assert figures.value("motet_windows_total") == len(calm)
    for fault in FAULTS:
        assert figures.value("motet_actor_restarts_total", *fault.counted) == 1


def test_a_killed_driver_goes_on_where_it_was(job, calm, ray_address, tmp_path):
    command = [sys.executable, "-m", "actors", "run", job.file("driver", tmp_path), "--until-end"]
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    await_results(job, "driver")
    first.kill()
    first.communicate()
    before = len(job.results("driver"))
    totals, _ = run_on_ray(job.spec("driver"), job.connector, RunControl(until_end=True))
    assert sorted(job.results("driver")) == calm
    assert 0 < before < len(calm), "the fault came too late to show anything"
    assert 0 < totals.windows <= len(calm) - before


def test_a_demand_that_the_cluster_lacks_is_named(job):
    spec = job.spec("gpus", gpus="1")
    with pytest.raises(InvalidInput, match=r"stages\.sound\.num_gpus = 1: .* 0 are there"):
        check_resources(spec, Resources(cpus=2, gpus=0))


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (8, 1.0)])
def test_auto_is_an_equal_share_of_what_is_there(job, gpus, share):
    spec = job.spec("gpus", gpus="auto")
    assert gpus_of(spec, "words", Resources(cpus=2, gpus=gpus)) == share
