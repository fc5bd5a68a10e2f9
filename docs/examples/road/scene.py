"""A road that is made up: a camera with people and cars, sound, and messages. It is synthetic.

What is told apart: `clear`, `people` (somebody is on the road) and `horn` (somebody sounds one,
with people or without). The told places have other light, cars, horns and wordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scenes import Rng, Samples, Scene, filmed, lay, limited, noise, shade, tone

WINDOW_S = 2
MESSAGE = 3  # windows that a message counts for
SIZES = {"learn": (12, 18), "told": (8, 15)}  # streams, windows of each
SEEDS = {"learn": 1, "told": 2}
CHANCES = {"clear": 0.4, "people": 0.35, "horn": 0.25}
WIDTH, HEIGHT = 480, 320

MESSAGES = {
    "learn": {
        "clear": ["road is free", "traffic flows well", "no delays reported"],
        "people": ["children cross at the school", "people on the carriageway",
                   "crowd leaves the stadium"],
        "horn": ["driver blocked at the junction, angry", "near miss, car honking",
                 "lorry cuts in"],
        "other": ["roadworks next week", "fuel is cheaper today", "rain in the evening"],
    },
    "told": {
        "clear": ["no hindrance", "free run to the bridge"],
        "people": ["pedestrians walk across the street", "pupils near the bus stop"],
        "horn": ["somebody sounds the horn", "angry drivers at the lights"],
        "other": ["fog is expected", "the ring road has a new name"],
    },
}  # fmt: skip


class Place(NamedTuple):
    """How a place looks and sounds, whatever happens there."""

    light: float
    grain: float
    sky: tuple[int, int, int]
    ground: int
    horizon: int
    car: tuple[int, int, int]
    engine_hz: float
    engine_level: float
    horn_hz: float
    horn_level: float


def scenes(part: str, streams: int, windows: int) -> Iterator[Scene]:
    rng = np.random.default_rng(SEEDS[part])
    for number in range(1, streams + 1):
        place = _place(rng)
        drawn = rng.choice(list(CHANCES), windows, p=list(CHANCES.values()))
        labels = [str(label) for label in drawn]
        sound = np.concatenate([_sound(rng, place, label) for label in labels])
        pictures = [_picture(rng, place, label) for label in labels]
        spans = (labels[at : at + MESSAGE] for at in range(0, windows, MESSAGE))
        texts = [_message(rng, part, span) for span in spans]
        yield Scene(f"{part}-road-{number}", WINDOW_S, labels, limited(sound), pictures, texts)


def _place(rng: Rng) -> Place:
    return Place(
        light=rng.uniform(0.35, 1.1),
        grain=rng.uniform(3, 10),
        sky=shade(rng, 140, 220),
        ground=int(rng.integers(85, 130)),
        horizon=int(rng.integers(100, 135)),
        car=shade(rng, 20, 230),
        engine_hz=rng.uniform(40, 90),
        engine_level=rng.uniform(0.01, 0.06),
        horn_hz=rng.uniform(300, 520),
        horn_level=rng.uniform(0.02, 0.12),
    )


def _message(rng: Rng, part: str, labels: list[str]) -> str:
    """Half of them are about one of the windows that they count for."""
    about = str(rng.choice(labels)) if rng.random() < 0.5 else "other"
    return str(rng.choice(MESSAGES[part][about]))


def _sound(rng: Rng, place: Place, label: str) -> Samples:
    found = noise(rng, WINDOW_S, rng.uniform(0.005, 0.03), softness=12)
    revs = place.engine_hz * rng.uniform(0.9, 1.3)
    lay(found, tone(revs, WINDOW_S, place.engine_level, partials=12), 0)
    if label == "horn":  # two tones, a third apart
        length_s = rng.uniform(0.4, 1.2)
        for pitch_hz in (place.horn_hz, 1.25 * place.horn_hz):
            lay(found, tone(pitch_hz, length_s, place.horn_level, partials=10), rng.uniform(0, 0.5))
    elif rng.random() < 0.15:  # a bell or a telephone, which is no horn
        lay(found, tone(rng.uniform(700, 1400), 0.5, 0.05, partials=2), rng.uniform(0, 1.4))
    return found


# -- camera ---------------------------------------------------------------------------------------


def _picture(rng: Rng, place: Place, label: str) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), place.sky)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, place.horizon, WIDTH, HEIGHT), fill=(place.ground,) * 3)
    for left in range(0, WIDTH, 80):  # houses
        draw.rectangle((left, place.horizon - 60 - left * 7 % 40, left + 70, place.horizon + 5),
                       fill=(120 + left % 60, 110, 100))  # fmt: skip
    for top in range(place.horizon + 15, HEIGHT, 30):
        line = [(238, top), (242, top), (244, top + 15), (236, top + 15)]
        draw.polygon(line, fill=(220, 220, 210))
    if rng.random() < 0.6:
        _car(draw, int(rng.integers(300, 340)), place.car)
    few, many = {"clear": (0, 0), "people": (1, 3), "horn": (0, 1)}[label]
    for _ in range(rng.integers(few, many + 1)):
        _person(draw, rng)
    return filmed(rng, picture.filter(ImageFilter.GaussianBlur(0.8)), place.light, place.grain)


def _car(draw: ImageDraw.ImageDraw, left: int, colour: tuple[int, int, int]) -> None:
    draw.rounded_rectangle((left, 190, left + 120, 250), 12, fill=colour)
    draw.rounded_rectangle((left + 20, 165, left + 100, 200), 10, fill=(60, 70, 80))
    for wheel in (left + 15, left + 75):
        draw.ellipse((wheel, 235, wheel + 30, 265), fill=(20, 20, 20))


def _person(draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    """Eight heads tall, on the road; those who are nearer stand lower."""
    tall = int(rng.integers(60, 150))
    x, foot, unit = int(rng.integers(40, 300)), min(HEIGHT - 8, 160 + 0.8 * tall), tall / 8
    coat, trousers, stride = shade(rng, 10, 90), shade(rng, 10, 70), rng.uniform(0, 0.7)
    head = (x - unit / 2, foot - 8 * unit, x + unit / 2, foot - 6.8 * unit)
    trunk = (x - unit, foot - 6.7 * unit, x + unit, foot - 3.7 * unit)
    draw.ellipse(head, fill=(200, 160, 130))
    draw.rounded_rectangle(trunk, unit / 2, fill=coat)
    for side in (-1, 1):
        arm = [(x + side * unit, foot - 6.2 * unit), (x + side * 1.25 * unit, foot - 3.6 * unit)]
        leg = [(x + side * 0.45 * unit, foot - 4 * unit), (x + side * (0.45 + stride) * unit, foot)]
        draw.line(arm, fill=coat, width=max(2, int(unit / 2)))
        draw.line(leg, fill=trousers, width=max(2, int(0.75 * unit)))
