"""text_to_text: what was trained is what is written, in any batch; folders that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_media import NEEDS_MODELS
from pipelines import CHAT, load
from small_pairs import SMALL, digit_pairs

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.encoders.models.translation.files import CARD, TENSORS, load_translation
from pipeline.encoders.models.translation.pieces import (
    BEGIN,
    END,
    PAD,
    UNKNOWN,
    learn_pieces,
    tidy,
)
from pipeline.encoders.models.translation.search import search
from pipeline.errors import InvalidInput
from pipeline.spec.own_files import digests
from pipeline.training.translate.pairs import part
from pipeline.training.translate.train import train_translation

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("offline_on_one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("translation")
    train_translation(part(digit_pairs(), 0), SMALL).save(made, {})
    return made


@pytest.fixture(scope="module")
def model(folder):
    return load_translation(folder, CPU)


def encoder_of(folder: Path, **options: object):
    return load_encoder("text_to_text", {"model": str(folder), **options}, CPU)


@pytest.fixture(scope="module")
def written(folder):
    encoders = {beam: encoder_of(folder, beam=beam, max_length=40) for beam in (1, 4)}

    def written(texts: list[str | None], beam: int = 1) -> list[str]:
        return encoders[beam].encode([Clip("s", 0, 1, text=text) for text in texts])

    return written


# -- pieces -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=60))
def test_a_text_is_its_pieces_put_together(text):
    tidied = tidy(text, fold=False)
    pieces = learn_pieces([tidied] * 5, 20)
    assert pieces.text(pieces.ids(tidied)) == tidied
    assert UNKNOWN not in pieces.ids(tidied)
    again = type(pieces)(**json.loads(json.dumps(pieces.as_json())))
    assert again.ids(tidied) == pieces.ids(tidied)


def test_what_is_common_is_one_piece_and_digits_never_are():
    pieces = learn_pieces(["hundert 11", "hundert 11 hundert", "einhundert 11"] * 5, 50)
    assert " hundert" in pieces.texts
    assert not [text for text in pieces.texts if len(text.strip()) > 1 and "1" in text]
    assert pieces.ids("hundert x")[-1] == UNKNOWN


# -- what is written --------------------------------------------------------------------------


def test_it_has_learned(written):
    sources = ["3 1 4", "9", " 2 7  1\n\n5 \n"]
    expected = ["drei eins vier", "neun", "zwei sieben eins\n\nfünf"]
    assert written(sources) == expected
    assert written(sources, beam=4) == expected


LINES = st.lists(st.sampled_from("0123456789 x"), min_size=0, max_size=9).map("".join)


@settings(deadline=None, max_examples=15)
@given(st.lists(LINES, min_size=1, max_size=9), st.sampled_from([1, 4]), st.randoms())
def test_a_text_does_not_depend_on_its_mates(written, lines, beam, random):
    alone = {line: written([line], beam)[0] for line in lines}
    random.shuffle(lines)
    assert written(lines, beam) == [alone[line] for line in lines]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=7), st.integers(0, 5))
def test_a_beam_of_one_takes_the_likeliest_piece_and_padding_changes_nothing(model, digits, fill):
    ids = model.source.ids(" ".join(map(str, digits)))
    [found] = search(model.network, torch.tensor([ids + [PAD] * fill]), 1, 30)
    read, expected = model.network.read(torch.tensor([ids])), [BEGIN]
    while len(expected) <= 30 and expected[-1] != END:
        logits, read = model.network.write(torch.tensor([expected[-1:]]), read)
        logits[..., [PAD, BEGIN, UNKNOWN]] = -torch.inf
        expected.append(int(logits.argmax()))
    assert found == [piece for piece in expected[1:] if piece != END]


def test_a_wider_beam_finds_what_is_likelier(model):
    """The power of length apart, which two texts of one length share."""

    def likelihood(source: list[int], target: list[int]) -> float:
        logits = model.network(torch.tensor([source]), torch.tensor([[BEGIN, *target]]))
        steps = logits[0].log_softmax(dim=-1)
        return float(steps[range(len(target) + 1), [*target, END]].sum())

    for line in ("x3x1", "1 2 3 4 5 6 7", "77 33"):
        ids = model.source.ids(line)
        one, wide = (search(model.network, torch.tensor([ids]), beam, 40)[0] for beam in (1, 16))
        if len(one) == len(wide):
            assert likelihood(ids, wide) >= likelihood(ids, one) - 1e-9


def test_nothing_to_say_and_too_much_to_say(folder, written):
    assert written(["", " \n", None]) == ["", "", ""]
    encoder = encoder_of(folder, max_length=2)
    assert encoder.encode([empty_clip(encoder)]) == [""]
    assert encoder.encode([]) == []
    short, long = encoder.encode([Clip("s", 0, 1, text=text) for text in ("1 2", "1 2 3 4 5 6")])
    assert short == long  # two pieces are read, and two are written


# -- folders ----------------------------------------------------------------------------------


def test_the_weights_are_part_of_the_model_of_results(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "model")
    changes = {"stages.words.of": "german", "stages.german": {
        "encoder": "text_to_text", "of": "chat", "options": {"model": "model"}}}  # fmt: skip
    before = digests(load(CHAT, changes, tmp_path), "german")
    (moved / TENSORS).write_bytes(b"other")
    assert digests(load(CHAT, changes, tmp_path), "german") != before


def changed(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    (folder / CARD).write_text(json.dumps(card | changes), "utf-8")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda at: (at / CARD).unlink(), "neither card.json nor config.json"),
        (lambda at: (at / CARD).write_text("{"), "card.json is no JSON"),
        (lambda at: (at / CARD).write_text('{"head": {}}'), "holds a head, and no translation"),
        (lambda at: (at / CARD).write_text("[]"), "holds something else, and no translation"),
        (lambda at: changed(at, format=2), "has format 2, and this version reads 1"),
        (lambda at: changed(at, model={}), "do not fit its card"),
        (lambda at: (at / TENSORS).unlink(), "No such file"),
        (lambda at: (at / TENSORS).write_bytes(b""), "has 0 bytes"),
        (lambda at: (at / TENSORS).write_bytes(b"x"), "is not the file that card.json"),
    ],
)
def test_a_folder_that_holds_something_else_is_refused(folder, tmp_path, harm, told):
    harmed = shutil.copytree(folder, tmp_path / "model")
    harm(harmed)
    with pytest.raises(InvalidInput, match=told) as caught:
        encoder_of(harmed)
    assert "options.model" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beam": 0}, "options.beam"), ({"beam": 17}, "from 1 to 16"),
        ({"max_length": 2000}, "from 1 to 1024"), ({"model": "nowhere"}, "no such folder"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(folder, options, told):
    with pytest.raises(InvalidInput, match=told):
        load_encoder("text_to_text", {"model": str(folder), **options}, CPU)
    with pytest.raises(InvalidInput, match="model"):
        load_encoder("text_to_text", {}, CPU)


# -- a model of the user's --------------------------------------------------------------------


@pytest.mark.models
@NEEDS_MODELS[1]
def test_a_transformers_folder_of_the_users_own(tmp_path):
    """As ``save_pretrained`` writes it; a random network writes what its own generate does."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<pad>", "<s>", "</s>", "<unk>", "door", "lift", "is", "open", "closed", "the"]
    rules = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>")
    )
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", model_max_length=32,
    )  # fmt: skip
    torch.manual_seed(5)
    config = transformers.BartConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=32, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2, init_std=1.0,
    )  # fmt: skip
    own = transformers.BartForConditionalGeneration(config).eval()
    own.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lines = ["the lift is open", "door", "the door is closed the lift is closed"]
    encoder = encoder_of(tmp_path, beam=2, max_length=8)
    found = encoder.encode([Clip("s", 0, 1, text=line) for line in lines])
    for line, text in zip(lines, found, strict=True):
        ids = own.generate(
            **tokenizer([line], return_tensors="pt", return_token_type_ids=False),
            num_beams=2, do_sample=False, max_new_tokens=8,
        )  # fmt: skip
        [expected] = tokenizer.batch_decode(ids, skip_special_tokens=True)
        assert text == " ".join(expected.split())
    assert any(found)
