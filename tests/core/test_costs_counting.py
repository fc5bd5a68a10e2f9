"""Cost cards: what is counted is what a pencil counts, and what nobody counts is said."""

from __future__ import annotations

import math
import os
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_media import NEEDS_MODELS

from pipeline.costs.card import cost_card
from pipeline.costs.device_time import device_time
from pipeline.costs.engines import Engine, engines
from pipeline.costs.flops import counted_flops
from pipeline.costs.memory import PeakMemory
from pipeline.costs.processor import float32_peak, float32_peak_of, processor_name
from pipeline.costs.words import mebibytes, scaled
from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder
from pipeline.features.bundle import FeatureConfig, bundle
from pipeline.features.mel import mel_filters

CPU = torch.device("cpu")
MIB = 1 << 20
small = st.integers(1, 9)
untimed = settings(deadline=None, max_examples=30)


# -- networks ---------------------------------------------------------------------------------


class Slotted:
    __slots__ = ("inside",)

    def __init__(self, inside: object) -> None:
        self.inside = inside


class Attributed:
    def __init__(self, inside: object) -> None:
        self.inside, self.itself, self.name = inside, self, "of no interest"

    def method(self) -> object:
        return self.inside


WRAPPINGS = [
    Slotted,
    Attributed,
    lambda inside: [1, "x", inside, inside],
    lambda inside: {"key": (inside,)},
    lambda inside: lambda: inside,
    lambda inside: Attributed(inside).method,
    lambda inside: partial(print, inside),
]


@untimed
@given(st.lists(st.sampled_from(WRAPPINGS), max_size=6))
def test_a_network_is_found_once_wherever_it_is_held(wrappings):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    holder: object = net
    for wrap in wrappings:
        holder = wrap(holder)
    assert engines(holder) == [Engine("torch", 3 * 4 + 4 + 4 * 2 + 2, 4 * 26)]


def test_shared_weights_count_once_and_buffers_are_no_parameters():
    layer = torch.nn.Linear(10, 10, bias=False)
    assert engines(torch.nn.Sequential(layer, layer)) == [Engine("torch", 100, 400)]
    # of a batch norm over 8: weight and bias; two running values each, and one count of 8 bytes
    assert engines(torch.nn.BatchNorm1d(8)) == [Engine("torch", 16, 4 * 32 + 8)]
    assert engines(torch.nn.Linear(10, 10, bias=False).half()) == [Engine("torch", 100, 200)]


def test_an_encoder_without_a_network_has_none():
    assert engines(load_encoder("hash_text", {}, CPU)) == []
    assert engines(load_encoder("log_mel", {}, CPU)) == []


# -- operations -------------------------------------------------------------------------------


@untimed
@given(small, small, small)
def test_a_product_is_two_operations_a_multiply_add(m: int, k: int, n: int):
    left, right = torch.rand(m, k), torch.rand(k, n)
    assert counted_flops(lambda: left @ right) == 2 * m * k * n


@untimed
@given(small, st.integers(1, 10))
def test_transforms_are_counted_by_their_points(rows: int, rungs: int):
    points = 2**rungs
    line = torch.rand(rows, points)
    spectrum = torch.fft.fft(line)
    half = torch.fft.rfft(line)
    real, full = round(2.5 * points * rungs * rows), 5 * points * rungs * rows
    assert counted_flops(lambda: torch.fft.rfft(line)) == real
    assert counted_flops(lambda: torch.fft.irfft(half, points)) == real
    assert counted_flops(lambda: torch.fft.ifft(spectrum)) == full


def test_features_are_counted_frame_by_frame_with_their_padding():
    """log-mel of a second: 101 frames, or some more that fill up; its bank has few numbers."""
    clip = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    config = FeatureConfig(16_000, 400, 160, 64)
    found = counted_flops(lambda: bundle([clip], ("log_mel",), config))
    a_frame = 2.5 * 400 * math.log2(400) + 2 * np.count_nonzero(mel_filters(config))
    frames = round(found / a_frame)
    assert 101 <= frames <= 192
    assert found == pytest.approx(frames * a_frame, abs=1)
    cepstra = counted_flops(lambda: bundle([clip], ("mfcc",), config))
    assert cepstra >= 101 * (a_frame + 2 * 64 * 20)
    odd = FeatureConfig(16_000, 401, 160, 64)  # which torch transforms, as it does on a GPU
    assert counted_flops(lambda: bundle([clip], ("log_mel",), odd)) > 101 * a_frame


# -- cards ------------------------------------------------------------------------------------


def test_the_card_of_a_head_on_vectors():
    head = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5))
    rows = list(torch.rand(32, 128))
    card = cost_card("head", lambda batch: head(torch.stack(list(batch))), rows, head, "cpu")
    assert (card.libraries, card.batch, card.device) == (("torch",), 32, "cpu")
    assert card.parameters == 128 * 64 + 64 + 64 * 5 + 5
    assert card.parameter_bytes == 4 * card.parameters
    assert card.flops == 2 * (128 * 64 + 64 * 5)
    assert card.seconds > 0
    assert card.flops_per_second == pytest.approx(card.flops / card.seconds)
    assert card.why == ()
    shown = dict(card.rows())
    assert (shown["parameters"], shown["FLOPs an item"]) == ("8.58 k", "17 kFLOP")
    assert card.as_json()["libraries"] == ["torch"]


def test_what_is_not_counted_says_why():
    clips = [Clip("s", 0, 1, text="some words")]
    encoder = load_encoder("hash_text", {}, CPU)
    card = cost_card("words", encoder.encode, clips, encoder, CPU)
    assert (card.flops, card.flops_per_second, card.parameters) == (None, None, 0)
    assert card.why == ("FLOPs not counted: no product, convolution or transform of torch in it",)
    assert dict(card.rows())["FLOPs an item"] == "not counted"


def test_an_encoder_that_fails_only_while_torch_counts_is_told():
    def run(batch: list[int]) -> None:
        if torch.utils._python_dispatch.is_in_torch_dispatch_mode():
            raise RuntimeError("no modes here")

    card = cost_card("odd", run, [1], run, CPU)
    assert card.why == ("FLOPs not counted: it fails while torch counts (RuntimeError: no modes "
                        "here)",)  # fmt: skip


class TestWithWeights:
    pytestmark = NEEDS_MODELS

    def test_networks_of_other_libraries_tell_neither_parameters_nor_flops(self):
        encoder = load_encoder("voice_activity", {}, CPU)
        clip = Clip("s", 0, 1_000_000, np.zeros(16_000, np.float32), 16_000, 0)
        card = cost_card("voice", encoder.encode, [clip], encoder, CPU)
        assert (card.libraries, card.parameters, card.flops) == (("onnxruntime",), None, None)
        assert card.parameter_bytes is not None  # the size of its file
        assert MIB < card.parameter_bytes < 2 * MIB
        assert card.why == ("onnxruntime tells neither parameters nor FLOPs",)

    def test_lite0_is_what_its_authors_say(self):
        """4.7 million parameters and 407 million multiply-adds (EfficientNet-Lite, TensorFlow
        TPU repository), of which we count those of convolutions.
        """
        encoder = load_encoder("image_embedding", {}, CPU)
        frame = np.full((180, 320, 3), 127, np.uint8)
        clip = Clip("s", 0, 1, frames=[frame], times_us=[0], ends_us=[1])
        card = cost_card("seen", encoder.encode, [clip], encoder, CPU)
        assert card.parameters == pytest.approx(4.7e6, rel=0.02)
        assert card.flops == pytest.approx(2 * 407e6, rel=0.08)


# -- memory, and where time goes ---------------------------------------------------------------


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel's peak cannot be reset"
)
def test_the_peak_is_what_was_held_at_once_and_is_forgotten():
    peak = PeakMemory(CPU)
    held = np.ones(96 * MIB, np.uint8)
    del held
    assert 90 * MIB < peak.peak_bytes() < 200 * MIB
    assert PeakMemory(CPU).peak_bytes() < 48 * MIB


def test_time_is_parted_into_networks_and_what_surrounds_them():
    inner = torch.nn.Sequential(torch.nn.Linear(400, 400), torch.nn.ReLU())
    net = torch.nn.Sequential(inner, torch.nn.Linear(400, 400))
    rows = torch.rand(400, 400)
    within = device_time(lambda: net(rows), CPU)
    assert within.network_us > 0
    assert 0 <= within.features_share < 0.5
    around = device_time(lambda: torch.fft.rfft(rows), CPU)
    assert (around.network_us, around.features_share) == (0, 1)
    both = device_time(lambda: net(torch.fft.rfft(rows).abs() @ torch.rand(201, 400)), CPU)
    assert 0 < both.network_us < both.total_us


def test_the_hooks_are_gone_even_where_a_network_fails():
    net = torch.nn.Linear(3, 3)
    hooks = torch.nn.modules.module._global_forward_hooks
    with pytest.raises(RuntimeError, match="shapes"):
        device_time(lambda: net(torch.rand(2, 4)), CPU)
    assert not hooks
    assert device_time(lambda: net(torch.rand(2, 3)), CPU).network_us > 0


@pytest.mark.parametrize(
    ("capability", "multiprocessors", "clock_khz", "teraflops"),
    [((9, 0), 132, 1_980_000, 67), ((8, 0), 108, 1_410_000, 19.5), ((8, 9), 58, 2_040_000, 30.3),
     ((7, 5), 40, 1_590_000, 8.1), ((7, 0), 80, 1_530_000, 15.7)],
    ids=["H100", "A100", "L4", "T4", "V100"],
)  # fmt: skip
def test_the_float32_peak_is_that_of_the_data_sheets(
    capability, multiprocessors, clock_khz, teraflops
):
    peak = float32_peak_of(capability, multiprocessors, clock_khz)
    assert peak == pytest.approx(teraflops * 1e12, rel=0.01)


def test_of_an_unknown_processor_no_peak_is_told():
    assert float32_peak_of((99, 0), 132, 1_980_000) is None
    assert float32_peak(CPU) is None
    assert processor_name(CPU)


# -- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, "not counted"), (0, "0"), (999, "999"), (999.6, "1 k"), (4_652_008, "4.65 M"),
     (7.7e8, "770 M"), (6.69e13, "66.9 T")],
)  # fmt: skip
def test_numbers_have_three_digits(number, shown):
    assert scaled(number) == shown


def test_sizes_are_in_mebibytes():
    assert (mebibytes(18_776_488), mebibytes(None)) == ("17.9 MiB", "not counted")
