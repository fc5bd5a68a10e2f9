"""Teach it on the page, as a visitor does: labels by keys, Train, Deploy, answers with labels."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter

import pytest
import yaml
from browser import browser
from kafka_user import BEGIN_US, await_that
from three_sounds import CLASSES, sound

pytestmark = [pytest.mark.kafka, pytest.mark.early, pytest.mark.timeout(300)]

STREAMS = [f"room-{number}" for number in range(6)]
LABELS = 60
FIRST_SECONDS = 16
SECOND_US = 1_000_000
SHOWN = "document.querySelector('#teach-window').dataset.startUs"


def truth(stream: str, start_us: int) -> str:
    second = (start_us - BEGIN_US) // SECOND_US
    return CLASSES[(STREAMS.index(stream) + second) % len(CLASSES)]


class Rooms:
    """Streams that go on: each second of each stream is of one class."""

    def __init__(self, user, topic: str) -> None:
        self._user, self._topic = user, topic
        self.seconds = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def send(self, seconds: int) -> None:
        for _ in range(seconds):
            at_us = BEGIN_US + self.seconds * SECOND_US
            for number, stream in enumerate(STREAMS):
                seed = 100 * self.seconds + number
                self._user.send(self._topic, stream, sound(truth(stream, at_us), seed), at_us)
            self.seconds += 1
        self._user.producer.flush()

    def go_on(self) -> None:
        self._thread.start()

    def _play(self) -> None:
        while not self._end.wait(0.5):
            self.send(1)

    def end(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()


@pytest.fixture
def page(tmp_path):
    with browser(tmp_path / "chromium") as found:
        found.size(1280, 1000)
        yield found


@pytest.fixture
def rooms(user, prefix):
    made = Rooms(user, f"{prefix}.audio")
    yield made
    made.end()


def press(page, key: str) -> None:
    page.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
    page.ask("Input.dispatchKeyEvent", type="keyUp", key=key)


def label_windows(page, count: int) -> Counter[str]:
    """Looks at each window that is shown, and presses the key of what it is."""
    given: Counter[str] = Counter()
    seen: dict[str, str] = {}
    for _ in range(count):
        other = f"one.startUs && (one.startUs !== {json.dumps(seen.get('startUs'))} ||"
        other += f" one.stream !== {json.dumps(seen.get('stream'))})"
        shown = "document.querySelector('#teach-window').dataset"
        seen = page.wait_for(f"((one) => {other} && ({{...one}}))({shown})")
        label = truth(seen["stream"], int(seen["startUs"]))
        press(page, str(CLASSES.index(label) + 1))
        given[label] += 1
    return given


def counts(page) -> dict[str, int]:
    said = page.value(
        "[...document.querySelectorAll('#teach-classes button')].map((one) =>"
        " [one.querySelector('bdi').textContent, one.querySelector('span').textContent])"
    )
    return {name: int(count) for name, count in said}


def test_a_head_that_is_taught_on_the_page_goes_live(user, start, prefix, make_file, page, rooms):
    file = make_file(
        prefix,
        create=False,
        inputs={"mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"}},
        windows={"size": "1s", "idle": "0ms"},
        stages={"sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 16}}},
        fusion={"rule": "weighted_sum", "of": {"sound": 1}},
        metrics={"port": 0, "ingest": True},
    )
    make = start("topics", "create", file)
    assert make.wait() == 0, make.err
    run = start("run", file, "--local")
    [url] = await_that("its page", lambda: re.findall(r"live page at (http\S+)", run.err))
    rooms.send(FIRST_SECONDS)
    page.open(url)
    page.wait_for("!document.querySelector('#teach').hidden")
    page.value("document.querySelector('#teach-panel summary').click()")
    for label in CLASSES:
        page.value(f"document.querySelector('#teach-name').value = {json.dumps(label)}")
        page.value("document.querySelector('.teach-add').requestSubmit()")

    # one is taken back, and is labelled anew; one is left out
    page.wait_for(SHOWN)
    first = page.value(SHOWN)
    press(page, "9")  # no class has it
    assert page.value(SHOWN) == first
    press(page, "1")
    press(page, "u")
    page.wait_for(f"{SHOWN} === {json.dumps(first)}")
    press(page, "s")
    given = label_windows(page, LABELS)
    assert min(given.values()) >= 6
    page.wait_for(f"document.querySelector('#teach-counts').innerText.startsWith('{LABELS} ')")
    assert counts(page) == dict(given)

    page.value("document.querySelector('#teach-kind').value = 'logistic'")
    page.value("document.querySelector('[data-order=train]').click()")
    page.wait_for("document.querySelector('#teach-training progress') !== null")
    assert "null" not in page.text("#teach-training")
    accuracy = page.wait_for("document.querySelector('.teach-accuracy')?.dataset.accuracy", 60)
    assert float(accuracy) >= 0.9, page.text("#teach-training")
    assert [name in page.text("#teach-training table") for name in CLASSES] == [True] * 3

    assert "no head" in page.text("#teach-force")
    page.value("document.querySelector('[data-order=deploy]').click()")
    rooms.go_on()
    page.wait_for("document.querySelector('#teach-force')?.innerText.includes('logistic')")
    page.wait_for("document.querySelector('#teach-force').innerText.includes('in every slot')")
    page.wait_for("document.querySelector('#teach-window').innerText.includes('The head says')")
    label_windows(page, 9)
    live = page.wait_for("document.querySelector('#teach-live')?.innerText")
    assert float(re.findall(r"[\d.]+", live)[0]) >= 0.8, live
    labelled = [json.loads(each.value)["output"] for each in user.read(f"{prefix}.results", False)]
    assert {one["label"] for one in labelled if "label" in one} == set(CLASSES)

    page.value("document.querySelector('[data-order=rollback]').click()")
    page.wait_for("/no head.*in every slot/.test(document.querySelector('#teach-force').innerText)")
    assert page.complaints == []
    rows = [json.loads(each.value) for each in user.read(f"{prefix}.results.labels", False)]
    assert {row["label"] for row in rows} == {*CLASSES, None}
    run.signal(signal.SIGTERM)
    assert run.wait() == 0, run.err
    tree = yaml.safe_load(file.read_text())
    assert "head" not in tree["fusion"]
