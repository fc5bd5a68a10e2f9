"""Speak into it on the page: who may, what is said where one may not, and lines of text."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
from browser import browser
from pipelines import LOBBY, SECOND_US, broker_for, committed, connector_for, header, load, tone
from readings import RATE
from shown import Shown, monitor_of
from visitor import press, visitor

from pipeline.monitor import serve
from pipeline.monitor.speak import read_clocks
from pipeline.monitor.speak_session import IDLE_US_MAX, Now

TONE = np.frombuffer(tone(440, 60.0), ">i2").astype(np.float32) / 32768  # 880 Hz at 16 kHz
STATUS = "document.querySelector('#speak [role=status]').textContent"
TROUBLE = "document.querySelector('#speak [role=alert]').textContent"
GONE = "document.querySelector('#speak input[type=text]').value === ''"
READY = "!document.getElementById('speak').hidden"


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    with visitor(tmp_path_factory.mktemp("visitor"), TONE) as found:
        yield found


@pytest.fixture
def page(speaker):
    speaker.size(1280, 900)
    yield speaker
    complaints, speaker.complaints = speaker.complaints, []
    speaker.open("about:blank")
    assert complaints == []


@pytest.fixture
def lobby():
    spec = load(LOBBY, {"metrics.ingest": True, "inputs.mic.type": "audio/L16;rate=16000"})
    return spec, broker_for(spec)


def test_nothing_is_shown_of_it_where_the_file_does_not_allow_it(page):
    spec = load(LOBBY)
    with monitor_of(spec, connector_for(broker_for(spec)), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.getElementById('ready').textContent === 'running'")
        assert page.value("document.getElementById('speak').hidden")


def test_sound_and_pictures_go_to_their_inputs_until_it_is_stopped(page, lobby):
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for(READY)
        press(page, "#speak-start")
        page.wait_for(f"{STATUS}.includes('You are live')")
        stream = page.value(f"{STATUS}.match(/page-\\w+/)[0]")
        page.wait_for("document.querySelector('#speak meter').value > 0.3")
        while not (len(committed(broker, "in.cam")) > 2 and len(committed(broker, "in.mic")) > 15):
            page.value("new Promise((done) => setTimeout(done, 100))")
        press(page, "#speak-start")
        page.wait_for(f"{STATUS}.includes('not live any more')")
        heard = committed(broker, "in.mic")
        for record in (*heard, *committed(broker, "in.cam")):
            assert record.key == stream.encode()
            lag_us = record.timestamp_us - times_us(record)
            assert -SECOND_US < lag_us < 30 * SECOND_US
        line = np.concatenate([np.frombuffer(each.value, ">i2") for each in heard])
        loud = np.abs(np.fft.rfft(line[-2 * RATE :] * np.hanning(len(line[-2 * RATE :]))))
        assert np.argmax(loud) * RATE / len(line[-2 * RATE :]) == pytest.approx(880, abs=5)


def times_us(record) -> int:
    ce_id = header(record, "ce_id")
    assert ce_id is not None
    return int(ce_id.rpartition("/")[2])


def test_a_line_alone_begins_a_stream_too(page, lobby):
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for(READY)
        page.value("document.querySelector('#speak input[type=text]').focus()")
        page.ask("Input.insertText", text="grüß <b>Gott</b>")
        press(page, "#speak input[type=text]")
        page.wait_for(f"{STATUS}.includes('You are live')")
        assert "wait up to 5.0 s longer, for want of mic and cam" in page.value(STATUS)
        page.wait_for(GONE)
        press(page, "#speak-start")
        page.wait_for(f"{STATUS}.includes('not live any more')")
    [line] = committed(broker, "in.chat")
    assert line.value == "grüß <b>Gott</b>".encode()
    assert committed(broker, "in.mic") == committed(broker, "in.cam") == []


def write(page, words: str) -> None:
    page.value(f"document.querySelector('#speak input[type=text]').value = {words!r}")
    press(page, "#speak input[type=text]")


def test_a_line_after_a_long_silence_begins_another_stream(page, lobby):
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for(READY)
        write(page, "first")
        page.wait_for(GONE)
        later = [each + IDLE_US_MAX for each in read_clocks()]
        monitor._speak._now = lambda: Now(*later)
        write(page, "second")
        page.wait_for(GONE)
    assert sorted(record.value for record in committed(broker, "in.chat")) == [b"first", b"second"]
    assert len({record.key for record in committed(broker, "in.chat")}) == 2


def test_the_end_of_the_run_ends_it(page, lobby):
    spec, broker = lobby
    monitor = serve(spec, connector_for(broker), ("127.0.0.1", 0))
    try:
        monitor.show(Shown())
        page.open(monitor.url)
        page.wait_for(READY)
        write(page, "first")
        page.wait_for(f"{STATUS}.includes('You are live')")
        monitor._speak.close()
        write(page, "second")
        page.wait_for(f"{TROUBLE}.includes('the run has ended')")
        assert page.text("#speak-start") == "Speak into it"
        assert page.value("document.querySelector('#speak input[type=text]').value") == "second"
        assert page.text("#speak [role=alert]") == "the run has ended"
    finally:
        monitor.close()


def test_with_a_token_one_speaks_from_its_address(page, lobby):
    _, broker = lobby
    spec = load(LOBBY, {"metrics.ingest": True, "metrics.token": "s3&cret"})
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.page_url)
        page.wait_for(READY)
        press(page, "#speak-start")
        page.wait_for(f"{STATUS}.includes('You are live')")  # until then the button is off
        page.wait_for("document.querySelector('#speak meter').value > 0.3")
        press(page, "#speak-start")
        page.wait_for(f"{STATUS}.includes('not live any more')")


def test_samples_are_laid_on_the_clock_once(page, lobby):
    """Jitter moves nothing; what stood still for longer lies later from there on."""
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        ways = [90, 60, 70, 55, 80, 65, *[40, 160, 90, 180, 51] * 20]  # ms, to reach the page
        stood = [250] * 100
        found = page.value(
            "import('./speak-clock.js').then(({ SampleClock }) => {"
            " const clock = new SampleClock(16000); const at = [];"
            f" {json.dumps(ways + stood)}.forEach((way, n) => {{"
            "  clock.note(800 * (n + 1), 7e6 + 50e3 * (n + 1) + 1e3 * way);"
            "  if (clock.settled) at.push(clock.at(800 * n) - 50e3 * n); });"
            " return at; })"
        )
        assert found[0] == 7_055_000  # as the fastest of the first came
        assert set(found[: len(ways) - 6]) == {7_055_000}
        assert found[-1] == 7_250_000
        assert set(found) == {7_055_000, 7_250_000}


# -- a browser that gives nothing -----------------------------------------------------------------


@pytest.fixture(scope="module")
def shy(tmp_path_factory):
    """It has devices and refuses them; the name of this machine leads here."""
    with browser(
        tmp_path_factory.mktemp("shy"),
        "--use-fake-device-for-media-stream",
        "--deny-permission-prompts",
        f"--host-resolver-rules=MAP {socket.gethostname()} 127.0.0.1",
    ) as found:
        yield found


def test_a_browser_that_refuses_the_microphone_is_told_of(shy, lobby):
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        shy.open(monitor.url)
        shy.wait_for(READY)
        press(shy, "#speak-start")
        words = shy.wait_for(f"{TROUBLE}")
        assert "did not allow the microphone: allow it beside the address" in words
        assert "did not allow the camera" in words
        assert shy.text("#speak-start") == "Speak into it"
        assert not shy.value("document.getElementById('speak-start').disabled")
        shy.size(390, 844)
        assert shy.value("document.documentElement.scrollWidth <= innerWidth")
    assert shy.complaints == []


def test_a_page_without_a_safe_context_says_so_and_takes_lines(shy):
    spec = load(
        LOBBY, {"metrics.ingest": True, "metrics.host": "0.0.0.0", "metrics.token": "s3cret"}
    )
    broker = broker_for(spec)
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        shy.open(monitor.page_url.replace("127.0.0.1", socket.gethostname()))
        shy.wait_for(READY)
        assert shy.value("document.getElementById('speak-start').disabled")
        assert "only to pages over https or of its own machine" in shy.value(STATUS)
        write(shy, "hello")
        shy.wait_for(GONE)
        shy.wait_for("document.getElementById('speak-start').textContent === 'Stop'")
        assert not shy.value("document.getElementById('speak-start').disabled")
        press(shy, "#speak-start")
        shy.wait_for(f"{STATUS}.includes('not live any more')")
    assert [record.value for record in committed(broker, "in.chat")] == [b"hello"]
    assert shy.complaints == []
