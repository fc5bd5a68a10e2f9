"""The last blocks of an image and a text network, trained on labels and run in a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.cli import main
from pipeline.encoders.base import Clip

pytest.importorskip("efficientnet_lite_pytorch", reason="needs motet[models]")

from pipeline.encoders.models.image import ImageEmbedding
from pipeline.encoders.models.text_embedding import TextEmbedding
from pipeline.training.feature_set import Row, set_of
from pipeline.training.fine_tune.blocks import Blocks
from pipeline.training.fine_tune.pictures import Before, LastBlocks
from pipeline.training.fine_tune.texts import LastLayers, Pieces
from pipeline.training.fine_tune.tuning import fine_tune
from pipeline.training.options import TrainOptions

pytestmark = pytest.mark.models

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/schemas/train-blocks.schema.json").read_text("utf-8")
)
CPU, SECOND_US = torch.device("cpu"), 1_000_000
SMALL = {"size": 32, "crop": 1.0, "max_frames": 2}
FILE = {
    "version": 1,
    "name": "signs",
    "inputs": {
        "cam": {"topic": "in.cam", "type": "image/png"},
        "chat": {"topic": "in.chat", "type": "text/plain", "gating": False},
    },
    "windows": {"size": "1s"},
    "stages": {
        "look": {"encoder": "image_embedding", "of": "cam", "options": SMALL},
        "words": {"encoder": "text_embedding", "of": "chat"},
    },
    "fusion": {"rule": "concat", "of": {"look": 1, "words": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
}
STREAMS, EACH = 6, 4


def sign(rng, label: str) -> Image.Image:
    """Stripes with noise, lying or standing."""
    wave = np.sin(np.arange(40) * rng.uniform(0.6, 1.2))[:, None] * np.ones(40)
    pixels = 128 + 60 * (wave if label == "lying" else wave.T) + rng.normal(0, 40, (40, 40))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


def clip(*frames: Image.Image) -> Clip:
    shown = [np.asarray(frame) for frame in frames]
    return Clip("s", 0, SECOND_US, frames=shown, times_us=[0] * len(shown))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder a stream with a picture a second, and the labels."""
    made = tmp_path_factory.mktemp("signs")
    (made / "signs.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    rng, lines = np.random.default_rng(0), ["stream,start_us,end_us,label"]
    for stream in range(STREAMS):
        for second in range(EACH):
            label = ("lying", "standing")[(stream + second) % 2]
            name = f"s{stream}-{second}"
            sign(rng, label).save(made / f"{name}.png")
            lines.append(f"{name},0,{SECOND_US},{label}")
    (made / "labels.csv").write_text("\n".join(lines))
    return made


def train(capsys, folder, *more) -> tuple[int, str, str]:
    given = ["--labels", folder / "labels.csv", "--files", folder, *more]
    code = main(["train", str(folder / "signs.yaml"), *map(str, given)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("blocks", [1, 4])
def test_what_is_parted_and_joined_again_is_the_encoder(blocks):
    rng = np.random.default_rng(1)
    clips = [clip(sign(rng, "lying")), clip(), clip(sign(rng, "lying"), sign(rng, "standing"))]
    before = Before(CPU, blocks=blocks, **SMALL)
    rows = torch.from_numpy(np.stack(before.encode(clips)))
    assert rows.shape == (3, before.length)
    whole = ImageEmbedding(CPU, **SMALL)
    with torch.inference_mode():
        found = LastBlocks(SMALL, blocks).eval()(rows).numpy()
    np.testing.assert_allclose(found, np.stack(whole.encode(clips)), atol=2e-5)


def test_trained_blocks_are_weights_that_a_stage_runs_with(capsys, folder):
    out = folder / "look"
    more = ["--fine-tune", "look", "--blocks", 1, "--epochs", 2, "-o", out, "--json"]
    code, told, said = train(capsys, folder, *more)
    assert code == 0, said
    card = json.loads(told)
    jsonschema.validate(card, SCHEMA)
    assert card["data"]["rows"] == STREAMS * EACH
    assert card == {**card, **json.loads((out / "card.json").read_text())}
    assert "stages: {look: {options: {weights: look/weights.safetensors}}}" in said
    rng = np.random.default_rng(2)
    clips = [clip(sign(rng, "lying")), clip(sign(rng, "standing"))]
    weights = str(out / "weights.safetensors")
    tuned = np.stack(ImageEmbedding(CPU, weights=weights, **SMALL).encode(clips))
    assert not np.allclose(tuned, np.stack(ImageEmbedding(CPU, **SMALL).encode(clips)), atol=1e-3)
    # ... and again to the bit, and on from where they are
    again = folder / "again"
    assert train(capsys, folder, *more[:-2], again)[0] == 0
    assert (again / "weights.safetensors").read_bytes() == (
        out / "weights.safetensors"
    ).read_bytes()
    before = Before(CPU, blocks=1, weights=weights, **SMALL)
    rows = torch.from_numpy(np.stack(before.encode(clips)))
    with torch.inference_mode():
        found = LastBlocks({**SMALL, "weights": weights}, 1).eval()(rows).numpy()
    np.testing.assert_allclose(found, tuned, atol=2e-5)


def test_the_blocks_learn_what_the_labels_say(folder):
    """Gradients reach the last blocks and nothing before them, and the statistics stay."""
    blocks = LastBlocks(SMALL, 1)
    before = {name: each.clone() for name, each in blocks.state_dict().items()}
    rows = torch.from_numpy(np.stack(Before(CPU, blocks=1, **SMALL).encode(
        [clip(sign(np.random.default_rng(3), "lying"))])))  # fmt: skip
    blocks.train()
    blocks(rows).sum().backward()
    torch.optim.SGD([p for p in blocks.parameters() if p.requires_grad], lr=0.1).step()
    changed = {n for n, each in blocks.state_dict().items() if not torch.equal(each, before[n])}
    assert changed
    assert all("_blocks.15" in n or "_conv_head" in n or "_bn1" in n for n in changed)
    assert not any("running" in name for name in changed)


TEXTS = ("Mind the gap.", "", "one two three " * 20, "ok")
SHORT = {"max_pieces": 16}


def said(*texts: str) -> list[Clip]:
    return [Clip("s", 0, SECOND_US, text=text) for text in texts]


@pytest.mark.parametrize("blocks", [1, 6])
def test_pieces_and_layers_together_are_the_text_encoder(blocks):
    rows = torch.from_numpy(np.stack(Pieces(CPU, blocks=blocks, **SHORT).encode(said(*TEXTS))))
    assert rows.shape == (len(TEXTS), SHORT["max_pieces"] + 1)
    with torch.inference_mode():
        found = LastLayers(SHORT, blocks)(rows).numpy()
    expected = np.stack(TextEmbedding(CPU, **SHORT).encode(said(*TEXTS)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def learned(blocks: Blocks, folder) -> tuple[dict, dict]:
    """Trains a language of two words by its order, which few texts teach; the card, an option."""
    rng, rows, before = np.random.default_rng(0), [], Pieces(CPU, blocks=1, **SHORT)
    for number in range(40):
        first, second = ("lift", "door") if number % 2 else ("door", "lift")
        text = f"{first} {int(rng.integers(100))} {second}"
        [vector] = before.encode(said(text))
        row = Row(f"s{number // 2 % 8}", number, number + 1, first, None, {"words": vector})
        rows.append(row)
    data = set_of(rows, {"words": before.length}, {"features": {}})
    options = TrainOptions("linear", epochs=2, batch=8, learning_rate=1e-4, modality_dropout=0.0)
    tuned = fine_tune("words", blocks, data, options)
    option, path = tuned.save(folder, {"accuracy": 0.0})
    return tuned.told, {option: str(path), **SHORT}


def test_trained_layers_are_weights_that_a_text_stage_runs_with(tmp_path):
    told, options = learned(LastLayers(SHORT, 1), tmp_path / "a")
    assert told["data"]["rows"] == 40
    trained = TextEmbedding(CPU, **options)
    vectors = np.stack(trained.encode(said(*TEXTS)))
    plain = TextEmbedding(CPU, **SHORT)
    assert np.abs(vectors - np.stack(plain.encode(said(*TEXTS)))).max() > 1e-3
    found = dict(trained.network.named_parameters())
    changed = {n for n, each in plain.network.named_parameters() if not torch.equal(each, found[n])}
    assert changed
    assert all(name.startswith("encoder-layer-5-") for name in changed)
    # ... and again to the bit
    learned(LastLayers(SHORT, 1), tmp_path / "b")
    a, b = (tmp_path / each / "weights.safetensors" for each in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_a_transformers_folder_of_the_users_is_trained_and_written_whole(tmp_path):
    transformers = pytest.importorskip("transformers")
    from pipeline.encoders.models.text_embedding import WEIGHTS
    from pipeline.encoders.models.weights import weights_path

    source = weights_path(WEIGHTS).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    own = tmp_path / "own"
    transformers.BertModel(config).save_pretrained(own)
    tokenizer.save_pretrained(own)
    blocks = LastLayers({**SHORT, "model": str(own)}, 1)
    _, options = learned(blocks, tmp_path / "tuned")
    vectors = np.stack(TextEmbedding(CPU, **options).encode(said(*TEXTS)))
    before = np.stack(TextEmbedding(CPU, model=str(own), **SHORT).encode(said(*TEXTS)))
    assert np.abs(vectors - before).max() > 1e-3


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--fine-tune", "words", "--blocks", 7], "--blocks = 7: its network has 6 that can be"),
        (["--fine-tune", "words", "--set", "stages.words.options.weights=w.txt"],
         "stages.words.options.weights = "),
        (["--fine-tune", "words", "--head", "mlp"], "--head = mlp: it does nothing for --fine-"),
        (["--fine-tune", "lok"], "--fine-tune = lok: it is no stage of the file; did you mean"),
        (["--fine-tune", "look", "--blocks", 16], "--blocks = 16: EfficientNet-Lite0 has 15"),
        (["--fine-tune", "look", "--set", "stages.look.encoder=color_histogram",
          "--set", "stages.look.options={}"],
         "--fine-tune = look: its encoder color_histogram has no blocks"),
        (["--fine-tune", "look", "--set", "stages.look.options.model=net.onnx"],
         "stages.look.options.model = "),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_named(capsys, folder, more, line):
    code, _, said = train(capsys, folder, *more, "-o", folder / "none")
    assert code == 2
    assert f"motet: error: {line}" in said
