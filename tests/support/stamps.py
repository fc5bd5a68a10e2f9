"""Tux Paint's stamps: pictures with captions in many languages, and captions that people speak."""

from __future__ import annotations

import importlib
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pipelines import SECOND_US, sent

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.training.labels import Label

FIRST_US = 1_700_000_000 * SECOND_US
SIDE = 256  # pixels of the square that a picture is drawn on


class Stamp(NamedTuple):
    """``name`` is its path, ``category`` the first folder of it; captions by language."""

    name: str
    picture: Path
    captions: dict[str, str]
    spoken: dict[str, Path]

    @property
    def category(self) -> str:
        return self.name.split("/")[0]


def stamps(root: Path) -> list[Stamp]:
    """All that have a picture and a caption, in the order of their names."""
    found = []
    for words in sorted(root.rglob("*.txt")):
        base = words.with_suffix("")
        pictures = [p for p in (base.with_suffix(".png"), base.with_suffix(".svg")) if p.is_file()]
        captions = captions_of(words.read_text("utf-8"))
        if not pictures or "en" not in captions:
            continue
        spoken = {"en": base.parent / f"{base.name}_desc.ogg"}
        for file in base.parent.glob(f"{base.name}_desc_*.ogg"):
            spoken[file.stem.removeprefix(f"{base.name}_desc_")] = file
        spoken = {language: file for language, file in spoken.items() if file.is_file()}
        name = base.relative_to(root).as_posix()
        found.append(Stamp(name, pictures[0], captions, spoken))
    return found


def captions_of(content: str) -> dict[str, str]:
    """The first line is English; the others are ``LANGUAGE.utf8=TEXT``. Empty ones are left out."""
    first, *others = content.splitlines() or [""]
    found = {"en": first.strip()}
    for line in others:
        language, mark, text = line.partition(".utf8=")
        if mark:
            found[language.strip()] = text.strip()
    return {language: text for language, text in found.items() if text}


def of_large_categories(found: Iterable[Stamp], least: int) -> list[Stamp]:
    found = list(found)
    counts = Counter(stamp.category for stamp in found)
    return [stamp for stamp in found if counts[stamp.category] >= least]


def drawn(stamp: Stamp, svg: Any) -> bytes:
    """A PNG: the stamp on a white square of paper. ``svg`` is the module resvg_py."""
    if stamp.picture.suffix == ".svg":
        content = svg.svg_to_bytes(svg_path=str(stamp.picture), dpi=96.0, width=2 * SIDE)
        picture = Image.open(io.BytesIO(bytes(content)))
    else:
        picture = Image.open(stamp.picture)
    picture = picture.convert("RGBA")
    scale = SIDE / max(picture.size)
    size = [max(1, round(scale * side)) for side in picture.size]
    picture = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    paper = Image.new("RGBA", (SIDE, SIDE), "white")
    paper.alpha_composite(picture, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    sink = io.BytesIO()
    paper.convert("RGB").save(sink, "PNG")
    return sink.getvalue()


def svg_reader(folder: Path) -> Any:
    """The module resvg_py from where its wheel was unpacked."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module("resvg_py")


def publish(
    broker: MemoryBroker, shown: Sequence[Stamp], language: str, size_us: int, svg: Any, lanes: int
) -> list[Label]:
    """Each stamp a stream with one window, one after the other.

    The picture, the caption spoken in ``language`` and written in English; labels are categories.
    """
    labels = []
    start_us = FIRST_US // size_us * size_us
    for number, stamp in enumerate(shown):
        place = {"stream": stamp.name, "lane": number % lanes}
        broker.append(sent("in.voice", stamp.spoken[language].read_bytes(), start_us, **place))
        broker.append(sent("in.picture", drawn(stamp, svg), start_us, **place))
        broker.append(sent("in.caption", stamp.captions["en"].encode(), start_us, **place))
        labels.append(Label(stamp.name, start_us, start_us + size_us, stamp.category, None))
        start_us += size_us
    return labels
