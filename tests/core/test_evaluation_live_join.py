"""Results and labels that meet while they come: in any order, bounded, and counted once."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.evaluation.live_figures import CLASSES_SHOWN, scored_labels, scored_texts, state_of
from pipeline.evaluation.live_join import LiveJoin
from pipeline.evaluation.served import Answer
from pipeline.evaluation.text import Pair
from pipeline.spec import EvaluationSpec
from pipeline.training.labels import Label, LabelIndex, standing

S = 1_000_000
SPAN_US = 100 * S
ASKED = EvaluationSpec(labels="truth", text="speech", span="100s", windows=50)


def answer(stream: str, second: int, label: str | None, text: str = "") -> Answer:
    scores = {"cat": 0.5, "dog": 0.5}
    return Answer(stream, second * S, (second + 1) * S, label, scores, {"speech": text})


def true(stream: str, begin: int, end: int, label: str) -> Label:
    return Label(stream, begin * S, end * S, label, None)


def said(stream: str, begin: int, end: int, text: str) -> Label:
    return Label(stream, begin * S, end * S, None, text)


def joined(told, now_us: int, most: int = 50) -> LiveJoin:
    join = LiveJoin(SPAN_US, most, "speech")
    for one, at_us in told:
        (join.answer if isinstance(one, Answer) else join.label)(one, at_us)
    join.join(now_us)
    return join


streams = st.sampled_from("ab")
answers = st.builds(answer, streams, st.integers(0, 15), st.sampled_from(["cat", "dog", None]),
                    st.sampled_from(["", "one", "one two"]))  # fmt: skip
labels = st.builds(
    lambda stream, begin, length, label, text: Label(
        stream, begin * S, (begin + length) * S, label, text
    ),
    streams,
    st.integers(0, 15),
    st.integers(1, 6),
    st.sampled_from(["cat", "dog", None]),
    st.sampled_from([None, "one two", "one"]),
)
times_us = st.integers(0, 300).map(lambda tenth: tenth * S // 10)
rows = st.lists(
    st.tuples(answers | labels, times_us),
    max_size=40,
    unique_by=(
        lambda told: told[0][:2] if isinstance(told[0], Answer) else told[0],
        lambda told: told[0][:2] if isinstance(told[0], Answer) else (told[0][:3], told[1]),
    ),
)


@given(st.data(), rows, st.integers(1, 12))
def test_the_order_in_which_it_is_told_decides_nothing(data, told, most):
    """Not with so few places that results and labels have to leave, either."""
    again = data.draw(st.permutations(told))
    now_us = 30 * S
    first, second = joined(told, now_us, most), joined(again, now_us, most)
    assert state_of(first.join(now_us), ASKED) == state_of(second.join(now_us), ASKED)
    assert first.met == second.met
    assert first.unmet == second.unmet


@example(
    [
        (answer("b", 0, "cat"), 0),
        (true("b", 0, 1, "cat"), 0),
        (Label("b", 0, S, "dog", "one two"), S // 10),
    ]
)
@given(rows)
def test_what_meets_is_what_evaluate_would_find(told):
    join = joined(told, 30 * S)
    said = sorted((pair for pair in told if isinstance(pair[0], Label)), key=lambda pair: pair[1])
    index = LabelIndex(one for one in standing(one for one, _ in said) if one.label is not None)
    expected = {}
    for one, _ in told:
        if isinstance(one, Answer):
            label = index.of(one.stream, one.start_us, one.end_us)
            expected[one[:2]] = None if label is None else (one.label, label.label)
    met = join.join(30 * S)
    found = {one[:2]: (one.label, truth) for one, truth in met.pairs}
    assert found == {key: pair for key, pair in expected.items() if pair is not None}
    assert met.unlabelled == len(expected) - len(found)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(21, 200))
def test_what_is_kept_is_bounded_and_every_label_is_counted_once(most, count):
    join = LiveJoin(SPAN_US, most)
    for second in range(count):
        join.answer(answer("a", second, "cat"), second)
        join.label(true("b", second, second + 1, "cat"), second)
        assert len(list(join._answers)) <= 2 * most
        assert len(list(join._labels)) <= 2 * most
    met = join.join(count)
    assert (len(met.pairs), met.unlabelled) == (0, most)
    assert (join.met, join.unmet) == (0, count - most)
    join.join(count + SPAN_US)
    join.join(count + SPAN_US)
    assert (join.met, join.unmet) == (0, count)


@given(st.permutations(range(3)))
def test_the_newest_label_stands_until_it_is_taken_back(order):
    told = [(true("a", 0, 1, "cat"), S), (true("a", 0, 1, "dog"), 2 * S),
            (Label("a", 0, S, None, None), 3 * S)]  # fmt: skip
    first = joined([(answer("a", 0, "dog"), 0), *told[:2]], 4 * S)
    assert [truth for _, truth in first.join(4 * S).pairs] == ["dog"]
    assert (first.met, first.unmet) == (1, 1)
    join = joined([(answer("a", 0, "dog"), 0), *(told[at] for at in order)], 4 * S)
    assert (join.join(4 * S).pairs, join.join(4 * S).unlabelled, join.met) == ([], 1, 0)
    join.label(true("a", 0, 1, "cat"), 5 * S)
    assert [truth for _, truth in join.join(6 * S).pairs] == ["cat"]


def test_a_label_may_come_minutes_later_and_no_later_than_the_span():
    join = LiveJoin(SPAN_US, 50)
    join.answer(answer("a", 0, "cat"), 0)
    join.answer(answer("a", 1, "dog"), 0)
    assert join.join(S).unlabelled == 2
    join.label(true("a", 0, 1, "cat"), 90 * S)
    met = join.join(SPAN_US)
    assert [(one.label, truth) for one, truth in met.pairs] == [("cat", "cat")]
    assert (met.unlabelled, met.delay_us) == (1, 90 * S)
    assert join.join(SPAN_US + 1).pairs == []
    join.label(true("a", 1, 2, "dog"), SPAN_US + 1)
    assert join.join(SPAN_US + 2).pairs == []
    join.join(3 * SPAN_US)
    assert (join.met, join.unmet) == (1, 1)


def test_a_better_label_that_comes_later_takes_over():
    join = LiveJoin(SPAN_US, 50)
    join.answer(answer("a", 0, "cat"), 0)
    join.label(Label("a", S // 2, 2 * S, "dog", None), 1)
    assert join.join(2).pairs[0][1] == "dog"
    join.label(true("a", 0, 1, "cat"), 2)
    assert join.join(3).pairs[0][1] == "cat"


def test_a_text_waits_until_its_results_are_there_and_leaves_with_the_first_of_them():
    join = LiveJoin(SPAN_US, 50, "speech")
    join.label(said("a", 0, 3, "one two three"), 0)
    for second, word in enumerate(["one", "too", "three"]):
        join.answer(answer("a", second, None, word), second)
        assert join.join(2).waiting == (second < 2)
    met = join.join(2)
    assert met.texts == [Pair("a", 0, "one two three", "one too three")]
    found = scored_texts(met.texts, "plain", chinese=False)
    assert (found["wer"], found["words"]) == (1 / 3, 3)
    assert join.join(SPAN_US + 1).texts == []


# -- figures --------------------------------------------------------------------------------


def test_figures_are_those_of_the_definition():
    pairs = [(answer("a", 0, "cat"), "cat"), (answer("a", 1, "dog"), "cat"),
             (answer("a", 2, None), "cat"), (answer("a", 3, "dog"), "dog")]  # fmt: skip
    found = scored_labels(pairs)
    assert (found["windows"], found["right"], found["abstained"]) == (4, 2, 1)
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == (1 / 3 + 1) / 2
    assert found["labels"] == ["cat", "dog"]
    assert found["confusion"] == [[1, 1, 1], [0, 1, 0]]
    slices = [(one["windows"], one["right"]) for one in found["over_time"]]
    assert slices == [(1, 1), (1, 0), (1, 0), (1, 1)]
    assert found["over_time"][0]["start"] == "1970-01-01T00:00:00.000Z"
    assert scored_labels([]) is None


def test_labels_of_any_number_do_not_make_the_answer_grow():
    pairs = [(answer("a", n, f"n{n}"), f"n{n}") for n in range(300)]
    found = scored_labels(pairs)
    assert len(found["labels"]) == len(found["confusion"]) == CLASSES_SHOWN
    assert found["other_labels"] == 300 - CLASSES_SHOWN
    assert len(found["over_time"]) <= 24
    assert found["accuracy"] == found["balanced_accuracy"] == 1.0


def test_without_a_word_in_the_references_there_is_no_rate():
    found = scored_texts([Pair("a", 0, "!", "noise")], "plain", chinese=False)
    assert (found["texts"], found["wer"], found["bleu"]) == (1, None, None)
    assert scored_texts([], "plain", chinese=False)["wer"] is None
    perfect = scored_texts([Pair("a", 0, "a b c d", "A b, c d")], "plain", chinese=False)
    assert (perfect["wer"], round(perfect["bleu"], 6)) == (0.0, 100.0)
