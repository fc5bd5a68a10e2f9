"""The encoders of a whole pipeline against each other."""

from __future__ import annotations

import sys

import pytest
import yaml

from pipeline.encoders.checking import check_pipeline, stage_plan
from pipeline.errors import InvalidInput
from pipeline.spec import loads

MODULE = """
import numpy as np

class Base:
    length = None
    def __init__(self, device, *, size=3): self.size = size
    def encode(self, batch): return [np.zeros(self.size, np.float32) for _ in batch]

class Words(Base):
    takes, gives = "audio", "text"

class Joiner(Base):
    takes, gives = "vector", "vector"
    def encode(self, batch): return [clip.vector[:-1] for clip in batch]

class Both(Base):
    takes, gives = ("audio", "image", "text"), "vector"

class Reader(Base):
    takes, gives = "text", "vector"

class Ear(Base):
    takes, gives = ("audio", "vector"), "vector"

class Labels(Base):
    takes, gives = "image", "data"

class Speech(Base):
    takes, gives = "text", "audio"
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "checked_module.py").write_text(MODULE)

    def make(stages: dict, of: dict | None = None, **fusion):
        file = {
            "version": 1,
            "name": "lobby",
            "inputs": {
                "mic": {"topic": "a", "type": "audio/L16;rate=16000;channels=1"},
                "other": {"topic": "b", "type": "audio/wav"},
                "camera": {"topic": "v", "type": "image/jpeg"},
                "chat": {"topic": "t", "type": "text/plain"},
            },
            "windows": {"size": "1s"},
            "stages": {},
            "fusion": {"rule": "weighted_sum", "of": of or {}, **fusion},
            "outputs": {"results": "r", "late": "l", "dead_letter": "d"},
        }
        for name, (encoder, reads, *options) in stages.items():
            mine = encoder if encoder.islower() else f"checked_module:{encoder}"
            file["stages"][name] = {"encoder": mine, "of": reads}
            if options:
                file["stages"][name]["options"] = options[0]
        read = {name for _, reads, *_ in stages.values() for name in [*reads]}
        for name in set(file["inputs"]) - read:
            del file["inputs"][name]
        file["fusion"]["of"] = of or {next(iter(stages)): 1.0}
        return loads(yaml.safe_dump(file, sort_keys=False), folder=tmp_path, environ={})

    yield make
    sys.modules.pop("checked_module", None)


def problems(spec) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        check_pipeline(spec)
    return str(caught.value).splitlines()


def test_the_lengths_of_the_contracts_example(spec):
    example = spec(
        {
            "sound": ("log_mel", ["mic"], {"n_mels": 64}),
            "colour": ("color_histogram", ["camera"]),
            "words": ("hash_text", ["chat"]),
        },
        {"sound": 0.3, "colour": 0.4, "words": 0.3},
        dim=128,
    )
    assert check_pipeline(example) == {"sound": 64, "colour": 24, "words": 64}


def test_lengths_go_along_the_graph(spec):
    made = spec(
        {
            "late": ("Joiner", ["words", "sound"]),
            "heard": ("Words", ["mic"]),
            "words": ("hash_text", ["heard", "chat"], {"dim": 10}),
            "sound": ("log_mel", ["other"], {"n_mels": 8}),
        },
        {"late": 1.0},
    )
    lengths = check_pipeline(made)
    assert lengths == {"words": 10, "sound": 8, "late": 17}
    plan = stage_plan(made, "late", lengths)
    assert (plan.of, plan.upstream_lengths, plan.length) == (
        ("words", "sound"), {"words": 10, "sound": 8}, 17,
    )  # fmt: skip
    assert stage_plan(made, "heard", lengths).length is None


def test_several_kinds_where_takes_is_a_tuple(spec):
    made = spec({"all": ("Both", ["chat", "camera", "mic"], {"size": 6})})
    assert check_pipeline(made) == {"all": 6}


def test_a_kind_that_is_not_taken_names_both_sides(spec):
    made = spec(
        {"words": ("Reader", ["mic"]), "sound": ("Ear", ["chat", "camera"])},
        {"words": 1.0, "sound": 1.0},
    )
    assert problems(made) == [
        "stages.words.of = mic: gives audio, and checked_module:Reader takes text; "
        "name an input or a stage that gives text",
        "stages.sound.of = chat: gives text, and checked_module:Ear takes audio or vector; "
        "name an input or a stage that gives audio or vector",
        "stages.sound.of = camera: gives image, and checked_module:Ear takes audio or vector; "
        "name an input or a stage that gives audio or vector",
    ]


def test_a_stage_reads_what_the_stage_before_it_gives(spec):
    made = spec({"say": ("Speech", ["chat"]), "sound": ("hash_text", ["say"])}, {"sound": 1.0})
    assert problems(made) == [
        "stages.sound.of = say: gives audio, and hash_text takes text; "
        "name an input or a stage that gives text"
    ]
    made = spec({"say": ("Speech", ["chat"]), "sound": ("log_mel", ["say"])}, {"sound": 1.0})
    assert check_pipeline(made) == {"sound": 64}


def test_several_signals_in_one_stage(spec):
    [line] = problems(spec({"sound": ("log_mel", ["mic", "other"])}))
    assert line.startswith("stages.sound.of = mic, other: a clip has one signal")


def test_only_vectors_are_fused(spec):
    made = spec(
        {"sound": ("log_mel", ["mic"]), "labels": ("Labels", ["camera"])},
        {"sound": 1.0, "labels": 1.0},
    )
    assert problems(made) == [
        "fusion.of.labels: gives data, and fusion takes vectors; "
        "name a stage that gives a vector, or put one behind it that reads it"
    ]


@pytest.mark.parametrize(("rule", "dim", "fails"), [
    ("weighted_sum", None, True), ("weighted_sum", 16, False), ("concat", None, False),
])  # fmt: skip
def test_unequal_lengths_want_a_dim(spec, rule: str, dim: int | None, fails: bool):
    made = spec(
        {"sound": ("log_mel", ["mic"]), "words": ("hash_text", ["chat"], {"dim": 10})},
        {"sound": 1.0, "words": 2.0},
        rule=rule,
        **({} if dim is None else {"dim": dim}),
    )
    if not fails:
        assert check_pipeline(made) == {"sound": 64, "words": 10}
        return
    assert problems(made) == [
        "fusion.dim: the vectors have unequal lengths (sound 64, words 10); "
        "set fusion.dim to bring them to one, such as 64"
    ]


def test_all_problems_at_once(spec):
    made = spec(
        {
            "sound": ("log_mel", ["mic"], {"n_mels": 0}),
            "words": ("Nothing", ["chat"]),
            "after": ("Joiner", ["sound"]),
            "colour": ("color_histogram", ["camera"], {"bin": 3}),
        },
        {"after": 1.0, "words": 1.0, "colour": 1.0},
    )
    keys = [line.split(":")[0].split(" ")[0] for line in problems(made)]
    assert keys == [
        "stages.sound.options.n_mels",
        "stages.words.encoder",
        "stages.colour.options.bin",
    ]
