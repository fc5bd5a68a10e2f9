"""``motet train --task translate``: pairs, their parts, the baseline, and what the card tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from documents import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pairs import FLAGS, SMALL, WORDS, digit_pairs, write_pairs

from pipeline.cli import main
from pipeline.encoders.models.translation.files import CARD, TENSORS
from pipeline.errors import InvalidInput
from pipeline.evaluation.translation import measured, warnings_of
from pipeline.training.curves import PICTURE
from pipeline.training.translate.dictionary import Dictionary
from pipeline.training.translate.pairs import PAIRS_MIN, Pair, part, read_pairs
from pipeline.training.translate.train import train_translation

SCHEMA = json.loads((ROOT / "docs/schemas/train-translate.schema.json").read_text("utf-8"))


# -- pairs ------------------------------------------------------------------------------------


def test_csv_and_json_lines_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text('source,target,note\n"One, two",Eins  zwei,x\n', "utf-8")
    (tmp_path / "a.jsonl").write_text('{"source": "ONE, two", "target": "Eins zwei"}\n\n', "utf-8")
    for name in ("a.csv", "a.jsonl"):
        assert read_pairs(tmp_path / name) == [Pair("one, two", "Eins zwei")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("source,label\na,b\n", "line 2: it has no target"),
        ('{"source": "a", "target": ""}', "line 1: it has no target"),
        ('{"source": 3, "target": "b"}', "line 1: it has no source"),
        ('{"source": "a"\n', "line 1: it is no JSON object"),
        (f"source,target\n{'a' * 2001},b\n", "has 2001 characters"),
        ("source,target\n", "it has no rows"),
    ],
)
def test_rows_that_are_no_pairs_are_told(tmp_path, content, told):
    (tmp_path / "pairs").write_text(content)
    with pytest.raises(InvalidInput, match="--pairs") as caught:
        read_pairs(tmp_path / "pairs")
    assert told in str(caught.value)


PAIRS = st.lists(
    st.tuples(st.integers(0, 60).map(str), st.integers(0, 99).map(str)), min_size=150, max_size=250
).map(lambda rows: [Pair(*row) for row in rows] + [Pair(f"s{n}", f"t{n}") for n in range(150)])


@settings(deadline=None, max_examples=10)
@given(PAIRS, st.integers(0, 3))
def test_no_part_has_a_text_of_another(pairs, seed):
    parts = part(pairs, seed)
    each = [parts.train, parts.validation, parts.test]
    assert sorted(pair for some in each for pair in some) == sorted(set(pairs))
    for side in (0, 1):
        texts = [{pair[side] for pair in some} for some in each]
        assert sum(map(len, texts)) == len(set().union(*texts))
    assert len(parts.train) >= 0.8 * len(set(pairs))


@pytest.mark.parametrize(
    "pairs", [digit_pairs(PAIRS_MIN - 1), [Pair(str(n), "yes") for n in range(500)]]
)
def test_pairs_that_leave_none_to_hold_out_are_refused(pairs):
    with pytest.raises(InvalidInput, match=f"give {PAIRS_MIN} pairs or more"):
        part(pairs, 0)


def test_the_dictionary_knows_words_and_no_more():
    german = Dictionary(digit_pairs())
    assert german.translated("7 1 zzz 3") == "sieben eins zzz drei"
    figures = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
    pairs = [
        Pair(pair.source, "".join(figures[digit] for digit in pair.source.split()))
        for pair in digit_pairs()
    ]
    assert Dictionary(pairs).translated("3 1 4") == "三一四"


# -- training ---------------------------------------------------------------------------------


def test_the_same_pairs_and_seed_give_the_same_bits(tmp_path):
    parts, short = part(digit_pairs(200), 1), replace(SMALL, epochs=2, seed=1)
    hashes = [train_translation(parts, short).save(tmp_path / name, {}) for name in ("a", "b")]
    assert hashes[0] == hashes[1]
    assert (tmp_path / "a" / TENSORS).read_bytes() == (tmp_path / "b" / TENSORS).read_bytes()
    other = train_translation(parts, replace(short, seed=2)).save(tmp_path / "c", {})
    assert other != hashes[0]


def test_what_is_learned_by_heart_is_warned_of():
    """Few pairs of unrelated words: training can be learned, held out cannot."""
    pairs = [Pair(f"w{17 * n % 900}", WORDS[n % 10] + WORDS[n // 10 % 10]) for n in range(100)]
    trained = train_translation(part(pairs, 0), replace(SMALL, epochs=60, patience=60))
    found = measured(trained.model, part(pairs, 0), 2)
    assert found["gap"] > 0.3
    assert any("over-fitting" in line for line in warnings_of(found))


def test_the_command_says_what_stands_in_the_card(tmp_path, capsys):
    pairs, out = write_pairs(tmp_path / "pairs.jsonl"), tmp_path / "models" / "digits"
    command = ["train", "--task", "translate", "--pairs", pairs, "-o", out, "--json", *FLAGS]
    assert main([str(each) for each in command]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    jsonschema.validate(told, SCHEMA)
    card = json.loads((out / CARD).read_text("utf-8"))
    for name in ("data", "training", "cost", "metrics", "versions", "seed"):
        assert card[name] == told[name]
    metrics = told["metrics"]
    assert min(metrics[way]["exact"] for way in ("greedy", "beam")) >= 0.9
    assert metrics["greedy"]["rows"] == told["data"]["split"]["test"] == 80
    assert metrics["dictionary"]["exact"] == 1.0  # nothing but words in these pairs
    assert told["cost"]["cpu_s"] > 0 < told["cost"]["samples_per_s"]
    assert (out / PICTURE).read_bytes().startswith(b"\x89PNG")
    for words in ("word for word", "gap between training and held out", "text_to_text"):
        assert words in said.err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--task", "translat"], "--task = translat: it is no task"),
        (["--task", "translate"], "--out: it is not given"),
        (["--task", "translate", "-o", "x"], "--pairs: it is not given"),
        (["--task", "translate", "-o", "x", "--pairs", "nowhere"], "--pairs = nowhere: no such"),
        (["--task", "translate", "--labels", "l.csv"], "--labels = l.csv: it does nothing"),
        (["--task", "translate", "--weight-decay", "0", "--fine-tune", "look"],
         "--weight-decay = 0.0: it does nothing for --task translate; leave it out"),
        (["--task", "translate", "-o", "x", "--pairs", __file__, "--set", "name=b"], "--set = "),
        (["--task", "translate", "-o", "x", "--pairs", __file__, "--hidden", "33"], "odd"),
        (["-o", "x"], "FILE: it is not given"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_is_told(flags, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(told in line for line in lines)
    assert list(Path(tmp_path).iterdir()) == []
