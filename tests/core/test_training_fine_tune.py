"""The last blocks of an image network, trained on labelled pictures and run in a pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.cli import main
from pipeline.encoders.base import Clip

pytest.importorskip("efficientnet_lite_pytorch", reason="needs motet[models]")

from pipeline.encoders.models.image import ImageEmbedding
from pipeline.training.fine_tune.pictures import Before, LastBlocks

pytestmark = pytest.mark.models

CPU, SECOND_US = torch.device("cpu"), 1_000_000
SMALL = {"size": 32, "crop": 1.0, "max_frames": 2}
FILE = {
    "version": 1,
    "name": "signs",
    "inputs": {"cam": {"topic": "in.cam", "type": "image/png"}},
    "windows": {"size": "1s"},
    "stages": {"look": {"encoder": "image_embedding", "of": "cam", "options": SMALL}},
    "fusion": {"rule": "concat", "of": {"look": 1}},
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
    assert card["data"]["rows"] == STREAMS * EACH
    assert card == {**card, **json.loads((out / "card.json").read_text())}
    assert f"stages: {{look: {{options: {{weights: {out / 'weights.safetensors'}}}}}}}" in said
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


@pytest.mark.parametrize(
    ("more", "line"),
    [
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
