"""Figures of results and heads: what they are of, and that they are right on cases by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidInput
from pipeline.evaluation.bootstrap import ratio_interval
from pipeline.evaluation.report import write_report
from pipeline.evaluation.served import Answer, scored_labels, text_pairs, text_stage
from pipeline.evaluation.text import Pair, plain, scored_text
from pipeline.training.labels import Label, LabelIndex

S = 1_000_000


def answer(stream: str, second: int, label: str | None, sure: float = 0.9, **texts: str) -> Answer:
    """By a head of two labels, whose winner is ``cat`` unless it says ``dog``."""
    winner = label or "cat"
    other = "dog" if winner == "cat" else "cat"
    scores = {winner: sure, other: 1 - sure}
    return Answer(stream, second * S, (second + 1) * S, label, scores, texts)


def said(stream: str, begin: int, end: int, text: str) -> Label:
    return Label(stream, begin * S, end * S, None, text)


# -- intervals ------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 9), st.sampled_from("abcd")),
        min_size=1,
        max_size=40,
    )
)
def test_an_interval_lies_between_the_streams_and_is_the_same_again(rows):
    parts, wholes, groups = zip(*[(min(p, w), w, g) for p, w, g in rows], strict=True)
    found = ratio_interval(parts, wholes, groups)
    if len(set(groups)) < 2:
        assert found is None
        return
    rates = [
        sum(p for p, g in zip(parts, groups, strict=True) if g == name)
        / sum(w for w, g in zip(wholes, groups, strict=True) if g == name)
        for name in set(groups)
    ]
    assert min(rates) - 1e-9 <= found.low <= found.high <= max(rates) + 1e-9
    assert found == ratio_interval(parts, wholes, groups)


def test_windows_of_a_stream_are_drawn_together():
    """A hundred copies of four streams are no surer than the four."""
    few = ratio_interval([1, 0, 1, 0], [1] * 4, list("abcd"))
    many = ratio_interval([1, 0, 1, 0] * 100, [1] * 400, list("abcd") * 100)
    assert few == many
    assert few.high - few.low >= 0.5


# -- labels ---------------------------------------------------------------------------------


def test_results_are_counted_where_a_row_is_about_them():
    answers = [
        answer("a", 0, "cat"),
        answer("a", 1, "dog"),
        answer("b", 0, None, sure=0.55),
        answer("b", 1, "dog"),
        answer("c", 0, "dog"),  # nothing is known about c
        Answer("a", 2 * S, 3 * S, None, None, {}),  # no head answered
    ]
    index = LabelIndex([
        Label("a", 0, 2 * S, "cat", None), Label("b", 0, 2 * S, "dog", None),
        Label("a", 2 * S, 3 * S, "cat", None),
    ])  # fmt: skip
    found = scored_labels(answers, index)
    assert found is not None
    assert (found["rows"], found["streams"], found["labels"]) == (4, 2, ["cat", "dog"])
    assert found["accuracy"] == 0.5
    assert (found["abstained"], found["accuracy_answered"]) == (1, 2 / 3)
    assert found["confusion"] == [[1, 1], [1, 1]]
    assert 0.0 <= found["accuracy_interval"][0] <= found["accuracy_interval"][1] <= 1.0


def test_a_true_label_that_the_head_never_learned_is_wrong():
    index = LabelIndex([Label("a", 0, 2 * S, "bird", None)])
    found = scored_labels([answer("a", 0, "cat"), answer("a", 1, "dog")], index)
    assert found is not None
    assert found["labels"] == ["bird", "cat", "dog"]
    assert found["accuracy"] == 0.0
    assert scored_labels([answer("b", 0, "cat")], index) is None


# -- texts ----------------------------------------------------------------------------------


def test_a_transcript_is_compared_with_the_windows_that_lie_in_it():
    answers = [
        answer("a", second, "cat", speech=text)
        for second, text in enumerate(["", "one two", "three", "four"])
    ]
    pairs = text_pairs(answers, [said("a", 1, 3, "one two three"), said("b", 0, 9, "x")], "speech")
    assert pairs == [Pair("a", 1 * S, "one two three", "one two three")]


def test_of_windows_that_overlap_every_next_one_counts():
    answers = [
        Answer("a", k * S // 2, k * S // 2 + S, None, None, {"speech": f"w{k}"}) for k in range(5)
    ]
    pairs = text_pairs(answers, [said("a", 0, 3, "anything")], "speech")
    assert [pair.heard for pair in pairs] == ["w0 w2 w4"]


def test_the_stage_must_be_named_where_two_give_text():
    answers = [answer("a", 0, "cat", speech="x", sign="y")]
    assert text_stage(answers, "sign") == "sign"
    with pytest.raises(InvalidInput, match="results have text of sign, speech; name the one"):
        text_stage(answers, None)
    with pytest.raises(InvalidInput, match="--stage = words: no result has text of it; name one"):
        text_stage(answers, "words")
    assert text_stage([answer("a", 0, "cat")], None) is None


def test_error_rates_are_those_of_the_definition():
    pairs = [
        Pair("a", 0, "the cat sat", "the cat sat"),
        Pair("b", 0, "one two three four", "one too three"),  # one wrong, one left out
        Pair("c", 0, "", "noise"),  # put in
    ]
    found = scored_text(pairs, "plain")
    assert found["wer"]["rate"] == 3 / 7
    assert [found["wer"][k] for k in ("substitutions", "deletions", "insertions")] == [1, 1, 1]
    assert found["exact"]["share"] == 1 / 3
    assert 0 < found["chrf"]["score"] < 100
    assert "tok:13a" in found["bleu"]["signature"]
    perfect = scored_text([Pair("a", 0, "a b c d e", "A, b c! d e")], "plain")
    assert (perfect["wer"]["rate"], perfect["cer"]["rate"]) == (0.0, 0.0)
    assert perfect["bleu"]["score"] == pytest.approx(100.0)
    assert perfect["chrf"]["score"] == pytest.approx(100.0)
    strict = scored_text([Pair("a", 0, "a b c d e", "A, b c! d e")], "none")
    assert strict["wer"]["rate"] == 2 / 5


def test_chinese_is_compared_by_characters():
    found = scored_text([Pair("a", 0, "今天天气很好", "今天天气真好")], "plain", chinese=True)
    assert found["cer"]["rate"] == 1 / 6
    assert "tok:zh" in found["bleu"]["signature"]
    assert found["bleu"]["score"] > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's  10 o'clock!", "its 10 oclock"),
        ("Ｆｕｌｌ－width — dash", "full width dash"),
        ("don\N{RIGHT SINGLE QUOTATION MARK}t", "dont"),
        ("  ", ""),
    ],
)
def test_the_plain_normaliser(text, expected):
    assert plain(text) == expected


def test_what_cannot_be_compared_says_why():
    with pytest.raises(InvalidInput, match="--normalizer = swiss: there is no such normaliser"):
        scored_text([Pair("a", 0, "x", "x")], "swiss")
    with pytest.raises(InvalidInput, match="no reference has a word"):
        scored_text([Pair("a", 0, "...", "x")], "plain")


# -- the report -----------------------------------------------------------------------------


def test_a_report_holds_its_figures_and_hostile_names_are_inert(tmp_path):
    index = LabelIndex([Label("a", 0, 2 * S, "cat", None), Label("b", 0, S, "dog", None)])
    found = {"results": 3, "labels": scored_labels(
        [answer("a", 0, "cat"), answer("a", 1, "dog"), answer("b", 0, "dog")], index)}  # fmt: skip
    data, page = write_report(tmp_path / "new" / "report", "<script>alert(1)</script>", found)
    assert json.loads(data.read_text())["labels"]["rows"] == 3
    text = page.read_text()
    assert "<script>" not in text
    assert text.count("data:image/png;base64,") == 1
    assert "accuracy" in text
    assert "0.667" in text
