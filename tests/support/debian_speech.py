"""Real English speech with its words, from Debian's packages (fetched, never vendored)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from readings import RATE, Reading
from spoken_words import g722_word

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
          "october", "november", "december")  # fmt: skip
NUMBERS = (*range(21), 30, 40, 50, 60, 70, 80, 90)
_LINE = re.compile(r"<s> (.*?)\s*</s> \((.*)\)")


def transcripts(content: str) -> list[tuple[str, str]]:
    """Names and words of lines ``<s> words </s> (name)``; any other line fails."""
    found = []
    for line in content.splitlines():
        match = _LINE.fullmatch(line.strip())
        assert match, line
        found.append((match[2], match[1]))
    return found


def pocketsphinx_readings(package: Path) -> dict[str, list[Reading]]:
    """By set: five sentences of LibriVox, five card phrases, two commands."""
    data = package / "usr/share/pocketsphinx/test/data"
    found: dict[str, list[Reading]] = {}
    for folder, listed in (("librivox", "transcription"), ("cards", "cards.transcription")):
        found[folder] = [
            Reading(name, soundfile.read(data / folder / f"{name}.wav", dtype="float32")[0], words)
            for name, words in transcripts((data / folder / listed).read_text())
        ]
    commands = {"goforward": "go forward ten meters", "something": "go somewhere and do something"}
    found["commands"] = [
        Reading(name, np.fromfile(data / f"{name}.raw", "<i2").astype(np.float32) / 32768, words)
        for name, words in commands.items()
    ]
    return found


def alsa_readings(package: Path) -> list[Reading]:
    """Eight places of loudspeakers; the file's name is what is said."""
    found = []
    for file in sorted((package / "usr/share/sounds/alsa").glob("*_*.wav")):
        samples, rate = soundfile.read(file, dtype="float32")
        said = file.stem.replace("_", " ").lower()
        found.append(Reading(file.stem, soxr.resample(samples, rate, RATE), said))
    return found


def asterisk_words(package: Path) -> list[Reading]:
    """Numbers, days and months of Asterisk's English prompts, one word a clip."""
    import num2words

    digits = package / "usr/share/asterisk/sounds/en_US_f_Allison/digits"
    names = {str(number): num2words.num2words(number) for number in NUMBERS}
    names |= {f"day-{at}": day for at, day in enumerate(DAYS)}
    names |= {f"mon-{at}": month for at, month in enumerate(MONTHS)}
    return [Reading(name, g722_word(digits / f"{name}.g722"), said) for name, said in names.items()]
