"""The media of a training set: a folder a labelled window, as ``motet clip`` writes a result's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.cli.clip_files import Window, write_input
from pipeline.cli.terminal import counted, say, warn

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.training.replay import Replayed

_NAME_BYTES_MAX = 200  # of a folder's name; file systems take 255


class MediaWriter:
    """Writes ``media/STREAM/START_US/INPUT.wav`` and the like into the folder of a set.

    Records that overlap a window only by a stage's context are left out.
    """

    def __init__(self, folder: Path, spec: PipelineSpec) -> None:
        self._folder = folder
        self._decode_time_us = spec.limits.decode_time_us
        self._files = 0
        self._problems: list[str] = []

    def __call__(self, replayed: Replayed) -> str:
        """Writes one window's; gives its folder within the set's."""
        opened = replayed.window
        name = f"media/{folder_name(opened.stream)}/{opened.start_us}"
        (self._folder / name).mkdir(parents=True, exist_ok=True)
        window = Window(opened.stream, opened.start_us, opened.end_us, self._decode_time_us)
        for source, records in replayed.records.items():
            inside = [r for r in records if r.end_us > opened.start_us and r.ts_us < opened.end_us]
            files, problems = write_input(window, source, inside, self._folder / name / source)
            self._files += len(files)
            self._problems += problems
        return name

    def say(self) -> None:
        say(f"motet: {counted(self._files, 'media file')} written")
        if self._problems:
            warn(f"{counted(len(self._problems), 'record')} left out: {self._problems[0]}")


def folder_name(stream: str) -> str:
    """A stream id as the name of a folder: quoted, and a hash where that would be too long."""
    name = quote(stream, safe=" @+=,").replace("~", "%7E")
    if stream in (".", ".."):
        name = name.replace(".", "%2E")
    if len(name) <= _NAME_BYTES_MAX:
        return name
    return f"sha256-{hashlib.sha256(stream.encode()).hexdigest()}"
