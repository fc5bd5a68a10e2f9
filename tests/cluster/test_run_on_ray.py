"""``motet run`` on Ray as a user sees it: the page, its port, a stage that fails or hangs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from kafka.admin import NewTopic
from kafka_user import KafkaUser, await_that

from pipeline.clock import wall_us

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(240)]

OWN = """
import pathlib, time

class Fails:
    takes, gives, length = "text", "vector", 3
    def __init__(self, device): pass
    def encode(self, batch):
        for clip in batch:
            if clip.text.startswith("hang "):
                pathlib.Path(clip.text.removeprefix("hang ")).touch()
                time.sleep(60)
        raise KeyError("boom")
"""


@pytest.fixture
def make_file(kafka: str, user: KafkaUser, tmp_path: Path):
    def write(port: int) -> tuple[str, Path]:
        name = f"ray{uuid.uuid4().hex[:8]}"
        topics = [f"{name}.{kind}" for kind in ("text", "results", "late", "dead")]
        user.admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
        (tmp_path / "own_on_ray.py").write_text(OWN)
        tree = {
            "name": name,
            "kafka": {"bootstrap": kafka},
            "inputs": {"chat": {"topic": topics[0], "type": "text/plain"}},
            "windows": {"size": "1s", "idle": "1s"},
            "slots": 1,
            "stages": {
                "words": {"encoder": "hash_text", "of": "chat", "num_gpus": 0},
                "bad": {"encoder": "own_on_ray:Fails", "of": "chat", "num_gpus": 0},
            },
            "fusion": {"rule": "concat", "of": {"words": 1, "bad": 1}},
            "outputs": {"results": topics[1], "late": topics[2], "dead_letter": topics[3]},
            "metrics": {"port": port},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return name, path

    return write


class Live:
    """A command on the cluster, and what it has said on stderr so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def err(self) -> str:
        return self._log.read_text()

    def await_line(self, pattern: str, limit_s: float = 120) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.err
            return re.search(pattern, self.err)

        told = await_that(pattern, found, limit_s)
        assert isinstance(told, re.Match)
        return told


@contextmanager
def running(ray_address: str, folder: Path, *arguments: object) -> Iterator[Live]:
    """``motet run``; at its end it is asked to stop, and ends with exit code 0."""
    log = folder / "err"
    command = [sys.executable, "-m", "actors", "run", *map(str, arguments)]
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    with log.open("wb") as err:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=err, stderr=err)
    live = Live(process, log)
    try:
        yield live
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, live.err
    finally:
        process.kill()
        process.wait()


def asked(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_the_page_is_told_once_its_port_is_ours_and_a_stage_that_fails_is_too(
    ray_address, user, make_file, tmp_path
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name, file = make_file(port)
        with running(ray_address, tmp_path, file) as live:
            live.await_line(
                rf"motet: warning: metrics.port = {port}: the port is taken; stop what listens "
                r"there, or set metrics.port \(0 takes a free one\)"
            )
            assert "live page" not in live.err
            taken.close()
            live.await_line(rf"motet: live page at http://127.0.0.1:{port}/\n")
            await_that("ready", lambda: asked(port, "/readyz")[0] == 200, 120)
            assert b"<html" in asked(port, "/")[1]
            begin_us = wall_us() // 1_000_000 * 1_000_000
            for second in range(6):
                user.send(f"{name}.text", "s", b"a line", begin_us + second * 1_000_000)
            user.producer.flush()
            live.await_line(
                r"motet: warning: stages.bad: it failed on (\d) of \1 windows? since \S+Z \(the "
                r"newest: KeyError: 'boom'\); results go on without it; `motet dlq list FILE`"
            )

            def shown() -> dict | None:
                state = json.loads(asked(port, "/api/state")[1])
                assert state["host"] == "ray"
                stages = {stage["name"]: stage for stage in state["stages"]}
                assert stages["words"]["failing"] is None
                return stages["bad"]["failing"]

            failing = await_that("what fails", shown)
            assert failing["windows"] == failing["failed"]
            assert failing["error"] == "KeyError: 'boom'"
            hangs = tmp_path / "hangs"
            for second in (6, 7):
                at_us = begin_us + second * 1_000_000
                user.send(f"{name}.text", "s", f"hang {hangs}".encode(), at_us)
            user.producer.flush()
            await_that("one hangs", hangs.exists)
    assert live.err.count("live page") == 1
    left = re.search(r"windows that are not encoded yet: (\d)", live.err)
    assert left is not None, live.err
    assert left[1] in "12"


@pytest.mark.long
def test_without_the_page_figures_and_health_are_served_and_no_line_says_otherwise(
    ray_address, make_file, tmp_path
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _, file = make_file(port)
    with running(ray_address, tmp_path, file, "--no-page") as live:
        live.await_line("motet: waiting for records")
        assert asked(port, "/readyz")[0] == asked(port, "/metrics")[0] == 200
        assert asked(port, "/")[0] == asked(port, "/api/state")[0] == 404
    assert "live page" not in live.err
