"""Length buckets: every item once, little padding, few calls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching.length_buckets import Bucket, length_buckets
from pipeline.encoders.base import Clip

LENGTHS = st.lists(st.integers(1, 300), max_size=80)


@given(LENGTHS, st.floats(0, 0.9), st.integers(1, 20))
def test_every_item_is_in_one_bucket_that_is_as_long_as_its_longest(lengths, padding_max, most):
    buckets = length_buckets(lengths, padding_max, most)
    assert sorted(place for _, places in buckets for place in places) == [*range(len(lengths))]
    for length, places in buckets:
        held = [lengths[place] for place in places]
        assert 1 <= len(held) <= most
        assert length == max(held)
        assert length * len(held) - sum(held) <= padding_max * length * len(held)


@given(LENGTHS, st.floats(0, 0.9), st.integers(1, 20))
def test_a_bucket_ends_only_where_the_next_item_would_not_do(lengths, padding_max, most):
    buckets = length_buckets(lengths, padding_max, most)
    for (length, places), (after, _) in itertools.pairwise(buckets):
        held = [lengths[place] for place in places]
        assert after <= min(held)
        computed = length * (len(held) + 1)
        assert len(held) == most or computed - sum(held) - after > padding_max * computed


@given(st.lists(st.integers(1, 300), max_size=60))
def test_without_padding_a_bucket_has_one_length(lengths):
    buckets = length_buckets(lengths, 0, 1_000)
    assert [length for length, _ in buckets] == sorted(set(lengths), reverse=True)


def test_an_example():
    assert length_buckets([5, 100, 90, 4, 98], 1 / 8, 64) == [
        Bucket(100, [1, 4, 2]),
        Bucket(5, [0, 3]),
    ]
    assert length_buckets([], 1 / 8, 64) == []


# -- in the encoder that uses them ------------------------------------------------------------

WORDS = ("window", "stream", "record", "lane", "slot", "clock", "floor", "kafka", "microphone")


@pytest.mark.models
def test_texts_that_run_together_waste_little_and_do_not_change_each_other():
    from pipeline.encoders.models.text_embedding import TextEmbedding

    encoder = TextEmbedding(torch.device("cpu"))
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(12)]
    calls: list[tuple[int, int, int]] = []
    states = encoder.network.states

    def counting(ids, mask):
        calls.append((*ids.shape, int(mask.sum())))
        return states(ids, mask)

    encoder.network.states = counting
    together = encoder.encode([Clip("s", 0, 1, text=text) for text in texts])
    assert sum(count for count, _, _ in calls) == len(texts)
    for count, length, own in calls:
        assert count * length - own <= count * length / 8
    assert len(calls) <= len(texts) * 2 // 3
    for text, vector in zip(texts, together, strict=True):
        [alone] = encoder.encode([Clip("s", 0, 1, text=text)])
        np.testing.assert_allclose(vector, alone, rtol=0, atol=1e-5)
