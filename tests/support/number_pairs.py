"""Sentence pairs that packages make: numbers, quantities and dates, English to German or Chinese.

Numbers in words are num2words' (English, German) and cn2an's (Chinese), units and dates babel's.
The English is in words, or in digits as a recogniser of speech writes it, by turns with a stop at
the end; what it becomes is in words throughout. So one target has several sources.

    python tests/support/number_pairs.py de 6000 > pairs.csv     # or zh; by the seed, --seed 0
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from datetime import date, timedelta
from typing import NamedTuple

import cn2an
import numpy as np
from babel.dates import format_date
from babel.units import format_unit
from num2words import num2words

LANGUAGES = ("de", "zh")
UNITS = (
    "length-meter", "length-kilometer", "mass-kilogram", "mass-gram", "volume-liter",
    "duration-second", "duration-minute", "duration-hour", "duration-day", "duration-week",
    "duration-month", "duration-year", "temperature-celsius", "length-centimeter",
)  # fmt: skip
FIRST_DAY, DAYS = date(1950, 1, 1), 36_525
_NUMBER = re.compile(r"\d[\d.,]*")


class Pair(NamedTuple):
    source: str
    target: str


def number_pairs(language: str, count: int, seed: int = 0) -> list[Pair]:
    """``count`` different pairs: a third each numbers, quantities and dates."""
    rng = np.random.default_rng(seed)
    found: dict[Pair, None] = {}
    while len(found) < count:
        made = (_number, _quantity, _date)[len(found) % 3](rng, language, bool(rng.integers(2)))
        stop = "." if rng.integers(2) else ""
        found[made._replace(source=f"{made.source}{stop}")] = None
    return list(found)


def _whole(rng: np.random.Generator, digits_max: int) -> int:
    """Of one to so many digits, each length alike."""
    return int(rng.integers(10 ** int(rng.integers(1, digits_max + 1))))


def _words(number: int) -> str:
    """``1,234`` as it is said: num2words' comma and hyphens are for the eye."""
    words: str = num2words(number, lang="en")
    return words.replace(",", "").replace("-", " ")


def _number(rng: np.random.Generator, language: str, in_words: bool) -> Pair:
    number = _whole(rng, 6)
    source = _words(number) if in_words else f"{number:,}"
    return Pair(source, _cardinal(number, language))


def _quantity(rng: np.random.Generator, language: str, in_words: bool) -> Pair:
    """From two on: num2words knows no gender, which *one* has in German (*eine Stunde*)."""
    number, unit = 2 + _whole(rng, 4), UNITS[int(rng.integers(len(UNITS)))]
    source, target = (
        format_unit(number, unit, locale=locale).replace("\N{NO-BREAK SPACE}", " ")
        for locale in ("en", language)
    )
    if in_words:
        source = _NUMBER.sub(_words(number), source)
    return Pair(source, _NUMBER.sub(_cardinal(number, language), target))


def _date(rng: np.random.Generator, language: str, in_words: bool) -> Pair:
    day = FIRST_DAY + timedelta(days=int(rng.integers(DAYS)))
    if language == "de":
        target = _said(day, "EEEE, 'der {ordinal}' MMMM '{year}'", "de")
    else:
        target = cn2an.transform(format_date(day, "full", locale="zh"), "an2cn")
    if not in_words:
        ordinal = num2words(day.day, to="ordinal_num")
        written = ("EEEE, MMMM d, y", f"EEEE, 'the {ordinal} of' MMMM, y")[int(rng.integers(2))]
        return Pair(format_date(day, written, locale="en"), target)
    source = _said(day, "EEEE, 'the {ordinal} of' MMMM, '{year}'", "en")
    return Pair(source.replace("-", " "), target)


def _said(day: date, pattern: str, language: str) -> str:
    ordinal = num2words(day.day, to="ordinal", lang=language)
    year = num2words(day.year, to="year", lang=language)
    return format_date(day, pattern.format(ordinal=ordinal, year=year), locale=language)


def _cardinal(number: int, language: str) -> str:
    return str(cn2an.an2cn(number) if language == "zh" else num2words(number, lang=language))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("language", choices=LANGUAGES)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(Pair._fields)
    rows.writerows(number_pairs(given.language, given.count, given.seed))


if __name__ == "__main__":
    main()
