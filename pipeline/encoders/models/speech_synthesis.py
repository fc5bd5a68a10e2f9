"""Text to speech: the eSpeak NG library, in this process, by its C interface."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Audio, Clip
from pipeline.encoders.models.weights import Weights, model_library, weights_folder
from pipeline.encoders.options import whole, wrong_option

if TYPE_CHECKING:
    import torch

_DATA = "espeakng_loader/espeak-ng-data"
# The library differs by platform; what a voice sounds like is in these.
ESPEAK = tuple(
    Weights("espeakng-loader", f"{_DATA}/{name}", sha256)
    for name, sha256 in (
        ("phondata", "a0b643b155cb6b12628d9e7865b57d9fca0d35844614f2594a5e009c80c80bb4"),
        ("phontab", "1b40690667e1e9aa1ba5e5234773c799e7e72ea751426e5150423d53c3f24fa2"),
        ("phonindex", "384e5fa6f714ba5356c58008249b78699c31c1ad044b243068d263fb806b7d73"),
        ("intonations", "031a105bf6bb2ebcd73a2c579ccfb42469b27266db0078af65ae298fd3588b21"),
    )
)

# speak_lib.h of eSpeak NG 1.52
_SYNCHRONOUS = 2
_DONT_EXIT = 1 << 15
_UTF8 = 1
_POS_CHARACTER = 1
_RATE, _PITCH = 1, 3
_OK = 0
_LIBRARY = threading.Lock()  # its globals are the process's
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """The library, of which a process holds one at a time: it keeps its state in globals.

    Invariant: what is said depends on the text, voice, rate and pitch alone. The library goes on
    from where its oscillators were left, which moves samples of the next text, and nothing in its
    interface sets them back; so it is loaded anew for each text (5 ms).
    """

    def __init__(self) -> None:
        loader = model_library("espeakng_loader")
        self._data = str(weights_folder(ESPEAK)).encode()
        self._file = loader.get_library_path()
        self._heard: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._hear)  # kept: the library holds no reference to it
        self.rate = 0  # Hz, as the library says
        with self._loaded():
            pass

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[ctypes.CDLL]:
        with _LIBRARY:
            library = ctypes.CDLL(self._file)
            try:
                self.rate = library.espeak_Initialize(_SYNCHRONOUS, 0, self._data, _DONT_EXIT)
                if self.rate <= 0:
                    raise RuntimeError(f"eSpeak NG cannot read its data in {self._data.decode()}")
                library.espeak_SetSynthCallback(self._callback)
                yield library
                library.espeak_Terminate()
            finally:
                _ctypes.dlclose(library._handle)

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    def has_voice(self, voice: str) -> bool:
        with self._loaded() as library:
            return bool(library.espeak_SetVoiceByName(voice.encode()) == _OK)

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int) -> NDArray[np.float32]:
        """float32 in [-1, 1], shape (n,), at ``rate``; RuntimeError where the library refuses."""
        spoken = text.replace("\0", " ").encode()
        size = ctypes.c_size_t(len(spoken) + 1)
        with self._loaded() as library:
            self._heard = []
            codes = {
                "voice": library.espeak_SetVoiceByName(voice.encode()),
                "rate": library.espeak_SetParameter(_RATE, words_per_minute, 0),
                "pitch": library.espeak_SetParameter(_PITCH, pitch, 0),
                "text": library.espeak_Synth(spoken, size, 0, _POS_CHARACTER, 0, _UTF8, None, None),
                "end": library.espeak_Synchronize(),
            }
            heard, self._heard = self._heard, []
        for what, code in codes.items():
            if code != _OK:
                raise RuntimeError(f"eSpeak NG refuses the {what} (error {code})")
        joined = np.concatenate([np.zeros(0, np.int16), *heard])
        return joined.astype(np.float32) / np.float32(32768)


@functools.cache
def espeak() -> Espeak:
    """The one of this process; all encoders take turns."""
    return Espeak()


class TextToSpeech:
    """The window's text, spoken; 22,050 Hz, as long as the speech is.

    A text without a word is silence as long as the window. The same text is the same samples.
    """

    takes = "text"
    gives = "audio"

    def __init__(
        self, device: torch.device, *, voice: str = "en-us", rate: int = 175, pitch: int = 50
    ) -> None:
        """``rate``: words per minute; ``pitch``: 0 to 100; ``voice``: ``de``, ``en-us+f3``."""
        self._words_per_minute = whole("rate", rate, 80, 450, "words per minute")
        self._pitch = whole("pitch", pitch, 0, 100)
        self._espeak = espeak()
        if not isinstance(voice, str) or not voice or not self._espeak.has_voice(voice):
            remedy = "write one such as en-us, en, de, fr or es, with a variant such as en-us+f3"
            raise wrong_option("voice", voice, "is no voice of eSpeak NG", remedy)
        self._voice = voice

    def encode(self, batch: Sequence[Clip]) -> list[Audio]:
        return [self._of(clip) for clip in batch]

    def _of(self, clip: Clip) -> Audio:
        rate, text = self._espeak.rate, clip.text or ""
        if any(letter.isalnum() for letter in text):
            said = self._espeak.say(text, self._voice, self._words_per_minute, self._pitch)
            if len(said):
                return Audio(said, rate)
        silence_us = clip.end_us - clip.start_us
        return Audio(np.zeros(silence_us * rate // 1_000_000, np.float32), rate)
