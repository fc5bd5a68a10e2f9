"""More replicas for a backlog and back, on a real Ray and Kafka; the results are a calm run's."""

from __future__ import annotations

import http.client
import json
import os
import signal
import urllib.request
import uuid
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from kafka_user import BEGIN_US, PARTITIONS, Command, KafkaUser, await_that
from ports import free_port
from ray_runs import running

from pipeline.cli import main
from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.scaling.policy import ScalingRule
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks import stage_scaling
from pipeline.tasks.host import RunControl
from pipeline.tasks.view import ScalingView

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

STREAMS, SECONDS = 8, 40
CALM_S = 3.0  # in place of a minute
ENCODER = '''
import time
from pathlib import Path
import numpy as np

class Slow:
    """Until there is a file ``fast`` in the folder; with ``broken`` there none starts."""

    takes, gives, length = "text", "vector", 2

    def __init__(self, device, folder):
        if (Path(folder) / "broken").exists():
            raise RuntimeError("no weights")
        self.fast = Path(folder) / "fast"

    def encode(self, batch):
        if not self.fast.exists():
            time.sleep(0.25 * len(batch))
        return [np.array([len(c.text), sum(map(ord, c.text))], np.float32) for c in batch]
'''
PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  chat: {{topic: {topic}, type: text/plain}}
windows: {{size: 1s, idle: 0ms}}
slots: 2
commit_interval: 50ms
stages:
  slow:
    encoder: "slow_encoder:Slow"
    of: chat
    replicas: {{min: 1, max: 3}}
    batch_max: 4
    options: {{folder: {folder}}}
fusion: {{rule: concat, of: {{slow: 1}}}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


@pytest.fixture
def quick_calm(monkeypatch):
    monkeypatch.setattr(stage_scaling, "ScalingRule", partial(ScalingRule, calm_s=CALM_S))


def made(user: KafkaUser, folder: Path, name: str, topic: str) -> PipelineSpec:
    (folder / "slow_encoder.py").write_text(ENCODER)
    text = PIPELINE.format(name=name, bootstrap=user.bootstrap, topic=topic, folder=folder)
    spec = loads(text, folder=folder)
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for each in (*spec.topics_in(), *spec.topics_out()):
            if control.topics([each])[each] is None:
                control.create_topic(each, PARTITIONS, 1, {})
    return spec


def send_backlog(user: KafkaUser, topic: str) -> None:
    for second in range(SECONDS):
        for number in range(STREAMS):
            at_us = BEGIN_US + second * 1_000_000
            text, length = f"{second} of {number}".encode(), ("ce_mediadur", b"1000000")
            user.send(topic, f"s{number}", text, at_us, length, partition=number % PARTITIONS)
    user.producer.flush()


@pytest.mark.long
def test_a_backlog_gets_more_replicas_and_gives_them_back(user, ray_address, tmp_path, quick_calm):
    prefix = f"scale{uuid.uuid4().hex[:8]}"
    topic = f"{prefix}.text"
    spec = made(user, tmp_path, prefix, topic)
    send_backlog(user, topic)
    said: list[str] = []
    with running(spec, said) as supervisor:

        def stage() -> ScalingView:
            [one] = supervisor.view.snapshot().scaling or [ScalingView("", 1, 3, 1, 1, 0, 0)]
            return one

        await_that("three are ready", lambda: stage().ready == 3, 60)
        await_that("and shown", lambda: stage().wanted == 3)
        figures = supervisor.view.snapshot().figures
        assert figures.value("motet_stage_replicas", "slow", "wanted") == 3
        most = set(supervisor.pids()["encoder"])
        assert len(most) == 3
        (tmp_path / "fast").touch()
        await_that("one is left", lambda: (stage().ready, stage().draining) == (1, 0), 120)
        await_that("they have ended", lambda: sum(map(lives, most)) == 1)
        await_that("all windows", lambda: len(user.results(prefix, False)) == STREAMS * SECONDS)
        assert supervisor.restarts == {}
    changes = [line for line in said if "replicas" in line]
    assert any(line.startswith("motet: stages.slow: 1 -> 3 replicas: ") for line in changes)
    assert any("are done, replicas are busy for" in line for line in changes)
    other = made(user, tmp_path, f"{prefix}-calm", topic)
    run_local(other, KafkaConnector(user.bootstrap), RunControl(until_end=True))
    assert user.results(prefix) == user.results(f"{prefix}-calm")
    assert len(user.results(prefix)) == STREAMS * SECONDS
    for line in user.results(prefix):
        assert json.loads(line.partition(" ")[2])["failed"] == {}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.long
def test_scale_and_apply_reach_a_run_and_what_decides_about_windows_is_refused(
    user, ray_address, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    name, port = f"apply{uuid.uuid4().hex[:8]}", free_port()
    made(user, tmp_path, name, f"{name}.text")
    (tmp_path / "fast").touch()
    file = tmp_path / "file.yaml"
    text = PIPELINE.format(
        name=name, bootstrap=user.bootstrap, topic=f"{name}.text", folder=tmp_path
    )
    file.write_text(f"{text}metrics: {{port: {port}}}\n")
    run = Command(["run", file], tmp_path / "run")
    try:
        await_that("it runs", lambda: "live page at" in run.err or run.ended, 150)

        def stage() -> dict:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state") as answer:
                    [one] = json.load(answer)["stages"]
                    return one["scaling"] or {}
            except (OSError, http.client.HTTPException) as error:
                raise AssertionError(run.err) from error

        await_that("it began", lambda: stage().get("ready") == 1, 150)
        assert main(["scale", str(file), "slow=2", "--wait"]) == 0, run.err
        assert "slow: 2 replicas; the run has it in force" in capsys.readouterr().out
        await_that("two replicas", lambda: stage()["ready"] == 2, 100)
        changed = file.read_text().replace("batch_max: 4", "batch_max: 8, timeout: 20s")
        changed = changed.replace("batch_max: 8,", "batch_max: 8\n   ")
        file.write_text(changed)
        assert main(["apply", str(file), "--wait"]) == 0, capsys.readouterr().err
        out = capsys.readouterr().out
        assert "stages.slow.batch_max = 8" in out
        assert "stages.slow.replicas.min = 1" in out, "what the file says, not what was scaled"
        await_that("bounds are shown", lambda: (stage()["min"], stage()["max"]) == (1, 3))
        file.write_text(changed.replace("size: 1s", "size: 2s").replace("slots: 2", "slots: 3"))
        assert main(["apply", str(file)]) == 2
        err = capsys.readouterr().err
        assert "windows.size = 2000000: decides about windows and records" in err
        assert "slots = 3: is taken when a run starts" in err
        (tmp_path / "broken").touch()
        assert main(["scale", str(file), "slow=3"]) == 0
        await_that("it did not start", lambda: "did not start" in run.err or run.ended, 100)
        await_that("the rest goes on", lambda: stage()["ready"] >= 1 and not stage()["starting"])
        assert stage()["limit"] == "replicas that were added did not start"
        run.signal(signal.SIGTERM)
        assert run.wait(60) == 0, run.err
    finally:
        run.kill()
    for line in (
        "stages.slow: 1 -> 2 replicas",
        "stages.slow.batch_max",
        "in force from now on",
        "no weights",
    ):
        assert line in run.err
    assert "starting it anew" not in run.err
