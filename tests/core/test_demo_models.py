"""``motet demo`` with real models, in one process: what it hears, sees and is about."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from model_media import NEEDS_MODELS
from PIL import Image

from pipeline.demo.assets import MEDIA, STREAMS, pipeline_spec
from pipeline.demo.nearest_topic import KNOWN, topic_vectors
from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder

pytestmark = [*NEEDS_MODELS, pytest.mark.timeout(300)]

MOTET = [sys.executable, "-m", "actors"]
CPU = torch.device("cpu")
SPEC = pipeline_spec("demo-x", "127.0.0.1:9092", models=True)


def lines_of(out: str) -> list[dict[str, str]]:
    """The plain lines of results: what stands before an ``=``, and what behind it."""
    found = []
    for line in out.partition("\n\n")[0].splitlines():
        fields = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)
        values = {key: json.loads(v) if v.startswith('"') else v for key, v in fields}
        found.append({"stream": line.split()[0], **values})
    return found


def frames_of(*names: str) -> list[np.ndarray]:
    paths = [path for name in names for path in sorted(MEDIA.glob(name))]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def shown(*frames: np.ndarray) -> Clip:
    count = len(frames)
    return Clip("s", 0, count, frames=frames, times_us=range(count), ends_us=range(1, count + 1))


def test_each_result_has_a_transcript_labels_faces_and_a_topic(tmp_path):
    command = [*MOTET, "demo", "--broker", "memory", "--seconds", "8", "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Whisper tiny.en, EfficientNet-Lite0, MiniLM" in done.stderr
    results = lines_of(done.stdout)
    assert {one["stream"] for one in results} == {*STREAMS}
    # The first sentence that is played in the hall, cut where windows meet.
    said = " ".join(one["speech"] for one in results if one["stream"] == "hall")
    assert "John Dashwood had" in said
    topics = SPEC.stages["topic"].options["topics"]
    assert {one["topic"] for one in results} <= {*topics, "-"}
    assert any(one["topic"] != "-" for one in results)
    # The first photograph is of a woman's face; the film shows a rabbit.
    assert any(one["faces"] == "1" for one in results if one["stream"] == "gallery")
    assert all(re.fullmatch(r"-|.+ [01]\.\d\d", one["labels"]) for one in results)
    assert re.search(r"each exactly once; \d+ with all inputs", done.stdout)
    assert "records out of order and 0.5 s of sound after it" in done.stdout


def test_the_photographs_are_told_for_what_they_show_and_the_film_has_no_face():
    network = load_encoder("image_labels", SPEC.stages["labels"].options, CPU)
    cascade = load_encoder("faces", SPEC.stages["faces"].options, CPU)
    clips = [shown(frame) for frame in frames_of("photographs/*.jpg")]
    astronaut, cat, coffee, rocket = [seen["labels"] for seen in network.encode(clips)]
    assert astronaut == [], "ImageNet knows no astronauts"
    assert cat[0]["label"] in ("tabby", "Egyptian cat", "tiger cat")
    assert coffee[0]["label"] == "espresso"
    assert all(seen["score"] >= 0.1 for seen in (*cat, *coffee, *rocket))
    assert [len(seen["faces"]) for seen in cascade.encode(clips)] == [1, 0, 0, 0]
    [film] = cascade.encode([shown(*frames_of("frames/*.jpg"))])
    assert film["faces"] == []


@pytest.fixture(scope="module")
def embedding():
    return load_encoder("text_embedding", SPEC.stages["meaning"].options, CPU)


def vectors_of(embedding, *texts: str) -> list[Clip]:
    vectors = embedding.encode([Clip("s", 0, 1, text=text) for text in texts])
    return [Clip("s", 0, 1, vector=vector) for vector in vectors]


def test_the_topic_is_the_nearest_of_those_named_or_none(embedding):
    stage = SPEC.stages["topic"]
    nearest = load_encoder(stage.encoder, stage.options, CPU, SPEC.folder)
    texts = "the bride and the groom kissed at their wedding", "it rained all night", ""
    wedding, rain, silence = nearest.encode(vectors_of(embedding, *texts))
    assert (wedding, rain, silence) == ("love and marriage", "weather", "")
    found = wedding.data["labels"]
    assert found[0]["label"] == wedding
    assert [one["score"] for one in found] == sorted((o["score"] for o in found), reverse=True)
    clips = vectors_of(embedding, texts[0], wedding)
    assert found[0]["score"] == pytest.approx(float(clips[0].vector @ clips[1].vector), abs=1e-3)
    assert silence.data == {"labels": []}


def test_the_vectors_of_the_topics_are_those_of_the_network(embedding):
    """Those that come with the class, and those of topics that it has none for."""
    topics = SPEC.stages["topic"].options["topics"]
    for names in (topics, ["a topic of the user's own", *topics[:2]]):
        fresh = [clip.vector for clip in vectors_of(embedding, *names)]
        assert topic_vectors(names, CPU) == pytest.approx(np.stack(fresh), abs=1e-4)
    with np.load(KNOWN) as known:
        assert known["names"].tolist() == topics
