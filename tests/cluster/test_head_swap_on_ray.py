"""A head deployed into a run on a real Ray and Kafka; its actors never see the head's folder."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from kafka_user import BEGIN_US, PARTITIONS, KafkaUser, await_that
from made_heads import made_head

from actors.supervisor import Supervisor, run_on_ray
from pipeline.connectors.kafka import KafkaConnector
from pipeline.encoders.checking import check_pipeline
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.deploying import deploy
from pipeline.tasks.host import RunControl
from pipeline.tasks.results import model_name

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

STREAMS = 8
PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  chat: {{topic: {name}.text, type: text/plain}}
windows: {{size: 1s, idle: 0ms}}
slots: 2
commit_interval: 50ms
stages:
  words: {{encoder: hash_text, of: chat, options: {{dim: 8}}}}
fusion: {{rule: concat, of: {{words: 1}}, head: heads/mood}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


class Live:
    """Records of every stream, a second more whenever it is asked whether something holds."""

    def __init__(self, spec: PipelineSpec, user: KafkaUser) -> None:
        self.spec = spec
        self._user = user
        self.second = 0

    def results(self) -> dict[int, list[dict[str, Any]]]:
        """By lane, in the order of the log."""
        found: dict[int, list[dict[str, Any]]] = {lane: [] for lane in range(PARTITIONS)}
        for record in self._user.read(self.spec.outputs.results, settled=False):
            found[record.partition].append(json.loads(record.value))
        return found

    def play_until(self, what: str, holds: Callable[[list[str]], bool]) -> None:
        """``holds`` is asked about each lane's models."""

        def held() -> bool:
            at_us = BEGIN_US + self.second * 1_000_000
            for number in range(STREAMS):
                text = f"good {self.second} day {number}".encode()
                length = ("ce_mediadur", b"1000000")
                lane = number % PARTITIONS
                topic = self.spec.inputs["chat"].topic
                self._user.send(topic, f"s{number}", text, at_us, length, partition=lane)
            self._user.producer.flush()
            self.second += 1
            return all(holds([v["model"] for v in lane]) for lane in self.results().values())

        await_that(what, held)


def test_a_head_takes_over_on_ray_and_outlives_its_folder_and_its_actors(
    kafka, ray_address, tmp_path
):
    name = f"swap{uuid.uuid4().hex[:8]}"
    spec = loads(PIPELINE.format(name=name, bootstrap=kafka), folder=tmp_path)
    lengths, connector = check_pipeline(spec), KafkaConnector(kafka)
    first, second = (
        model_name(spec, made_head(tmp_path / str(seed), spec, seed)) for seed in range(2)
    )
    deploy(spec, tmp_path / "0", lengths, "me")
    with closing(connector.control()) as control:
        for topic in (*spec.topics_in(), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    held: list[Supervisor] = []
    steering = RunControl()
    with closing(KafkaUser(kafka)) as user, ThreadPoolExecutor(1) as pool:
        live = Live(spec, user)
        run = pool.submit(run_on_ray, spec, connector, steering, held.append)
        try:
            await_that("begun", lambda: held or run.done(), 150)
            [supervisor] = held
            live.play_until("results", lambda models: first in models)
            deploy(spec, tmp_path / "1", lengths, "me")
            live.play_until("the second head", lambda models: second in models)
            view = supervisor.view
            await_that("it is shown", lambda: view.snapshot().model == second)
            await_that("everywhere", lambda: view.snapshot().head.everywhere)
            (tmp_path / "heads").rename(tmp_path / "away")
            await_that("trouble is shown", lambda: view.snapshot().head.trouble)
            before = live.second
            for pid in supervisor.pids()["fusion"]:
                os.kill(pid, signal.SIGKILL)
            live.play_until("more", lambda models: len(models) > 2 * before)
            assert supervisor.restarts.keys() == {"fusion"}
            await_that("still so", lambda: view.snapshot().head.everywhere)
            assert view.snapshot().model == second
            (tmp_path / "away").rename(tmp_path / "heads")
        finally:
            steering.stop.set()
            run.result(60)
        results = live.results()
    for lane in results.values():
        models = [value["model"] for value in lane]
        swap = models.index(second)
        assert set(models[:swap]) == {first}
        assert set(models[swap:]) == {second}
        starts: dict[str, list[int]] = {}
        for value in lane:
            starts.setdefault(value["stream"], []).append(value["window"]["start_us"])
        assert len(starts) == STREAMS // PARTITIONS
        for found in starts.values():  # none is lost, none comes twice
            assert found == [BEGIN_US + second * 1_000_000 for second in range(len(found))]
