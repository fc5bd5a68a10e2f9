"""Sound files as libsndfile reads them, and what all sources of sound have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvalidInput, Problem

Samples = npt.NDArray[np.float32]

# Small, since a folder of a thousand recordings has a thousand of them open at once.
BLOCK_FRAMES = 16_384


class Run(NamedTuple):
    """Samples without a gap: where they begin in the file, and blocks of shape (n, channels)."""

    at_us: int
    blocks: Iterator[Samples]


class SoundFile(NamedTuple):
    """A file that libsndfile reads: one run from its beginning."""

    file: Any
    path: Path

    @property
    def samplerate(self) -> int:
        return int(self.file.samplerate)

    @property
    def channels(self) -> int:
        return int(self.file.channels)

    def runs(self) -> Iterator[Run]:
        yield Run(0, self._blocks())

    def _blocks(self) -> Iterator[Samples]:
        import soundfile

        while True:
            try:
                block = self.file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise unreadable(self.path, f"it is damaged ({_reason(error)})") from None
            if not len(block):
                return
            yield block


@contextmanager
def sound_file(path: Path) -> Iterator[SoundFile]:
    with opened(path) as file:
        yield SoundFile(file, path)


def opened(path: Path) -> Any:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Read from beginning to end only.

        The stock class seeks to where it is after every read; in an mp3 that loses what a
        frame needs of the frames before it, and every block begins with a crack.
        """

        def seekable(self) -> bool:
            return False

    try:
        return Forward(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise unreadable(path, f"it cannot be read as sound ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", None) or error).strip(" .")


def unreadable(path: Path | str, why: str) -> InvalidInput:
    return InvalidInput(Problem("SOURCE", str(path), why, "leave it out or give another file"))
