"""Labels as users write them, which window has which, and a set that comes back as it went."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import broker_for, connector_for, load

from pipeline.errors import InvalidInput
from pipeline.slot.ports import OutRecord
from pipeline.training.feature_set import FEATURES, Row, read_set, set_of, writing
from pipeline.training.labels import Label, LabelIndex, read_labels, topic_labels

ROWS = [
    {"stream": "a", "start_us": 0, "end_us": 1_000_000, "label": "calm"},
    {"stream": "b", "start_us": 5, "end_us": 6, "text": "hello, there"},
    {"stream": "é", "start_us": -7, "end_us": 6, "label": "3"},
]
LABELS = [
    Label("a", 0, 1_000_000, "calm", None),
    Label("b", 5, 6, None, "hello, there"),
    Label("é", -7, 6, "3", None),
]
CSV = 'stream,start_us,end_us,label,text\na,0,1000000,calm,\nb,5,6,,"hello, there"\né,-7,6,3,\n'


def test_csv_json_lines_and_a_topic_say_the_same(tmp_path):
    (tmp_path / "l.csv").write_text("\ufeff" + CSV, encoding="utf-8")
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "l.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    assert read_labels(tmp_path / "l.csv") == LABELS
    assert read_labels(tmp_path / "l.jsonl") == LABELS
    broker = broker_for(load({"name": "x", **BARE}), lanes=2)
    broker.create_topic("labels", 2)
    for number, row in enumerate(ROWS):
        keyed = {key: value for key, value in row.items() if key != "stream"}
        value = json.dumps(keyed if number else row).encode()
        broker.append(OutRecord("labels", number % 2, row["stream"].encode(), value, [], 0))
    assert sorted(topic_labels(connector_for(broker), "labels")) == sorted(LABELS)
    with pytest.raises(InvalidInput, match="--labels = no-such: it is no file and no topic"):
        topic_labels(connector_for(broker), "no-such")


def test_the_newest_row_of_a_topic_stands_and_one_of_null_takes_back():
    broker = broker_for(load({"name": "x", **BARE}), lanes=2)
    broker.create_topic("labels", 2)

    def write(start_us, **said):
        row = {"start_us": start_us, "end_us": start_us + 10, **said}
        broker.append(OutRecord("labels", 1, b"a", json.dumps(row).encode(), [], 0))

    for start_us, said in [(0, "calm"), (10, "calm"), (20, "loud"), (0, "loud"), (20, None)]:
        write(start_us, label=said)
    write(10, text="one two", label=None)
    connector = connector_for(broker)
    expected = [Label("a", 0, 10, "loud", None), Label("a", 10, 20, "calm", "one two")]
    assert sorted(topic_labels(connector, "labels")) == expected
    write(0, label=None)
    write(10, label=None)
    with pytest.raises(InvalidInput, match="all its labels were taken back"):
        topic_labels(connector, "labels")
    write(30)
    with pytest.raises(InvalidInput, match="it has neither label nor text"):
        topic_labels(connector, "labels")


BARE = {
    "inputs": {"chat": {"topic": "in.chat", "type": "text/plain"}},
    "windows": {"size": "1s"},
    "stages": {"words": {"encoder": "hash_text", "of": "chat"}},
    "fusion": {"rule": "concat", "of": {"words": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it has no rows"),
        ("stream,start_us,end_us,label\n", "it has no rows"),
        ("stream,start,end_us,label\na,0,1,x\n", "line 2: it has no start_us"),
        ("stream,start_us,end_us\na,0,1\n", "line 2: it has neither label nor text"),
        ("stream,start_us,end_us,label\na,0,1,x\na,zero,1,x\n", "line 3: start_us and end_us"),
        ("stream,start_us,end_us,label\na,5,5,x\n", "line 2: it ends at 5, not after its start"),
        ('{"stream": "a", "start_us": 0.5, "end_us": 1, "label": "x"}\n', "line 1: start_us and"),
        ('{"stream": "a"\n', "line 1: it is no JSON object"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path, content, why):
    path = tmp_path / "labels"
    path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"--labels = {path}")
    assert why in str(caught.value)
    assert "write stream,start_us,end_us,label (or text)" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInput, match=r"it cannot be read \(No such file"):
        read_labels(tmp_path / "missing.csv")


labels = st.builds(
    lambda stream, start, length, name: Label(stream, start, start + length, name, None),
    st.sampled_from("ab"),
    st.integers(0, 40),
    st.integers(1, 30),
    st.sampled_from("xyz"),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(labels, min_size=1, max_size=8), st.randoms(), st.integers(0, 60))
def test_a_window_has_the_label_that_overlaps_it_the_longest(rows, random, start):
    end = start + 10
    found = LabelIndex(rows).of("a", start, end)
    shuffled = [*rows, random.choice(rows)]
    random.shuffle(shuffled)
    assert LabelIndex(shuffled).of("a", start, end) == found

    def overlap(row: Label) -> int:
        return min(row.end_us, end) - max(row.start_us, start)

    fitting = [
        row
        for row in rows
        if row.stream == "a" and overlap(row) >= min(10, row.end_us - row.start_us) / 2
    ]
    if found is None:
        assert not fitting
    else:
        assert found in fitting
        assert overlap(found) == max(map(overlap, fitting))


def test_long_labels_name_what_is_inside_and_short_ones_where_they_are():
    index = LabelIndex([
        Label("a", 0, 10_000, "long", None), Label("a", 10_200, 10_300, "short", None),
        Label("a", 11_900, 12_050, "between", None),
    ])  # fmt: skip
    found = [index.of("a", start, start + 1000) for start in range(0, 13_000, 1000)]
    named = [None if each is None else each.label for each in found]
    assert named == ["long"] * 10 + ["short", "between", None]
    assert index.of("b", 0, 1000) is None
    assert index.span_us == (0, 12_050)


def rows_of(count: int) -> list[Row]:
    rng = np.random.default_rng(0)
    found = []
    for at in range(count):
        vectors = {"x": rng.standard_normal(3).astype(np.float32)}
        if at % 3:
            vectors["y-y"] = rng.standard_normal(1).astype(np.float32)
        if at % 5 == 4:
            vectors.pop("x")
        label, text = (None, "said") if at % 7 == 0 else (f"l{at % 2}", None)
        found.append(Row(f"s{at % 4}", -at, -at + 1, label, text, vectors))
    return found


def test_a_set_comes_back_as_it_went_in_the_order_of_streams_and_time(tmp_path):
    rows, lengths = rows_of(2500), {"x": 3, "y-y": 1, "never": 2}
    with writing(tmp_path / "set", lengths) as writer:
        for row in rows:
            writer.add(row)
        writer.close({"lengths": lengths})
    found, expected = read_set(tmp_path / "set"), set_of(rows, lengths, {})
    assert found.sha256() == expected.sha256() == set_of(rows[::-1], lengths, {}).sha256()
    assert found.lengths == lengths
    assert len(found) == 2500
    order = sorted(range(2500), key=lambda at: (rows[at].stream, rows[at].start_us))
    for place in (0, 1, 100, 2499):
        row = rows[order[place]]
        assert (found.streams[place], found.labels[place], found.texts[place]) == (
            row.stream, row.label, row.text,
        )  # fmt: skip
        for stage in lengths:
            assert found.there[stage][place] == (stage in row.vectors)
            expected_row = row.vectors.get(stage, np.zeros(lengths[stage]))
            np.testing.assert_array_equal(found.vectors[stage][place], expected_row)
    assert not found.there["never"].any()


def test_an_export_that_fails_leaves_no_set(tmp_path):
    def fails() -> None:
        with writing(tmp_path, {"x": 3}) as writer:
            writer.add(rows_of(2)[1])
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fails()
    assert not (tmp_path / FEATURES).exists()
    with pytest.raises(InvalidInput, match="holds no training set"):
        read_set(tmp_path)


def test_other_data_have_another_hash():
    rows, lengths = rows_of(20), {"x": 3, "y-y": 1}
    first = set_of(rows, lengths, {}).sha256()
    for change in (
        rows[:-1],
        [rows[0]._replace(label="other"), *rows[1:]],
        [rows[0]._replace(vectors={"x": rows[0].vectors["x"] + 1}), *rows[1:]],
        [rows[0]._replace(vectors={"x": np.zeros(3, np.float32)}), *rows[1:]],
        [rows[0]._replace(vectors={}), *rows[1:]],
    ):
        assert set_of(change, lengths, {}).sha256() != first
