"""Real English recordings with what is said in them, as files and labels of a two-class task.

The task: does somebody say a cardinal number (``zero`` to ``billion``)? Every recording becomes a
wav file of whole windows, silence behind it, in a folder of its speaker; a speaker is a stream.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
import soxr
from eval_data import cache, debian
from numpy.typing import NDArray

RATE = 16_000
WINDOW_S = 5
CLASSIC_SHA256 = {
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    "klettres-data": "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
    "saytime": "189e502f34ab7e2a9ececc45d781273760cfe11f3719f4176a9f6d472228856a",
}
WORDS = {
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    "hundred", "thousand", "million", "billion",
}  # fmt: skip

Samples = NDArray[np.float32]


class Recording(NamedTuple):
    """``said``: the words, as the source writes them."""

    speaker: str
    name: str
    said: str
    samples: Samples

    @property
    def label(self) -> str:
        words = re.findall(r"[a-z]+|\d+", self.said.lower())
        return "number" if any(w in WORDS or w.isdigit() for w in words) else "other"


def _share(package: str) -> Path:
    return debian(package, CLASSIC_SHA256.get(package)) / "usr" / "share"


def _decoded(path: Path, form: str | None = None) -> Samples:
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path), format=form) as container:
        frames = [f for each in container.decode(audio=0) for f in resampler.resample(each)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def asterisk() -> Iterator[Recording]:
    """Allison Smith's prompts; their words by the list that comes with them."""
    [listed] = _share("asterisk-core-sounds-en").glob("doc/*/core-sounds-en.txt.gz")
    lines = gzip.decompress(listed.read_bytes()).decode().splitlines()
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    [folder] = (_share("asterisk-core-sounds-en-g722") / "asterisk/sounds").glob("en_US_*")
    for path in sorted(folder.rglob("*.g722")):
        name = str(path.relative_to(folder).with_suffix(""))
        words = re.sub(r"\[.*?\]|<.*?>|\(.*?\)", "", said.get(name, "")).strip()
        if words:
            yield Recording("allison", name.replace("/", "-"), words, _decoded(path, "g722"))


def saytime() -> Iterator[Recording]:
    """A man who tells the time; the files, named by their words, are 8 kHz mu-law."""
    for path in sorted((_share("saytime") / "saytime").glob("*.au")):
        raw, rate = soundfile.read(path, samplerate=8000, channels=1, format="RAW",
                                   subtype="ULAW", dtype="float32")  # fmt: skip
        yield Recording("saytime", path.stem, path.stem.replace("_", " "),
                        soxr.resample(raw, rate, RATE))  # fmt: skip


def sphinx() -> Iterator[Recording]:
    """Cards, numbers and LibriVox sentences of pocketsphinx's tests, with their transcripts."""
    folder = _share("pocketsphinx-testdata") / "pocketsphinx/test/data"
    for speaker, name in (("cards", "cards.transcription"), ("librivox", "transcription")):
        for line in (folder / speaker / name).read_text().splitlines():
            found = re.fullmatch(r"(?:<s>)?(.*?)(?:</s>)?\s*\((.*)\)", line.strip())
            if found is not None:
                path = folder / speaker / f"{found[2]}.wav"
                yield Recording(speaker, found[2], found[1].strip(), _decoded(path))
    spoken = {"goforward": "go forward ten meters", "something": "go somewhere and do something"}
    for name, said in spoken.items():
        raw = np.fromfile(folder / f"{name}.raw", "<i2").astype(np.float32) / 32768
        yield Recording("dhd", name, said, raw)
    raw = np.fromfile(folder / "tidigits/dhd.2934z.raw", "<i2").astype(np.float32) / 32768
    yield Recording("dhd", "2934z", "two nine three four zero", raw)


def named() -> Iterator[Recording]:
    """Files that are called what is said in them: alsa's, KLettres' and Tux Paint's."""
    for path in sorted((_share("alsa-utils") / "sounds/alsa").glob("*.wav")):
        if path.stem != "Noise":
            yield Recording("alsa", path.stem, path.stem.replace("_", " "), _decoded(path))
    for speaker in ("en", "en_GB"):
        for path in sorted((_share("klettres-data") / "klettres" / speaker).rglob("*.ogg")):
            yield Recording(f"klettres-{speaker}", path.stem, path.stem, _decoded(path))
    stamps = _share("tuxpaint-stamps-default") / "tuxpaint/stamps"
    for path in sorted(stamps.rglob("*_desc.ogg")):
        caption = path.with_name(path.name.replace("_desc.ogg", ".txt"))
        if caption.is_file():
            said = caption.read_text(encoding="utf-8", errors="replace").splitlines()[0]
            yield Recording("tuxpaint", path.stem, said, _decoded(path))


def recordings() -> Iterator[Recording]:
    """All that fit a window; raises Unreachable where a package cannot be had."""
    for source in (asterisk, saytime, sphinx, named):
        for each in source():
            if len(each.samples) <= WINDOW_S * RATE:
                yield each


def prepared() -> tuple[Path, Path]:
    """The folder of the wav files, and the labels; made once."""
    folder = cache() / "classic"
    sounds, labels = folder / "sounds", folder / "labels.csv"
    if labels.is_file():
        return sounds, labels
    lines, counts = ["stream,start_us,end_us,label"], dict[str, int]()
    for each in recordings():
        at = counts.get(each.speaker, 0)
        counts[each.speaker] = at + 1
        padded = np.zeros(WINDOW_S * RATE, np.float32)
        padded[: len(each.samples)] = each.samples
        path = sounds / each.speaker / f"{at:04d}-{each.name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, padded, RATE, subtype="PCM_16")
        start_us = at * WINDOW_S * 1_000_000
        end_us = start_us + WINDOW_S * 1_000_000
        lines.append(f"{each.speaker},{start_us},{end_us},{each.label}")
    labels.write_text("\n".join(lines) + "\n")
    return sounds, labels
