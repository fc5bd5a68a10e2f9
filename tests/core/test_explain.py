"""Explanations: what is cut out, what shares add up to, and a whole window by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pipelines import LOBBY, RATE, SECOND_US, jpeg, load, media, tone
from random_heads import SHAPES, random_head

from pipeline.encoders.base import Clip
from pipeline.errors import InvalidInput
from pipeline.evaluation.explain_gradients import TorchHead, of_head, of_sum
from pipeline.evaluation.explain_graph import StageGraph, window_of
from pipeline.evaluation.explain_occlusion import (
    BANDS,
    FRAMES_MAX,
    SLICES,
    TILES,
    WORDS_MAX,
    grid_cells,
    tiles,
    time_cells,
    words,
)
from pipeline.evaluation.explain_page import warnings_of, write_explanation
from pipeline.evaluation.explain_pictures import colours
from pipeline.evaluation.explaining import explain
from pipeline.fusion.head_files import save_head
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.rules import Fuser
from pipeline.record import Facts
from pipeline.spec.head_card import features_of

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "explain.schema.json").read_text()
)
LENGTHS = {"sound": 5, "colour": 3, "words": 4}


@pytest.fixture(autouse=True)
def one_thread():
    """Arrays are small: threads that wait for each other take several times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- what is cut out --------------------------------------------------------------------------


def sound_clip(rng, rate, before_us=0, length_us=SECOND_US):
    count = round((before_us + length_us) * rate / 1e6)
    samples = rng.uniform(-1, 1, count).astype(np.float32)
    return Clip("s", 0, length_us, samples, rate, -before_us)


@given(
    seed=st.integers(0, 9),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
    before_us=st.sampled_from([0, 50_000, 333_333]),
    length_us=st.sampled_from([100, 1_000, 40_000, SECOND_US, 1_234_567]),
)
def test_the_cells_of_a_grid_hold_the_window_s_sound_once(seed, rate, before_us, length_us):
    clip = sound_clip(np.random.default_rng(seed), rate, before_us, length_us)
    whole = clip.samples.copy()
    begin = round(before_us * rate / 1e6)
    for cells in (
        time_cells(clip.start_us, clip.end_us),
        grid_cells(clip.start_us, clip.end_us, rate),
    ):
        left = Clip("s", 0, length_us, whole.copy(), rate, -before_us)
        for cell in cells:
            cell(left)
        np.testing.assert_allclose(left.samples[begin:], 0, atol=2e-6)
        np.testing.assert_array_equal(left.samples[:begin], whole[:begin])
        np.testing.assert_array_equal(clip.samples, whole)


def test_a_cell_takes_its_own_frequencies_of_its_own_time():
    times = np.arange(RATE) / RATE
    low, high = (np.sin(2 * np.pi * hertz * times) for hertz in (100, 3_000))
    clip = Clip("s", 0, SECOND_US, (low + high).astype(np.float32), RATE, 0)
    [cell] = [
        cell
        for cell in grid_cells(0, SECOND_US, RATE)
        if cell.start_us == 300_000 and cell.low_hz <= 3_000 < cell.high_hz
    ]
    cell(clip)
    inside = slice(round(0.3 * RATE), round(0.4 * RATE))
    np.testing.assert_allclose(clip.samples[inside], low[inside], atol=1e-6)
    outside = np.ones(RATE, bool)
    outside[inside] = False
    np.testing.assert_allclose(clip.samples[outside], (low + high)[outside], atol=1e-6)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_tiles_cover_every_pixel_once(height, width):
    seen = np.zeros((height, width), int)
    for tile in tiles(Clip("s", 0, 1, times_us=[0])):
        seen[tile.pixels(height, width)] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("count", [2, FRAMES_MAX + 1])
def test_a_tile_is_painted_with_the_mean_colour_frame_by_frame_where_they_are_few(count):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (12, 16, 3), np.uint8) for _ in range(count)]
    clip = Clip(
        "s", 0, SECOND_US, frames=frames, times_us=range(count), ends_us=range(1, count + 1)
    )
    few = count <= FRAMES_MAX
    every = tiles(clip)
    assert len(every) == TILES[0] * TILES[1] * (count if few else 1)
    every[TILES[1] + 2](clip)
    for number, (frame, painted) in enumerate(zip(frames, clip.frames, strict=True)):
        changed = (frame != painted).any(axis=2)
        assert changed.any() == (number == 0 or not few)
        if changed.any():
            assert (painted[2:4, 4:6] == np.rint(frame.mean(axis=(0, 1)))).all()
            changed[2:4, 4:6] = False
            assert not changed.any()


def test_words_are_left_out_one_by_one_and_signs_written_without_spaces_too():
    text = "He said: déjà-vu 你好."
    found = [text[each.first : each.last] for each in words(text)]
    assert found == ["He", "said", "déjà", "vu", "你", "好"]
    clip = Clip("s", 0, 1, text=text)
    words(text)[1](clip)
    assert clip.text == "He : déjà-vu 你好."


@given(count=st.integers(0, 300))
def test_long_texts_are_cut_into_groups_that_hold_each_word_once(count):
    text = " ".join(f"w{n}" for n in range(count))
    groups = words(text)
    assert len(groups) <= WORDS_MAX
    assert " ".join(text[g.first : g.last] for g in groups) == text


# -- shares of the numbers of vectors ---------------------------------------------------------


def a_window(rng):
    return {stage: rng.standard_normal(n).astype(np.float32) for stage, n in LENGTHS.items()}


@pytest.mark.parametrize("normalize", ["none", "l2"])
@pytest.mark.parametrize("shape", SHAPES, ids="-".join)
def test_the_torch_twin_is_the_head_and_shares_add_up(shape, normalize):
    rng = np.random.default_rng(3)
    spec, tensors = random_head(shape, rng, LENGTHS, normalize=normalize)
    for left_out in (None, "words"):
        vectors = a_window(rng)
        vectors.pop(left_out, None)
        masks = {s: np.array([s in vectors]) for s in LENGTHS}
        rows = {s: vectors.get(s, np.zeros(n))[None] for s, n in LENGTHS.items()}
        [logits] = HeadRule(spec, tensors).logits(rows, masks)
        read = {s: torch.from_numpy(v.astype(np.float64)[None]) for s, v in sorted(vectors.items())}
        if normalize == "l2":
            read = {s: v / v.norm() for s, v in read.items()}
        arrays = {name: torch.from_numpy(array) for name, array in tensors.items()}
        np.testing.assert_allclose(TorchHead(spec, arrays).logits(read)[0], logits, atol=1e-9)
        for label in range(len(spec.labels)):
            shares = of_head(spec, tensors, vectors, label)
            assert shares.complete, (shares.total, shares.difference, shares.panels)
            assert shares.by_stage.keys() == vectors.keys()


def test_shares_of_a_linear_head_are_weight_times_distance_from_the_mean():
    spec = HeadSpec("linear", "concat", ("no", "yes"), {"a": 2}, {"a": 1.0}, temperature=2.0)
    tensors = {
        "a.matrix": np.array([[1.0, 3.0], [0.0, -2.0]]),
        "a.offset": np.array([5.0, 7.0]),
        "a.centre": np.array([10.0, 1.0]),
        "a.scale": np.array([0.5, 4.0]),
        "bias": np.zeros(2),
    }
    shares = of_head(spec, tensors, {"a": np.array([14.0, 2.0], np.float32)}, 1)
    # (14 - 10) · 0.5 · 3 / 2 and (2 - 1) · 4 · -2 / 2
    np.testing.assert_allclose(shares.by_stage["a"], [3.0, -4.0], rtol=1e-12)
    assert shares.difference == pytest.approx(-1.0, rel=1e-12)
    assert shares.baselines == {"a": "mean"}


def test_shares_of_a_sum_by_hand():
    along = np.array([3.0, 4.0])
    shares = of_sum({"a": (np.array([3.0, 0.0]), along), "b": (np.array([0.0, 4.0]), along)}, along)
    np.testing.assert_allclose(shares.by_stage["a"], [9 / 25, 0], rtol=1e-15)
    np.testing.assert_allclose(shares.by_stage["b"], [0, 16 / 25], rtol=1e-15)
    assert shares.complete
    nothing = of_sum({"a": (np.zeros(2), np.zeros(2))}, np.zeros(2))
    assert (nothing.total, nothing.difference, nothing.complete) == (0, 0, True)


# -- a whole window ---------------------------------------------------------------------------


def pipeline(fusion, stages=None, folder=None):
    """LOBBY with the stages and inputs that this fusion rests on."""
    every = {**LOBBY["stages"], **(stages or {})}
    left, needed = list(fusion["of"]), {}
    while left:
        name = left.pop()
        if name in every:
            needed[name] = every[name]
            left.append(every[name]["of"])
    used = {stage["of"] for stage in needed.values()}
    inputs = {n: {**each, "gating": True} for n, each in LOBBY["inputs"].items() if n in used}
    return load({**LOBBY, "inputs": inputs, "stages": needed, "fusion": fusion}, None, folder)


SOUND = Facts("audio", "S16BE", RATE, 1, RATE)


def lobby_records(text="stop the fire fire"):
    """A tone in the middle of a second, a red picture and a text."""
    quiet = bytes(2 * round(0.3 * RATE))
    heard = quiet + tone(1_000, 0.4) + quiet
    return {
        "mic": [media("mic", 0, SECOND_US, payload=heard, facts=SOUND)],
        "cam": [media("cam", 0, SECOND_US, payload=jpeg((200, 0, 0)),
                      facts=Facts("image", "jpeg", width=16, height=16))],
        "chat": [media("chat", 0, SECOND_US, payload=text.encode())],
    }  # fmt: skip


def answered(spec, records):
    """The value of a result, as far as it is read, of these records."""
    graph = StageGraph(spec, window_of("s", 0, SECOND_US, records))
    fuser = Fuser.of(spec, graph.lengths)
    fused = fuser.fuse(graph.base.outputs)
    output = {"vector": None if fused.vector is None else fused.vector.tolist()}
    if fused.scores is not None:
        output = {"label": fused.label, "scores": fused.scores}
    return {
        "stream": "s",
        "window": {"start_us": 0, "end_us": SECOND_US},
        "output": output,
        "weights": fused.weights,
        "attribution": fused.attribution,
        "model": f"{spec.name}@sha256:{spec.model_hash(fuser.head_hash)}",
    }


@pytest.mark.parametrize(
    "fusion",
    [
        {"rule": "concat", "of": {"sound": 1, "colour": 1, "words": 1}},
        {"rule": "weighted_sum", "dim": 6, "of": {"sound": 1, "colour": 2, "words": 0.5}},
        {"rule": "concat", "normalize": "l2", "of": {"words": 1, "sound": 1}},
    ],
)
def test_without_a_head_a_stage_s_numbers_add_up_to_its_attribution(fusion):
    spec = pipeline(fusion)
    records = lobby_records()
    found = explain(spec, answered(spec, records), records).found
    assert found["check"] == {
        "same": True, "same_model": True, "tolerance": 1e-5, "changed": [],
    }  # fmt: skip
    assert found["explained"]["kind"] == "share"
    assert found["explained"]["worth"] == pytest.approx(1, abs=1e-12)
    for stage in found["stages"]:
        assert sum(stage["features"]) == pytest.approx(stage["attribution"], abs=1e-12)
    assert found["features"]["complete"]


def test_a_word_s_loss_is_what_the_answer_is_without_it():
    """Of hashed words F is a sum of one signed unit a word, so the losses are known."""
    spec = pipeline({"rule": "concat", "of": {"words": 1}})
    records = lobby_records("fire fire stop")
    vector = np.array(answered(spec, records)["output"]["vector"])
    [told] = explain(spec, answered(spec, records), records).found["media"]
    assert [part["text"] for part in told["parts"]] == ["fire", "fire", "stop"]
    for part, rest in zip(told["parts"], ["fire stop", "fire stop", "fire fire"], strict=True):
        left = np.array(answered(spec, lobby_records(rest))["output"]["vector"])
        loss = 1 - left @ vector / (vector @ vector)
        assert part["loss"] == pytest.approx(loss, abs=1e-12)


def test_the_time_and_the_band_of_a_tone_are_found(tmp_path):
    """A head that reads the loudness of a window, whose sound is a tone of 1 kHz in its middle."""
    spec, records = with_head(tmp_path, {"sound": 1})
    found = explain(spec, answered(spec, records), records, label="tone").found
    assert found["explained"]["label"] == "tone"
    [told] = found["media"]
    assert (told["name"], told["kind"], told["stages"]) == ("mic", "audio", ["sound"])
    losses = np.array([part["loss"] for part in told["parts"]])
    assert len(losses) == SLICES
    assert set(np.argsort(losses)[-4:]) == {3, 4, 5, 6}
    assert losses[[3, 4, 5, 6]].min() > 5 * np.abs(losses[[0, 1, 8, 9]]).max()
    grid = np.array(told["grid"]["loss"])
    assert grid.shape == (SLICES, BANDS)
    edges = told["grid"]["edges_hz"]
    [band] = [n for n in range(BANDS) if edges[n] <= 1_000 < edges[n + 1]]
    assert (grid[3:7].argmax(axis=1) == band).all()


def with_head(folder, of):
    """A head of labels ``quiet`` and ``tone`` that reads the mean loudness."""
    options = {"features": ["rms"], "n_fft": 256, "hop_length": 64, "rate": RATE}
    stages = {"sound": {"encoder": "spectral", "of": "mic", "options": options}}
    tensors = {
        "sound.matrix": np.array([[0.0, 1.0]]), "sound.offset": np.zeros(2), "bias": np.zeros(2),
    }  # fmt: skip
    fusion = {"rule": "concat", "of": of}
    bare = pipeline(fusion, stages, folder)
    spec = HeadSpec("linear", "concat", ("quiet", "tone"), {"sound": 1}, dict(of))
    save_head(folder / "head", spec, tensors, features_of(bare), {})
    return pipeline({**fusion, "head": "head"}, stages, folder), lobby_records()


def test_what_cannot_be_explained_is_told(tmp_path):
    spec, records = with_head(tmp_path, {"sound": 1})
    value = answered(spec, records)
    with pytest.raises(InvalidInput, match=r"--label = red: the head has no such label; name one"):
        explain(spec, value, records, label="red")
    bare = load(LOBBY)
    with pytest.raises(InvalidInput, match=r"--label = red: the pipeline has no head; leave it"):
        explain(bare, answered(bare, records), records, label="red")
    with pytest.raises(InvalidInput, match=r"no stage in fusion.of gives a vector"):
        explain(spec, value, {"cam": records["cam"]})


def test_another_answer_than_the_committed_one_is_told():
    spec, records = load(LOBBY), lobby_records()
    value = answered(spec, records)
    other = answered(spec, lobby_records("something else"))
    check = explain(spec, {**value, "output": other["output"]}, records).found["check"]
    assert (check["same"], check["same_model"], check["changed"]) == (
        False,
        True,
        ["output.vector"],
    )
    check = explain(spec, {**value, "model": "lobby@sha256:00"}, records).found["check"]
    assert (check["same"], check["same_model"]) == (True, False)


def test_what_a_stage_reads_of_another_stage_is_cut_too_and_both_run_again():
    """The text of an input reaches fusion through a stage that gives text as well."""
    stages = {
        "clean": {"encoder": "text_clean", "of": "chat"},
        "words": {"encoder": "hash_text", "of": "clean", "options": {"dim": 8}},
    }
    spec = pipeline({"rule": "concat", "of": {"words": 1}}, stages)
    records = lobby_records("fire stop")
    found = explain(spec, answered(spec, records), records)
    assert [part.name for part in found.parts] == ["chat", "clean"]
    direct, inner = found.found["media"]
    assert [p["loss"] for p in direct["parts"]] == [p["loss"] for p in inner["parts"]]
    assert direct["parts"][0]["loss"] != 0


# -- pictures ---------------------------------------------------------------------------------


def test_each_media_has_a_picture_in_which_what_counts_is_red(tmp_path):
    spec = pipeline({"rule": "concat", "of": {"sound": 1, "colour": 1, "words": 1}})
    rng = np.random.default_rng(1)
    frame = np.full((60, 80, 3), 128, np.uint8)
    frame[20:30, 30:40] = rng.integers(0, 256, (10, 10, 3))  # one tile is not like the others
    sink = io.BytesIO()
    Image.fromarray(frame).save(sink, "PNG")
    seen = Facts("image", "png", width=80, height=60)
    records = lobby_records("fire <b> 花 $x$")
    records["cam"] = [media("cam", 0, SECOND_US, payload=sink.getvalue(), facts=seen)]
    explained = explain(spec, answered(spec, records), records)
    found = explained.found
    [tiles_told] = [told["parts"] for told in found["media"] if told["kind"] == "image"]
    counting = [(part["row"], part["column"]) for part in tiles_told if part["loss"]]
    assert counting == [(2, 3)]
    paths = write_explanation(tmp_path / "why", explained)
    assert sorted(path.name for path in paths) == [
        "cam.png", "chat.png", "explain.html", "explain.json", "mic.png",
    ]  # fmt: skip
    jsonschema.validate(json.loads((tmp_path / "why" / "explain.json").read_text()), SCHEMA)
    assert warnings_of(found) == []
    drawn = np.asarray(Image.open(tmp_path / "why" / "cam.png").convert("RGB")).astype(int)
    tinted = np.abs(drawn[..., 0] - drawn[..., 2]) > 40
    rows, columns = np.nonzero(tinted)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert tinted.sum() > 0.8 * height * width, "one tile alone has a colour"
    assert 0.9 < height / width < 1.1
    page = (tmp_path / "why" / "explain.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "<b> " not in page
    assert ">花</span>" in page


def test_the_strongest_part_has_the_full_colour_and_the_sign_the_hue():
    red, blue, clear = colours([2.0, -1.0, 0.0])
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert red[3] == 2 * blue[3] > 0
    assert clear[3] == 0
    assert all(shade[3] == 0 for shade in colours([0.0, 0.0]))
