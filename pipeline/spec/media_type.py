"""Media types: what the ``type`` of an input, or a record's ``content-type``, says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pipeline.spec.units import Wrong

MediaKind = Literal["audio", "image", "video", "text"]

RATE_MIN, RATE_MAX = 1, 1_000_000  # Hz; outside it a record is unsound (contract section 3)
CHANNELS_MAX = 255

_RAW_FORMATS = ("S16LE", "S16BE", "F32LE")
# media type -> kind, format
_TYPES: dict[str, tuple[MediaKind, str]] = {
    "audio/l16": ("audio", "S16BE"),
    "audio/x-raw": ("audio", ""),  # its `format` says
    "audio/wav": ("audio", "wav"),
    "audio/flac": ("audio", "flac"),
    "audio/ogg": ("audio", "ogg"),
    "audio/mpeg": ("audio", "mpeg"),
    "audio/aac": ("audio", "aac"),
    "image/jpeg": ("image", "jpeg"),
    "image/png": ("image", "png"),
    "image/webp": ("image", "webp"),
    "video/mp4": ("video", "mp4"),
    "video/h264": ("video", "h264"),
    "text/plain": ("text", "text"),
}
_SPELLED = {"audio/l16": "audio/L16", "video/h264": "video/H264"}
_ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "application/ogg": "audio/ogg",
    "audio/mp3": "audio/mpeg",
    "audio/aacp": "audio/aac",
    "image/jpg": "image/jpeg",
}
# The parameters a type may have; those of _NEEDED it must have.
_PARAMETERS = {
    "audio/l16": ("rate", "channels"),
    "audio/x-raw": ("format", "rate", "channels"),
    "audio/wav": ("rate",),
    "audio/flac": ("rate",),
    "audio/ogg": ("rate", "codecs"),
    "audio/mpeg": ("rate",),
    "audio/aac": ("rate",),
    "video/mp4": ("codecs",),
    "text/plain": ("charset",),
}
_NEEDED = {"audio/l16": ("rate",), "audio/x-raw": ("format", "rate")}
_EXAMPLES = {
    "audio/l16": "audio/L16;rate=16000;channels=1",
    "audio/x-raw": "audio/x-raw;format=S16LE;rate=16000;channels=1",
}
_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"([^"\\]*)"|([^\s;"]+))\s*')
_DIGITS = re.compile(r"[0-9]{1,9}")

READABLE = tuple(_SPELLED.get(name, name) for name in _TYPES)


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type that this version reads; ``format`` is the codec, as ``record.Facts`` has it.

    ``rate`` (Hz) and ``channels`` are 0 where the type does not say; for ``audio/wav``,
    ``flac``, ``ogg``, ``mpeg`` and ``aac`` a ``rate`` is a statement about the input: the header
    decides.
    """

    kind: MediaKind
    subtype: str
    format: str
    rate: int = 0
    channels: int = 0

    def __str__(self) -> str:
        text = f"{self.kind}/{self.subtype}"
        if self.subtype == "x-raw":
            text += f";format={self.format}"
        if self.rate:
            text += f";rate={self.rate}"
        return text + (f";channels={self.channels}" if self.channels else "")


@lru_cache(maxsize=1024)
def parse_media_type(text: str, *, strict: bool = True) -> MediaType:
    """A media type with its parameters (RFC 2045 and 2586; names in any case); raises Wrong.

    A parameter that the type does not have is an error where ``strict`` (a pipeline file, where
    it is a slip), and passed over where not (a record's ``content-type``, as RFC 2045 asks).

    ``audio/L16`` has one channel where it does not say, as RFC 2586 has it; so has
    ``audio/x-raw``.
    """
    name, _, rest = text.partition(";")
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    if name not in _TYPES:
        raise Wrong("is not a media type that motet knows", f"this version reads {_listed()}")
    kind, codec = _TYPES[name]
    given = _parameters(name, rest, strict)
    raw = name in _NEEDED
    return MediaType(
        kind=kind,
        subtype=_SPELLED.get(name, name).partition("/")[2],
        format=given["format"].upper() if "format" in given else codec,
        rate=_number(given, "rate", RATE_MIN, RATE_MAX),
        channels=_number(given, "channels", 1, CHANNELS_MAX) or int(raw),
    )


def _parameters(name: str, rest: str, strict: bool) -> dict[str, str]:
    remedy = f"write {_EXAMPLES.get(name, _SPELLED.get(name, name))}"
    given: dict[str, str] = {}
    for part in rest.split(";") if rest.strip() else []:
        match = _PARAMETER.fullmatch(part)
        if match is None:
            raise Wrong("has a parameter that is not name=value", remedy)
        key, value = match[1].lower(), match[2] if match[2] is not None else match[3]
        if key not in _PARAMETERS.get(name, ()):
            if not strict:
                continue
            raise Wrong(f"has a parameter '{key}' that its type does not have", remedy)
        if key in given:
            raise Wrong(f"has the parameter '{key}' twice", remedy)
        given[key] = value
    for key in _NEEDED.get(name, ()):
        if key not in given:
            raise Wrong(f"has no '{key}', which raw audio needs", remedy)
    if "format" in given and given["format"].upper() not in _RAW_FORMATS:
        raise Wrong(f"has a format other than {', '.join(_RAW_FORMATS)}", remedy)
    if given.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Wrong("is not in UTF-8", "texts are UTF-8")
    return given


def _number(given: dict[str, str], key: str, least: int, most: int) -> int:
    """The parameter as a number within its bounds, 0 where it is not given."""
    if key not in given:
        return 0
    if not _DIGITS.fullmatch(given[key]) or not least <= int(given[key]) <= most:
        raise Wrong(f"has a {key} that is not a number from {least} to {most}", f"correct {key}")
    return int(given[key])


def _listed() -> str:
    return ", ".join(READABLE)
