"""The live page in a real browser: what is shown, and that no stream id does anything."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from browser import browser
from pipelines import LOBBY, SECOND_US, broker_for, connector_for, jpeg, load, sent, tone
from shown import Shown, monitor_of, snapshot
from states import figures, lane

from pipeline.monitor import serve
from pipeline.slot.ports import OutRecord
from pipeline.tasks.figures import Figures
from pipeline.tasks.stage_health import StageTrouble
from pipeline.tasks.view import HeadView, HoldView, ReplicaView

BEGIN_US = 1_790_000_000_000_000
HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\">",
    "\"'><script>document.title='hacked'</script>",
    "javascript:document.title='hacked'",
    "\u202egnp.exe\u0000\n\t",
    "x" * 250,
    "__proto__",
]
VECTOR = [0.5, -0.5, 0.0]
KEY_CODES = {"Enter": 13, "Escape": 27, "Home": 36, "ArrowLeft": 37, "ArrowDown": 40}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def page(chromium):
    """The browser, which has had nothing to complain about when the test has ended."""
    chromium.size(1280, 900)
    yield chromium
    complaints, chromium.complaints = chromium.complaints, []
    chromium.open("about:blank")
    assert complaints == []


def result(stream: str, second: int = 0, lane: int = 0, **changes: object) -> OutRecord:
    start_us = BEGIN_US + second * SECOND_US
    value = {
        "stream": stream,
        "window": {"start_us": start_us, "end_us": start_us + SECOND_US},
        "rev": 0,
        "present": ["cam", "mic"],
        "missing": ["chat"],
        "coverage": {"mic": 0.5},
        "output": {"vector": VECTOR},
        "weights": {"sound": 0.25, "colour": 0.75},
        "attribution": {"sound": 0.4, "colour": 0.6},
        "text": {},
        "data": {},
        "failed": {},
        "model": "lobby@sha256:0",
        **changes,
    }
    headers = [("ce_id", f"{stream}/{start_us}".encode())]
    return OutRecord("out.results", lane, stream.encode(), json.dumps(value).encode(), headers)


def choose_stream(page, stream: str, listed: int) -> None:
    """From the list below the field, as by a click."""
    page.value("document.getElementById('stream').blur()")
    page.value("document.getElementById('stream').focus()")
    options = "[...document.querySelectorAll('#streams li')]"
    page.wait_for(f"{options}.length === {listed}")
    page.value(f"{options}.find((one) => one.textContent === {json.dumps(stream)}).click()")


def press(page, *keys: str) -> None:
    for key in keys:
        for kind in ("keyDown", "keyUp"):
            page.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                     windowsVirtualKeyCode=KEY_CODES[key])  # fmt: skip


@pytest.fixture
def lobby():
    spec = load(LOBBY)
    return spec, broker_for(spec)


def test_the_page_shows_the_dataflow_and_a_result_with_its_media(page, lobby):
    spec, broker = lobby
    broker.append(sent("in.mic", tone(440, 1.0), BEGIN_US, stream="cam-1"))
    broker.append(sent("in.cam", jpeg((255, 0, 0)), BEGIN_US, stream="cam-1"))
    broker.append(result("cam-1"))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelectorAll('#card img').length === 2")
        assert page.value("[...document.images].every((image) => image.naturalWidth > 0)")
        flow = page.text("#columns")
        for word in ("mic", "cam", "chat", "sound", "colour", "words", "concat", "out.results"):
            assert word in flow
        assert page.value("document.querySelectorAll('#wires path[d]').length") == 7
        assert "1 on cuda:0" in flow
        card = page.text("#card")
        assert "cam-1" in card
        assert "50 % covered" in card
        assert "60 %" in card
        assert page.text("#card .tile.missing").split() == ["chat", "missing"]
        widths = page.value(
            "[...document.querySelectorAll('.gauge:not(.under) i')].map((bar) => bar.style.width)"
        )
        assert widths == ["40%", "60%"]
        waits = "[...document.querySelectorAll('#lanes td.words')].map((cell) => cell.textContent)"
        assert page.value(waits) == ["–", "chat: behind"]
        assert page.text("#ready") == "running"


def test_the_page_shows_labels_texts_and_failures(page, lobby):
    spec, broker = lobby
    scores = {"speech": 0.9, "music": 0.1}
    changes = {"output": {"label": "speech", "scores": scores}, "failed": {"sound": "timeout"},
               "weights": {"colour": 1.0}, "attribution": {"colour": -0.2},
               "text": {"words": "<i>hello</i>"}, "data": {"faces": {"count": 2}}}  # fmt: skip
    broker.append(result("cam-1", **changes))
    head = HeadView("3fa9c1" + 58 * "0", "mlp", BEGIN_US, everywhere=False)
    with monitor_of(spec, connector_for(broker), Shown(snapshot(head=head))) as monitor:
        page.open(monitor.url)
        card = page.wait_for("document.querySelector('#card h3') && document.body.innerText")
        assert "3fa9c1000000 mlp, taking over" in page.text("#columns")
        for word in ("failed: timeout", "speech", "0.90", "<i>hello</i>", '"count": 2', "-20 %"):
            assert word in card


def test_hostile_stream_ids_are_inert(page, lobby):
    spec, broker = lobby
    for number, stream in enumerate(HOSTILE):
        broker.append(sent("in.chat", f"<script>{stream}".encode(), BEGIN_US, stream=stream))
        hostile = {stream: 0.5}
        broker.append(
            result(stream, number, present=["chat"], failed={stream: stream}, weights=hostile,
                   attribution=hostile, text={stream: stream}, data={stream: {stream: stream}})
        )  # fmt: skip
    shown = snapshot(not_ready=HOSTILE[0], warnings=HOSTILE)
    with monitor_of(spec, connector_for(broker), Shown(shown)) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('#card h3') !== null")
        for stream in HOSTILE:
            choose_stream(page, stream, len(HOSTILE) + 1)
            chosen = json.dumps(stream)
            page.wait_for(f"document.querySelector('#card h3')?.textContent === {chosen}")
        assert page.value("document.title") == "lobby · motet"
        assert page.value("document.scripts.length") == 1
        assert page.value("document.querySelectorAll('#card img, main script').length") == 0
        assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_of_the_page_is_wider_than_a_phone(page, lobby):
    spec, broker = lobby
    broker.append(result("x" * 250))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        for scheme in ("light", "dark"):
            page.size(390, 844, scheme)
            page.open(monitor.url)
            page.wait_for("document.querySelector('#card h3') !== null")
            assert page.value("document.documentElement.scrollWidth <= 390")


def test_the_page_outlives_its_server(page, lobby):
    spec, broker = lobby
    connector = connector_for(broker)
    first = serve(spec, connector, ("127.0.0.1", 0))
    port = int(first.url.rstrip("/").rpartition(":")[2])
    first.show(Shown())
    broker.append(result("cam-1", 0))
    page.open(first.url)
    page.wait_for("document.querySelectorAll('#newest tr').length === 1")
    first.close()
    page.wait_for("document.body.classList.contains('stale')")
    assert "No answer from the pipeline for" in page.text("#trouble")
    broker.append(result("cam-1", 1))
    second = serve(spec, connector, ("127.0.0.1", port))
    try:
        second.show(Shown())
        page.wait_for("document.querySelectorAll('#newest tr').length === 2")
        page.wait_for("!document.body.classList.contains('stale')")
        assert page.value("document.getElementById('trouble').hidden")
    finally:
        second.close()


def test_a_result_can_be_held_by_keyboard(page, lobby):
    spec, broker = lobby
    for second in range(3):
        broker.append(result("cam-1", second))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelectorAll('#newest tr').length === 3")
        page.value("document.querySelector('#newest tr:last-child button').focus()")
        for kind in ("keyDown", "keyUp"):
            page.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                     windowsVirtualKeyCode=13, text="\r")  # fmt: skip
        page.wait_for("document.querySelector('#newest tr:last-child').className === 'chosen'")
        assert page.text("#live") == "Held: go live"
        broker.append(result("cam-1", 3))
        page.wait_for("document.querySelectorAll('#newest tr').length === 4")
        assert page.value("document.activeElement.closest('tr').className") == "chosen"


def test_with_a_token_the_page_works_from_its_address(page, lobby):
    _, broker = lobby
    spec = load(LOBBY, {"metrics.token": "s3&cret"})
    broker.append(result("cam-1"))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.page_url)
        page.wait_for("document.querySelectorAll('#newest tr').length === 1")


class Watched:
    """What an evaluation tells, its labels hostile."""

    def __init__(self, label: str) -> None:
        classes = {
            "windows": 10,
            "right": 6,
            "abstained": 1,
            "accuracy": 0.6,
            "balanced_accuracy": 0.5,
            "labels": [label, "dog"],
            "other_labels": 3,
            "confusion": [[4, 2, 1], [1, 2, 0]],
            "over_time": [{"start": "2026-01-31T12:00:00.000Z", "windows": 4, "right": 1}],
        }
        text = {
            "stage": "words",
            "normalizer": "plain",
            "waiting": 2,
            "texts": 5,
            "words": 50,
            "wer": 0.125,
            "bleu": 71.5,
        }
        self.told = {
            "topic": "truth",
            "span_seconds": 3600.0,
            "unlabelled": 7,
            "label_delay_seconds": 95.0,
            "classes": classes,
            "text": text,
            "labels": {"met": 10, "unmet": 1, "unreadable": 2},
            "problem": None,
        }

    def figures(self) -> Figures:
        return Figures()

    def state(self) -> dict[str, object]:
        return self.told

    def close(self) -> None:
        pass


def test_the_page_says_how_good_the_answers_are(page, lobby):
    spec, broker = lobby
    shown = snapshot()
    shown.figures.gauge("motet_feature_drift", 1.72, "sound")
    shown.figures.gauge("motet_feature_drift", 0.3, "colour")
    live = Watched(HOSTILE[0])
    monitor = serve(spec, connector_for(broker), (spec.metrics.host, 0), live=live)
    try:
        monitor.show(Shown(shown))
        page.open(monitor.url)
        page.wait_for("!document.getElementById('evaluated').hidden")
        scores = page.text("#scores")
        for word in ("60.0 %", "6 of 10 windows", "95 s", "12.5 %", "71.5", "10 have met"):
            assert word in scores
        cells = "[...document.querySelectorAll('#confusion tbody tr:first-child td')]"
        assert page.value(f"{cells}.map((cell) => cell.textContent)") == [HOSTILE[0], *"421"]
        assert page.value("document.querySelector('.slice i').style.height") == "25%"
        drifts = page.text("#drifts")
        assert "sound is unlike what the head was trained on" in drifts
        assert "colour is like what the head was trained on" in drifts
        live.told = {**live.told, "problem": "topic truth: it is not there"}
        page.wait_for("document.getElementById('labels-note').textContent.includes('not there')")
        page.size(390, 844)
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
    finally:
        monitor.close()


def test_without_labels_and_a_head_nothing_is_said_of_it(page, lobby):
    spec, broker = lobby
    broker.append(result("cam-1"))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelectorAll('#newest tr').length === 1")
        assert page.value("document.getElementById('evaluated').hidden")


def test_the_verdict_and_the_answers_are_told_in_words(page, lobby):
    spec, broker = lobby
    shown = Shown(troubled())
    with monitor_of(spec, connector_for(broker), shown) as monitor:
        page.open(monitor.url)
        page.wait_for("document.getElementById('verdict').className === 'verdict bad'")
        assert page.text("#level") == "Trouble"
        assert "colour fails: 9 of 10 windows since" in page.text("#verdict-words")
        assert "T12" not in page.text("#verdict")  # times as the reader's clock shows them
        # the link leads to the node, and the node says what it is about
        page.value("document.getElementById('verdict-where').click()")
        assert page.value("document.activeElement.id || location.hash") in ("stage-1", "#stage-1")
        assert page.text("#stage-1 .badge") == "fails"
        said = page.value("document.getElementById('said').textContent")
        assert said.startswith("Trouble: colour fails")
        assert page.text("#window-words").startswith("Lane 1: the window from")
        assert "waits for mic" in page.text("#window-words")
        assert "none of this stream" in page.text("#window-words")
        assert page.text("#bottleneck-words")
        assert "on cuda:0" in page.value("document.getElementById('batch-words').textContent")
        page.value("document.querySelectorAll('.questions summary')[0].click()")
        page.wait_for("document.querySelectorAll('#window-more li').length === 2")
        # only what is new is said aloud
        shown.now = replace(shown.now, troubles=())
        page.wait_for("document.getElementById('verdict').className === 'verdict look'")
        assert page.value("document.getElementById('said').textContent").startswith(
            "Look: mic of s"
        )
        letters = page.text("#letters")
        assert "undecodable" in letters
        assert "7" in letters


def troubled():
    """A stage that fails, and an input that is silent."""
    hold = HoldView("s", BEGIN_US, BEGIN_US + SECOND_US, {"mic": None}, 8_000_000, 3_000_000)
    now = snapshot(
        troubles=(StageTrouble("colour", 10, 9, BEGIN_US, "no"),),
        lanes=(lane(0), lane(1, hold=hold, overdue=True, waiting="waiting for mic")),
    )
    now.figures.count("motet_dead_letters_total", 7, "undecodable")
    replicas = [ReplicaView(f"{s}-0", s, "cuda:0") for s in ("sound", "colour", "words")]
    return replace(now, replicas=replicas)


def test_the_last_hour_is_drawn_and_outlives_a_reload(page, lobby, monkeypatch):
    spec, broker = lobby
    monkeypatch.setattr("pipeline.monitor.history.STEP_US", 10_000)
    monkeypatch.setattr("pipeline.monitor.sampler.STEP_S", 0.02)
    shown = Shown(snapshot(figures=figures(1)))
    with monitor_of(spec, connector_for(broker), shown) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelectorAll('#charts .chart').length === 6")
        later = figures(2)
        later.count("motet_actor_restarts_total", 1, "encoder", "died")
        shown.now = snapshot(figures=later, taken_us=BEGIN_US + 20 * SECOND_US)
        for _ in range(2):
            page.wait_for("document.querySelectorAll('.plot path.drawn').length > 9")
            page.wait_for("document.querySelector('#marks li') !== null")
            assert "encoder was started anew: died" in page.text("#marks")
            page.open("about:blank")
            page.open(monitor.url)
        page.wait_for("document.querySelectorAll('.plot path.drawn').length > 9")
        # by keyboard: the chart tells its values at a point in time
        page.value("document.querySelector('.plotted').focus()")
        press(page, "Home", "ArrowLeft")
        told = "document.activeElement.getAttribute('aria-valuetext')"
        assert page.value("document.activeElement.getAttribute('aria-valuenow')") == "0"
        assert "half within" in page.value(told)
        page.value("document.querySelector('#spans button').click()")
        pressed = "[...document.querySelectorAll('#spans button')].map((one) => one.ariaPressed)"
        assert page.value(pressed) == ["true", "false", "false"]


def test_one_of_hundreds_of_streams_is_found_by_keyboard(page, lobby):
    spec, broker = lobby
    for number in range(400):  # so many are read of those before
        broker.append(result(f"cam-{number}", lane=number % 2))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('#card h3') !== null")
        page.value("document.getElementById('stream').focus()")
        page.wait_for("document.querySelectorAll('#streams li').length === 51")
        assert page.text("#streams-more") == "50 of 400 streams: type a part of a name"
        page.ask("Input.insertText", text="M-321")
        page.wait_for("document.querySelectorAll('#streams li').length === 1")
        active = "document.getElementById('stream').getAttribute('aria-activedescendant')"
        assert page.value(active) == "stream-option-0"
        press(page, "Enter")
        page.wait_for("document.querySelector('#card h3')?.textContent === 'cam-321'")
        assert page.value("document.getElementById('stream').value") == "cam-321"
        assert page.value("document.getElementById('stream').ariaExpanded") == "false"
        press(page, "ArrowDown", "Escape")
        assert page.value("document.getElementById('stream').value") == "cam-321"


def test_what_is_wider_than_a_phone_is_scrolled_by_keyboard(page, lobby):
    spec, broker = lobby
    broker.append(result("cam-1"))
    with monitor_of(spec, connector_for(broker), Shown(troubled())) as monitor:
        page.size(390, 900)
        page.open(monitor.url)
        page.wait_for("document.querySelector('#lanes td') !== null")
        wide = "[...document.querySelectorAll('main *')].filter((one) => one.clientWidth > 0"
        wide += " && one.scrollWidth > one.clientWidth + 1"
        wide += " && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX))"
        found = page.value(f"{wide}.map((one) => [one.tabIndex, one.ariaLabel])")
        assert found
        assert [each for each in found if each[0] != 0 or not each[1]] == []
        flows = "(() => { document.querySelector('#wires path').classList.add('flows');"
        flows += " return document.getAnimations().length; })()"
        assert page.value(flows) > 0
        reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
        page.ask("Emulation.setEmulatedMedia", features=reduced)
        assert page.value(flows) == 0


def test_everything_that_can_be_used_has_a_name_and_no_id_is_there_twice(page, lobby):
    spec, broker = lobby
    broker.append(result("cam-1"))
    with monitor_of(spec, connector_for(broker), Shown(troubled())) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('#card h3') !== null")
        page.ask("Accessibility.enable")
        nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
        page.ask("Accessibility.disable")
    used = {"button", "link", "combobox", "slider", "textbox", "region", "image", "img", "table"}
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in used
        and not node.get("name", {}).get("value")
        and node["role"]["value"] != "table"
    ]
    assert nameless == []
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    assert roles.count("main") == 1
    ids = page.value("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert sorted(ids) == sorted(set(ids))
    headings = page.value("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in pairwise(headings))
