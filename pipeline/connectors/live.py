"""Live sources as a user names them: cameras, microphones, URLs, and what comes through a pipe.

``/dev/video0``, ``alsa:default``, ``rtsp://HOST/PATH``, ``https://HOST/PATH``, ``-``. What opens
them is PyAV; nothing is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.errors import InvalidInput, Problem

# FFmpeg's names of devices, those of all its platforms: a build of PyAV has some of them.
CAMERAS = ("v4l2", "avfoundation", "dshow")
MICROPHONES = ("alsa", "pulse", "jack", "oss", "sndio", "openal")
PATTERNS = ("lavfi",)  # test pictures and tones that FFmpeg makes
DEVICES = (*CAMERAS, *MICROPHONES, *PATTERNS)
STDIN = "-"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.IGNORECASE | re.DOTALL)
_VIDEO_DEVICE = re.compile(r"/dev/(?:video\d+|v4l/.+)")
# What no user would want otherwise; an option that is given goes before it.
_DEFAULTS: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},  # UDP loses packets, and most firewalls stop it
    "http": {"reconnect": "1"},  # a recording goes on at the byte where it broke off
    "v4l2": {"ts": "abs"},  # times of the wall clock, not since the machine's start
}
_DEFAULTS["rtsps"] = _DEFAULTS["rtsp"]
_DEFAULTS["https"] = _DEFAULTS["http"]


class LiveSource(NamedTuple):
    """A source that is read as it plays. ``address`` and ``form`` are what PyAV opens.

    ``name`` is what the user and the records see: never the credentials or the query of a URL.
    """

    address: str
    name: str
    stream: str  # its id where none is given
    form: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_device(self) -> bool:
        """Whether its own timestamps are those of this machine's clock."""
        return self.form in CAMERAS or self.form in MICROPHONES

    @property
    def is_pipe(self) -> bool:
        return self.name == STDIN


def is_live(source: str) -> bool:
    """Whether a SOURCE names a live source: no file has such a name unless it is meant."""
    if source == STDIN or source.startswith("/dev/") or _URL.fullmatch(source):
        return True
    form, colon, name = source.partition(":")
    return bool(colon and name and form in DEVICES) and not Path(source).exists()


def live_source(source: str, options: Mapping[str, str]) -> LiveSource:
    """What a SOURCE is, with the options of ``--source-option``; raises InvalidInput."""
    form: str | None = None
    if source == STDIN:
        address, name, stream = "pipe:0", STDIN, "stdin"
    elif (url := _URL.fullmatch(source)) is not None:
        if url[1].lower() == "file":
            raise InvalidInput(Problem("SOURCE", source, "it is a file", "give its path"))
        address, name, stream = source, *_without_secrets(source)
    elif _VIDEO_DEVICE.fullmatch(source):
        form, address, name, stream = "v4l2", source, source, Path(source).name
    elif source.startswith("/dev/"):
        why = "it is no camera"
        remedy = "give a camera as /dev/video0, a microphone as alsa:default"
        raise InvalidInput(Problem("SOURCE", source, why, remedy))
    else:
        form, _, address = source.partition(":")
        name, stream = source, _plain(address) or form
    scheme = form or source.partition("://")[0].lower()
    merged = {**_DEFAULTS.get(scheme, {}), **options}
    return LiveSource(address, name, stream, form, tuple(merged.items()))


def source_options(given: Sequence[str] | None) -> dict[str, str]:
    """``KEY=VALUE`` options of FFmpeg; raises InvalidInput with every one that is none."""
    found: dict[str, str] = {}
    problems = []
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            remedy = "write it as --source-option video_size=1280x720"
            problems.append(Problem("--source-option", key, "it is not KEY=VALUE", remedy))
        found[key.strip()] = value
    if problems:
        raise InvalidInput(*problems)
    return found


def _without_secrets(url: str) -> tuple[str, str]:
    """A URL as it may be shown, and a stream id: the last part of its path, else its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        shown = url.partition("@")[2] or url
        raise InvalidInput(
            Problem("SOURCE", shown, f"it is no URL ({error})", "correct it")
        ) from None
    place = f"{host}:{port}" if port is not None else host
    stem = Path(parts.path).stem
    return f"{parts.scheme}://{place}{parts.path}", _plain(stem) or _plain(host) or parts.scheme


def _plain(text: str) -> str:
    """The text as an id: other signs than letters, digits and ``._-`` become one ``-``."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")[:64]
