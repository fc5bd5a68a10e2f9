"""``/api/find`` and sound over HTTP, and the search on the page in a real browser."""

from __future__ import annotations

import io
import json
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from browser import browser
from pipelines import LOBBY, RATE, SECOND_US, broker_for, connector_for, load, sent, tone
from shown import Shown, ask, monitor_of

from pipeline.errors import InvalidInput, Problem
from pipeline.monitor import find as find_module
from pipeline.search import Meaning
from pipeline.slot.ports import OutRecord

BEGIN_US = 1_790_000_000_000_000


def result(second: int, text: str, stream: str = "s", lane: int = 0) -> OutRecord:
    start_us = BEGIN_US + second * SECOND_US
    value = {
        "stream": stream,
        "window": {"start_us": start_us, "end_us": start_us + SECOND_US},
        "present": ["mic"],
        "missing": ["cam", "chat"],
        "coverage": {"mic": 1.0},
        "output": {"vector": None},
        "weights": {},
        "attribution": {},
        "text": {"speech": text},
        "data": {},
        "failed": {},
    }
    headers = [("ce_id", f"{stream}/{start_us}".encode())]
    return OutRecord("out.results", lane, stream.encode(), json.dumps(value).encode(), headers)


@pytest.fixture
def lobby():
    spec = load(LOBBY)
    return spec, broker_for(spec)


@pytest.fixture
def by_words(monkeypatch):
    def missing():
        raise InvalidInput(Problem("encoder", "gt-all", "is not installed", "install it"))

    monkeypatch.setattr(find_module, "_meaning", missing)


@pytest.fixture
def monitor(lobby):
    spec, broker = lobby
    with monitor_of(spec, connector_for(broker), Shown()) as found:
        yield found


def found_at(monitor, question: str, more: str = "") -> dict:
    answer = ask(monitor, f"/api/find?text={question}{more}")
    assert answer.status == 200, answer.text
    return json.loads(answer.content)


@pytest.mark.usefixtures("by_words")
def test_hits_come_with_their_results_and_grow_with_the_topic(lobby, monitor):
    _, broker = lobby
    broker.append(result(0, "the doors open"))
    broker.append(result(1, "a dog barks", stream="t", lane=1))
    broker.append(OutRecord("out.results", 0, b"s", b"not JSON", []))
    broker.append(OutRecord("out.results", 0, b"s", b"[1, 2]", []))
    first = found_at(monitor, "dog")
    assert (first["by"], first["results"], first["pending"]) == ("words", 2, 0)
    assert first["without"].startswith("encoder = gt-all: is not installed")
    [hit] = first["hits"]
    assert (hit["result_id"], hit["score"]) == (f"t/{BEGIN_US + SECOND_US}", 1.0)
    assert hit["result"]["text"] == {"speech": "a dog barks"}
    broker.append(result(2, "the dog sleeps"))
    reader = ask(monitor, "/api/find?text=sleeps")
    assert reader.status == 200
    assert found_at(monitor, "dog", "&stream=s&limit=1")["hits"][0]["snippet"] == "the dog sleeps"
    assert found_at(monitor, "cat")["hits"] == []


@pytest.mark.usefixtures("by_words")
def test_only_what_the_feed_keeps_is_searched(lobby, monitor, monkeypatch):
    _, broker = lobby
    monkeypatch.setattr("pipeline.monitor.results.KEPT_RECORDS", 3)
    for second in range(8):
        broker.append(result(second, f"word number{second}"))
    found = found_at(monitor, "word", "&limit=20")
    assert [hit["snippet"] for hit in found["hits"]] == [f"word number{n}" for n in (7, 6, 5)]
    assert found["results"] == 3


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "text: it has 0 characters"),
        ("?text=%20", "text: it has 0 characters"),
        (f"?text={'x' * 501}", "text: it has 501 characters"),
        ("?text=a&limit=0", "limit = 0: write a number from 1 to 20"),
        ("?text=a&limit=21", "limit = 21"),
        ("?text=a&limit=9999999999", "limit = 9999999999"),
        ("?text=a&limit=x", "limit = x"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(monitor, query, why):
    answer = ask(monitor, f"/api/find{query}")
    assert answer.status == 400
    assert answer.text.startswith(why)


@pytest.mark.usefixtures("by_words")
def test_a_second_search_does_not_wait_for_ever(monitor, monkeypatch):
    monkeypatch.setattr(find_module, "WAIT_S", 0.01)
    finder = find_module.Finder(None)
    finder._lock.acquire()
    request = find_module.Request("/api/find", {"text": "a"}, {})
    assert finder.routes()["/api/find"](request).status == 503


def test_the_sound_of_a_window_is_cut_to_the_sample(lobby, monitor):
    _, broker = lobby
    sound = tone(440, 3.0)
    broker.append(sent("in.mic", sound, BEGIN_US - SECOND_US // 2))
    path = f"/api/media?stream=s&start_us={BEGIN_US}&input=mic&as=sound"
    answer = ask(monitor, path)
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    expected = np.frombuffer(sound, ">i2")[RATE // 2 : RATE // 2 + RATE]
    assert rate == RATE
    assert (samples == expected).all()
    picture = ask(monitor, path.replace("&as=sound", ""))
    assert picture.headers["content-type"] == "image/png"  # one is not taken for the other
    refused = ask(monitor, path.replace("mic", "cam"))
    assert (refused.status, refused.text) == (
        400,
        "input = cam: it has no sound; leave out as=sound\n",
    )


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


# the length of the sound, once a browser has played it to its end
PLAYED = """new Promise((done) => {
    const sound = document.querySelector("#find audio");
    sound.muted = true;
    sound.onended = () => done(sound.duration);
    sound.onerror = () => done(sound.error.message);
    sound.play().catch((error) => done(String(error)));
})"""


@pytest.mark.usefixtures("by_words")
def test_a_hit_on_the_page_opens_and_its_sound_plays(chromium, lobby):
    spec, broker = lobby
    broker.append(sent("in.mic", tone(440, 1.0), BEGIN_US))
    broker.append(sent("in.mic", tone(880, 1.0), BEGIN_US + SECOND_US))
    broker.append(result(0, "the doors <b>open</b>"))
    broker.append(result(1, "a dog barks"))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        chromium.size(1280, 900)
        chromium.open(monitor.url)
        chromium.wait_for("!document.querySelector('#find').hidden")
        chromium.value("document.querySelector('#find input').value = 'door'")
        chromium.value("document.querySelector('#find button').click()")
        chromium.wait_for("document.querySelectorAll('#find li').length === 1")
        assert "the doors <b>open</b>" in chromium.text("#find li")
        assert "2 of the newest results searched by words" in chromium.text("#find [role=status]")
        chromium.value("document.querySelector('#find summary').click()")
        chromium.wait_for("document.querySelector('#find li .media img')?.naturalWidth > 0")
        answer = chromium.ask(
            "Runtime.evaluate", expression=PLAYED, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert answer["result"]["value"] == 1.0
        chromium.open("about:blank")
    complaints, chromium.complaints = chromium.complaints, []
    assert complaints == []


@pytest.mark.models
@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs motet[models]")
def test_by_meaning_what_is_not_compared_yet_is_told(lobby, monkeypatch):
    spec, broker = lobby
    meaning = Meaning()
    monkeypatch.setattr(find_module, "_meaning", lambda: meaning)
    monkeypatch.setattr(find_module, "EMBED_US_MAX", -1)
    for second in range(100):
        broker.append(result(second, f"the dog number {second} barks"))
    broker.append(result(100, "the price of the shares has fallen"))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        first = found_at(monitor, "stock%20market", "&limit=1")
        assert (first["by"], first["without"], first["pending"]) == ("meaning", None, 101 - 64)
        assert first["hits"][0]["snippet"] == "the price of the shares has fallen"
        assert found_at(monitor, "stock%20market")["pending"] == 0
