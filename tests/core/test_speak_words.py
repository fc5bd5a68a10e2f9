"""Speak into it, from end to end: a sentence that is said stands in the results topic."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from model_media import OFFLINE_MODELS
from pipelines import broker_for, committed, header, load, values
from readings import RATE, joined, sentences, word_errors
from visitor import press, visitor

from pipeline.connectors.memory import MemoryConnector
from pipeline.local import run_local
from pipeline.monitor import serve
from pipeline.tasks.host import RunControl

pytestmark = OFFLINE_MODELS

TALK: dict[str, Any] = {
    "name": "talk",
    "inputs": {
        "mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
        "camera": {"topic": "in.camera", "type": "image/jpeg"},
    },
    "windows": {"size": "1s"},
    "stages": {
        "speech": {
            "encoder": "speech_to_text", "of": "mic",
            "context": {"before": "4s", "after": "500ms"}, "timeout": "2m", "out": "out.speech",
        },
        "colour": {"encoder": "color_histogram", "of": "camera"},
    },
    "fusion": {"rule": "concat", "of": {"colour": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "metrics": {"ingest": True},
    "slots": 1,
}  # fmt: skip
SILENCE_S = 3  # while the page makes itself ready


@pytest.fixture
def running(tmp_path):
    spec = load(TALK)
    broker = broker_for(spec)
    connector = MemoryConnector(broker, pending_wait_s=1)
    monitor = serve(spec, connector, ("127.0.0.1", 0))
    control = RunControl(stop=threading.Event(), ready=threading.Event(), show=monitor.show)
    thread = threading.Thread(target=run_local, args=(spec, connector, control), name="run")
    thread.start()
    try:
        assert control.ready.wait(60)
        yield monitor, broker
    finally:
        control.stop.set()
        thread.join(60)
        monitor.close()


def test_what_is_said_into_the_page_stands_in_the_results(running, tmp_path):
    monitor, broker = running
    said = sentences()[4]
    line = np.concatenate([np.zeros(SILENCE_S * RATE, np.float32), said.samples])
    with visitor(tmp_path, line) as page:
        page.open(monitor.url)
        page.wait_for("!document.getElementById('speak').hidden")
        press(page, "#speak-start")
        page.wait_for("document.querySelector('#speak .heard').textContent.includes('himself')", 60)
        shown = page.text("#speak .heard")
        status = page.text("#speak [role=status]")
        assert "stream page-" in status
        assert page.text("#card h3") in status  # the page shows the results of this stream now
        press(page, "#speak-start")
        page.wait_for("document.getElementById('speak-start').textContent === 'Speak into it'")
        assert page.value("document.querySelector('#speak video').srcObject") is None
        assert page.complaints == []
    results = values(broker, "out.results")
    streams = {result["stream"] for result in results}
    assert len(streams) == 1
    assert streams.pop() in status
    spoken = [result for result in results if "speech" in result["data"]]
    errors = word_errors([said.text], [joined(spoken)])
    assert errors.rate <= 0.15, joined(spoken)
    assert word_errors([said.text], [shown]).rate <= 0.15, shown
    assert any(result["present"] == ["camera", "mic"] for result in results)
    assert [header(each, "motet-reason") for each in committed(broker, "out.dead")] == []
    print(f"word errors {errors}; {delays(broker)}")


def delays(broker: Any) -> str:
    """From when a word was said to when its result stood in the topic."""
    found = []
    for record, result in zip(
        committed(broker, "out.results"), values(broker, "out.results"), strict=True
    ):
        words = result["data"].get("speech", {}).get("words", [])
        found += [(record.timestamp_us - word["end_us"]) / 1e6 for word in words]
    return f"words came out {np.median(found):.1f} s after they were said, at most {max(found):.1f}"
