"""What the page shows of a result with models: words, labels, a topic, faces on their frame."""

from __future__ import annotations

import json

import pytest
from browser import browser
from pipelines import SECOND_US, broker_for, connector_for, jpeg, sent
from shown import Shown, monitor_of

from pipeline.demo.assets import pipeline_spec
from pipeline.slot.ports import OutRecord

BEGIN_US = 1_790_000_000_000_000
END_US = BEGIN_US + 5 * SECOND_US
FACE_US = BEGIN_US + 2 * SECOND_US
SIZE = 180
FACE = {"time_us": FACE_US, "frame_width": SIZE, "frame_height": SIZE}
FACE |= {"x": 60, "y": 30, "width": 45, "height": 90}
LATER = {**FACE, "time_us": FACE_US + SECOND_US, "x": 0}
WORDS = [
    {"word": " cold", "start_us": BEGIN_US + 500_000, "end_us": FACE_US, "probability": 0.98},
    {"word": " <b>hearted", "start_us": FACE_US, "end_us": FACE_US, "probability": 0.3},
]
LABELS = [{"label": "espresso", "score": 0.94}, {"label": "<i>cup", "score": 0.03}]
TOPICS = [{"label": "selfishness", "score": 0.42}]


@pytest.fixture
def page(tmp_path):
    """A browser, which has had nothing to complain about when the test has ended."""
    with browser(tmp_path) as found:
        found.size(1280, 900)
        yield found
        assert found.complaints == []


@pytest.fixture
def demo():
    spec = pipeline_spec("demo-x", "127.0.0.1:9092", models=True)
    broker = broker_for(spec)
    for second, colour in enumerate([(255, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        at_us = BEGIN_US + second * SECOND_US
        record = sent("demo-x.video", jpeg(colour, SIZE), at_us, stream="hall", length_us=SECOND_US)
        broker.append(record)
    return spec, broker


def result(text: dict, data: dict) -> OutRecord:
    value = {
        "stream": "hall",
        "window": {"start_us": BEGIN_US, "end_us": END_US},
        "present": ["camera", "mic"],
        "missing": ["chat"],
        "output": {"vector": [0.5, -0.5]},
        "weights": {"sound": 0.3, "colour": 0.3, "meaning": 0.4},
        "attribution": {"sound": 0.25, "colour": 0.25, "meaning": 0.5},
        "text": text,
        "data": data,
        "failed": {},
    }
    return OutRecord("demo-x.results", 0, b"hall", json.dumps(value).encode(), [])


def shown_blocks(page) -> list[list[str]]:
    """The lines of each stage's block, in the order of the page."""
    texts = page.value("[...document.querySelectorAll('.found')].map((one) => one.innerText)")
    return [[line for line in text.split("\n") if line] for text in texts]


def test_words_labels_and_a_topic_stand_in_the_order_of_the_file(page, demo):
    spec, broker = demo
    data = {"labels": {"labels": LABELS, "frames": 4}, "speech": {"words": WORDS},
            "topic": {"labels": TOPICS}, "faces": {"faces": [], "frames": 4}}  # fmt: skip
    broker.append(result({"topic": "selfishness", "speech": "cold <b>hearted"}, data))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelectorAll('.found').length === 4")
        speech, labels, faces, topic = shown_blocks(page)
        assert speech == ["speech speech_to_text", "cold <b>hearted"]
        assert " ".join(labels).split() == [
            "labels",
            "image_labels",
            "espresso",
            "0.94",
            "<i>cup",
            "0.03",
        ]
        assert faces == ["faces faces", "no faces in 4 frames"]
        assert topic == ["topic NearestTopic", "selfishness", "0.42"]
        assert page.value("document.querySelectorAll('#card b b, #card i i, .boxes').length") == 0
        unsure = page.value("[...document.querySelectorAll('.unsure')].map((one) => one.title)")
        assert unsure == ["2.00 s after the window's start, probability 0.30"]
        bars = page.value(
            "[...document.querySelectorAll('.scored i')].map((one) => one.style.width)"
        )
        assert bars == ["94%", "3%", "42%"]


def test_faces_lie_on_the_frame_that_they_were_found_in(page, demo):
    """Of two frames with faces the first is shown, with its own faces alone."""
    spec, broker = demo
    broker.append(result({}, {"faces": {"faces": [FACE, LATER], "frames": 4}}))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('.boxes .line') !== null")
        assert shown_blocks(page) == [["faces faces", "1 face in 2 of 4 frames"]]
        pixel = page.value(
            "(() => { const paint = document.createElement('canvas').getContext('2d');"
            " paint.drawImage(document.querySelector('.tile img'), 0, 0);"
            " return [...paint.getImageData(90, 90, 1, 1).data]; })()"
        )
        assert pixel[1] > 240, "not the green frame, which begins when the face was seen"
        assert max(pixel[0], pixel[2]) < 15
        assert page.value("document.querySelectorAll('.boxes .line').length") == 1
        # A square frame lies in the middle of its tile, as high as that.
        image, box = page.value(
            "['[data-input=camera] .frame', '.boxes .line'].map((one) => {"
            " const {x, y, width, height} = document.querySelector(one).getBoundingClientRect();"
            " return [x, y, width, height]; })"
        )
        inner = image[3] - 2  # its border
        left = image[0] + (image[2] - inner) / 2
        share = inner / SIZE
        wanted = [left + 60 * share, image[1] + 1 + 30 * share, 45 * share, 90 * share]
        assert box == pytest.approx(wanted, abs=1.0)


def test_people_are_counted_and_boxed_as_faces_are(page, demo):
    """Whoever's encoder gives them: the shape of the data says what they are."""
    spec, broker = demo
    broker.append(result({}, {"faces": {"people": [FACE], "frames": 1}}))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('.boxes .line') !== null")
        assert shown_blocks(page) == [["faces faces", "1 person in 1 of 1 frame"]]


@pytest.mark.parametrize(
    "odd",
    [
        {"labels": [{"label": "a", "score": "b"}]},
        {"labels": [None]},
        {"faces": [{**FACE, "x": None}]},
        {"words": [{"word": 7}]},
        {"words": "cold"},
        {"labels": {"label": 1}},
    ],
)
def test_data_of_another_make_is_shown_as_it_is(page, demo, odd):
    spec, broker = demo
    broker.append(result({}, {"faces": odd}))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        page.open(monitor.url)
        page.wait_for("document.querySelector('.found pre') !== null")
        assert json.loads(page.text(".found pre")) == odd
        assert page.value("document.querySelectorAll('.boxes, .scored, .said').length") == 0
