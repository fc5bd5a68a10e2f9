"""Measuring on a CUDA device: it is waited for, its memory is seen, its time is parted."""

from __future__ import annotations

import pytest
import torch
from on_gpu import GPU, NEEDS_GPU, clips

from pipeline.costs.card import cost_card
from pipeline.costs.device_time import device_time
from pipeline.costs.memory import PeakMemory
from pipeline.costs.processor import float32_peak, processor_name
from pipeline.costs.timing import took_us
from pipeline.encoders.loading import load_encoder

pytestmark = [
    *NEEDS_GPU,
    pytest.mark.skipif(GPU.type != "cuda", reason="about a CUDA device alone"),
]

SIDE = 4096


def test_a_call_is_timed_to_the_end_of_its_kernels():
    """A product of 137 GFLOP cannot be over before the device could have done it."""
    left = torch.rand(SIDE, SIDE, device=GPU)
    into = torch.empty_like(left)
    torch.mm(left, left, out=into)
    once_us = took_us(lambda: torch.mm(left, left, out=into), GPU)
    ten_us = took_us(lambda: [torch.mm(left, left, out=into) for _ in range(10)], GPU)
    assert 5 < ten_us / once_us < 20


def test_the_peak_of_the_device_is_above_a_product_and_below_what_it_could_never_do():
    able = float32_peak(GPU)
    if able is None:
        pytest.skip(f"the float32 peak of {processor_name(GPU)} is not known")
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    left = torch.rand(SIDE, SIDE, device=GPU)
    took = took_us(lambda: left @ left, GPU)
    torch.set_float32_matmul_precision(precision)
    assert 0.2 < 2 * SIDE**3 / (took / 1e6) / able < 1.05


def test_peak_memory_is_that_of_the_device():
    torch.cuda.empty_cache()
    peak = PeakMemory(GPU)
    held = torch.empty(256 << 20, dtype=torch.uint8, device=GPU)
    del held
    assert peak.peak_bytes() >> 20 == 256
    assert PeakMemory(GPU).peak_bytes() == 0


def test_the_devices_time_is_parted_into_networks_and_what_surrounds_them():
    net = torch.nn.Sequential(torch.nn.Linear(SIDE, SIDE), torch.nn.ReLU()).to(GPU)
    rows = torch.rand(SIDE, SIDE, device=GPU)
    with torch.inference_mode():
        net(rows)
        within = device_time(lambda: net(rows), GPU)
        around = device_time(lambda: rows @ rows, GPU)
        both = device_time(lambda: net(rows @ rows), GPU)
    assert within.features_share < 0.05
    assert (around.network_us, around.features_share) == (0, 1)
    assert 0.2 < both.features_share < 0.8
    assert both.total_us <= 1.2 * took_us(lambda: net(rows @ rows), GPU)


def test_an_encoders_card_on_the_device_has_the_cpus_operations_or_more():
    """Frames go through in tiles, which are larger on a GPU."""
    heard = clips(8)
    encoders = [load_encoder("log_mel", {}, device) for device in (GPU, torch.device("cpu"))]
    here, there = (
        cost_card("log_mel", each.encode, heard, each, device)
        for each, device in zip(encoders, (GPU, "cpu"), strict=True)
    )
    assert here.device == "cuda"
    assert here.flops is not None
    assert there.flops is not None
    assert here.flops >= there.flops
    assert here.memory_bytes > 0
