"""Networks and weights of the user's own: safetensors, .pth, torch.export, TorchScript, ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from model_media import OFFLINE_MODELS, clip_of, photo

from pipeline.encoders.loading import load_encoder
from pipeline.encoders.models.image_pixels import Pixels
from pipeline.encoders.models.lite0 import WEIGHTS
from pipeline.encoders.models.ocr import DETECTOR
from pipeline.encoders.models.weights import weights_path
from pipeline.errors import InvalidInput

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")
SEEN = {"size": 64, "crop": 1.0, "mean": 0.5, "std": [0.5, 0.5, 0.25]}
PIXELS = Pixels(64, 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.25))
TEN = [f"thing {number}" for number in range(10)]


@pytest.fixture(scope="module")
def tensors():
    return torch.load(weights_path(WEIGHTS), weights_only=True)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 10),
    ).eval()  # fmt: skip


def script(net, path):
    with pytest.warns(FutureWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 64, 64)), path)


def ten_classes(tensors):
    """Lite0 with a last layer of ten classes, the first ten of ImageNet."""
    cut = {n: t[:10] if n.startswith("_fc") else t for n, t in tensors.items()}
    return {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in cut.items()
    }


@pytest.mark.parametrize("batch", [1, 3])
def test_a_scripted_network(batch, net, tmp_path):
    path = tmp_path / "net.ts"
    script(net, str(path))
    frames = [photo("china.jpg"), photo("flower.jpg")]
    options = {"model": str(path), "batch": batch, **SEEN}
    encoder = load_encoder("image_embedding", options, CPU)
    with torch.inference_mode():
        expected = net(PIXELS.tensor(frames, CPU)).numpy()
    found = encoder.encode([clip_of(frame) for frame in frames])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert encoder.length == 10


def test_an_exported_network_and_that_of_the_documents(tmp_path):
    """In a process of its own: torch.export brings Triton, which complains as a process ends."""
    program = Path(__file__).parents[1] / "support" / "exported_network.py"
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all agree\n"


def test_a_network_of_onnx():
    """The one with which RapidOCR finds text: a map of one channel, whose mean is the vector."""
    path = weights_path(DETECTOR)
    encoder = load_encoder("image_embedding", {"model": str(path), **SEEN}, CPU)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    frame = photo("china.jpg")
    pictures = PIXELS.tensor([frame], CPU).contiguous().numpy()
    [text_map] = session.run(None, {session.get_inputs()[0].name: pictures})
    [vector] = encoder.encode([clip_of(frame)])
    assert (encoder.length, vector.shape) == (1, (1,))
    np.testing.assert_allclose(vector, text_map.mean(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_of_lite0_with_other_classes(ending, tensors, tmp_path):
    path, names = tmp_path / f"ten{ending}", tmp_path / "ten.txt"
    if ending == ".pth":
        torch.save({"state_dict": ten_classes(tensors)}, path)
    else:
        from safetensors.torch import save_file

        save_file(ten_classes(tensors), path)
    names.write_text("\n".join(TEN) + "\n")
    clip = clip_of(photo("china.jpg"))
    options = {"weights": str(path), "labels": str(names), "top": 10, "activation": "sigmoid"}
    [found] = load_encoder("image_labels", options, CPU).encode([clip])
    ours = {"top": 1000, "activation": "sigmoid"}
    [all_of_them] = load_encoder("image_labels", ours, CPU).encode([clip])
    first = {"tench", "goldfish", "great white shark", "tiger shark", "hammerhead"}
    expected = sorted(e["score"] for e in all_of_them["labels"] if e["label"] in first)
    ten = {each["label"]: each["score"] for each in found["labels"]}
    assert sorted(ten[name] for name in TEN[:5]) == pytest.approx(expected, abs=1e-5)
    [vector] = load_encoder("image_embedding", {"weights": str(path)}, CPU).encode([clip])
    [standard] = load_encoder("image_embedding", {}, CPU).encode([clip])
    np.testing.assert_allclose(vector, standard, atol=1e-6)


def told(name: str, options: dict) -> str:
    with pytest.raises(InvalidInput) as caught:
        load_encoder(name, options, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_of_another_network_are_told_in_one_line(tensors, net, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(net.state_dict(), path)
    line = told("image_embedding", {"weights": str(path)})
    assert "it lacks _conv_stem.weight, _bn0.weight and" in line
    assert "it also has 0.weight, 0.bias" in line
    torch.save({**tensors, "_bn0.weight": torch.zeros(7)}, path)
    assert "has in another shape _bn0.weight" in told("image_embedding", {"weights": str(path)})


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_that_cannot_be_read_are_told_in_one_line(ending, tmp_path):
    path = tmp_path / f"noise{ending}"
    path.write_bytes(b"no weights at all")
    assert "it cannot be read" in told("image_embedding", {"weights": str(path)})


def test_a_pickle_of_anything_but_tensors_is_refused(tmp_path):
    path = tmp_path / "program.pth"
    torch.save({"state_dict": print}, path)
    assert "it cannot be read" in told("image_embedding", {"weights": str(path)})


@pytest.mark.parametrize("ending", [".ts", ".pt2", ".onnx"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_that_cannot_be_loaded_is_told_in_one_line(ending, tmp_path):
    path = tmp_path / f"noise{ending}"
    path.write_bytes(b"no network at all")
    assert "it cannot be loaded" in told("image_embedding", {"model": str(path)})


def test_names_that_are_not_as_many_as_the_outputs(net, tmp_path):
    path = tmp_path / "net.ts"
    script(net, str(path))
    line = told("image_labels", {"model": str(path), **SEEN})
    assert "1000 names for a network with 10 outputs" in line
