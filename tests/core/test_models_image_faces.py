"""faces: boxes around drawn faces, in pixels of their frames, with the frames' times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_media import NEEDS_MODELS, clip_of, photo, with_faces
from PIL import Image

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.errors import InvalidInput

pytestmark = NEEDS_MODELS

CPU = torch.device("cpu")
BUNNY = Path(__file__).parents[2] / "pipeline" / "demo" / "media" / "frames"
TWO = [(60, 60, 120), (300, 100, 90)]


@pytest.fixture(scope="module")
def finder():
    return load_encoder("faces", {}, CPU)


def holds(box: dict, face: tuple[int, int, int]) -> bool:
    """Whether the box's middle lies in the drawn face and its side is like the face's."""
    x, y, side = face
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    inside = x < middle[0] < x + side and y < middle[1] < y + 1.3 * side
    return inside and 0.7 * side < box["width"] < 1.6 * side


def test_faces_are_found_from_left_to_right(finder):
    [found] = finder.encode([clip_of(with_faces(*TWO))])
    assert found["frames"] == 1
    assert len(found["faces"]) == 2
    for box, face in zip(found["faces"], TWO, strict=True):
        assert holds(box, face)
        assert (box["time_us"], box["frame_width"], box["frame_height"]) == (0, 480, 320)


def test_boxes_of_a_large_frame_are_in_its_own_pixels(finder):
    large = np.asarray(Image.fromarray(with_faces(*TWO)).resize((1920, 1280)))
    [found] = finder.encode([clip_of(large)])
    assert len(found["faces"]) == 2
    for box, (x, y, side) in zip(found["faces"], TWO, strict=True):
        assert holds(box, (4 * x, 4 * y, 4 * side))
        assert box["frame_width"] == 1920


def test_each_face_has_the_time_of_its_frame(finder):
    empty, left, both = with_faces(), with_faces(TWO[0]), with_faces(*TWO)
    clip = clip_of(empty, left, both)
    [found] = finder.encode([clip])
    times_us = [box["time_us"] for box in found["faces"]]
    assert times_us == [clip.times_us[1], clip.times_us[2], clip.times_us[2]]
    clip.start_us = clip.ends_us[1]
    [later] = finder.encode([clip])
    assert (len(later["faces"]), later["frames"]) == (2, 1)


def test_no_faces_where_there_are_none(finder):
    """A temple, a daisy, and a film with a rabbit."""
    frames = [photo("china.jpg"), photo("flower.jpg")]
    frames += [np.asarray(Image.open(path)) for path in sorted(BUNNY.glob("*.jpg"))[::3]]
    for frame in frames:
        assert finder.encode([clip_of(frame)]) == [{"faces": [], "frames": 1}]


def test_nothing_to_see(finder):
    blind = [empty_clip(finder), Clip("s", 0, 1), clip_of(np.zeros((0, 3, 3), np.uint8))]
    assert finder.encode(blind) == [{"faces": [], "frames": 0}] * 3
    assert finder.encode([]) == []
    assert finder.encode([clip_of(np.zeros((1, 1, 3), np.uint8))])[0]["faces"] == []


def test_a_window_does_not_depend_on_its_mates(finder):
    clips = [clip_of(with_faces(*TWO)), clip_of(photo("china.jpg")), clip_of(with_faces(TWO[1]))]
    alone = [finder.encode([clip])[0] for clip in clips]
    assert finder.encode(clips[::-1]) == alone[::-1]


def test_the_least_size_is_a_share_of_the_shorter_side():
    large_only = load_encoder("faces", {"min_size": 0.45}, CPU)
    [found] = large_only.encode([clip_of(with_faces(*TWO))])
    assert [holds(box, TWO[0]) for box in found["faces"]] == [True]


def test_a_cascade_of_the_users_own(finder):
    import cv2

    path = Path(cv2.data.haarcascades, "haarcascade_frontalface_alt.xml")
    other = load_encoder("faces", {"cascade": str(path)}, CPU)
    [found] = other.encode([clip_of(with_faces(*TWO))])
    assert [holds(box, face) for box, face in zip(found["faces"], TWO, strict=True)] == [True, True]


def test_a_cascade_that_is_none_is_told_in_one_line(tmp_path):
    path = tmp_path / "not.xml"
    for text in ("", "<opencv_storage></opencv_storage>", "no xml"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match="holds no cascade") as caught:
            load_encoder("faces", {"cascade": str(path)}, CPU)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"scale": 1.0}, {"neighbours": 0}, {"min_size": 2}, {"side": 1}, {"max_frames": 0}]
)
def test_wrong_options_are_told_in_one_line(options):
    with pytest.raises(InvalidInput, match=f"options.{next(iter(options))}"):
        load_encoder("faces", options, CPU)
