"""Records of a stage's own topic: one a window, or many vectors in one Arrow record."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pipelines import LOBBY, load

from pipeline.connectors.limits import MESSAGE_BYTES_DEFAULT, batch_bytes
from pipeline.encoders.base import Audio
from pipeline.tasks.messages import Opened
from pipeline.tasks.stage_output import ARROW_BYTES_MAX, StageOutputs, VectorRow

STAGES = {
    "text": {"encoder": "user:Text", "of": "chat", "out": "out.text"},
    "data": {"encoder": "user:Data", "of": "chat", "out": "out.data"},
    "audio": {"encoder": "user:Audio", "of": "mic", "out": "out.audio"},
    "image": {"encoder": "user:Image", "of": "cam", "out": "out.image"},
    "vector": {"encoder": "user:Vector", "of": "cam", "out": "out.vector"},
    "words": {"encoder": "hash_text", "of": "text"},
    "quiet": {"encoder": "user:Vector", "of": ["cam", "mic"]},
}


def opened(lane=1, stream="s-é", start_us=1_000_000):
    return Opened(lane, 4, stream, start_us, start_us + 500_000, (), (), {}, ())


@pytest.fixture
def outputs():
    changes = {"stages": STAGES, "fusion": {"rule": "concat", "of": {"words": 1, "quiet": 1}}}
    return StageOutputs(load(LOBBY, changes))


@pytest.mark.parametrize(
    ("stage", "output", "content_type", "value"),
    [
        ("text", "é\n", "text/plain", "é\n".encode()),
        ("data", {"b": [1], "a": {"é": 1}}, "application/json", '{"a":{"é":1},"b":[1]}'.encode()),
        (
            "audio",
            Audio(np.array([0, 0.5, -1, 1, 2 / 65536], np.float32), 8000),
            "audio/L16;rate=8000;channels=1",
            bytes.fromhex("0000 4000 8000 7fff 0001"),
        ),
    ],
)  # fmt: skip
def test_text_data_and_audio_are_a_record_a_window(outputs, stage, output, content_type, value):
    [(name, record)] = outputs.of_window(opened(), {stage: output})
    assert name == stage
    assert (record.topic, record.partition, record.key) == (f"out.{stage}", 1, "s-é".encode())
    assert record.value == value
    assert list(record.headers) == [
        ("content-type", content_type.encode()),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"motet.output.v1"),
        ("ce_source", f"motet/lobby/{stage}".encode()),
        ("ce_id", f"s-é/1000000/{stage}".encode()),
        ("ce_time", b"1970-01-01T00:00:01.000Z"),
        ("ce_mediadur", b"625" if stage == "audio" else b"500000"),
    ]
    assert outputs.packed([record]) == [record]


def test_an_image_is_a_png_of_the_same_pixels(outputs):
    image = np.random.default_rng(1).integers(0, 255, (3, 5, 3), np.uint8)
    [(_, record)] = outputs.of_window(opened(), {"image": image})
    assert dict(record.headers)["content-type"] == b"image/png"
    assert record.value[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(io.BytesIO(record.value)) as found:
        assert np.array_equal(np.asarray(found), image)


def test_only_stages_with_a_topic_that_gave_something(outputs):
    given = {"words": np.zeros(2, np.float32), "quiet": np.zeros(2, np.float32), "data": {}}
    assert [record.topic for _, record in outputs.of_window(opened(), given)] == ["out.data"]


def table_of(record) -> dict[str, list]:
    with pa.ipc.open_stream(record.value) as reader:
        return reader.read_all().to_pydict()


def test_vectors_are_gathered_by_topic_and_partition_in_the_order_of_the_lane(outputs):
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    windows = [
        opened(1, "a", 0),
        opened(2, "b", 0),
        opened(1, "c", 0),
        opened(1, "a", 500_000),
    ]
    rows = [
        row
        for window, vector in zip(windows, vectors, strict=True)
        for _, row in outputs.of_window(window, {"vector": vector})
    ]
    assert all(isinstance(row, VectorRow) for row in rows)
    [(_, text)] = outputs.of_window(windows[0], {"text": "between"})
    packed = outputs.packed([rows[0], text, *rows[1:]])
    assert packed[0] == text
    assert [(r.topic, r.partition, r.key) for r in packed[1:]] == [
        ("out.vector", 1, None),
        ("out.vector", 2, None),
    ]
    assert table_of(packed[1]) == {
        "stream": ["a", "c", "a"],
        "start_us": [0, 0, 500_000],
        "end_us": [500_000, 500_000, 1_000_000],
        "vector": [[0, 1, 2], [6, 7, 8], [9, 10, 11]],
    }
    headers = dict(packed[1].headers)
    assert headers["content-type"] == b"application/vnd.apache.arrow.stream"
    assert headers["ce_type"] == b"motet.output.v1"
    assert headers["ce_source"] == b"motet/lobby/vector"


def test_many_vectors_are_several_records_that_every_broker_takes(outputs):
    """A transaction holds what a slot's budget admits: all of it as one record would be refused."""
    rng = np.random.default_rng(2)
    rows = [
        VectorRow("out.vector", 0, "vector", f"s{n}", n, n + 1, rng.random(4096, np.float32))
        for n in range(100)
    ]
    assert sum(row.vector.nbytes for row in rows) > MESSAGE_BYTES_DEFAULT
    packed = outputs.packed(rows)
    assert len(packed) == 4
    assert all(batch_bytes(record) < MESSAGE_BYTES_DEFAULT for record in packed)
    assert [s for record in packed for s in table_of(record)["start_us"]] == list(range(100))
    assert len({dict(record.headers)["ce_id"] for record in packed}) == len(packed)


def test_one_vector_over_the_limit_is_a_record_of_its_own(outputs):
    large = np.zeros(ARROW_BYTES_MAX // 4 + 1, np.float32)
    rows = [VectorRow("out.vector", 0, "vector", "s", n, n + 1, large) for n in range(3)]
    assert [table_of(r)["start_us"] for r in outputs.packed(rows)] == [[0], [1], [2]]


def test_data_reads_back_as_it_was_given(outputs):
    given = {"faces": [{"x": 0.1, "name": "é"}], "none": None, "yes": True}
    [(_, record)] = outputs.of_window(opened(), {"data": given})
    assert json.loads(record.value) == given
