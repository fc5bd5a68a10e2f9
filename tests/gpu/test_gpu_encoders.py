"""Every built-in encoder on a CUDA device: the CPU's answers, and no batch mate in them."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from on_gpu import CPU, GPU, NEEDS_GPU, assert_alike, clips

from pipeline.batching.batch import StageJob
from pipeline.costs.engines import engines
from pipeline.encoders.base import Clip, Encoder
from pipeline.encoders.loading import load_encoder
from pipeline.encoders.outputs import checked
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import EncodeTask
from pipeline.encoders.to_device import to_device
from pipeline.spec.catalog import AVAILABLE, BUILTIN

pytestmark = NEEDS_GPU

FEATURES = [
    "log_mel", "mfcc", "mfcc_delta", "mfcc_delta2", "chroma", "centroid", "bandwidth", "rolloff",
    "flatness", "zero_crossing_rate", "rms",
]  # fmt: skip
MODELS = pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs motet[models]")
# Beside each encoder as it is: all that the classical ones can do.
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in AVAILABLE if name != "librosa_feature"),
    ("librosa_feature", {"name": "spectral_contrast"}),
    ("log_mel", {"n_fft": 2048, "hop_length": 512, "n_mels": 128}),
    ("mfcc", {"deltas": 2, "deviation": True, "lifter": 22}),
    ("chroma", {"deviation": True, "n_chroma": 24}),
    ("spectral", {"features": FEATURES, "deviation": True}),
    ("audio_clean", {"gate_db": 9, "reduce_db": 20}),
    ("spectrogram_image", {"scale": "peak", "color": "cubehelix"}),
]
# Absolute and relative; vectors of 0.1 to 1,000. A mean of dB is held to 1e-3 dB (contract).
TOLERANCE = {
    "log_mel": 1e-3, "mfcc": 1e-3, "spectral": 1e-3, "audio_clean": 1e-6, "audio_embedding": 1e-3,
}  # fmt: skip
FLOAT32 = {"speech_to_text", "audio_embedding"}  # else int8 here and float16 there


def built(name: str, options: dict[str, Any], device: torch.device) -> Encoder:
    if name in FLOAT32:
        options = {"compute_type": "float32", **options}
    return load_encoder(name, options, device)


@lru_cache(maxsize=1)
def whisper_runs_here() -> bool:
    if GPU.type == "cpu":
        return True
    import ctranslate2

    return bool(ctranslate2.get_cuda_device_count())


def case_id(value: object) -> str:
    return value if isinstance(value, str) else ",".join(value) or "as it is"


@pytest.mark.timeout(600)  # the first call of a process loads kernels and compiles librosa's
@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(
            name, options, marks=[pytest.mark.models, MODELS] if BUILTIN[name].models else []
        )
        for name, options in CASES
    ],
    ids=case_id,
)
def test_an_encoder_gives_what_it_gives_on_the_cpu(name: str, options: dict[str, Any], request):
    """Features also where another encoder has let products be inexact; networks keep to torch's
    own default, which is exact.
    """
    if not BUILTIN[name].models:
        request.getfixturevalue("tf32_allowed")
    if name in FLOAT32 and not whisper_runs_here():
        pytest.skip("CTranslate2 finds no CUDA device")
    on_gpu, on_cpu = built(name, options, GPU), built(name, options, CPU)
    heard = clips(5)
    outputs = [checked(on_gpu.gives, output) for output in on_gpu.encode(heard)]
    for here, there in zip(outputs, on_cpu.encode(heard), strict=True):
        assert_alike(here, checked(on_cpu.gives, there), TOLERANCE.get(name, 2e-4))
    [alone] = on_gpu.encode([heard[3]])
    assert_alike(checked(on_gpu.gives, alone), outputs[3], 1e-5)


@pytest.mark.usefixtures("tf32_allowed")
@pytest.mark.parametrize("name", ["log_mel", "mfcc", "chroma", "spectral", "spectrogram_image"])
def test_classical_encoders_give_the_same_bits_in_every_batch(name: str):
    encoder = load_encoder(name, {}, GPU)
    heard = clips(20)
    for clip, together in zip(heard, encoder.encode(heard), strict=True):
        [alone] = encoder.encode([clip])
        assert together.tobytes() == alone.tobytes()


@pytest.mark.models
@MODELS
@pytest.mark.parametrize("name", ["image_embedding", "image_labels", "text_embedding"])
def test_the_networks_of_torch_are_on_the_device(name: str):
    encoder = load_encoder(name, {}, GPU)
    if GPU.type == "cuda":
        before = torch.cuda.memory_allocated(GPU)
        assert before >= sum(each.size_bytes or 0 for each in engines(encoder))
    assert [each.library for each in engines(encoder)] == ["torch"]


@pytest.mark.models
@MODELS
def test_a_network_of_the_users_gives_what_it_gives_on_the_cpu(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 10),
    ).eval()
    path = str(tmp_path / "net.ts")
    with pytest.warns(FutureWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 64, 64)), path)
    options = {"model": path, "size": 64, "mean": 0.5, "std": 0.5}
    seen = clips(5)
    on_gpu, on_cpu = (load_encoder("image_embedding", options, each) for each in (GPU, CPU))
    for here, there in zip(on_gpu.encode(seen), on_cpu.encode(seen), strict=True):
        assert_alike(here, there, 2e-4)


@pytest.mark.skipif(GPU.type != "cuda", reason="on the CPU the memory is the array's own")
def test_what_is_on_its_way_to_the_device_is_not_the_array_any_more():
    array = np.ones(64 << 20, np.uint8)
    there = to_device(array, GPU)
    array[:] = 0
    assert (there.device.type, there.dtype) == ("cuda", torch.uint8)
    assert bool((there == 1).all())


class Greedy:
    """Takes a third of the device's memory for each clip: two fit at once, four do not."""

    takes, gives, length = "vector", "vector", 1

    def __init__(self, device: torch.device) -> None:
        self._device = device
        free, _ = torch.cuda.mem_get_info(device)
        self._each = free // 3
        self.sizes: list[int] = []

    def encode(self, batch: list[Clip]) -> list[np.ndarray]:
        held = [torch.empty(self._each, dtype=torch.uint8, device=self._device) for _ in batch]
        self.sizes.append(len(held))
        return [clip.vector for clip in batch]


@pytest.mark.skipif(GPU.type != "cuda", reason="the CPU's memory is everybody's")
def test_a_batch_that_does_not_fit_is_split_until_it_does():
    """Contract: every window gets its answer, whatever the device can hold at once."""
    torch.cuda.empty_cache()
    encoder = Greedy(GPU)
    task = EncodeTask(encoder, StagePlan("greedy", ("up",), length=1))
    values = [np.array([number], np.float32) for number in range(8)]
    jobs = [StageJob("s", 0, 1, upstream={"up": value}) for value in values]
    results = task.run(jobs)
    assert [result.failure for result in results] == [None] * 8
    assert [result.output.tolist() for result in results] == [[number] for number in range(8)]
    assert encoder.sizes == [2, 2, 2, 2]
    torch.cuda.empty_cache()
