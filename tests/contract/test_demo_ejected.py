"""``motet demo`` without Ray: its files as they are ejected, and the Kafka that it starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

from pipeline.broker import server
from pipeline.demo.assets import STREAMS
from pipeline.demo.models import missing_package
from pipeline.demo.own_broker import own_broker

pytestmark = [pytest.mark.kafka, pytest.mark.early, pytest.mark.timeout(300)]

MOTET = [sys.executable, "-m", "actors"]
MODELS = missing_package() is None  # where they are there, the demo has them


def await_idle(page: str) -> None:
    """Until a run has nothing to finish, told twice: no lag, no open window, nothing in flight.

    A busy machine is behind, and a stop waits for 8 s only.
    """
    told, pause = 0, threading.Event()
    while told < 2:
        with urllib.request.urlopen(f"{page}api/state", timeout=60) as answer:
            state = json.load(answer)
        busy = any(lane["open_windows"] or lane["lag_records"] for lane in state["lanes"])
        busy |= any(slot["in_flight_bytes"] for slot in state["slots"])
        told = 0 if busy else told + 1
        pause.wait(3)


@pytest.mark.timeout(600)
def test_what_is_ejected_feeds_and_runs_as_it_stands(kafka, tmp_path):
    subprocess.run([*MOTET, "demo", "--eject", "mine"], cwd=tmp_path, check=True, timeout=60)
    environment = {**os.environ, "KAFKA": kafka}
    errors = tmp_path / "errors.txt"
    with errors.open("w") as stderr:
        # Ctrl-C reaches a script and its players alike, so they get a process group.
        feed = subprocess.Popen(
            ["sh", "mine/feed.sh"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
            stderr=stderr, start_new_session=True,
        )  # fmt: skip
        for _topic in range(6):
            assert feed.stdout.readline().startswith(b"created ")
        run = subprocess.Popen(
            [*MOTET, "run", "mine/demo.yaml", "--local"],
            cwd=tmp_path, env=environment, stderr=stderr,
        )  # fmt: skip
        tail = [*MOTET, "tail", "mine/demo.yaml", "--from-beginning", "--max", "9", "--json"]
        try:
            seen = subprocess.run(
                tail, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, timeout=240
            )
        finally:
            os.killpg(feed.pid, signal.SIGINT)
            played, _ = feed.communicate(timeout=60)
            page = re.search(r"live page at (\S+)", errors.read_text())
            if run.poll() is None and page is not None:
                await_idle(page[1])
            run.send_signal(signal.SIGTERM)
            assert run.wait(timeout=60) == 0
    assert feed.returncode == 0
    assert "error" not in errors.read_text()
    assert played.count(b" records, ") == len(STREAMS) + 1  # photographs have one of their own
    results = [json.loads(line) for line in seen.stdout.splitlines()]
    assert len(results) == 9
    assert all("mic" in result["present"] for result in results)
    assert any(result["text"].get("speech") for result in results) == MODELS


def test_a_demo_stops_the_kafka_that_it_started_but_under_no_other_demo(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    said: list[str] = []
    first, second = own_broker(said.append), own_broker(said.append)
    started = first.__enter__()
    try:
        assert server.status() == started
        assert second.__enter__() == started
        first.__exit__(None, None, None)
        assert said[-1].startswith("another demo uses Kafka, so it goes on")
        assert server.status() == started
        second.__exit__(None, None, None)
        assert said[-1] == f"Kafka ran before and goes on at {started.bootstrap}"
        assert server.status() == started
    finally:
        server.stop()
    with own_broker(said.append) as again:
        assert server.status() == again
    assert said[-1] == "Kafka is stopped; its data stays"
    assert server.status() is None
