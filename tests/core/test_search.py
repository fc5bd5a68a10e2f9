"""What results say, found again: passages, words, meaning, and the bounds of the index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search import Passage, SearchIndex, passages_of
from pipeline.search.passages import PASSAGE_CHARS_MAX, PASSAGES_MAX, pieces
from pipeline.search.words import word_scores

SECOND_US = 1_000_000


def result(start: int = 0, stream: str = "s", **parts: Any) -> dict[str, Any]:
    window = {"start_us": start * SECOND_US, "end_us": (start + 1) * SECOND_US}
    output = {"vector": None}
    return {"stream": stream, "window": window, "output": output, "text": {}, "data": {}, **parts}


class Letters:
    """Texts by their letters: an embedder that anyone can check."""

    def vectors(self, texts):
        rows = np.zeros((len(texts), 26), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.casefold():
                if "a" <= letter <= "z":
                    row[ord(letter) - ord("a")] += 1
            row /= max(1.0, np.linalg.norm(row))
        return rows


# -- passages ---------------------------------------------------------------------------------


def test_a_result_says_its_label_its_texts_and_the_words_in_its_data():
    found = passages_of(
        result(
            output={"label": "alarm", "scores": {"alarm": 0.9}},
            text={"speech": "please help me"},
            data={
                "speech": {"words": [{"word": "please"}, {"word": "help"}]},
                "seen": {
                    "labels": [{"label": "bed", "score": 0.8}, {"label": "cat", "score": 0.05}]
                },
            },
        )
    )
    assert found == [
        Passage("label", "label", "alarm"),
        Passage("speech", "text", "please help me"),
        Passage("seen", "data", "bed"),
    ]


@pytest.mark.parametrize("output", [{"vector": [1.0]}, {"label": None, "scores": {"a": 0.5}}])
def test_a_result_without_words_says_nothing(output):
    assert passages_of(result(output=output, text={"speech": " \n"}, data={"n": {"n": 3}})) == []


@given(st.text())
def test_pieces_hold_every_word_in_order_and_are_never_too_long(text):
    found = list(pieces(text))
    assert all(0 < len(piece) <= PASSAGE_CHARS_MAX for piece in found)
    if all(len(word) <= PASSAGE_CHARS_MAX for word in text.split()):
        assert " ".join(found).split() == text.split()


def test_a_result_has_a_bounded_number_of_passages_and_data_a_bounded_depth():
    deep: Any = "word"
    for _ in range(10_000):
        deep = [deep]
    found = passages_of(result(text={"read": "word " * 100_000}, data={"d": deep}))
    assert len(found) == PASSAGES_MAX


# -- by words ---------------------------------------------------------------------------------


def test_rare_words_count_more_and_beginnings_of_words_are_found():
    texts = ["the doors open", "the cat", "the dog", "The DOOR"]
    scores = word_scores("the door", texts)
    assert scores[0] == scores[3] == 1.0
    assert 0 < scores[1] == scores[2] < 0.5
    assert word_scores("cats", texts).tolist() == [0, 0, 0, 0]
    assert word_scores("!", texts).tolist() == [0, 0, 0, 0]
    assert word_scores("cat", []).tolist() == []


def test_without_an_embedder_only_what_has_a_word_of_the_question_is_found():
    index = SearchIndex()
    index.add(result(1, text={"speech": "the doors open"}))
    index.add(result(2, text={"speech": "a dog barks"}))
    assert (index.by, index.pending) == ("words", 0)
    [hit] = index.find("door", 10)
    assert (hit.result_id, hit.passage.text, hit.score) == ("s/1000000", "the doors open", 1.0)
    assert index.find("cat", 10) == []


# -- the index --------------------------------------------------------------------------------


def test_equal_words_of_a_stream_are_one_hit_the_newest_window():
    index = SearchIndex(Letters())
    for start in (3, 1, 2):
        index.add(result(start, output={"label": "alarm", "scores": {}}))
    index.add(result(9, "other", output={"label": "alarm", "scores": {}}))
    index.embed()
    hits = index.find("alarm", 10)
    assert [(hit.result_id, hit.windows) for hit in hits] == [
        ("other/9000000", 1),
        ("s/3000000", 3),
    ]
    assert [hit.stream for hit in index.find("alarm", 10, stream="s")] == ["s"]
    assert len(index.find("alarm", 1)) == 1


def test_a_result_that_comes_again_takes_the_place_of_the_first():
    index = SearchIndex(Letters())
    index.add(result(1, text={"speech": "one"}))
    index.add(result(1, text={"speech": "two"}))
    index.embed()
    assert (len(index), index.passages) == (1, 1)
    assert [hit.passage.text for hit in index.find("one two", 10)] == ["two"]
    index.add(result(1))
    assert (len(index), index.passages, index.pending) == (0, 0, 0)


NUMBERS = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]


def test_what_is_not_embedded_yet_comes_later_the_newest_first():
    index = SearchIndex(Letters())
    for start in range(200):
        index.add(result(start, text={"speech": f"word {NUMBERS[start]}"}))
    assert index.pending == 200
    index.embed(lambda _done: False)
    assert index.pending == 200 - 64
    assert {hit.start_us // SECOND_US for hit in index.find("word", 200)} == {*range(136, 200)}
    index.embed()
    assert index.pending == 0
    assert len(index.find("word", 200)) == 200


texts = st.lists(st.sampled_from(["one", "two", "three", "four five"]), max_size=3)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), texts), max_size=60), st.integers(1, 20))
def test_the_index_holds_the_newest_and_no_more_than_it_may(added, most):
    index = SearchIndex(Letters(), passages_max=most)
    kept: dict[int, list[str]] = {}
    for start, said in added:
        index.add(result(start, text={f"t{n}": text for n, text in enumerate(said)}))
        index.embed()
        kept[start] = said
        assert index.passages <= most
        assert index.pending == 0
    found = {int(each.rpartition("/")[2]) // SECOND_US for each in index._entries}
    said = {start for start, texts in kept.items() if texts}
    assert (
        all(start < min(found) for start in said - found) if found else index.left_out or not said
    )
    assert index.passages == sum(len(kept[start]) for start in found)
    assert index._uses.keys() == index._vectors.keys()
    assert {text for start in found for text in kept[start]} == index._uses.keys()


def test_what_is_pushed_out_is_the_oldest_and_counted():
    index = SearchIndex(Letters(), passages_max=32)
    for start in (5, *range(40, 72), 3):
        index.add(result(start, text={"speech": f"number {start}"}))
    assert index.left_out == len({5, *range(40, 72), 3}) - len(index)
    assert min(entry.start_us for entry in index._entries.values()) >= 40 * SECOND_US
    index.keep_only({"s/60000000", "s/1000000"})
    assert [*index._entries] == ["s/60000000"]
