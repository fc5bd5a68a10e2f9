"""image_embedding and image_labels: EfficientNet-Lite0 on real pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_media import OFFLINE_MODELS, clip_of, photo
from moving_pictures import encoded
from PIL import Image

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.encoders.models.image_names import as_sentence, class_names, with_article
from pipeline.encoders.models.image_pixels import Pixels
from pipeline.encoders.models.lite0 import PIXELS
from pipeline.encoders.outputs import checked
from pipeline.errors import InvalidInput
from pipeline.media.film import read_film
from pipeline.media.film_decode import decode_film
from pipeline.spec.catalog import BUILTIN

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")
BUNNY = Path(__file__).parents[2] / "pipeline" / "demo" / "media" / "frames"


@pytest.fixture(scope="module")
def embedding():
    return load_encoder("image_embedding", {}, CPU)


@pytest.fixture(scope="module")
def labels():
    return load_encoder("image_labels", {}, CPU)


@pytest.fixture(scope="module")
def pictures():
    """Of several sizes, so that a batch is mixed."""
    bunny = [np.asarray(Image.open(path)) for path in sorted(BUNNY.glob("*.jpg"))[::8]]
    return [photo("china.jpg"), *bunny, photo("flower.jpg"), photo("flower.jpg")[:301, :207]]


def names_of(given: dict) -> list[str]:
    return [each["label"] for each in given["labels"]]


# -- what it tells -------------------------------------------------------------------------------


def test_real_pictures_are_named(labels):
    temple, flower = labels.encode([clip_of(photo("china.jpg")), clip_of(photo("flower.jpg"))])
    assert names_of(temple)[0] in {"palace", "monastery", "stupa", "bell cote"}
    assert names_of(flower)[0] == "daisy"
    assert flower["labels"][0]["score"] > 0.2
    assert flower["frames"] == 1


def test_labels_are_the_likeliest_first_and_cut(labels):
    wide = load_encoder("image_labels", {"top": 1000}, CPU)
    [every] = wide.encode([clip_of(photo("flower.jpg"))])
    scores = [each["score"] for each in every["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-3)
    assert len(set(names_of(every))) == 1000
    [five] = labels.encode([clip_of(photo("flower.jpg"))])
    assert five["labels"] == every["labels"][:5]
    few = load_encoder("image_labels", {"min_score": 0.2}, CPU)
    assert names_of(few.encode([clip_of(photo("flower.jpg"))])[0]) == ["daisy"]


def test_a_window_is_the_mean_of_its_frames(embedding, labels):
    two = [photo("china.jpg"), photo("flower.jpg")]
    [both] = embedding.encode([clip_of(*two)])
    alone = embedding.encode([clip_of(frame) for frame in two])
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-6)
    [shown] = labels.encode([clip_of(*two)])
    assert {"palace", "daisy"} <= set(names_of(shown))
    assert shown["frames"] == 2


def test_alike_pictures_have_alike_vectors(embedding):
    frames = [photo("flower.jpg"), photo("flower.jpg")[20:, ::-1], photo("china.jpg")]
    vectors = np.stack(embedding.encode([clip_of(frame) for frame in frames]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.8 > 0.6 > unit[0] @ unit[2]


def test_at_most_max_frames_and_none_of_the_context():
    one = load_encoder("image_embedding", {"max_frames": 1}, CPU)
    frames = [photo("china.jpg"), photo("flower.jpg"), photo("china.jpg")]
    middle, alone = one.encode([clip_of(*frames), clip_of(photo("flower.jpg"))])
    assert middle.tobytes() == alone.tobytes()
    clip = clip_of(*frames)
    clip.start_us, clip.end_us = clip.times_us[1], clip.ends_us[1]
    [own] = load_encoder("image_embedding", {}, CPU).encode([clip])
    assert own.tobytes() == alone.tobytes()


# -- the protocol --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image_embedding", "image_labels"])
def test_it_takes_and_gives_what_the_catalogue_says(name, request):
    encoder = request.getfixturevalue(name.removeprefix("image_"))
    assert (set(encoder.takes), encoder.gives) == (set(BUILTIN[name].takes), BUILTIN[name].gives)


def test_nothing_to_see(embedding, labels):
    blind = [empty_clip(embedding), Clip("s", 0, 1), clip_of(np.zeros((0, 5, 3), np.uint8))]
    assert embedding.length == 1280
    for vector in embedding.encode(blind):
        assert vector.shape == (1280,)
        assert not vector.any()
    assert labels.encode(blind) == [{"labels": [], "frames": 0}] * 3
    assert (embedding.encode([]), labels.encode([])) == ([], [])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (700, 2, 3)])
def test_odd_shapes_are_seen(embedding, shape):
    [vector] = embedding.encode([clip_of(np.full(shape, 200, np.uint8))])
    assert checked("vector", vector, 1280).any()


def test_a_window_does_not_depend_on_its_mates(embedding, labels, pictures):
    clips = [clip_of(*pictures[n : n + 1 + n % 3]) for n in range(len(pictures))]
    alone = [embedding.encode([clip])[0] for clip in clips]
    for mates in (clips, clips[::-1]):
        found = embedding.encode(mates)
        expected = alone if mates is clips else alone[::-1]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert labels.encode(clips) == [labels.encode([clip])[0] for clip in clips]


def test_several_frames_a_pass_change_nothing(embedding, pictures):
    """What a GPU does: a pass of fixed size, filled up with zeros."""
    wide = load_encoder("image_embedding", {"batch": 4}, CPU)
    clips = [clip_of(picture) for picture in pictures]
    together = wide.encode(clips)
    for clip, vector in zip(clips, together, strict=True):
        np.testing.assert_allclose(wide.encode([clip])[0], vector, atol=1e-5)
    np.testing.assert_allclose(together, embedding.encode(clips), atol=1e-5)


def test_frames_are_not_written_to(embedding):
    frame = photo("china.jpg")
    frame.flags.writeable = False
    before = frame.copy()
    embedding.encode([clip_of(frame)])
    np.testing.assert_array_equal(frame, before)


# -- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_pixels_are_pillows_of_the_central_square(name):
    """373 of 427 rows are the central 7/8, from row 27 and column 134 on."""
    picture = photo(name)
    square = picture[27 : 27 + 373, 134 : 134 + 373].astype(np.float32)
    bands = [Image.fromarray(square[..., band]) for band in range(3)]  # float: nothing is rounded
    size, bicubic = (224, 224), Image.Resampling.BICUBIC
    expected = np.stack([np.asarray(band.resize(size, bicubic)) for band in bands])
    [found] = PIXELS.tensor([picture], CPU)
    np.testing.assert_allclose(found.numpy() * 128 + 127, expected, atol=0.01)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 1))
def test_the_square_is_central_and_inside(height: int, width: int, crop: float):
    pixels = Pixels(8, crop, (0, 0, 0), (1, 1, 1))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(height)[:, None], np.arange(width)
    square = pixels._square(frame)
    side = max(1, int(crop * min(height, width)))
    assert square.shape == (side, side, 3)
    for channel, length in ((0, height), (1, width)):
        first, last = int(square[..., channel].min()), int(square[..., channel].max())
        assert abs(first - (length - 1 - last)) <= 1


def test_a_colour_comes_through_as_its_mean_and_deviation_say():
    pixels = Pixels(32, 1.0, (0.5, 0.25, 0), (0.5, 0.5, 1))
    [found] = pixels.tensor([np.full((50, 70, 3), (255, 0, 51), np.uint8)], CPU)
    expected = torch.tensor([1, -0.5, 0.2]).view(3, 1, 1).expand(3, 32, 32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# -- names and sentences -------------------------------------------------------------------------


def test_the_classes_of_imagenet_have_a_name_each():
    names = class_names(None, 1000)
    assert len(set(names)) == 1000
    assert (names[0], names[281], names[967], names[999]) == (
        "tench", "tabby", "espresso", "toilet tissue",
    )  # fmt: skip
    assert (names[134], names[517]) == ("crane (bird)", "crane (machine)")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("espresso", "an espresso"), ("cup", "a cup"), ("unicycle", "a unicycle"),
        ("European gallinule", "a European gallinule"), ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"), ("hog", "a hog"), ("Old English sheepdog",
        "an Old English sheepdog"), ("sunglasses", "sunglasses"), ("hay", "hay"),
    ],
)  # fmt: skip
def test_articles(name, said):
    assert with_article(name) == said


def test_sentences():
    labels = [{"label": "espresso"}, {"label": "cup"}, {"label": "soup bowl"}]
    assert as_sentence(labels) == "a picture of an espresso, perhaps a cup"
    assert as_sentence(labels[:1]) == "a picture of an espresso"
    assert as_sentence([]) == ""


# -- errors, and what costs nothing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("image_embedding", "efficientnet_lite_pytorch"), ("image_to_text", "rapidocr"),
        ("faces", "cv2"), ("text_embedding", "tokenizers"),
    ],
)  # fmt: skip
def test_without_the_extra_one_line_names_it(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidInput) as caught:
        load_encoder(name, {}, CPU, key="stages.seen.encoder")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"stages.seen.encoder = {module}: needs the package")
    assert "pip install 'motet[models]'" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top": 0}, "options.top"), ({"min_score": 1.5}, "options.min_score"),
        ({"activation": "tanh"}, "one of softmax, sigmoid, none"),
        ({"mean": [0.5, 0.5]}, "options.mean"), ({"std": 0}, "options.std"),
        ({"size": "224"}, "options.size"), ({"crop": 0}, "options.crop"),
        ({"weights": "nowhere.pth"}, "options.weights"),
        ({"model": "net.bin"}, "ends in .onnx or .pt2 or .ts"),
        ({"model": "a.onnx", "weights": "a.pth"}, "write one of them"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        load_encoder("image_labels", options, CPU)
    assert "\n" not in str(caught.value)


PIPELINE = """
version: 1
name: seen
kafka: {bootstrap: "127.0.0.1:9092"}
inputs:
  camera: {topic: seen.video, type: image/jpeg}
  chat: {topic: seen.text, type: text/plain}
windows: {size: 1s}
stages:
  picture: {encoder: image_embedding, of: camera}
  labels: {encoder: image_labels, of: camera, out: seen.labels}
  signs: {encoder: image_to_text, of: camera}
  faces: {encoder: faces, of: camera, out: seen.faces}
  words: {encoder: text_embedding, of: [chat, signs]}
fusion: {rule: weighted_sum, of: {picture: 0.5, words: 0.5}, dim: 128}
outputs: {results: seen.results, late: seen.late, dead_letter: seen.dead-letter}
"""
HEAVY = ("torch", "numpy", "transformers", "cv2", "rapidocr", "efficientnet_lite_pytorch")


def test_validate_imports_none_of_them(tmp_path):
    file = tmp_path / "seen.yaml"
    file.write_text(PIPELINE)
    code = (
        f"import sys; from pipeline.cli import main; code = main(['validate', "
        f"{str(file)!r}]); sys.exit(code or repr([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1:] == ["[]"], done.stderr


# -- films ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "side"), [({}, 1024), ({"size": 64, "crop": 1.0}, 256), ({"crop": 0.5}, 1792)]
)
def test_frames_of_films_are_wanted_no_larger_than_four_times_what_is_looked_at(options, side):
    for name in ("image_embedding", "image_labels"):
        assert load_encoder(name, options, CPU).frame_size == side


def test_a_film_that_is_scaled_while_it_is_decoded_shows_the_same(labels, embedding):
    count = 5
    payload = encoded(count, size=(1920, 1080), options=(("crf", "15"),))
    film = read_film("mp4", payload, 1_000_000)
    whole, scaled = (
        list(decode_film(film, payload, range(count), count - 1, size).pictures.values())
        for size in (None, labels.frame_size)
    )
    assert {frame.shape for frame in scaled} == {(576, 1024, 3)}
    every = load_encoder("image_labels", {"top": 1000}, CPU)
    for one, other in zip(whole, scaled, strict=True):
        clips = [clip_of(frame) for frame in (one, other)]
        first, second = every.encode(clips)
        scores, others = (
            {each["label"]: each["score"] for each in given["labels"]} for given in (first, second)
        )
        assert max(abs(score - others[label]) for label, score in scores.items()) < 0.1
        rows = embedding.encode(clips)
        cosine = rows[0] @ rows[1] / np.prod([np.linalg.norm(row) for row in rows])
        assert cosine > 0.98
