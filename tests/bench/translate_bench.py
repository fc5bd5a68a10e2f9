"""Numbers, quantities and dates in words, English to German and to Chinese: trained and measured.

The pairs are those of tests/support/number_pairs.py (num2words, babel, cn2an). A tenth is held out:
nothing in it shares a source or a target with what was trained on. For each language one run of
``motet train --task translate`` with its defaults; exact match, BLEU and chrF of greedy and beam
decoding, and of a dictionary that translates word for word.

    python tests/bench/translate_bench.py          # make eval-translate; some minutes on one core
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

from number_pairs import LANGUAGES, Pair, number_pairs

from pipeline.cli import main as motet

PAIRS = 7_000
NAMES = {"de": "German", "zh": "Chinese"}
WAYS = {"greedy": "greedy", "beam": "beam of 4", "dictionary": "word for word"}


def trained(language: str, count: int, folder: Path) -> dict[str, Any]:
    """What ``motet train --json`` says; the model lies in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = folder / "pairs.csv"
    with pairs.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(Pair._fields)
        rows.writerows(number_pairs(language, count))
    sink = io.StringIO()
    command = ["train", "--task", "translate", "--pairs", str(pairs), "-o", str(folder), "--json"]
    with contextlib.redirect_stdout(sink):
        code = motet(command)
    if code:
        raise SystemExit(code)
    found: dict[str, Any] = json.loads(sink.getvalue())
    return found


def rows(language: str, told: dict[str, Any]) -> list[str]:
    metrics, cost = told["metrics"], told["cost"]
    lines = [
        f"| {NAMES[language]} | {called} | {figures['rows']} | {figures['exact']:.3f} | "
        f"{figures['bleu']:.1f} | {figures['chrf']:.1f} | {figures['cpu_ms_per_text']:.2f} |"
        for way, called in WAYS.items()
        for figures in [metrics[way]]
    ]
    spent = (
        f"{NAMES[language]}: {told['data']['split']['train']} pairs trained on, "
        f"{told['training']['epochs_run']} epochs, {cost['cpu_s']:.0f} s of CPU "
        f"({cost['wall_s']:.0f} s), {cost['parameters']} parameters, "
        f"{cost['peak_memory_bytes'] >> 20} MiB; exact in training {metrics['train']['exact']:.3f}"
    )
    return [*lines, spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each language")
    parser.add_argument("--out", type=Path, help="keep the models here, one folder a language")
    parser.add_argument("--only", choices=LANGUAGES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| to | decoding | pairs | exact | BLEU | chrF | CPU ms a text |")
    print(f"|{'---|' * 7}")
    with tempfile.TemporaryDirectory(prefix="motet-translate-") as place:
        for language in LANGUAGES:
            if given.only in (None, language):
                folder = (given.out or Path(place)) / language
                told = trained(language, given.pairs, folder)
                print("\n".join(rows(language, told)), flush=True)
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    print(f"load of the machine at the end: {load:.1f} a core")


if __name__ == "__main__":
    main()
