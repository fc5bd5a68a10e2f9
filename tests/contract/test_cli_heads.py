"""``motet heads`` on a real Kafka: a run that labels nothing yet gets a head, and goes back."""

from __future__ import annotations

import json
import re
import signal

import pytest
import yaml
from kafka_user import BEGIN_US, STREAMS, await_that, noise
from made_heads import made_head

from pipeline.spec import load

pytestmark = pytest.mark.kafka


def test_a_run_gets_a_head_without_a_stop_and_goes_back(
    user, motet, start, prefix, make_file, tmp_path
):
    file = make_file(prefix, windows={"size": "1s", "idle": "0ms"})
    tree = yaml.safe_load(file.read_text())
    tree["fusion"]["head"] = "heads/live"
    file.write_text(yaml.safe_dump(tree))
    sha256 = made_head(tmp_path / "new", load(file), 3)
    assert motet("heads", "deploy", file, "--none").code == 0
    run = start("run", file, "--local")
    [url] = await_that("its page", lambda: re.findall(r"live page at (http\S+)", run.err))
    seconds = 0

    def newest() -> dict[str, str]:
        """Sends a second more; by stream, what the newest result has."""
        nonlocal seconds
        for stream in STREAMS:
            user.send(f"{prefix}.audio", stream, noise(seconds), BEGIN_US + seconds * 1_000_000)
        user.producer.flush()
        seconds += 1
        found = {}
        for record in user.read(f"{prefix}.results", settled=False):
            value = json.loads(record.value)
            found[value["stream"]] = next(iter(value["output"]))
        return found

    def come(key: str) -> None:
        await_that(key, lambda: set(newest().values()) == {key})

    come("vector")
    answer = motet("heads", "deploy", file, tmp_path / "new", "--url", url, "--wait", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["sha256"], told["running"], told["taken"]) == (sha256, True, True)
    come("label")
    state = json.loads(motet("top", file, "--url", url, "--json").out)
    assert state["fusion"]["head"]["sha256"] == sha256
    answer = motet("heads", "rollback", file, "--url", url, "--wait")
    assert (answer.code, "no head is in force, before it head" in answer.out) == (0, True)
    come("vector")
    run.signal(signal.SIGTERM)
    assert run.wait() == 0, run.err
    assert run.err.count(" takes over, for windows that close from now on") == 2
