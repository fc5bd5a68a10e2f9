"""A visitor of the live page: a browser whose microphone plays a recorded file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from browser import Browser, browser
from numpy.typing import NDArray
from readings import RATE


@contextmanager
def visitor(folder: Path, samples: NDArray[np.float32]) -> Iterator[Browser]:
    """What it says is played once from when the microphone is opened; then it is silent.

    Its camera shows a disc that is filled, and the time. It allows both without asking.
    """
    file = folder / "said.wav"
    soundfile.write(file, samples, RATE, subtype="PCM_16")
    with browser(
        folder / "profile",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
    ) as found:
        yield found


def press(page: Browser, selector: str) -> None:
    """By keyboard, as a user does: a script's click is no leave to play or to hear sound."""
    page.value(f"document.querySelector({selector!r}).focus()")
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    page.ask("Input.dispatchKeyEvent", type="keyDown", **key)
    page.ask("Input.dispatchKeyEvent", type="keyUp", **key)
