"""Results found by what they mean: the real model, on sentences that anyone can tell apart."""

from __future__ import annotations

import pytest
from model_media import OFFLINE_MODELS

from pipeline.search import Meaning, SearchIndex

pytestmark = OFFLINE_MODELS

SAID = [
    "please help me, I fell down the stairs",
    "the invoice was paid on Tuesday",
    "a dog barks in the yard",
    "somebody is playing the piano",
    "the price of the shares has fallen",
    "it is raining outside",
    "the nurse gives him his medicine",
    "the car stopped at the red light",
]


@pytest.fixture(scope="module")
def meant(offline_on_one_thread):
    index = SearchIndex(Meaning())
    for start, text in enumerate(SAID):
        window = {"start_us": start, "end_us": start + 1}
        index.add({"stream": "s", "window": window, "output": {}, "text": {"speech": text}})
    index.embed()
    return index


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("an accident in the house", 0),
        ("a bill", 1),
        ("an animal makes noise", 2),
        ("music", 3),
        ("stock market losses", 4),
        ("bad weather", 5),
        ("drugs for a patient", 6),
        ("traffic", 7),
    ],
)
def test_what_means_the_same_in_other_words_is_found_first(meant, question, place):
    [hit] = meant.find(question, 1)
    assert hit.passage.text == SAID[place]


def test_what_has_nothing_to_do_with_anything_is_not_found(meant):
    assert meant.find("quantum chromodynamics on a lattice", 5) == []
