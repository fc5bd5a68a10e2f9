"""Heads that read steps in time: torch and numpy alike, bits that stay, order that is learned."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sequence_rows import LENGTHS, SHAPES, vectors, words

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import sequence_shape
from pipeline.encoders.text import TextTokens
from pipeline.errors import InvalidInput
from pipeline.fusion.head_files import load_head
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.rules import Fuser
from pipeline.spec.models import FusionSpec
from pipeline.spec.sequence import SequenceShape
from pipeline.training.auto import candidates
from pipeline.training.feature_set import FeatureSet, Row, set_of
from pipeline.training.networks import Sizes
from pipeline.training.options import KINDS, ON_SEQUENCES, TrainOptions
from pipeline.training.sequence_networks import SequenceNetwork
from pipeline.training.train import train

LABELS = ("a", "b", "c", "d")
kinds = pytest.mark.parametrize("kind", ON_SEQUENCES)


def twin(kind: str, labels: int, stages: tuple[str, ...]) -> tuple[SequenceNetwork, HeadRule]:
    """A network with random weights, in float64, and the head of its arrays."""
    torch.manual_seed(1)
    lengths = {stage: LENGTHS[stage] for stage in stages}
    shapes = {stage: SHAPES[stage] for stage in stages if stage in SHAPES}
    made = SequenceNetwork(kind, Sizes(lengths, labels, hidden=8), shapes, embedding=5).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    tensors = made.arrays()
    for stage in [stage for stage in stages if stage != "words"]:
        width = SHAPES[stage].width if stage in SHAPES else lengths[stage]
        tensors |= {f"{stage}.centre": np.zeros(width), f"{stage}.scale": np.ones(width)}
    spec = HeadSpec(
        kind, "concat", LABELS[:labels], lengths, dict.fromkeys(lengths, 1.0),
        layers=made.layers, sequences=shapes, temperature=1.5,
    )  # fmt: skip
    assert HeadSpec.of(json.loads(json.dumps(spec.as_json()))) == spec
    return made, HeadRule(spec, tensors)


@kinds
@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("stages", [("words",), ("sound",), ("colour", "sound", "words")])
def test_a_network_and_its_head_compute_the_same(kind, labels, stages):
    made, rule = twin(kind, labels, stages)
    rng = np.random.default_rng(2)
    given = {stage: rows for stage, rows in vectors(rng, 90).items() if stage in stages}
    masks = rng.random((90, len(stages))) < 0.6
    masks[0] = False
    with torch.no_grad():
        tensors = {stage: torch.from_numpy(rows).double() for stage, rows in given.items()}
        expected = made(tensors, torch.from_numpy(masks).double()).numpy()
    found = rule.logits(given, dict(zip(stages, masks.T, strict=True)))
    np.testing.assert_allclose(found, expected / 1.5, atol=1e-6, rtol=0)


@kinds
def test_a_window_has_its_bits_in_any_company_and_attribution_adds_up(kind):
    _, rule = twin(kind, 4, ("colour", "sound", "words"))
    rng = np.random.default_rng(3)
    whole = vectors(rng, 40)
    windows = [
        {stage: rows[at] for stage, rows in whole.items() if rng.random() < 0.8}
        for at in range(40)
    ]  # fmt: skip
    alone = [rule.fuse_many([window])[0] for window in windows]
    assert rule.fuse_many(windows) == alone
    assert rule.fuse_many(windows[::-1])[::-1] == alone
    zeros = {stage: np.zeros((1, length)) for stage, length in LENGTHS.items()}
    for window, fused in zip(windows, alone, strict=True):
        if fused.label is None:
            continue
        place = LABELS.index(fused.label)
        rows = zeros | {stage: vector[None] for stage, vector in window.items()}
        there, nothing = (
            rule.logits(rows, {s: np.array([s in kept]) for s in LENGTHS})[0, place]
            for kept in (window, {})
        )
        assert math.fsum(fused.attribution.values()) == pytest.approx(there - nothing, abs=1e-9)


@kinds
def test_what_lies_behind_the_last_token_is_not_read(kind):
    """A text in a longer frame of padding gives the same logits."""
    made, rule = twin(kind, 4, ("words",))
    longer = SequenceShape(11, 50, tokens=True)
    spec = HeadSpec(
        kind, "concat", LABELS, {"words": 11}, {"words": 1.0},
        layers=made.layers, sequences={"words": longer}, temperature=1.5,
    )  # fmt: skip
    rows = words(np.random.default_rng(4), 30)
    there = {"words": np.ones(30, np.bool_)}
    found = HeadRule(spec, made.arrays()).logits({"words": np.pad(rows, ((0, 0), (0, 5)))}, there)
    np.testing.assert_allclose(found, rule.logits({"words": rows}, there), atol=1e-12)


def test_tokens_are_words_in_their_order_padded_at_the_end():
    encoder = TextTokens(torch.device("cpu"), steps=5, vocabulary=1000)
    texts = ["Big dog, BIG cat", "", "one two three four five six", "cat"]
    found = encoder.encode([Clip("s", 0, 1, text=text) for text in texts])
    assert encoder.tokens == (5, 1000)
    big, dog, again, cat, nothing = found[0].tolist()
    assert big == again
    assert len({big, dog, cat, nothing}) == 4
    assert nothing == 0
    assert found[3].tolist() == [cat, 0, 0, 0, 0]
    assert not found[1].any()
    assert (found[2] > 0).all()
    assert max(map(max, found)) < 1000


@pytest.mark.parametrize(
    ("stated", "length", "why"),
    [
        ({"sequence": (3, 4)}, 13, r"its sequence is \(3, 4\), and its vectors have 13 numbers"),
        ({"tokens": (3, 4)}, 12, r"its tokens is \(3, 4\), and its vectors have 12 numbers"),
        ({"sequence": (3, 4), "tokens": (12, 9)}, 12, "its sequence and tokens tell no shape"),
        ({"sequence": 12}, 12, "its sequence tell no shape"),
        ({"tokens": (12, 1 << 20)}, 12, "at most 4096 and 65536"),
    ],
)
def test_a_shape_that_is_none_is_told(stated, length, why):
    assert sequence_shape(SimpleNamespace(), length) is None
    shape = sequence_shape(SimpleNamespace(sequence=(3, 4)), 12)
    assert shape == SequenceShape(3, 4)
    with pytest.raises(InvalidInput, match=why):
        sequence_shape(SimpleNamespace(**stated), length)


def sentences(rows: int = 300) -> FeatureSet:
    """Whether the dog bites the man or the man the dog: the same words, in another order."""
    encoder = TextTokens(torch.device("cpu"), steps=8, vocabulary=256)
    rng = np.random.default_rng(0)
    found = []
    for at in range(rows):
        first, second = ("dog", "man") if rng.random() < 0.5 else ("man", "dog")
        filling = [" ".join(rng.choice(["so", "then", "now"], rng.integers(0, 3))) for _ in "ab"]
        text = f"{filling[0]} {first} bites {filling[1]} {second}"
        [vector] = encoder.encode([Clip("s", 0, 1, text=text)])
        found.append(Row(f"s{at % 12}", at, at + 1, first, text, {"words": vector}))
    shape = SequenceShape(*encoder.tokens, tokens=True)
    return set_of(found, {"words": 8}, {"sequences": {"words": shape._asdict()}})


FUSION = FusionSpec(rule="concat", of={"words": 1})


def options(kind: str, **more) -> TrainOptions:
    return TrainOptions(kind, epochs=20, hidden=16, embedding=8, weight_decay=0.0, **more)


@pytest.fixture(scope="module")
def trained():
    return {kind: train(FUSION, sentences(), options(kind)) for kind in ON_SEQUENCES}


@kinds
def test_order_is_learned_and_what_is_saved_is_what_a_pipeline_runs(trained, kind, tmp_path):
    made = trained[kind]
    assert made.told["metrics"]["test"]["accuracy"] > 0.95
    spec, tensors = made.fitted.spec, made.fitted.tensors
    once = tensors["words.matrix"].size
    steps = sum(a.size for n, a in tensors.items() if n.endswith(".matrix")) - once
    assert made.told["cost"]["flops"] == 2 * (once + 8 * steps)
    sha256 = made.save(tmp_path / "head", {})
    fuser = Fuser(FUSION, {"words": 8}, head=load_head(tmp_path / "head"))
    assert fuser.head_hash == sha256
    data = sentences(20)
    windows = [{"words": row} for row in data.vectors["words"]]
    assert fuser.fuse_many(windows) == HeadRule(spec, tensors).fuse_many(windows)
    assert [f.label for f in fuser.fuse_many(windows)] == list(data.labels)
    with pytest.raises(InvalidInput, match=r"stages\.words gives 9 numbers, and gave 8"):
        Fuser(FUSION, {"words": 9}, head=load_head(tmp_path / "head"))
    card = json.loads((tmp_path / "head" / "card.json").read_text())
    assert card["head"]["sequences"] == {"words": {"steps": 8, "width": 256, "tokens": True}}
    card["head"]["sequences"]["words"]["steps"] = 4
    (tmp_path / "head" / "card.json").write_text(json.dumps(card))
    with pytest.raises(InvalidInput, match="its arrays do not fit its card"):
        load_head(tmp_path / "head")


def test_the_same_seed_gives_the_same_arrays_to_the_bit(trained):
    again = train(FUSION, sentences(), options("lstm")).fitted.tensors
    first = trained["lstm"].fitted.tensors
    assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in first.items()}


def test_a_head_that_reads_steps_needs_a_stage_that_has_some():
    data = sentences(40)
    plain = set_of(
        [Row(s, n, n + 1, str(label), None, {"words": data.vectors["words"][n]})
         for n, (s, label) in enumerate(zip(data.streams, data.labels, strict=True))],
        {"words": 8}, {},
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=r"--head = lstm: no stage in fusion\.of gives"):
        train(FUSION, plain, options("lstm"))
    normal = FusionSpec(rule="concat", of={"words": 1}, normalize="l2")
    with pytest.raises(InvalidInput, match=r"fusion\.normalize = l2: cnn reads sequences as they"):
        train(normal, data, options("cnn"))
    assert not set(ON_SEQUENCES) & set(KINDS)
    tried = [each.kind for each in candidates(options("linear"), 2, sequences=True)]
    assert tried == [*KINDS, *ON_SEQUENCES]
