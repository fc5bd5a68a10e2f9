"""The labels that stand: the one written last, ours before it is read back, bounded."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from pipelines import header

from pipeline.connectors.partitioner import partition_for
from pipeline.teaching.book import Book, label_record
from pipeline.teaching.pool import Key
from pipeline.training.labels import Label, change_of, standing
from pipeline.training.rows import parsed

keys = st.integers(0, 3).map(lambda at: Key("s", at, at + 1))
writes = st.lists(st.tuples(keys, st.sampled_from(["x", "y", None]), st.booleans()), max_size=30)


@given(writes, st.data())
def test_the_book_says_what_training_would_read(log, data):
    """``log``: rows of the topic in their order, and whether each is ours."""
    book = Book()
    read = 0
    for number, (key, label, ours) in enumerate(log):
        if ours:
            book.wrote(key, label, str(number))
            assert book.label(key) == label
        for _ in range(data.draw(st.integers(0, number + 1 - read))):
            _read(book, log, read)
            read += 1
        own = {k: (at, said) for at, (k, said, o) in enumerate(log[: number + 1]) if o}
        for key_, (at, said) in own.items():
            if at >= read:  # not read back: it stands, whatever was read before it
                assert book.label(key_) == said
    for at in range(read, len(log)):
        _read(book, log, at)
    expected = {row[:3]: row.label for row in standing(Label(*k, said, None) for k, said, _ in log)}
    assert {key: book.label(key) for key in expected} == expected
    assert book.counts() == dict(Counter(expected.values()))
    assert len(book) == len(expected)


def _read(book: Book, log, at: int) -> None:
    key, label, _ = log[at]
    book.read(Label(*key, label, None), str(at))


def test_it_keeps_the_newest_and_leaves_out_transcripts():
    book = Book(most=2)
    for at in range(4):
        book.read(Label("s", at, at + 1, "x", None), None)
    book.read(Label("s", 9, 10, None, "what was said"), None)
    assert (len(book), book.forgotten) == (2, 2)
    assert [book.label(Key("s", at, at + 1)) for at in range(4)] == [None, None, "x", "x"]


def test_a_record_is_a_row_as_training_reads_it():
    for label in ("fußball", None):
        record = label_record("labels", 4, Key("räum", 5, 9), label, "id-1", "motet/lobby/page")
        assert record.key == "räum".encode()
        assert record.partition == partition_for(record.key, 4)
        assert json.loads(record.value) == {
            "stream": "räum", "start_us": 5, "end_us": 9, "label": label,
        }  # fmt: skip
        assert header(record, "content-type") == "application/json"
        assert header(record, "ce_id") == "id-1"
        assert change_of(parsed(record.value, record.key)) == Label("räum", 5, 9, label, None)
