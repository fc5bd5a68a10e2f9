"""One connection to a live source through PyAV: what it holds, and its packets as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import clock
from pipeline.connectors.files import SourceKind
from pipeline.connectors.film_media import picture_stream
from pipeline.connectors.live import DEVICES, MICROPHONES, PATTERNS, LiveSource
from pipeline.errors import InvalidInput, Problem

OPEN_S = 15.0
SILENCE_S = 10.0  # a source that sends nothing for so long is lost
_ALSA_CONFIG = "ALSA_CONFIG_PATH"
_ALSA_CONFIG_FILE = Path("/usr/share/alsa/alsa.conf")
PIPE_IT = "record it with another program: `ffmpeg ... -f nut - | motet publish ... -`"


class Lost(Exception):
    """The connection does not stand, or not any more: why, in words."""


class Arrived(NamedTuple):
    """A packet, and when it came (``Connection.now_us``)."""

    arrival_us: int
    packet: Any


class Connection:
    """An open source. One thread reads it; ``close`` belongs to that thread.

    ``is_recording``: it has an end and does not play by itself, as a file behind a URL.
    """

    def __init__(self, source: LiveSource, container: Any) -> None:
        self.source = source
        self._container = container
        # a clock that is set while we read must not tear the stream apart
        self._epoch_us = clock.wall_us() - clock.monotonic_us()
        known_bytes = "://" in source.address and (container.size or 0) > 0
        has_end = container.duration or known_bytes or source.form in PATTERNS
        # what a pipe says of its length is what its writer could not know
        self.is_recording = bool(has_end) and not source.is_pipe

    def kinds(self) -> list[SourceKind]:
        """What it holds that can be published; raises InvalidInput where that is nothing."""
        kinds: list[SourceKind] = ["audio", "image"]
        found = [kind for kind in kinds if self.stream(kind) is not None]
        if not found:
            why = "it holds neither sound nor pictures"
            raise InvalidInput(Problem("SOURCE", self.source.name, why, "give another source"))
        return found

    def stream(self, kind: SourceKind) -> Any:
        """The stream of a kind; None where it has none."""
        if kind == "audio":
            return next(iter(self._container.streams.audio), None)
        return picture_stream(self._container)

    def now_us(self) -> int:
        """The wall clock as it was when we connected, going on without steps."""
        return self._epoch_us + clock.monotonic_us()

    def packets(self, streams: Sequence[Any]) -> Iterator[Arrived]:
        """Packets until the source ends; raises Lost where it breaks off.

        The last of each stream are empty: what a decoder still holds comes out by them.
        """
        import av

        try:
            for packet in self._container.demux(*streams):
                yield Arrived(self.now_us(), packet)
        except (av.FFmpegError, OSError) as error:
            raise Lost(_reason(error)) from error

    def close(self) -> None:
        self._container.close()


def connect(source: LiveSource) -> Connection:
    """Opens a source; raises InvalidInput with the way out where it cannot be opened."""
    import av

    if source.form is not None:
        _demand_format(source)
    try:
        container = av.open(
            source.address,
            format=source.form,
            options=dict(source.options),
            timeout=(OPEN_S, SILENCE_S),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InvalidInput(_unopened(source, error)) from error
    return Connection(source, container)


def inputs_here() -> list[str]:
    """FFmpeg's names of the devices that this build of PyAV reads."""
    return [name for name in DEVICES if _reads(name)]


def _reads(name: str) -> bool:
    import av

    try:
        return bool(av.ContainerFormat(name).is_input)
    except ValueError:
        return False  # not in this build


def _demand_format(source: LiveSource) -> None:
    """Refuses a device that this build does not read, and a microphone that ALSA cannot find."""
    here = inputs_here()
    if source.form not in here:
        why = f"this build of PyAV has no input '{source.form}' (it has {', '.join(here)})"
        raise InvalidInput(Problem("SOURCE", source.name, why, PIPE_IT))
    # The ALSA inside PyAV's wheel looks for its configuration where the wheel was built.
    if source.form == "alsa" and _ALSA_CONFIG not in os.environ:
        if not _ALSA_CONFIG_FILE.is_file():
            why = f"ALSA has no {_ALSA_CONFIG_FILE}"
            remedy = f"install ALSA (Debian: libasound2-data), set {_ALSA_CONFIG}, or {PIPE_IT}"
            raise InvalidInput(Problem("SOURCE", source.name, why, remedy))
        os.environ[_ALSA_CONFIG] = str(_ALSA_CONFIG_FILE)


def _unopened(source: LiveSource, error: Exception) -> Problem:
    why, remedy = f"it cannot be opened ({_reason(error)})", "see whether ffplay or VLC plays it"
    if source.form in MICROPHONES:
        remedy = f"`arecord -L` lists microphones, alsa:hw:0 is the first; or {PIPE_IT}"
    elif source.form is not None and isinstance(error, FileNotFoundError):
        why, remedy = "there is no such device", "`ls /dev/video*` shows the cameras"
    elif source.form is not None and isinstance(error, PermissionError):
        why, remedy = "it may not be opened", "add yourself to its group: `ls -l` names it"
    elif isinstance(error, PermissionError):  # HTTP 401 and 403, and RTSP's
        remedy = "give user and password in the URL, as https://USER:PASSWORD@HOST/"
    return Problem("SOURCE", source.name, why, remedy)


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.ExitError | TimeoutError):
        return f"nothing came for {SILENCE_S:g} s"
    text = str(getattr(error, "strerror", None) or error).strip(" .")
    return text or type(error).__name__
