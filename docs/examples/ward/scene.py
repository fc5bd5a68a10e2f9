"""A ward that is made up: beds with sound, a camera and a nurse's notes. All of it is synthetic,
but for the voices in the background, which read (LibriVox, shipped with the demo).

What is told apart: `calm`, `alarm` (a monitor sounds) and `out_of_bed`. No source knows all of
it: a camera does not hear, a microphone does not see, and half of the notes are late or about
something else. The told beds have looks, pitches, voices and wordings that were not learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter
from scenes import Rng, Samples, Scene, burst, filmed, lay, limited, noise, shade, taken, tone

import pipeline.demo

WINDOW_S = 2
EPISODE = 5  # windows that a state lasts, and a note counts for
SIZES = {"learn": (24, 10), "told": (12, 10)}  # streams, windows of each
SEEDS = {"learn": 1, "told": 2}
STATES = ("calm", "alarm", "out_of_bed")
CHANCES = (0.4, 0.3, 0.3)
SIDE = 240  # pixels; the network looks at a square

NOTES = {
    "learn": {
        "calm": ["sleeping, breathing evenly", "resting, vital signs normal",
                 "ate half of the soup, comfortable", "blood pressure fine, no complaints",
                 "dozing, no fever", "reading in bed, at ease"],
        "alarm": ["monitor alarm, oxygen saturation low", "alarm sounding, checking the sensor",
                  "heart rate alarm, doctor called", "infusion pump alarm, line blocked",
                  "device beeps, electrode came off", "pulse too fast, alarm on"],
        "out_of_bed": ["got up to walk to the bathroom", "patient is not in bed",
                       "standing beside the bed, help needed", "walking in the corridor",
                       "bed is empty", "left the bed alone, risk of a fall"],
        "other": ["visitor came", "room cleaned", "new flowers on the table"],
    },
    "told": {
        "calm": ["asleep", "quiet, temperature normal, no pain"],
        "alarm": ["device is beeping, saturation dropped", "alarm of the heart monitor"],
        "out_of_bed": ["has left the bed", "on his feet, going to the toilet"],
        "other": ["the window was opened", "family telephoned"],
    },
}  # fmt: skip


class Bed(NamedTuple):
    """How a bed looks and sounds, whatever happens in it."""

    light: float
    grain: float
    wall: tuple[int, int, int]
    blanket: tuple[int, int, int]
    clothes: tuple[int, int, int]
    left: int
    hum_level: float
    alarm_hz: float
    alarm_level: float
    voice: int


def scenes(part: str, streams: int, windows: int) -> Iterator[Scene]:
    """The last of the told beds has a camera that gives nothing."""
    rng = np.random.default_rng(SEEDS[part])
    for number in range(1, streams + 1):
        bed = _bed(rng, part)
        episodes = -(-windows // EPISODE)
        states = [str(state) for state in rng.choice(STATES, episodes, p=CHANCES)]
        labels = [state for state in states for _ in range(EPISODE)][:windows]
        sound = np.concatenate([_sound(rng, bed, label) for label in labels])
        blind = part == "told" and number == streams
        pictures = [] if blind else [_picture(rng, bed, label) for label in labels]
        texts = [_note(rng, part, states, place) for place in range(episodes)]
        yield Scene(f"{part}-bed-{number}", WINDOW_S, labels, limited(sound), pictures, texts)


def _bed(rng: Rng, part: str) -> Bed:
    night = rng.random() < 0.3
    return Bed(
        light=rng.uniform(0.1, 0.2) if night else rng.uniform(0.7, 1.1),
        grain=8 if night else 4,
        wall=shade(rng, 150, 230),
        blanket=shade(rng, 90, 240),
        clothes=shade(rng, 60, 220),
        left=int(rng.integers(18, 40)),
        hum_level=rng.uniform(0.003, 0.02),
        alarm_hz=rng.uniform(300, 1000),
        alarm_level=rng.uniform(0.01, 0.08),
        voice=int(rng.integers(0, 3)) if part == "learn" else int(rng.integers(3, 5)),
    )


def _note(rng: Rng, part: str, states: list[str], place: int) -> str:
    """Half of them are about now, the others late or about something else."""
    about = "other"
    chance = rng.random()
    if chance < 0.75:
        about = states[place if chance < 0.5 else max(0, place - 1)]
    return str(rng.choice(NOTES[part][about]))


# -- sound ----------------------------------------------------------------------------------------


@cache
def _voices() -> list[Samples]:
    folder = Path(pipeline.demo.__file__).parent / "media" / "speech"
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(folder.glob("*.flac"))]


def _sound(rng: Rng, bed: Bed, state: str) -> Samples:
    found = noise(rng, WINDOW_S, bed.hum_level, softness=8)
    if rng.random() < 0.5:
        voice = taken(rng, _voices()[bed.voice], WINDOW_S)
        lay(found, rng.uniform(0.05, 0.4) * voice, 0)
    if state == "alarm":
        _alarm(rng, bed, found)
    elif state == "out_of_bed" and rng.random() < 0.6:  # steps
        for at_s in np.arange(rng.uniform(0, 0.5), WINDOW_S, 0.55):
            lay(found, burst(rng, 0.15, rng.uniform(0.02, 0.1), softness=30), at_s)
    elif rng.random() < 0.3:  # a cough
        lay(found, burst(rng, 0.3, 0.15, softness=3), rng.uniform(0, 1.5))
    if state != "alarm" and rng.random() < 0.15:  # a telephone, which is no alarm
        lay(found, tone(rng.uniform(300, 1000), 0.8, 0.04), rng.uniform(0, 1))
    return found


def _alarm(rng: Rng, bed: Bed, onto: Samples) -> None:
    """Bursts of three short tones, as monitors give them (IEC 60601-1-8, medium priority)."""
    for at_s in np.arange(rng.uniform(0, 0.4), WINDOW_S, 1.1):
        for pulse in range(3):
            lay(onto, tone(bed.alarm_hz, 0.15, bed.alarm_level), at_s + 0.3 * pulse)


# -- camera ---------------------------------------------------------------------------------------


def _picture(rng: Rng, bed: Bed, state: str) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), bed.wall)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 170, SIDE, SIDE), fill=(120, 110, 100))
    left, jitter = bed.left, int(rng.integers(-4, 5))
    draw.rectangle((left - 8, 95, left, 215), fill=(90, 80, 75))  # head of the bed
    draw.rectangle((left, 150, left + 140, 200), fill=(235, 235, 230))  # mattress
    draw.rounded_rectangle((left + 4, 132, left + 52, 152), 8, fill=(250, 250, 248))  # pillow
    if state == "out_of_bed":
        draw.polygon([(left + 90, 150), (left + 140, 150), (left + 155, 215), (left + 100, 190)],
                     fill=bed.blanket)  # fmt: skip
        if rng.random() < 0.5:  # else out of the camera's sight
            _standing(draw, rng, bed.clothes)
    else:
        draw.ellipse((left + 14, 112 + jitter, left + 44, 146 + jitter), fill=(215, 175, 150))
        draw.rounded_rectangle((left + 45, 122 + jitter, left + 140, 200), 22, fill=bed.blanket)
        if rng.random() < 0.2:  # a nurse or a visitor, who is not out of bed
            _standing(draw, rng, shade(rng, 60, 220))
    return filmed(rng, picture.filter(ImageFilter.GaussianBlur(1)), bed.light, bed.grain)


def _standing(draw: ImageDraw.ImageDraw, rng: Rng, clothes: tuple[int, int, int]) -> None:
    x = int(rng.integers(195, 215))
    draw.ellipse((x - 12, 52, x + 12, 80), fill=(215, 175, 150))
    draw.rounded_rectangle((x - 22, 80, x + 22, 165), 12, fill=clothes)
    draw.rectangle((x - 16, 160, x - 3, 222), fill=(60, 60, 70))
    draw.rectangle((x + 3, 160, x + 16, 222), fill=(60, 60, 70))
