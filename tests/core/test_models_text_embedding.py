"""text_embedding: MiniLM, on sentences whose likeness anyone can tell."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_media import OFFLINE_MODELS

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.encoders.models.text_embedding import WEIGHTS
from pipeline.encoders.models.weights import weights_path
from pipeline.errors import InvalidInput

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")
LIKE = [
    ("A man is playing the guitar.", "Someone plays a guitar."),
    ("The train to Vienna leaves late.", "There is a delay of the Vienna train."),
    ("Two dogs run on the beach.", "A pair of dogs is running along the sea."),
]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("text_embedding", {}, CPU)


@pytest.fixture(scope="module")
def embed(encoder):
    def embed(*texts: str | None) -> np.ndarray:
        return np.stack(encoder.encode([Clip("s", 0, 1, text=text) for text in texts]))

    return embed


def test_a_paraphrase_is_nearer_than_anything_unrelated(embed):
    left, right = embed(*(a for a, _ in LIKE)), embed(*(b for _, b in LIKE))
    cosines = left @ right.T
    unrelated = cosines[~np.eye(len(LIKE), dtype=bool)]
    assert np.diag(cosines).min() > 0.5 > 0.25 > unrelated.max()


def test_it_is_the_mean_of_the_last_layer_of_length_one(embed):
    """As transformers has it."""
    import transformers

    text = "The lift is out of order, take the stairs."
    folder = weights_path(WEIGHTS).parent
    tokens = transformers.AutoTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    with torch.inference_mode():
        [states] = transformers.AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy()
    [found] = embed(text)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_nothing_said_gives_zeros(encoder, embed):
    assert encoder.length == 384
    for vector in (*embed("", " \n\t", None), *encoder.encode([empty_clip(encoder)])):
        assert (vector.shape, vector.any()) == ((384,), False)
    assert encoder.encode([]) == []


WORDS = st.sampled_from(
    ["lift", "door", "bicycle", "Straße", "電車", "naïve", "10:42", "...", "\x00", "🚲"]
)
TEXTS = st.lists(WORDS, max_size=20).map(" ".join)


@settings(deadline=None, max_examples=6)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_text_does_not_depend_on_its_mates(embed, texts, random):
    alone = np.concatenate([embed(text) for text in texts])
    order = list(range(len(texts)))
    random.shuffle(order)
    together = embed(*(texts[place] for place in order))
    np.testing.assert_allclose(together, alone[order], atol=1e-5)


def test_equal_texts_are_equal_among_any_mates(embed):
    texts = ["Mind the gap.", "one two three " * 70, "Mind the gap.", "x", "Mind the gap."]
    vectors = embed(*texts)
    np.testing.assert_allclose(vectors[[2, 4]], vectors[[0, 0]], atol=1e-6)


def test_only_the_first_word_pieces_count(embed):
    """Two of the 256 stand for the beginning and the end."""
    long = "lift " * 254
    first, second, third = embed(long, f"{long} and then a parrot", f"{long[5:]} parrot")
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - third).max() > 1e-3
    short = load_encoder("text_embedding", {"max_pieces": 4}, CPU)
    two, more = short.encode([Clip("s", 0, 1, text=text) for text in ("lift door", "lift door up")])
    np.testing.assert_allclose(two, more, atol=1e-5)


def test_a_folder_of_the_users_own(embed, tmp_path):
    """A worked example of the documents: a smaller network, as ``save_pretrained`` writes it."""
    transformers = pytest.importorskip("transformers")
    source = weights_path(WEIGHTS).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match="from 3 to 64"):
        load_encoder("text_embedding", {"model": str(tmp_path)}, CPU)
    own = load_encoder("text_embedding", {"model": str(tmp_path), "max_pieces": 64}, CPU)
    assert own.length == 32
    [vector] = own.encode([Clip("s", 0, 1, text="Mind the gap.")])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_pieces": 0}, "options.max_pieces"), ({"max_pieces": 1000}, "from 3 to 512"),
        ({"model": "nowhere"}, "no such folder"), ({"model": 3}, "is no path"),
        ({"model": str(Path(__file__).parent)}, "it cannot be loaded"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        load_encoder("text_embedding", options, CPU)
    assert "\n" not in str(caught.value)


def test_it_needs_no_sentence_transformers(encoder):
    assert encoder.length == 384
    assert "sentence_transformers" not in sys.modules
