"""A clip's frames are the same bits whatever else is in the batch (design section 6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.features import bundle as bundle_module
from pipeline.features.bundle import NAMES, FeatureConfig, bundle, columns
from pipeline.features.framing import tile_frames
from pipeline.features.log_mel import log_mel, mfcc
from pipeline.features.mel import MelConfig

CONFIGS = [MelConfig(), MelConfig(16_000, 2048, 512, 128), MelConfig(n_fft=405, n_mels=13),
           MelConfig(8_000, 200, 80, 40)]  # fmt: skip


def clip(seed: int, count: int = 16_000):
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


@pytest.fixture(autouse=True)
def threads():
    """One, as in an encoder's actor; gives the switch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("feature", [log_mel, mfcc])
def test_one_clip_in_every_place_of_64(feature, config: MelConfig):
    count = 8_000 if config == MelConfig() else 3_000
    mates = [clip(seed, count) for seed in range(1, 64)]
    probe = clip(0, count)
    alone = bits(feature([probe], config)[0])
    for place in (0, 1, 8, 31, 63):
        batch = [*mates[:place], probe, *mates[place:]]
        assert bits(feature(batch, config)[place]) == alone


@pytest.mark.parametrize("config", CONFIGS[:2], ids=str)
def test_every_batch_equals_its_singles_at_random_lengths(config: MelConfig):
    rng = np.random.default_rng(5)
    for size in (2, 3, 9):
        clips = [
            clip(int(seed), int(rng.integers(0, 20_000))) for seed in rng.integers(0, 99, size)
        ]
        for together, samples in zip(log_mel(clips, config), clips, strict=True):
            assert bits(together) == bits(log_mel([samples], config)[0])


def test_a_clip_at_every_offset_of_a_tile():
    """Mates of one frame each move the probe frame by frame through the tile."""
    probe = clip(0, 1_000)
    alone = bits(log_mel([probe])[0])
    for ahead in range(0, tile_frames(MelConfig(), torch.device("cpu")), 5):
        assert bits(log_mel([*[clip(1, 100)] * ahead, probe])[ahead]) == alone


def test_mates_of_nan_and_infinity_reach_nobody():
    probe = clip(0)
    poison = [np.full(n, value, np.float32) for n in (1, 16_000) for value in (np.nan, np.inf)]
    alone = bits(log_mel([probe])[0])
    for feature in (log_mel([poison[0], probe, *poison])[1], log_mel([*poison, probe])[4]):
        assert bits(feature) == alone
    assert torch.isnan(log_mel([poison[1]])[0]).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_change_no_bit(threads, count: int):
    clips = [clip(seed) for seed in range(9)]
    threads(1)
    one = [bits(each) for each in log_mel(clips)]
    threads(count)
    assert [bits(each) for each in log_mel(clips)] == one


def test_the_same_call_again_gives_the_same_bits():
    clips = [clip(seed, 12_345) for seed in range(5)]
    assert list(map(bits, log_mel(clips))) == list(map(bits, log_mel(clips)))


# -- all features of a bundle ----------------------------------------------------------------

BUNDLES = [
    FeatureConfig(16_000, 2048, 512, 128),
    FeatureConfig(),
    FeatureConfig(44_100, 1201, 480, 40),
    FeatureConfig(n_fft=405, hop_length=101, n_mels=13, n_chroma=7, win_length=300, center=False),
]


def all_bits(clips, config: FeatureConfig, names=NAMES) -> list[bytes]:
    return [bits(rows) for rows in bundle(clips, names, config)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 6_000), min_size=1, max_size=12).flatmap(st.permutations),
    st.sampled_from(BUNDLES),
)
def test_any_batch_in_any_order_is_its_singles(counts, config: FeatureConfig):
    clips = [clip(seed, count) for seed, count in enumerate(counts)]
    singles = [all_bits([samples], config)[0] for samples in clips]
    assert all_bits(clips, config) == singles
    assert all_bits(clips[::-1], config) == singles[::-1]


@pytest.mark.parametrize("config", BUNDLES, ids=str)
def test_every_place_of_a_tile_and_every_size_of_it(monkeypatch, config: FeatureConfig):
    """8,192 is the tile of a GPU, run on the CPU."""
    probe = clip(0, 1_500)
    own = tile_frames(config, torch.device("cpu"))
    alone = all_bits([probe], config)[0]
    mate = clip(1, max(100, config.n_fft))
    for ahead in range(0, own, 5):
        assert all_bits([*[mate] * ahead, probe], config)[ahead] == alone
    for tile in (64, 96, 192, 8_192):
        monkeypatch.setattr(bundle_module, "tile_frames", lambda *_, tile=tile: tile)
        assert all_bits([mate, probe], config)[1] == alone


@pytest.mark.parametrize("config", BUNDLES, ids=str)
def test_a_feature_is_the_same_whichever_others_are_asked_for(config: FeatureConfig):
    clips = [clip(seed, 2_000 + 777 * seed) for seed in range(4)]
    together = bundle(clips, NAMES, config)
    widths = [config.width(name) for name in NAMES]
    assert sum(widths) == len(columns(NAMES, config))
    for index, name in enumerate(NAMES):
        at = sum(widths[:index])
        for rows, alone in zip(together, bundle(clips, (name,), config), strict=True):
            assert bits(rows[:, at : at + widths[index]]) == bits(alone)


@pytest.mark.parametrize("config", BUNDLES[:2], ids=str)
def test_threads_change_no_bit_of_any_feature(threads, config: FeatureConfig):
    clips = [clip(seed, 9_000) for seed in range(20)]
    one = all_bits(clips, config)
    for count in (2, 3):
        threads(count)
        assert all_bits(clips, config) == one


def test_mates_of_nan_and_infinity_reach_no_feature_of_others():
    poison = [np.full(n, value, np.float32) for n in (1, 16_000) for value in (np.nan, np.inf)]
    probe, config = clip(0), BUNDLES[0]
    assert all_bits([*poison, probe, *poison], config)[4] == all_bits([probe], config)[0]
    for name in NAMES:
        if name != "zero_crossing_rate":  # signs are always there
            assert not torch.isfinite(bundle(poison[2:3], (name,), config)[0]).any()
