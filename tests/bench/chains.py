"""Chains of conversions as pipelines, measured: what is left of a signal after each.

The files of docs/examples/chains run one after another by ``motet run --local --until-end`` on an
embedded Kafka that this program starts and stops, and committed records are looked at.

- *speech -> text -> embedding*: the five vendored LibriVox readings, one a window. WER, the cosine
  of each vector to that of the text that was read, and how often the nearest text is the right one.
- *image -> text -> speech*: twelve drawn signs and the four photographs of the demo. CER of what
  was read off the signs; of the records of speech, whether each begins with its window, plays as
  long as its samples say and ends within the window; and WER of Whisper, outside of the pipeline,
  on the spoken signs.
- *text -> speech -> text*: twelve sentences and the words of the readings, by four voices. WER of
  the round trip.
- *sound -> picture -> embedding*: spoken digits, **synthetic** (eSpeak NG); a logistic regression
  on the vectors of eight voices, tested on five others: a row of transfer_bench.py, as a pipeline.
- *text -> picture -> text*: the same seventeen texts at five sizes of letters. CER.
- *text -> speech -> text -> translation*: numbers, quantities and dates in English words, which the
  German model was not trained on; it is trained first (or ``MOTET_CHAIN_MODEL`` names one). BLEU
  and exact match after the speech, and of the same texts translated without it.

WER by jiwer, both sides through Whisper's English normaliser as transformers has it; CER by jiwer,
normaliser ``plain`` (NFKC, small letters, no punctuation, one space for any). Windows/s are those
of the run's own summary, the models being loaded before. Everything but these is deterministic.

    python tests/bench/chains.py          # some minutes on one core; needs motet[models,broker]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "support"))

from chain_runs import FOLDER, LINES, Chains, Ran, heard, pictures, played, sounds, texts, time_of
from kafka_user import KafkaUser
from model_media import written
from number_pairs import number_pairs
from readings import sentences, word_errors
from transfer_bench import TEST_VOICES, TRAIN_VOICES, accuracy, spoken
from translate_bench import PAIRS, trained

from pipeline.broker import server
from pipeline.demo import assets
from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder
from pipeline.evaluation.text import Pair, scored_text

S = 1_000_000
VOICES = ("en-us", "en", "en-us+f3", "en-us+m3")
FONT_SIZES = (8, 10, 12, 16, 24)
Row = dict[str, Any]


def character_errors(references: Sequence[str], read: Sequence[str]) -> float:
    pairs = [Pair("s", n, *both) for n, both in enumerate(zip(references, read, strict=True))]
    rate: float = scored_text(pairs, "plain")["cer"]["rate"]
    return rate


def row(chain: str, what: str, ran: Ran, **figures: float | int | str) -> Row:
    speed = ran.summary["windows_per_second"]
    shown = ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}"
                      for k, v in figures.items())  # fmt: skip
    print(f"{chain:26s} {what:14s} {shown}; {len(ran.results)} windows, {speed:.1f} a second")
    return {"chain": chain, "what": what, "windows": len(ran.results), "windows_per_second": speed,
            **figures}  # fmt: skip


def speech_to_embedding(chains: Chains) -> list[Row]:
    chain, readings = "speech_to_embedding", sentences()
    chains.send(chain, sounds([r.samples for r in readings], 10 * S))
    ran = chains.run(chain)
    read = [reading.text for reading in readings]
    encoder = load_encoder("text_embedding", {}, torch.device("cpu"))
    meant = np.stack(encoder.encode([Clip("s", 0, 1, text=text) for text in read]))
    cosines = np.array([result["output"]["vector"] for result in ran.results]) @ meant.T
    right = np.argmax(cosines, axis=1) == np.arange(len(read))
    own = np.diag(cosines)
    wrong = word_errors(read, ran.texts("heard"))
    figures = {"wer": wrong.rate, "words": wrong.words, "cosine_mean": float(own.mean())}
    figures |= {"cosine_least": float(own.min()), "nearest_right": f"{right.sum()} of {len(right)}"}
    return [row(chain, "LibriVox", ran, **figures)]


def image_to_speech(chains: Chains) -> list[Row]:
    chain = "image_to_speech"
    files = sorted((Path(assets.__file__).parent / "media" / "photographs").glob("*.jpg"))
    photographs = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    signs = [written(*_halves(line), size=32) for line in LINES]
    chains.send(chain, pictures([*signs, *photographs], 10 * S))
    ran = chains.run(chain)
    records, lengths_s = ran.out["spoken"], []
    for record, result in zip(records, ran.results, strict=True):
        samples, rate = played(record)
        lengths_s.append(len(samples) / rate)
        if time_of(record) != result["window"]["start_us"] or 2 * len(samples) != len(record.value):
            raise RuntimeError(f"the speech of {result['window']} has another time, or is torn")
    read = ran.texts("read")
    for file, text in zip(files, read[len(signs) :], strict=True):
        print(f"    {file.name}: {text!r}")
    wrong = word_errors(LINES, heard(records[: len(signs)]))
    figures = {"cer": character_errors(LINES, read[: len(signs)])}
    figures |= {"wer_spoken": wrong.rate, "words": wrong.words, "longest_s": max(lengths_s)}
    inside = sum(length_s <= 10 for length_s in lengths_s)
    return [row(chain, "signs, photos", ran, **figures, inside=f"{inside} of {len(records)}")]


def _halves(line: str) -> tuple[str, str]:
    """In two lines, so that the letters are large enough and fit."""
    words = line.split()
    half = (len(words) + 1) // 2
    return " ".join(words[:half]), " ".join(words[half:])


def everything() -> list[str]:
    return [*LINES, *(reading.text for reading in sentences())]


def text_speech_text(chains: Chains) -> list[Row]:
    chain, lines, rows = "text_speech_text", everything(), []
    chains.send(chain, texts(lines, 10 * S))
    for voice in VOICES:
        ran = chains.run(chain, voice.replace("+", "-"), spoken__voice=voice)
        wrong = word_errors(lines, ran.texts("heard"))
        rows.append(row(chain, voice, ran, wer=wrong.rate, words=wrong.words))
    for reference, said in zip(lines, ran.texts("heard"), strict=True):
        print(f"    {reference!r} -> {said!r}")
    return rows


def sound_picture_embedding(chains: Chains) -> list[Row]:
    chain = "sound_picture_embedding"
    sides = (spoken(TRAIN_VOICES, 0), spoken(TEST_VOICES, 1))
    for stream, (clips, _) in zip(("learn", "tell"), sides, strict=True):
        chains.send(chain, sounds([clip.samples for clip in clips], S, stream))
    ran = chains.run(chain)
    vectors = {
        stream: np.array([r["output"]["vector"] for r in ran.results if r["stream"] == stream])
        for stream in ("learn", "tell")
    }
    (_, given), (_, truth) = sides
    share = accuracy(vectors["learn"], given, vectors["tell"], truth)
    error = float(np.sqrt(share * (1 - share) / len(truth)))
    return [row(chain, "digits, eSpeak", ran, accuracy=share, error=error, learned_from=len(given),
                told=len(truth))]  # fmt: skip


def text_picture_text(chains: Chains) -> list[Row]:
    chain, lines, rows = "text_picture_text", everything(), []
    chains.send(chain, texts(lines, S))
    for size in FONT_SIZES:
        ran = chains.run(chain, f"font-{size}", picture__font_size=size)
        errors = character_errors(lines, ran.texts("read"))
        characters = sum(map(len, lines))
        rows.append(row(chain, f"{size} pixels", ran, cer=errors, characters=characters))
    return rows


def text_speech_translation(chains: Chains) -> list[Row]:
    """``MOTET_CHAIN_MODEL`` names a model that ``make eval-translate ARGS="--out DIR"`` made."""
    chain = "text_speech_translation"
    seen = {pair.target for pair in number_pairs("de", PAIRS)}
    drawn = (pair for pair in number_pairs("de", 200, seed=1) if pair.target not in seen)
    pairs = [pair for pair in drawn if pair.source[0].isalpha()][:24]
    with tempfile.TemporaryDirectory(prefix="motet-translate-") as place:
        folder = Path(os.environ.get("MOTET_CHAIN_MODEL", place))
        if folder == Path(place):
            trained("de", PAIRS, folder)
        encoder = load_encoder("text_to_text", {"model": str(folder)}, torch.device("cpu"))
        plain = encoder.encode([Clip("s", 0, 1, text=pair.source) for pair in pairs])
        chains.send(chain, texts([pair.source for pair in pairs], 10 * S))
        ran = chains.run(chain, german__model=folder)
    figures: dict[str, float | int] = {}
    for name, german in (("", ran.texts("german")), ("_without_speech", plain)):
        both = enumerate(zip(pairs, german, strict=True))
        found = scored_text([Pair("s", n, p.target, text) for n, (p, text) in both], "none")
        figures[f"bleu{name}"] = found["bleu"]["score"]
        figures[f"exact{name}"] = found["exact"]["share"]
    wrong = word_errors([pair.source for pair in pairs], ran.texts("heard"))
    for pair, said, german in zip(pairs, ran.texts("heard"), ran.texts("german"), strict=True):
        print(f"    {pair.source!r} -> {said!r} -> {german!r}")
    return [row(chain, "numbers, dates", ran, wer=wrong.rate, words=wrong.words, **figures)]


ALL = (speech_to_embedding, image_to_speech, text_speech_text, sound_picture_embedding,
       text_picture_text, text_speech_translation)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=[each.__name__ for each in ALL], help="one chain")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    left = {file.stem for file in FOLDER.glob("*.yaml")} - {each.__name__ for each in ALL}
    if left:
        raise SystemExit(f"nothing measures {sorted(left)}")
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="motet-chains-") as place:
        data_dir = Path(place) / "kafka"
        broker = server.start(port=0, data_dir=data_dir)
        try:
            with closing(KafkaUser(broker.bootstrap)) as user:
                for each in ALL:
                    if given.only in (None, each.__name__):
                        rows += each(Chains(user))
        finally:
            server.stop(data_dir)
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    print(f"load of the machine at the end: {load:.1f} a core")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
